"""Where the members of the room, or the peers of a leaf, were last, in this store's own log: whom to dial again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propagul.errors import StoreError
from propagul.link import NodeId
from propagul.store import _values
from propagul.store._addresses import parse_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.link import Address
    from propagul.store._clock import Clock
    from propagul.store._namespace import Namespace

MEMBERS_MAX: Final = 64
"""Members remembered; any of them leads to all others."""

MEMBERS: Final = "peers"
"""Under this: members."""

HUBS: Final = "hubs"
"""Under this: who was given to a leaf, each by its address."""

_KEEP_S: Final = 30.0
"""Written at most this often: who comes and goes must not wear out a disk."""


class Remembered:
    """One row of a namespace that is never replicated."""

    def __init__(self, space: Namespace, clock: Clock, key: str) -> None:
        self._space, self._clock, self._key = space, clock, key
        self._kept = self.read()
        self._kept_at = float("-inf")

    def read(self) -> dict[NodeId, tuple[Address, ...]]:
        """Members and where they listened; what is none is left out."""
        winner = self._space.row(self._key).winner
        try:
            row = None if winner is None else _values.thaw(self._key, winner.payload)
        except StoreError:
            return {}
        told = (
            {NodeId(str(node)): parse_addresses(listens) for node, listens in row.items()}
            if isinstance(row, dict)
            else {}
        )
        return {node: addresses for node, addresses in told.items() if addresses}

    def keep(self, told: Mapping[NodeId, tuple[Address, ...]]) -> None:
        """Remember these from now on, if they are others than before. A disk that refuses makes us forget, no more."""
        some = {node: told[node] for node in sorted(told)[:MEMBERS_MAX]}
        now = self._clock.monotonic()
        if not some or some == self._kept or now - self._kept_at < _KEEP_S:
            return
        row: dict[str, object] = {node: [[a.host, a.port] for a in addresses] for node, addresses in some.items()}
        self._kept, self._kept_at = some, now
        try:
            self._space.put(self._key, _values.freeze(self._key, row, _values.Limits()))
        except StoreError:
            self._kept = {}
