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
    from collections.abc import Collection

    from propagul.link.base import NodeId

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

    def choose(self, linked: Collection[NodeId], reached: Collection[NodeId]) -> list[NodeId]:
        """Whom to dial now, of those that can be reached and are not linked. One missing link is no reason to look."""
        missing = self._active_max - len(linked)
        others = [node for node in reached if node not in linked]
        return self._draw(others, missing) if missing > 1 else []

    def bridge(self, reached: int, lost: Collection[NodeId]) -> list[NodeId]:
        """Which of those that cannot be reached to dial now: a partition heals although all have links enough."""
        return self._draw(lost, 1) if self._jitter.random() * (1 + reached) < _BRIDGES else []

    def surplus(self, linked: Collection[NodeId]) -> list[NodeId]:
        """Whose links to give up now, of twice too many: half of those, the rest the next time."""
        return self._draw(linked, (len(linked) - 2 * self._active_max + 1) // 2)

    def victim(self, linked: Collection[NodeId]) -> NodeId:
        """Whose link is given up for one who has hardly any."""
        return self._jitter.choice(sorted(linked))

    def _draw(self, nodes: Collection[NodeId], most: int) -> list[NodeId]:
        return self._jitter.sample(sorted(nodes), max(0, min(most, len(nodes))))
