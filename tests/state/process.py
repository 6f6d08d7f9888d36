"""One simulated process: its replicas, its log, and beside each replica the oracle's knowledge of what it has applied.

The shipped replica, codec and fold do the work; everything crosses a border as bytes. Opening, batons and the rewriting
of the log as a snapshot are modelled here as the design says them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from propagul.crdt import (
    ABSENT,
    REGISTER,
    REMOVE,
    Batch,
    Block,
    Change,
    Dot,
    Evicted,
    Keep,
    Offer,
    Op,
    Origin,
    Replica,
    Stamp,
    codec,
    seconds_between,
    stamp_of_ns,
)
from propagul.crdt import row as rows
from propagul.crdt.dot import stamps_in
from propagul.crdt.hot import local_writer
from propagul.log import fold
from propagul.log.cold import ColdValues, contents, filled, is_large, left
from tests.state.oracle import Deed, History

if TYPE_CHECKING:
    import random
    from typing import Any

    from propagul.crdt import Action, Cut, Payload
    from propagul.crdt.capture import Capture
    from propagul.crdt.payload import Absent

KEYS: Final = [f"k{n}" for n in range(8)]
LOGGED, EPHEMERAL = SPACES = ("", "presence")
YEAR_NS = 365 * 24 * 3600 * 10**9
AHEAD_S_MAX = 300.0


class Record(NamedTuple):
    """One event of a log, what its process knew after it, and the newest dot minted in that log."""

    place: int
    event: bytes
    known: int
    own: Dot | None


@dataclass(slots=True)
class Disk:
    """A log. Its first `snapshot` records were renamed into place together, so they are lost together or not at all."""

    records: list[Record] = field(default_factory=list)
    snapshot: int = 0

    def copy(self, length: int | None = None) -> Disk:
        return Disk(self.records[:length], self.snapshot)


@dataclass(slots=True)
class Machine:
    """A boot, a clock, and the memory where clean closes leave batons: origin -> (last stamp, boot)."""

    skew_ns: int = 0
    boot: int = 0
    batons: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """What all processes of a run share."""

    rng: random.Random
    keys: list[str]
    histories: dict[str, History] = field(default_factory=lambda: {space: History(KEYS) for space in SPACES})
    events: list[bytes] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    opens: int = 0
    streams: int = 0
    offered: float = 0.0
    now_ns: int = 10**18

    def fresh_origin(self) -> Origin:
        return Origin(self.rng.getrandbits(64) or 1)


class Process:
    """An open directory. Opening it folds its log."""

    def __init__(self, world: World, machine: Machine, disk: Disk) -> None:
        self.world, self.machine, self.disk = world, machine, disk
        world.opens += 1
        self.open_id = world.opens
        self.own = disk.records[-1].own if disk.records else None
        self.known = {LOGGED: disk.records[-1].known if disk.records else 0, EPHEMERAL: 0}
        self.replicas = {space: Replica(world.fresh_origin()) for space in SPACES}
        self.cold = ColdValues(world.events.__getitem__, cache_bytes=world.rng.choice([0, 100]))
        self.fold = fold.Fold(self.replicas, world.events.__getitem__)
        self.fold.cold = self.cold if self.open_id % 4 == 0 else None
        if self.open_id % 2:
            self.fold.take_all((record.place, record.event) for record in disk.records)
        else:
            for record in disk.records:
                self.fold.take(record.place, record.event)
        self.staging: dict[int, list[Record]] = {}
        self._take_baton()
        self.has_joined_at_leisure = False  # its rows then arrived above the cursor floor, in the fold below
        self.is_numbered_like_its_log = self.is_trimmed_like_its_log = self.is_frozen_like_its_log = True
        self.told: dict[str, tuple[Dot, ...]] = {}  # what those hear who watch a namespace that no log brings back
        for replica in self.replicas.values():
            replica.report(self.open_id % 3 == 0)  # which closes the short ways
            for _, stamp in replica.vector:
                replica.clock.observe(stamp, self.wall())
        self._plain_writers = {
            space: local_writer(replica, Lock(), self.wall_ns, stamps_in(AHEAD_S_MAX), partial(self._note_plain, space))
            for space, replica in self.replicas.items()
        }
        self.check(LOGGED)

    def _take_baton(self) -> None:
        """Go on minting under the origin of a clean close in this boot, if nothing was written or lost since."""
        baton = None if self.own is None else self.machine.batons.pop(self.own.origin, None)
        if self.own is not None and baton == (self.own.stamp, self.machine.boot):
            self.world.seen["batons taken"] += 1
            self.replicas[LOGGED].go_on(self.own.origin, self.own.stamp)
        else:
            self.world.seen["batons refused"] += baton is not None

    def close(self) -> None:
        """The last event is logged: leave the baton."""
        if self.own is not None and self.own.origin == self.replicas[LOGGED].origin:
            self.machine.batons[self.own.origin] = self.own.stamp, self.machine.boot

    def wall_ns(self) -> int:
        self.world.now_ns += 2000
        return self.world.now_ns + self.machine.skew_ns

    def wall(self) -> Stamp:
        return stamp_of_ns(self.wall_ns())

    # --- events --------------------------------------------------------------------------------------------------

    def append(self, event: bytes) -> Record:
        record = Record(len(self.world.events), event, self.known[LOGGED], self.own)
        self.world.events.append(event)
        self.disk.records.append(record)
        return record

    def log(self, event: bytes) -> Record:
        """Log an event, then apply it."""
        record = self.append(event)
        self.fold.take(record.place, event)
        return record

    def write(self, space: str, deeds: list[Deed]) -> None:
        """A local batch."""
        replica, wall = self.replicas[space], self.wall()
        if len(deeds) == 1 and self._write_plain(space, deeds[0]):
            return
        if seconds_between(replica.clock.last, wall) > AHEAD_S_MAX:
            self.world.seen["origins renewed"] += 1
            replica.renew(self.world.fresh_origin())
        batch = replica.prepare([Op(d.key, d.kind, _action(d)) for d in deeds], wall)
        stamp, origin = batch.dot
        self.known[space] = self.world.histories[space].record(self.known[space], deeds, stamp, origin)
        if space == LOGGED:
            self.own = batch.dot
            self.log(fold.encode_batch(space, batch))
        else:
            fields: list[object] = [*codec.batch_fields(batch)]
            changes = replica.apply(codec.batch_of(fields))
            self.hear(replica.settled() + changes)
        self.check(space, vector=False)

    def _write_plain(self, space: str, deed: Deed) -> bool:
        """Take the short way, where that is open."""
        if (
            deed.keep is not None
            or deed.kind != REGISTER
            or not self._plain_writers[space](deed.key, cast("Payload", deed.payload))
        ):
            return False
        self.world.seen["short ways"] += 1
        self.check(space, vector=False)
        return True

    def _note_plain(self, space: str, key: str, payload: Payload, stamp: int, origin: int) -> None:
        """What the short way calls before its write is visible."""
        self.known[space] = self.world.histories[space].record(
            self.known[space], [Deed(key, REGISTER, payload)], stamp, origin
        )
        if space == LOGGED:
            self.own = Dot(Stamp(stamp), Origin(origin))
            self.append(fold.encode_batch(space, Batch(self.own, [Op(key, REGISTER, payload)])))

    def stage(self, stream: int, block: bytes) -> None:
        """A block arrived; it has no effect yet."""
        record = self.log(fold.encode_block(LOGGED, stream, block))
        self.staging.setdefault(stream, []).append(record)

    def receive(self, space: str, stream: int, blocks: list[bytes], cut: Cut, known: int) -> bool:
        """The end of a stream whose first blocks may be staged; return whether it was news."""
        replica, wall = self.replicas[space], self.wall()
        before = self.known[space], len(self.world.histories[space]), replica.vector.mark
        self.known[space] |= known
        staged = self.staging.pop(stream, []) if space == LOGGED else []
        stream = stream if staged else 0
        if self.world.rng.random() < self.world.offered:
            if space == LOGGED:
                self.append(fold.encode_end(space, stream, wall, cut.entries, cut.join, blocks))
            self._accept(space, staged, blocks, cut, wall)
        elif space == LOGGED:
            self.log(fold.encode_end(space, stream, wall, cut.entries, cut.join, blocks))
        else:
            entries = codec.unflatten(codec.flatten(cut.entries))
            replica.settle()
            self.hear(replica.settled())
            self.hear(replica.merge(map(codec.decode_block, blocks), entries, wall, cut.join).changes)
        self.check(space)
        return before != (self.known[space], len(self.world.histories[space]), replica.vector.mark)

    def _accept(self, space: str, staged: list[Record], blocks: list[bytes], cut: Cut, wall: Stamp) -> None:
        """Have the stream effective at once; its rows are joined when somebody looks, or a few now and then.

        Some have no memory left for staged blocks: large payloads stay in the log.
        """
        self.world.seen["streams joined at leisure"] += 1
        self.has_joined_at_leisure = self.has_joined_at_leisure or cut.join is not None
        offer, places = Offer(), [record.place for record in staged]
        for number, record in enumerate(staged):
            block = codec.decode_block(fold.block_of(record.event))
            offer.add(left(block, number) if self.open_id % 4 < 2 else block)
        for packed in blocks:
            offer.add(codec.decode_block(packed))
        offer.found = lambda evicted: self.cold.moved(evicted, places)
        self.replicas[space].accept(offer, codec.unflatten(codec.flatten(cut.entries)), wall, cut.join)

    def settle(self, space: str, most: int) -> None:
        """Join a few of the rows that wait for it."""
        self.world.seen["slices of streams"] += self.replicas[space].is_pending
        self.replicas[space].settle(most)
        self.check(space)

    def evict(self) -> None:
        """Walk along the log: what an event wrote stands there alone, as far as rows still hold it."""
        for record in self.disk.records[: self.world.rng.choice([1, 8, None])]:
            self.evict_from(record)
        self.check(LOGGED)

    def evict_from(self, record: Record) -> None:
        space, written = contents(record.event)
        for ordinal, (key, dot, payload) in enumerate(written):
            if is_large(payload):
                self.world.seen["payloads evicted"] += self.replicas[space].table.evict(
                    key, dot, self.cold.at(record.place, ordinal)
                )

    def evicted(self) -> list[Evicted]:
        return [
            s.payload for _, row in self.replicas[LOGGED].table for s in row.siblings if isinstance(s.payload, Evicted)
        ]

    def raise_floor(self, space: str, *, whole: bool) -> None:
        """Freeze, or commit what was frozen; trim the rows at once, or let `trim` do it later."""
        replica = self.replicas[space]
        kind = fold.FREEZE if replica.frozen_at is None else fold.COMMIT
        self.world.seen["commits"] += kind == fold.COMMIT
        if space == LOGGED and whole:
            self.log(fold.encode_floor(space, kind))
            return self.check(space)
        if space == LOGGED:
            self.append(fold.encode_floor(space, kind))
        if kind == fold.FREEZE:
            replica.freeze()
        else:
            self.is_trimmed_like_its_log = self.is_trimmed_like_its_log and space != LOGGED
            before = len(replica)
            replica.commit()
            replica.trim(None if whole else self.world.rng.randint(0, 2))
            self.world.seen["records dropped"] += before - len(replica)
        return self.check(space)

    # --- the log rewritten as a snapshot ---------------------------------------------------------------------------

    def begin_snapshot(self) -> Rewriting:
        replica = self.replicas[LOGGED]
        frozen = replica.frozen_at is not None
        staged = [record for records in self.staging.values() for record in records]
        own = [] if self.own is None else [(self.own.origin, self.own.stamp)]
        vector = fold.encode_vector(LOGGED, replica.vector, own)
        capture = replica.capture()
        return Rewriting(self, len(self.disk.records), vector, capture, staged, self.known[LOGGED], self.own, frozen)

    # --- what must hold --------------------------------------------------------------------------------------------

    def hear(self, changes: list[Change]) -> None:
        """Whoever watches is told every change of a key, one after the other."""
        for key, before, after in changes:
            assert self.told.get(key, ()) == tuple(before.dots), f"{key} changed from what nobody was told"
            self.told[key] = tuple(after.dots)

    def check(self, space: str, *, vector: bool = True) -> None:
        """The rows are what the oracle says, and the vector claims just that (asking enters what was written)."""
        replica, known, history = self.replicas[space], self.known[space], self.world.histories[space]
        few = replica.is_pending and self.world.rng.random() < 0.7  # to look at a key joins its row
        for key in self.world.rng.sample(self.world.keys, self.world.rng.randint(0, 1)) if few else self.world.keys:
            expected = history.siblings(known, key)
            winner = replica.get(key) if self.open_id % 2 else None  # whichever is asked first joins a row that waits
            shown = tuple(s._replace(payload=_read(s.payload)) for s in replica.row(key).siblings)
            assert shown == expected, f"{key} shows {shown}, the oracle says {expected}"
            winner = winner if self.open_id % 2 else replica.get(key)
            assert _read(winner) == (expected[0][2] if expected else ABSENT), f"{key}: another winner"
            if space == EPHEMERAL and self.open_id % 3 == 0:
                self.hear(replica.settled())
                assert self.told.get(key, ()) == tuple(replica.row(key).dots), f"{key}: a change was not told"
            if len(expected) > 2:
                self.world.seen["conflicts of three"] += 1
        if vector:
            claimed = 0
            for origin, stamp in replica.vector:
                claimed |= history.covered(origin, stamp)
            assert not claimed & ~known, "the vector claims an operation that was not applied"
            assert not known & ~claimed, "an operation was applied that the vector does not claim"
        assert not history.torn(known), "a torn transaction"

    def check_refolded(self, twin: Process) -> None:
        """Whoever folds our log is as we are."""
        mine, other = self.replicas[LOGGED], twin.replicas[LOGGED]
        if self.open_id % 3 == 0:
            under = mine.under(KEYS[0][0])
            assert under == [(key, row) for key in KEYS if (row := mine.row(key)).siblings], "other rows under a prefix"
        else:  # whoever reads all rows joins those that wait; so does who counts them
            count = len(mine) if self.open_id % 3 == 1 else None
            listed = list(mine)
            assert len(listed) == len(mine) == (len(listed) if count is None else count), "rows were left waiting"
        assert sorted(mine.vector) == sorted(other.vector), "the fold has another vector"
        assert self.known[LOGGED] == twin.known[LOGGED]
        if self.own is not None:
            known = twin.fold.own[LOGGED].get(self.own.origin)
            assert known == self.own.stamp or other.vector.floor.covers(*self.own[::-1]), "the fold forgot who minted"
        if self.is_numbered_like_its_log:
            assert mine.cursor_floor <= other.cursor_floor, "the fold has a lower cursor floor"
            assert mine.cursor_floor == other.cursor_floor or self.has_joined_at_leisure, "it has another one"
            assert mine.arrival == other.arrival, "the fold has another arrival number"
        if self.is_frozen_like_its_log:
            bare = not self.is_trimmed_like_its_log
            assert list(mine.vector.floor) == list(other.vector.floor), "the fold has another floor"
            assert canonical(mine, bare=bare) == canonical(other, bare=bare), "the fold has other rows"
            self.world.seen["folds compared byte for byte"] += not bare
            self.world.seen["snapshots folded"] += not self.is_numbered_like_its_log


@dataclass(slots=True)
class Rewriting:
    """A snapshot on its way to the disk while its process goes on."""

    process: Process
    length: int
    vector: bytes
    capture: Capture
    staged: list[Record]
    known: int
    own: Dot | None
    frozen: bool

    def finish(self) -> None:
        """Rename it into place: the snapshot, the staged blocks that it left behind, and what was logged since."""
        world, disk = self.process.world, self.process.disk
        events = [self.vector]
        while block := self.capture.read(world.rng.randint(1, 3)):
            events += fold.encode_rows(LOGGED, filled(block))
        self.capture.close()
        records = []
        for event in events:
            records.append(Record(len(world.events), event, self.known, self.own))
            world.events.append(event)
        moved = [record._replace(known=self.known, own=self.own) for record in self.staged]
        if self.process.evicted():  # their places are about to go
            for record in records:
                self.process.evict_from(record)
        disk.records = [*records, *moved, *disk.records[self.length :]]
        there = {record.place for record in disk.records}
        assert all(payload >> 32 in there for payload in self.process.evicted()), "a payload stands nowhere"
        disk.snapshot = len(records) + len(moved)
        self.process.is_numbered_like_its_log = False
        if self.frozen:  # a snapshot does not say so, and the commit that follows does nothing when it is read back
            self.process.is_frozen_like_its_log = False


def _read(payload: Payload | Absent) -> Any:
    return payload.read() if isinstance(payload, Evicted) else payload


def canonical(replica: Replica, *, bare: bool = False) -> bytes:
    """A replica's rows as bytes that are equal iff the rows are; bare of what the floor says anyhow."""
    plain, other = [], []
    for key, row in sorted(replica):
        shown = rows.trim(row, replica.vector.floor) if bare else row
        if shown.is_plain:
            (dot, kind, payload), *_ = shown.siblings
            plain.append((key, payload, kind, dot.stamp, dot.origin))
        elif shown.context:
            other.append((key, shown))
    return codec.encode_block(filled(Block(plain, other)))


def _action(deed: Deed) -> Action:
    if deed.keep is None:
        return cast("Payload", deed.payload)
    return Keep(deed.keep) if deed.keep else REMOVE
