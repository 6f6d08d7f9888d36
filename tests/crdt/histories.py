"""States that replicas really reach, as hypothesis strategies, and what operations alone say about them.

A `Room` is a few replicas with clocks ten years apart that write, delete, write batches, keep the highest siblings,
exchange streams (some are lost, late or doubled), push their own writes, take fresh origins and raise their floors, at
any moment. Every stream is cut for the receiver's place and vector and travels through bytes. Beside the replicas the
room keeps the log of each and the set of operations that it must know: `shown_by` says from those operations alone
which siblings each key has.
"""

from __future__ import annotations

import os
from itertools import combinations, permutations, starmap
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

from propagul.crdt import (
    REMOVE,
    Action,
    Block,
    Cut,
    Dot,
    Entry,
    Join,
    Keep,
    Merged,
    Op,
    Origin,
    Packed,
    Payload,
    Replica,
    Row,
    Sibling,
    Stamp,
    VersionVector,
    codec,
    stamp_of_ns,
    wire,
)
from propagul.crdt.payload import Remove
from propagul.log import fold

LONG = os.environ.get("LONG_TESTS") == "1"
"""Whether time does not matter: many more examples, and a million hostile frames."""

SPACE = "room"
KEYS = ("a", "b", "c")
YEAR_NS = 365 * 24 * 3600 * 10**9
NOW_NS = 1_790_000_000 * 10**9
CLOCKS_NS = (NOW_NS, NOW_NS + 10 * YEAR_NS, NOW_NS - 10 * YEAR_NS)
WALL = stamp_of_ns(NOW_NS)

Shown = dict[str, tuple[Sibling, ...]]
Shape = tuple[tuple[Sibling, ...], dict[Origin, Stamp]]


