"""A replica: rows, version vector, floor, and the order in which rows changed here.

Pure and single-threaded; wall time, origins and locks belong to the caller. The rule of this file: *a dot is covered by
the vector iff its effect is in the rows; the remover of every covered dot that is not live is covered too, and lies in
the floor or in that row's context*. Rows, vector, floor and places roll back only together.

A peer is served by its place in our arrival order, or by its vector if that covers our floor, or else by a snapshot
join. Delta-state CRDTs after Almeida, Shoker, Baquero 2018; removal without tombstones for ever after DottedDB
(Goncalves, Almeida, Baquero, Fonte 2017), with a floor in place of the knowledge of who is a member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from propagul.crdt import row as rows
from propagul.crdt.bulk import load_plains
from propagul.crdt.cut import Cut, Join, Lacks, Position
from propagul.crdt.dot import Dot, HybridClock, Origin, Stamp
from propagul.crdt.merge import Change, Merge, Merged
from propagul.crdt.payload import Keep, Remove
from propagul.crdt.pending import Pending
from propagul.crdt.table import Table
from propagul.crdt.twins import twin_of
from propagul.crdt.vector import Floor, Frozen, VersionVector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from propagul.crdt.block import Block
    from propagul.crdt.capture import Capture
    from propagul.crdt.merge import Apart
    from propagul.crdt.payload import Action, Found
    from propagul.crdt.pending import Offer
    from propagul.crdt.row import Row
    from propagul.crdt.vector import Entry


class Op(NamedTuple):
    """What a batch does to one key: write a payload, `REMOVE`, or `Keep` the highest siblings."""

    key: str
    kind: int
    action: Action


class Batch(NamedTuple):
    """Local operations that stand or fall together and share one dot.

    It needs no context: what it saw is everything before it in the same log.
    """

    dot: Dot
    ops: Sequence[Op]


class Replica:
    """One namespace of the replicated map at one node.

    Attributes:
        origin: Who mints here now.
        clock: The clock of that origin.
        minted: The newest stamp of `origin` that is applied.
        cursor_floor: A peer whose place is below this is served by its vector or by a snapshot join.
        apart: Keys whose rows streams join by another rule, if any. Set it before anything is applied.
        foreign: How many arrival numbers streams have used up.
        watched: Whether the short ways are closed, because changes are reported or a stream is pending.
    """

    __slots__ = ("__dict__", "clock", "minted", "origin", "watched")  # slots: what the kernel reads in place

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.clock = HybridClock()
        self.minted = Stamp(0)
        self._vector = VersionVector()
        self.table = Table()
        self.cursor_floor = 0
        self.apart: Apart | None = None
        self.watched = False
        self._reports = False
        self._pending: Pending | None = None
        self._settled: list[Change] = []
        self._crowded: list[str] = []
        self.foreign = 0
        self._frozen: tuple[int, Frozen] | None = None
        self._untrimmed: list[str] = []
        self._trim_until = 0

    @property
    def vector(self) -> VersionVector:
        """What is applied. Own writes are entered when it is asked for, which is less often than they are made."""
        if self.minted:
            self._vector.advance(self.origin, self.minted)
        return self._vector

    @property
    def arrival(self) -> int:
        """The number of the newest change of a row here."""
        return self.table.arrival

    def __len__(self) -> int:
        """Rows held, removal records included."""
        self.settle()
        return len(self.table)

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        self.settle()
        return iter(self.table)

    def get(self, key: str) -> Found:
        """The winner's payload; ABSENT if there is none."""
        self._touch(key)
        return self.table.get(key)

    def row(self, key: str) -> Row:
        """The row of a key; `row.EMPTY` if nothing is known of it."""
        self._touch(key)
        return self.table.row(key)

    def under(self, prefix: str) -> list[tuple[str, Row]]:
        """Rows with a sibling whose key begins with a prefix, sorted by key. O(found)."""
        self.settle()
        return self.table.under(prefix)

    def capture(self) -> Capture:
        """Every row as it is now, to be read in slices."""
        self.settle()
        return self.table.capture(0)

    def report(self, wanted: bool) -> None:  # noqa: FBT001 - a switch
        """Have `apply`, `merge` and `settled` tell of changes from now on, or not, which saves half their time."""
        self._reports = wanted
        self.watched = wanted or self._pending is not None

    # --- local writes --------------------------------------------------------------------------------------------

    def renew(self, origin: Origin) -> None:
        """Mint under another origin from now on, by a clock that has seen nothing."""
        self._vector.advance(self.origin, self.minted)
        self.origin, self.clock, self.minted = origin, HybridClock(), Stamp(0)

    def go_on(self, origin: Origin, last: Stamp) -> None:
        """Mint on under an origin whose last stamp is surely `last`."""
        self.origin, self.clock, self.minted = origin, HybridClock(last), last

    def prepare(self, ops: Sequence[Op], wall: Stamp) -> Batch:
        """Mint the dot of a batch. Nothing changes but the clock: log it, then `apply` it."""
        return Batch(Dot(self.clock.tick(wall), self.origin), ops)

    def apply(self, batch: Batch) -> list[Change]:
        """Apply a batch, fresh or read back from the log. Each operation supersedes every sibling held here."""
        (stamp, origin), ops = batch
        table, changes = self.table, []
        for key, kind, action in ops:
            self._touch(key)
            before = table.row(key) if self._reports else rows.EMPTY
            known = table.plain_dot(key)
            if isinstance(action, (Keep, Remove)) or known is None or known[1] not in (0, origin):
                table.put(key, rows.act(table.row(key), batch.dot, kind, action))
            else:
                table.write(key, kind, action, stamp, origin)
            if self._reports:
                changes.append(Change(key, before, table.row(key)))
        self.note(batch.dot)
        return changes

    def note(self, dot: Dot) -> None:
        """A batch with this dot has been applied."""
        if dot.origin == self.origin:
            self.minted = dot.stamp
        else:
            self._vector.advance(dot.origin, dot.stamp)

    # --- streams -------------------------------------------------------------------------------------------------

    def merge(self, blocks: Iterable[Block], entries: Iterable[Entry], wall: Stamp, join: Join | None = None) -> Merged:
        """Apply one complete stream: all its rows, then what its sender lets us adopt.

        Idempotent and order-free; only where a snapshot join names a key again the newer row must come first. Never
        call it with part of a stream: the vector would claim what was not applied.
        """
        self.settle()
        there, before = None if join is None else join.vector, self.arrival
        changes: list[Change] = []
        stream = Merge(self.table, self.vector, there, changes if self._reports else None, self.apart)
        for block in blocks:
            stream.take(block)
        if join is not None:
            stream.remove_what_the_sender_removed()
        changed = self.arrival != before
        self._crowded += stream.crowded
        news = self._adopt(entries, wall, join) or changed
        self.foreign += self.arrival - before
        return Merged(news, changes)

    def accept(self, offer: Offer, entries: Iterable[Entry], wall: Stamp, join: Join | None = None) -> bool:
        """Like `merge`, of any number of rows at once: they are joined when they are touched, and by `settle`.

        Return whether the stream was news. Changes are told by `settled`.
        """
        self.settle()
        here, there, before = self.vector.copy(), None if join is None else join.vector, self.arrival
        merge = Merge(self.table, here, there, self._settled if self._reports else None, self.apart)
        self._pending = Pending(self.table, merge, offer, whole=join is not None)
        self.watched = True
        news = self._adopt(entries, wall, join)
        self.foreign += self.arrival - before
        return news

    @property
    def is_pending(self) -> bool:
        """Whether rows of a stream that is effective wait to be joined."""
        return self._pending is not None

    def settle(self, most: int | None = None) -> bool:
        """Join rows that wait for it, at most `most`; return whether more are left. O(`most`)."""
        if self._pending is None:
            return False
        before = self.arrival
        try:
            more = self._pending.settle_some(most)
        finally:  # what was joined before a failure is no local write either
            self.foreign += self.arrival - before
        if not more:
            self._crowded += self._pending.crowded
            self._pending, self.watched = None, self._reports
        return more

    def settled(self) -> list[Change]:
        """What joining waiting rows has changed since this was asked, if changes are reported."""
        changes = self._settled[:]
        self._settled.clear()
        return changes

    def crowded(self) -> list[str]:
        """Keys that streams have given more siblings than a row should have, since this was asked."""
        keys, self._crowded = self._crowded, []
        return keys

    def _touch(self, key: str) -> None:
        """Have the row of a key joined, if it waits for that."""
        if self._pending is not None:
            before = self.arrival
            self._pending.settle(key)
            self.foreign += self.arrival - before

    def _adopt(self, entries: Iterable[Entry], wall: Stamp, join: Join | None) -> bool:
        """Advance the vector by what a stream lets us adopt; return whether anything rose."""
        news = False
        for origin, stamp in entries if join is None else (*entries, *join.vector):
            if self.vector.advance(origin, stamp):
                self.clock.observe(stamp, wall)
                news = True
        if join is not None:
            self.vector.raise_floor(join.floor)
            self.table.skip()  # what was removed there and never seen here changes no row, and no record tells of it
            self.cursor_floor = self.table.arrival
        return news

    def cut(self, *, after: int, known: VersionVector, told: int, held: Position | None = None) -> Cut:
        """Freeze what a peer lacks: by its place `after`, or by its vector `known`, or as a snapshot join.

        A peer that holds the first rows of a stream gets the rest, if that makes a whole one: see `_goes_on`.
        """
        self.settle()
        if held is not None and self._goes_on(held, known):
            join = Join(self.vector.copy(), self.vector.floor) if held.whole else None
            return self._cut(held.arrival, told, join, Lacks(None if join else known), below=held.slots)
        join = None
        if after < self.cursor_floor:
            after = 0
            if not known.covers_all(self.vector.floor):
                join = Join(self.vector.copy(), self.vector.floor)
        if join is None and self.arrival - after > Cut.few and known.covers_all(self.vector):
            after = self.arrival  # no context says more than the vector: looking at the rows would find nothing
        return self._cut(after, told, join, Lacks(None if join else known))

    def cut_own(self, *, after: int, known: VersionVector) -> Cut | None:
        """Freeze what a peer lacks of this origin's own writes; None towards a peer that a cut must serve first.

        Its one entry is this origin's: the peer may adopt that and nothing else. So no row in it may tell of others'
        writes that the peer lacks: they may be halves of transactions.
        """
        self.settle()
        stamp, seen = self.vector.stamp_of(self.origin), known.stamp_of(self.origin)
        if after < self.cursor_floor:
            return None
        after = self.arrival if stamp <= seen else after  # it has every row
        cut = self._cut(after, self.vector.mark, None, Lacks(None, self.origin, seen))
        if any(self._tells_of_others(row, seen, known) for row in cut.special_rows()):
            cut.close()
            return None
        cut.entries = [(self.origin, stamp)]
        return cut

    def _tells_of_others(self, row: Row, seen: int, known: VersionVector) -> bool:
        if row.context.get(self.origin, 0) <= seen:
            return False
        return not all(known.covers_entry(o, s) for o, s in row.context.items() if o != self.origin)

    def _goes_on(self, held: Position, known: VersionVector) -> bool:
        """Whether the rows that a peer holds, and those that it does not, are a stream of this instant.

        They are if every row that changed since stands here and comes with the rest, in its newest form: none has been
        forgotten, as the floor has not risen past them. A delta must further leave out nothing that the floor alone
        tells of. Rows that the peer holds and that were forgotten here say no more than the floor.
        """
        is_ours = held.arrival <= self.arrival and self.cursor_floor <= held.arrival
        if not is_ours or known.covers_all(self.vector):
            return False
        return held.whole or known.covers_all(self.vector.floor)

    def _cut(self, after: int, told: int, join: Join | None, lacks: Lacks, below: int | None = None) -> Cut:
        return Cut(
            entries=self.vector.since(told),
            arrival=self.arrival,
            mark=self.vector.mark,
            join=join,
            goes_on=below is not None,
            _capture=self.table.capture(after, below),
            _lacks=lacks,
        )

    # --- the floor -----------------------------------------------------------------------------------------------

    @property
    def frozen_at(self) -> int | None:
        """The arrival number that a commit would make the cursor floor; None if nothing is frozen."""
        return None if self._frozen is None else self._frozen[0]

    def freeze(self) -> None:
        """First step of raising the floor: remember what is known now."""
        self.settle()
        self._frozen = self.arrival, self.vector.freeze()

    def commit(self) -> None:
        """Second step: the floor rises to what was frozen. `trim` may follow at leisure.

        Peers whose place is older are served by their vector or by a snapshot join from now on.
        """
        self.settle()
        if self._frozen is not None:
            (arrival, frozen), self._frozen = self._frozen, None
            self.vector.fold(frozen)
            self.cursor_floor = max(self.cursor_floor, arrival)
            self._trim_until = arrival
            self._untrimmed = self.table.special_keys()

    @property
    def is_trimming(self) -> bool:
        """Whether rows wait to be trimmed since the last commit."""
        return bool(self._untrimmed)

    def trim(self, most: int | None = None) -> bool:
        """Let rows that arrived before the last commit say only what the floor does not; return whether more are left.

        O(`most`). Rows that say more than they need are correct: nothing depends on when this is done.
        """
        self.settle()
        for _ in range(len(self._untrimmed) if most is None else min(most, len(self._untrimmed))):
            key = self._untrimmed.pop()
            if self.table.arrived(key) <= self._trim_until:
                self._trim(key)
        return bool(self._untrimmed)

    def _trim(self, key: str) -> None:
        row = self.table.row(key)
        trimmed = rows.trim(row, self.vector.floor)
        if not trimmed.context:
            self.table.drop(key)
        elif trimmed is not row:
            self.table.replace(key, trimmed)

    # --- snapshots -----------------------------------------------------------------------------------------------

    def adopt(self, floor: Floor, hot: Iterable[Entry]) -> None:
        """Begin as a fresh replica with the vector of a snapshot; its rows follow by `load`."""
        self._vector = VersionVector(hot, floor)
        self.table.skip()
        self.cursor_floor = self.table.arrival

    def load(self, block: Block) -> None:
        """Take rows of a snapshot as they are."""
        twin_of(load_plains)(self.table, block.plain)
        for key, row in block.other:
            self.table.put(key, row)

    def forget(self, key: str) -> None:
        """Drop a row without a trace. Only for ephemeral namespaces, whose rows expire by themselves."""
        self.settle()
        self.table.drop(key)
