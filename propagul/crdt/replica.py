"""A replica: rows, version vector, and the order in which rows changed here.

Pure and single-threaded; wall time, origins and locks belong to the caller. The rule of this file: *what the vector
covers is in the rows*, all of it. Rows are self-contained and may know more than the vector claims.

Arrival order makes "what changed since" cost O(changes): every change takes the next arrival number, and the
insertion order of `_arrivals` is the arrival order, with each key at its latest place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from propagul.crdt import row as rows
from propagul.crdt.dot import Dot, HybridClock, Origin, Stamp
from propagul.crdt.vector import VersionVector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from propagul.crdt.row import Row
    from propagul.crdt.vector import Entry


class Write(NamedTuple):
    """One local write as the log keeps it; a payload of None removes the key.

    It needs no context: what it saw is everything before it in the same log.
    """

    dot: Dot
    key: str
    kind: int
    payload: bytes | None


class Change(NamedTuple):
    """A row before and after; `before` is `row.EMPTY` for a new key."""

    key: str
    before: Row
    after: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a peer lacks, frozen at one instant.

    Attributes:
        rows: Rows past the peer's place in our arrival order that its vector does not cover, oldest change first.
        entries: How our vector changed since we last told that peer.
        arrival: Our arrival counter at the cut: the peer's next place.
        mark: Our vector's mark at the cut: the next "since we last told".
    """

    rows: list[tuple[str, Row]]
    entries: list[Entry]
    arrival: int
    mark: int


class Replica:
    """One namespace of the replicated map at one node."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.clock = HybridClock()
        self.vector = VersionVector()
        self._rows: dict[str, Row] = {}
        self._arrivals: dict[str, int] = {}
        self._arrival = 0

    @property
    def arrival(self) -> int:
        """How many row changes this replica has seen since it was made."""
        return self._arrival

    def __len__(self) -> int:
        """Rows held, removal records included."""
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        return iter(self._rows.items())

    def row(self, key: str) -> Row:
        """The row of a key; `row.EMPTY` if nothing is known of it."""
        return self._rows.get(key, rows.EMPTY)

    def prepare(self, key: str, kind: int, payload: bytes | None, wall: Stamp) -> Write:
        """Mint the dot of a local write. Nothing changes but the clock: log it, then `apply_write` it."""
        return Write(Dot(self.clock.tick(wall), self.origin), key, kind, payload)

    def apply_write(self, write: Write) -> Change:
        """Apply a local write, fresh or read back from the log. It supersedes every sibling held here."""
        before = self.row(write.key)
        if write.payload is None:
            after = rows.remove(before, write.dot)
        else:
            after = rows.write(before, write.dot, write.kind, write.payload)
        self._put(write.key, after)
        self.vector.advance(write.dot.origin, write.dot.stamp)
        return Change(write.key, before, after)

    def merge(self, incoming: Iterable[tuple[str, Row]], entries: Iterable[Entry], wall: Stamp) -> list[Change]:
        """Join one complete stream: all its rows, then the vector its sender had at the cut.

        Idempotent and order-free. Never call it with part of a stream: the vector would claim what was not applied.
        """
        changes = []
        for key, theirs in incoming:
            before = self.row(key)
            after = rows.join(before, theirs)
            if after is not before:
                self._put(key, after)
                changes.append(Change(key, before, after))
        for origin, stamp in entries:
            if self.vector.advance(origin, stamp):
                self.clock.observe(stamp, wall)
        return changes

    def forget(self, key: str) -> None:
        """Drop a row without a trace. Only for ephemeral namespaces, whose rows expire by themselves."""
        self._rows.pop(key, None)
        self._arrivals.pop(key, None)

    def cut(self, *, after: int, known: VersionVector, told: int) -> Cut:
        """Freeze what a peer lacks: rows that changed after arrival `after` and are not covered by `known`."""
        fresh = [(key, row) for key, row in self._since(after) if not row.covered_by(known)]
        return Cut(rows=fresh, entries=self.vector.since(told), arrival=self._arrival, mark=self.vector.mark)

    def cut_own(self, *, after: int, known: VersionVector) -> Cut:
        """Freeze what a peer lacks of this origin's own writes: every row past `after` that holds one.

        Its one entry is this origin's: the peer may adopt that and nothing else. Rows stand for themselves, so a peer
        may hold what its vector does not claim yet, never the other way round.
        """
        seen = known.stamp_of(self.origin) or 0
        stamp = self.vector.stamp_of(self.origin)
        fresh = [(key, row) for key, row in self._since(after) if row.context.get(self.origin, 0) > seen]
        entries = [] if stamp is None else [(self.origin, stamp)]
        return Cut(rows=fresh, entries=entries, arrival=self._arrival, mark=self.vector.mark)

    def _since(self, after: int) -> list[tuple[str, Row]]:
        """Rows that changed after arrival `after`, oldest change first. O(their number)."""
        changed = []
        for key in reversed(self._arrivals):
            if self._arrivals[key] <= after:
                break
            changed.append((key, self._rows[key]))
        changed.reverse()
        return changed

    def _put(self, key: str, row: Row) -> None:
        self._rows[key] = row
        self._arrival += 1
        self._arrivals.pop(key, None)
        self._arrivals[key] = self._arrival
