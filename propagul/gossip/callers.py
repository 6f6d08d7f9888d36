"""Links that are open and not used yet: others have dialled them and not spoken on them.

Two nodes may dial each other at the same moment, and one may dial the other twice. Which of several links with one run
of a peer stays must be the same at both ends, in whatever order each hears of what. Who dialled a link therefore
decides first: it speaks only if it holds no other one, and until it speaks the link counts for nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propagul.gossip.events import LinkKey, LinkUp


class Callers:
    """Who called, and when."""

    def __init__(self) -> None:
        self._waiting: dict[LinkKey, tuple[LinkUp, float]] = {}

    def add(self, event: LinkUp, now: float) -> None:
        """A link has come up and is not used yet."""
        self._waiting[event.link] = event, now

    def pop(self, link: LinkKey) -> LinkUp | None:
        """It waits no more: it has spoken, or ended; None if it did not wait."""
        event, _ = self._waiting.pop(link, (None, 0.0))
        return event

    def next_lapse(self, silence_s_max: float) -> float:
        """When the first of them will have been silent for too long."""
        return min((since for _, since in self._waiting.values()), default=float("inf")) + silence_s_max

    def lapse(self, now: float, silence_s_max: float) -> list[LinkKey]:
        """Take out those that have been silent for too long."""
        silent = [link for link, (_, since) in self._waiting.items() if now - since >= silence_s_max]
        for link in silent:
            del self._waiting[link]
        return silent