def examples(usual: int) -> settings:
    """How many examples a property gets where time does not matter, and a twentieth of that in every run."""
    return settings(max_examples=usual * 10 if LONG else usual // 2)


class Step(NamedTuple):
    """One thing that happens to replica `who`, and to `other` where it takes two."""

    act: str
    who: int
    other: int
    keys: tuple[str, ...]


ALONE = ("rest", "trim", "freeze", "commit", "raise", "renew")
WRITES = ("write", "write", "write", "remove", "batch", "keep")
MOVES = ("exchange",) * 8 + ("push", "lose", "send", "deliver")

KEY_SETS = tuple(chosen for width in (1, 2, 3) for chosen in combinations(KEYS, width))
STEPS = tuple(
    starmap(
        Step,
        (
            (act, *pair, keys)
            for act in ALONE + WRITES + MOVES
            for pair in permutations(range(3), 2)
            for keys in KEY_SETS
        ),
    )
)

steps = st.lists(st.sampled_from(STEPS), min_size=15, max_size=45)  # "rest" is what a step shrinks to


class Known(NamedTuple):
    """An operation on one key: its dot, its place in its batch, what it wrote and what it removed."""

    dot: Dot
    place: int
    key: str
    payload: Payload
    writes: bool
    removed: frozenset[tuple[Dot, int]]


class Room:
    """Three replicas and the operations that each must know."""

    def __init__(self) -> None:
        self.replicas = [Replica(Origin(number + 1)) for number in range(3)]
        self.known: list[set[Known]] = [set() for _ in self.replicas]
        self.logs: list[list[bytes]] = [[] for _ in self.replicas]
        self._places: dict[tuple[int, int], tuple[int, int]] = {}
        self._flying: list[tuple[int, list[bytes], Cut, set[Known]]] = []
        self._moment = 0

    def do(self, step: Step) -> None:
        """One step of a history."""
        self._moment += 1
        if step.act in MOVES:
            self._move(step.act, step.who, step.other)
        elif step.act in ALONE:
            self._tend(step.act, step.who)
        else:
            self.write(step.who, self._ops(step))

    def _move(self, act: str, who: int, other: int) -> None:
        match act:
            case "exchange":
                self.exchange(who, other)
            case "push":
                self.push(who, other)
            case "lose":
                self._cut(who, other).close()
            case "send":
                self._send(who, other)
            case "deliver":
                self._deliver(other)

    def _tend(self, act: str, who: int) -> None:
        if act == "renew":
            self.replicas[who].renew(Origin(100 + self._moment))
        if act in {"freeze", "raise"}:
            self.freeze(who)
        if act in {"commit", "raise"}:
            self.commit(who)
        if act == "trim":
            self.replicas[who].trim(1)

    def write(self, who: int, ops: list[Op]) -> None:
        """A batch of local operations."""
        batch = self.replicas[who].prepare(ops, self.wall(who))
        for place, op in enumerate(ops):
            self.known[who].add(self._understood(who, batch.dot, place, op))
        self.logs[who].append(fold.encode_batch(SPACE, batch))
        self.replicas[who].apply(batch)

    def exchange(self, sender: int, receiver: int) -> Merged:
        """Everything the receiver lacks, cut for its place and its vector."""
        cut = self._cut(sender, receiver)
        self._places[sender, receiver] = cut.arrival, cut.mark
        self.known[receiver] |= self.known[sender]
        return self._merge(receiver, blocks_of(cut), cut.entries, cut.join)

    def _cut(self, sender: int, receiver: int) -> Cut:
        after, told = self._places.get((sender, receiver), (0, 0))
        known = self.replicas[receiver].vector.copy()
        return self.replicas[sender].cut(after=after, known=known, told=told)

    def _send(self, sender: int, receiver: int) -> None:
        """The same, but it arrives later."""
        cut = self._cut(sender, receiver)
        self._flying.append((receiver, blocks_of(cut), cut, set(self.known[sender])))

    def _deliver(self, receiver: int) -> None:
        """The oldest stream on its way, once or twice."""
        for flying in [flying for flying in self._flying if flying[0] == receiver][:1]:
            _, blocks, cut, known = flying
            self.known[receiver] |= known
            self._merge(receiver, blocks, cut.entries, cut.join)
            if self._moment % 2:
                self._flying.remove(flying)

    def push(self, sender: int, receiver: int) -> None:
        """The sender's own writes, where the receiver knows its floor."""
        ours, theirs = self.replicas[sender], self.replicas[receiver]
        after, _ = self._places.get((sender, receiver), (0, 0))
        cut = ours.cut_own(after=after, known=theirs.vector) if theirs.vector.covers_all(ours.vector.floor) else None
        if cut is None or cut.is_empty:
            return
        self.known[receiver] |= {op for op in self.known[sender] if op.dot.origin == ours.origin}
        self._merge(receiver, blocks_of(cut), cut.entries, None)

    def freeze(self, who: int) -> None:
        """First step of raising the floor."""
        self.logs[who].append(fold.encode_floor(SPACE, fold.FREEZE))
        self.replicas[who].freeze()

    def commit(self, who: int) -> None:
        """Second step; `trim` follows at leisure."""
        self.logs[who].append(fold.encode_floor(SPACE, fold.COMMIT))
        self.replicas[who].commit()

    def tell_all(self) -> None:
        """Everyone tells everyone until nobody has anything to tell."""
        for _ in range(2):
            for sender in range(3):
                for receiver in range(3):
                    self.exchange(sender, receiver)

    def wall(self, who: int) -> Stamp:
        """A replica's own clock at this moment."""
        return stamp_of_ns(CLOCKS_NS[who] + self._moment * 1_000_000)

    def _merge(self, who: int, blocks: list[bytes], entries: list[Entry], join: Join | None) -> Merged:
        """Take a stream; every other one waits in the log, block by block, for its end."""
        staged, last = (blocks, []) if self._moment % 2 else ([], blocks)
        self.logs[who] += [fold.encode_block(SPACE, self._moment, block) for block in staged]
        self.logs[who].append(fold.encode_end(SPACE, self._moment, self.wall(who), entries, join, last))
        return self.replicas[who].merge(map(codec.decode_block, blocks), entries, self.wall(who), join)

    def _ops(self, step: Step) -> list[Op]:
        now = self._moment
        mixed: list[Action] = [now, REMOVE, Packed(wire.pack([now])), None, Keep(1), b"twice"]
        singles: dict[str, Action] = {"write": f"v{now}", "remove": REMOVE, "keep": Keep(now % 3)}
        actions = [singles[step.act]] * len(step.keys) if step.act in singles else mixed
        return [Op(step.keys[i % len(step.keys)], i % 2, action) for i, action in enumerate(actions)]

    def _understood(self, who: int, dot: Dot, place: int, op: Op) -> Known:
        """What an operation does by its author's knowledge: a write removes all it saw, a keep all but the highest."""
        live = sorted(_live(self.known[who], op.key), reverse=True)
        if isinstance(op.action, (Keep, Remove)):
            removed = live[int(op.action) :] if isinstance(op.action, Keep) else live
            return Known(dot, place, op.key, None, writes=False, removed=frozenset(removed))
        return Known(dot, place, op.key, op.action, writes=True, removed=frozenset(live))


def _live(known: set[Known], key: str) -> set[tuple[Dot, int]]:
    here = [op for op in known if op.key == key]
    return {(op.dot, op.place) for op in here if op.writes}.difference(*(op.removed for op in here))


def shown_by(known: set[Known]) -> dict[str, list[tuple[Dot, Payload]]]:
    """The siblings each key must have for somebody who knows these operations, highest dot first."""
    payloads = {(op.dot, op.place): op.payload for op in known}
    live = {key: sorted(_live(known, key), reverse=True) for key in {op.key for op in known}}
    return {key: [(name[0], payloads[name]) for name in names] for key, names in live.items() if names}


def raise_floor(replica: Replica) -> None:
    """All of it at once: the floor covers all that the replica knows, and no row says more than it must."""
    replica.freeze()
    replica.commit()
    replica.trim()


def play(history: list[Step]) -> Room:
    """The room after a history."""
    room = Room()
    for step in history:
        room.do(step)
    return room


def whole(replica: Replica) -> Cut:
    """Everything a replica has, as a newcomer would be sent it."""
    return replica.cut(after=0, known=VersionVector(), told=0)


def lacking(sender: Replica, receiver: Replica) -> Cut:
    """Everything a receiver whose place nobody knows lacks."""
    return sender.cut(after=0, known=receiver.vector.copy(), told=0)


def blocks_of(cut: Cut) -> list[bytes]:
    """All rows of a cut as they travel, read in small slices."""
    packed: list[bytes] = []
    while not cut.at_end:
        packed += codec.encode_blocks(cut.read(2))
    return packed


def take(receiver: Replica, cut: Cut, wall: Stamp = WALL) -> Merged:
    """Merge a cut the way it travels: through bytes."""
    return receiver.merge(map(codec.decode_block, blocks_of(cut)), cut.entries, wall, cut.join)


def twin(replica: Replica, origin: int = 99) -> Replica:
    """A replica of another origin with the same rows, vector and floor."""
    other = Replica(Origin(origin))
    other.adopt(replica.vector.floor, [entry for entry in replica.vector if not replica.vector.floor.covers(*entry)])
    other.load(Block([], list(replica)))
    return other


def merged(receiver: Replica, *senders: Replica) -> Replica:
    """A twin of the receiver after streams of each sender, cut for it one after the other."""
    other = twin(receiver)
    for sender in senders:
        take(other, lacking(sender, other))
    return other


def shown(replica: Replica) -> Shown:
    """What readers see: the siblings of each key that has any."""
    return {key: row.siblings for key, row in replica if row.siblings}


def shape(row: Row) -> Shape:
    """A row in a form that compares."""
    return row.siblings, dict(row.context)


def rows_of(replica: Replica) -> dict[str, Shape]:
    """A replica's rows, removal records included, in a form that compares."""
    return {key: shape(row) for key, row in replica}
