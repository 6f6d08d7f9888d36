"""A namespace in memory, for the typed structures by themselves: replicas, and a transaction each call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.crdt import Batch, Op, Origin, Replica, VersionVector, stamp_of_ns
from propagul.crdt.index import KeyIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from propagul.crdt import Dot, Row

NOW_NS = 1_790_000_000 * 10**9
TICK_NS = 10**6


class MemoryRows:
    """Implements `Rows` on one replica; its wall clock moves a millisecond a write."""

    def __init__(self, origin: int, *, skew_ns: int = 0) -> None:
        self.replica = Replica(Origin(origin))
        self.now_ns = NOW_NS + skew_ns
        self.transactions = 0
        self._index = KeyIndex()

    @property
    def origin(self) -> int:
        return self.replica.origin

    def hold(self) -> object:
        return None

    def row(self, key: str) -> Row:
        return self.replica.row(key)

    def under(self, prefix: str) -> list[tuple[str, Row]]:
        rows = ((key, self.row(key)) for key in self._index.under(prefix))
        return [(key, row) for key, row in rows if row.siblings]

    def commit(self, ops: Sequence[Op]) -> None:
        self.commit_with(lambda _dot, _first: ops)

    def commit_with(self, make: Callable[[Dot, int], Sequence[Op]]) -> None:
        self.now_ns += TICK_NS
        dot, _ = self.replica.prepare([], stamp_of_ns(self.now_ns))
        ops = make(dot, 0)
        assert len({op.key for op in ops}) == len(ops)
        self.replica.apply(Batch(dot, ops))
        for op in ops:
            self._index.add(op.key)
        self.transactions += 1

    def update(
        self, keys: Collection[str], decide: Callable[[Mapping[str, Row]], Sequence[Op]], *, under: Collection[str] = ()
    ) -> bool:
        seen = {key: self.row(key) for key in keys}
        for prefix in under:
            seen |= dict(self.under(prefix))
        ops = decide(seen)
        if ops:
            self.commit(ops)
        return bool(ops)

    def take(self, other: MemoryRows) -> None:
        """Learn everything another replica knows."""
        cut = other.replica.cut(after=0, known=VersionVector(), told=0)
        blocks = []
        while not cut.at_end:
            blocks.append(cut.read(100))
        self.replica.merge(blocks, cut.entries, stamp_of_ns(self.now_ns), cut.join)
        for key, _ in self.replica:
            self._index.add(key)


def gossip(*every: MemoryRows) -> None:
    """Let all of them know all."""
    for receiver in every * 2:
        for sender in every:
            if sender is not receiver:
                receiver.take(sender)
