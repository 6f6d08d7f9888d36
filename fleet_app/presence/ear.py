"""The rows of all nodes as they are heard, read again only where something has changed.

Whoever looks at the fleet looks often, and hardly anything changes between two looks. The store tells which keys
changed, in whatever thread; everything is read anew now and then all the same. A row of somebody whose life is not
proven yet is heard a moment later; one of somebody out of reach stays as it was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from fleet_app.presence.intake import ROW_BYTES_MAX, Bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul import Heard

RESYNC_S: Final = 600.0
"""Everything is read anew this often."""

BEAT: Final = ""
"""The name of a node's first row, below itself."""


class Sayings(Protocol):
    """What is read: `AgentStateStore.presence`."""

    def get(self, key: str, *, bytes_max: int) -> Heard | None:
        """What stands under a key, `propagul.Oversized` for what is larger."""

    def get_all(self, prefix: str = "", *, bytes_max: int) -> dict[str, Heard]:
        """The same for what stands under a prefix."""

    def listen(self, heard: Callable[[str], None]) -> None:
        """Tell of changes."""

    def heard_s(self, said: Heard) -> float | None:
        """How long ago its owner was known to live."""


class Ear:
    """Hears what stands under a prefix.

    Args:
        sayings: Where.
        prefix: What stands before the ids of nodes.
    """

    def __init__(self, sayings: Sayings, prefix: str) -> None:
        self._sayings, self._prefix = sayings, prefix
        self._nodes: dict[str, dict[str, Heard]] = {}
        self._bounds: dict[str, Bounds] = {}
        self._changed: set[str] = set()
        self._later: set[str] = set()
        self._resync_at = float("-inf")
        sayings.listen(self._note)

    def listen(self, now: float) -> set[str]:
        """Read what has changed; return the nodes of which that is so."""
        changed, self._changed = self._changed, set()  # first: what changes from here on is for the next time
        if now >= self._resync_at:
            return self._read_all(now)
        changed |= self._later
        self._later = set()
        return {node for key in changed if (node := self._read(key)) is not None}

    def rows(self, node: str) -> dict[str, Heard]:
        """The rows of a node by what follows its own, which is `BEAT`."""
        return self._nodes.get(node, {})

    def nodes(self) -> list[str]:
        """Every node that has said something."""
        return [node for node, rows in self._nodes.items() if BEAT in rows]

    def heard_s(self, node: str) -> float | None:
        """Seconds since a node was known to live; None if it says nothing, or is out of reach for too long."""
        beat = self.rows(node).get(BEAT)
        return None if beat is None else self._sayings.heard_s(beat)

    def _note(self, key: str) -> None:
        if key.startswith(self._prefix):
            self._changed.add(key)

    def _read_all(self, now: float) -> set[str]:
        self._resync_at, self._later = now + RESYNC_S, set()
        fresh: dict[str, dict[str, Heard]] = {}
        for key, heard in self._sayings.get_all(self._prefix, bytes_max=ROW_BYTES_MAX).items():
            node, name = self._parted(key)
            fresh.setdefault(node, {})[name] = heard
        for node, rows in fresh.items():
            self._nodes[node], self._bounds[node] = {}, Bounds()
            for name in sorted(rows):
                self._keep(node, name, rows[name])
        return set(fresh)

    def _read(self, key: str) -> str | None:
        node, name = self._parted(key)
        rows, heard = self._nodes.setdefault(node, {}), self._sayings.get(key, bytes_max=ROW_BYTES_MAX)
        if heard is not None:
            self._keep(node, name, heard)
        elif name in rows and self._sayings.heard_s(rows[name]) is not None:
            del rows[name]
            self._bounds[node].drop(name)
        else:
            self._later.add(key)
            return None
        return node

    def _keep(self, node: str, name: str, heard: Heard) -> None:
        value = self._bounds.setdefault(node, Bounds()).admit(name, heard.value)
        if value is not None:
            self._nodes[node][name] = heard if value is heard.value else replace(heard, value=value)

    def _parted(self, key: str) -> tuple[str, str]:
        node, _, name = key.removeprefix(self._prefix).partition("/")
        return node, name
