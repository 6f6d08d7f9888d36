"""With whom to be linked, where not everybody can be linked with everybody.

A partial view as in HyParView (Leitao, Pereira, Rodrigues 2007): each node keeps about `active_max` links that both
ends hold, to members drawn at random, and replaces what breaks. A node with few links is urgent: whoever it dials makes
room for it. That paper's passive view is a sample of addresses to fall back on; here every member's address is in the
replica already, so the sample is drawn from that when it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Mapping

    from propagul.gossip.events import LinkKey
    from propagul.link.base import NodeId

SETTLE_S: Final = 5.0
"""A younger link is not given up for a newcomer if there is an older one: its peer may be catching up over it."""

_BRIDGES: Final = 4
"""About so many of those that can reach each other look for the others at a time."""


class Overlay:
    """Chooses whom to dial. Pure.

    Args:
        active_max: Links to look for. A node takes one more than that before it turns newcomers away.
        jitter: Draws.
    """

    def __init__(self, active_max: int, jitter: random.Random) -> None:
        self._active_max = active_max
        self._jitter = jitter

    def is_urgent(self, links: int) -> bool:
        """Whether a node with so many links must be let in."""
        return 2 * links < self._active_max

    def is_full(self, links: int) -> bool:
        """Whether a node with so many links has more than it wants."""
        return links > self._active_max + 1

    def choose(self, linked: Collection[NodeId], reached: Mapping[NodeId, int]) -> list[NodeId]:
        """Whom to dial now. One missing link is no reason to look.

        Args:
            linked: With whom we are linked, or about to be.
            reached: How many links each of those has, by its own word, that can be reached. Who has enough would turn
                us away, unless we are urgent.
        """
        missing = self._active_max - len(linked)
        others = [node for node in reached if node not in linked]
        roomy = [node for node in others if reached[node] <= self._active_max]
        if missing <= 1 or not (roomy or self.is_urgent(len(linked))):
            return []
        return self._draw(roomy or others, missing)

    def bridge(self, reached: int, lost: Collection[NodeId]) -> list[NodeId]:
        """Which of those that cannot be reached to dial now: a partition heals although all have links enough."""
        return self._draw(lost, 1) if self._jitter.random() * (1 + reached) < _BRIDGES else []

    def surplus(self, linked: Collection[NodeId]) -> list[NodeId]:
        """Whose links to give up now, of twice too many: half of those, the rest the next time."""
        return self._draw(linked, (len(linked) - 2 * self._active_max + 1) // 2)

    def give_up(self, links: Mapping[LinkKey, float], newcomer: LinkKey, now: float, *, urgent: bool) -> LinkKey | None:
        """Which link to give up, now that a newcomer's is among them; None if there is room for all.

        Args:
            links: When each came up.
            newcomer: Another's is given up for it if it is `urgent`.
            now: By the same clock.
            urgent: Whether the newcomer has hardly any other.
        """
        if not self.is_full(len(links)):
            return None
        others = [link for link in links if link != newcomer]
        settled = [link for link in others if now - links[link] > SETTLE_S]
        return self._jitter.choice(sorted(settled or others)) if urgent else newcomer

    def _draw(self, nodes: Collection[NodeId], most: int) -> list[NodeId]:
        return self._jitter.sample(sorted(nodes), max(0, min(most, len(nodes))))
