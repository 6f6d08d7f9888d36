"""Gossip nodes under a seeded adversary, in virtual time.

FIFO links that break in the middle of a stream, several links between one pair that the two ends see in different
order, crashes, restored backups, lost nodes, disks that are full for a while, clocks ten years apart, two namespaces.
The shipped node, replica and codec run unchanged and talk in encoded frames. Beside each replica walks the oracle's
knowledge: what a stream conveys is what its sender knew at the cut. After every change the replica must show exactly
what the oracle says, and after healing all survivors must be equal. A failing seed replays with
`python -m tests.gossip.simulator SEED`.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

from propagul.crdt import Cut, Entry, Origin, Replica, VersionVector, Write, codec, stamp_of_ns
from propagul.errors import StoreFull
from propagul.gossip import GossipConfig, GossipNode, LinkDown, LinkKey, LinkUp, Ready, Received, Tick, Wrote
from propagul.link.base import NodeId
from tests.gossip.oracle import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from propagul.gossip import Effect, Event

IDLE_NEVER = GossipConfig(digest_interval_s_max=1e6, silence_s_max=1e7)
"""Without idle digests nothing is healed by chance: what is owed must be sent because it is owed."""

KEYS = [f"k{n}" for n in range(6)]
SPACES = ("", "room")
YEAR_NS = 365 * 24 * 3600 * 10**9


@dataclass(slots=True)
class LogRecord:
    """What a durable replica can fold again, and what the oracle knew after it."""

    write: Write | None
    packed: bytes
    entries: list[Entry]
    known: set[int]


Logs = dict[str, list[LogRecord]]
"""What is on a node's disk, by namespace."""


class SimSource:
    """A namespace of one simulated node: replica, log and the oracle's knowledge side by side."""

    def __init__(self, history: History, origin: Origin, skew_ns: int) -> None:
        self.history = history
        self.replica = Replica(origin)
        self.known: set[int] = set()
        self.log: list[LogRecord] = []
        self.skew_ns = skew_ns
        self.last_cut_known: set[int] = set()
        self.incoming_known: set[int] = set()
        self.disk_full = False

    def wall(self, now: float) -> int:
        return max(0, 10**18 + self.skew_ns + int(now * 1e9))

    def write(self, key: str, value: bytes | None, now: float) -> None:
        write = self.replica.prepare(key, 0, value, stamp_of_ns(self.wall(now)))
        number = self.history.record(self.known, key, value)
        self.known.add(number)
        self.log.append(LogRecord(write, b"", [], set(self.known)))
        self.replica.apply_write(write)
        self.check()

    def restore(self, records: list[LogRecord]) -> None:
        for record in records:
            if record.write is not None:
                self.replica.apply_write(record.write)
            else:
                self.replica.merge(codec.decode_rows(record.packed), record.entries, stamp_of_ns(0))
            self.known = set(record.known)
            self.log.append(record)
        self.check()

    # --- the Source protocol -------------------------------------------------------------------------------------
    @property
    def arrival(self) -> int:
        return self.replica.arrival

    def hello(self) -> tuple[bytes, VersionVector, int]:
        vector = self.replica.vector
        return vector.digest(), VersionVector(vector), vector.mark

    def told_since(self, mark: int) -> tuple[list[Entry], int]:
        return self.replica.vector.since(mark), self.replica.vector.mark

    def covers(self, entries: Iterable[Entry]) -> bool:
        return all(self.replica.vector.covers_entry(o, s) for o, s in entries)

    def cut(self, *, after: int, known: VersionVector, told: int) -> Cut:
        self.last_cut_known = set(self.known)
        return self.replica.cut(after=after, known=known, told=told)

    def cut_own(self, *, after: int, known: VersionVector) -> Cut:
        cut = self.replica.cut_own(after=after, known=known)
        self.last_cut_known = self.history.on(self.known, {key for key, _ in cut.rows})
        return cut

    def merge(self, packed: bytes, entries: Iterable[Entry]) -> bool:
        if self.disk_full:
            raise StoreFull("no space left")
        pairs = list(entries)
        before = self.replica.vector.mark
        changes = self.replica.merge(codec.decode_rows(packed), pairs, stamp_of_ns(self.wall(0)))
        self.known |= self.incoming_known
        self.log.append(LogRecord(None, packed, pairs, set(self.known)))
        self.check()
        return bool(changes) or self.replica.vector.mark != before

    # --- invariants ----------------------------------------------------------------------------------------------
    def shown(self) -> dict[str, set[bytes]]:
        return {key: {s.payload for s in row.siblings} for key, row in self.replica if row.siblings}

    def check(self) -> None:
        expected = self.history.siblings(self.known)
        assert self.shown() == expected, f"shows {self.shown()}, the oracle says {expected}"
        backed = VersionVector(e for _, row in self.replica for e in row.context.items())
        claims = self.replica.vector
        assert all(backed.covers_entry(*entry) for entry in claims), "the vector claims what no row backs"


@dataclass(slots=True)
class End:
    """One end of a link: frames waiting to be taken, and frames on their way to the other end."""

    node: int
    key: LinkKey
    ready: bool = False
    frames: Iterator[bytes] | None = None
    arrives_at: float = 0.0
    up_at: float = 0.0
    stream_known: dict[str, set[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Wire:
    """A link between two nodes."""

    ends: tuple[End, End]
    open: bool = True


class Simulation:
    """One seeded run.

    Args:
        seed: Decides everything.
        nodes: How many; None for some.
        lan: Frames take a millisecond, clocks agree, links are up at once: to measure latency and traffic.
        spaces: The namespaces.
    """

    def __init__(
        self, seed: int, *, nodes: int | None = None, lan: bool = False, spaces: Sequence[str] = SPACES
    ) -> None:
        self.rng = random.Random(seed)
        self.lan, self.spaces = lan, spaces
        self.config = GossipConfig() if lan else self.rng.choice([GossipConfig(), IDLE_NEVER])
        self.now = 0.0
        self.histories = {space: History() for space in spaces}
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.link_keys = itertools.count(1)
        self.wires: list[Wire] = []
        self.nodes: dict[int, GossipNode] = {}
        self.sources: dict[int, dict[str, SimSource]] = {}
        self.ticking: dict[int, float] = {}
        self.values = itertools.count()
        self.tap: Callable[[int, int, bytes], None] = lambda _sender, _receiver, _frame: None
        for number in range(nodes or self.rng.randint(3, 6)):
            self.boot(number, {})

    def boot(self, number: int, logs: Logs) -> None:
        skew = 0 if self.lan else self.rng.choice([0, 0, 1, -1]) * 10 * YEAR_NS
        self.sources[number] = {}
        for space in self.spaces:
            source = SimSource(self.histories[space], Origin(self.rng.getrandbits(64)), skew)
            source.restore(logs.get(space, []))
            self.sources[number][space] = source
        me = NodeId(f"n{number}")
        jitter = random.Random(self.rng.random())
        self.nodes[number] = GossipNode(me, me, self.sources[number], self.config, jitter)

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + delay, next(self.order), action))

    def feed(self, number: int, event: Event) -> None:
        if number in self.nodes:
            self.obey(number, self.nodes[number].handle(event, self.now))
            self.arm(number)

    def arm(self, number: int) -> None:
        due = self.nodes[number].next_tick()
        if due is not None and self.ticking.get(number, 1e18) > due:
            self.ticking[number] = due
            self.at(max(due - self.now, 0.001), lambda: self.ring(number))

    def ring(self, number: int) -> None:
        self.ticking.pop(number, None)
        self.feed(number, Tick())

    def obey(self, number: int, effects: list[Effect]) -> None:
        for effect in effects:
            wire, side = self.find(number, effect.link)
            if wire is None:
                continue
            if isinstance(effect, Ready):
                wire.ends[side].ready = True
                self.at(self.pause(0.01), lambda w=wire, s=side: self.pump(w, s))  # type: ignore[misc]
            else:
                self.cut_wire(wire)

    def find(self, number: int, key: LinkKey) -> tuple[Wire | None, int]:
        for wire in self.wires:
            for side in (0, 1):
                if wire.ends[side].node == number and wire.ends[side].key == key:
                    return wire, side
        return None, 0

    def pump(self, wire: Wire, side: int) -> None:
        """Take one frame from the node and put it on the wire; more later, so that anything can come between."""
        end = wire.ends[side]
        if not wire.open or end.node not in self.nodes:
            return
        if end.frames is None:
            if not end.ready:
                return
            end.ready, end.frames = False, self.nodes[end.node].outgoing(end.key)
        sources = self.sources[end.node]
        for space, source in sources.items():
            source.last_cut_known = end.stream_known.get(space, set())
        frame = next(end.frames, None)
        end.stream_known = {space: source.last_cut_known for space, source in sources.items()}
        if frame is None:
            end.frames = None
            if end.ready:
                self.at(0.0, lambda: self.pump(wire, side))
            return
        other = wire.ends[1 - side]
        self.tap(end.node, other.node, frame)
        end.arrives_at = max(end.arrives_at, other.up_at, self.now + self.latency())
        conveyed = dict(end.stream_known)
        self.at(end.arrives_at - self.now, lambda: self.deliver(wire, 1 - side, frame, conveyed))
        self.at(self.pause(0.02), lambda: self.pump(wire, side))

    def deliver(self, wire: Wire, side: int, frame: bytes, conveyed: dict[str, set[int]]) -> None:
        end = wire.ends[side]
        if wire.open and end.node in self.nodes:
            for space, known in conveyed.items():
                self.sources[end.node][space].incoming_known = known
            self.feed(end.node, Received(end.key, frame))

    def latency(self) -> float:
        return 0.001 if self.lan else self.rng.choice([0.001, 0.02, 0.3]) * self.rng.random()

    def pause(self, longest: float) -> float:
        return 0.0 if self.lan else longest * self.rng.random()

    def connect(self, a: int, b: int) -> None:
        """Open a link that `a` dials; each end hears of it in its own time."""
        wire = Wire((End(a, LinkKey(next(self.link_keys))), End(b, LinkKey(next(self.link_keys)))))
        self.wires.append(wire)
        for side, end in enumerate(wire.ends):
            end.up_at = self.now + self.pause(self.rng.choice([0.0, 0.0, 0.2]))
            self.at(end.up_at - self.now, lambda side=side: self.link_up(wire, side))  # type: ignore[misc]

    def link_up(self, wire: Wire, side: int) -> None:
        end, peer = wire.ends[side], NodeId(f"n{wire.ends[1 - side].node}")
        if wire.open:
            self.feed(end.node, LinkUp(end.key, peer, dialed=side == 0))

    def cut_wire(self, wire: Wire) -> None:
        if wire.open:
            wire.open = False
            self.wires.remove(wire)
            for end in wire.ends:
                self.feed(end.node, LinkDown(end.key))

    def crash(self, number: int) -> Logs:
        for wire in [w for w in self.wires if number in (w.ends[0].node, w.ends[1].node)]:
            self.cut_wire(wire)
        del self.nodes[number]
        self.ticking.pop(number, None)
        return {space: source.log for space, source in self.sources.pop(number).items()}

    def write(self, number: int, space: str, key: str, value: bytes | None) -> None:
        source = self.sources[number][space]
        if not source.disk_full:
            source.write(key, value, self.now)
            self.feed(number, Wrote(space))

    def fill_disk(self, number: int) -> None:
        """Nothing can be logged for a while, in any namespace."""
        sources = list(self.sources[number].values())
        for source in sources:
            source.disk_full = True
        self.at(self.rng.random() * 3.0, lambda: self.empty_disk(sources))

    def empty_disk(self, sources: list[SimSource]) -> None:
        for source in sources:
            source.disk_full = False

    def step(self) -> None:
        """One thing the adversary or a user does."""
        rng, alive = self.rng, sorted(self.nodes)
        choice = rng.random()
        number = rng.choice(alive)
        if choice < 0.5:
            value = None if rng.random() < 0.25 else b"v%d" % next(self.values)
            self.write(number, rng.choice(self.spaces), rng.choice(KEYS), value)
        elif choice < 0.68 and len(alive) > 1:
            self.connect(*rng.sample(alive, 2))
        elif choice < 0.72 and self.wires:  # a link between a pair that has one, from either side
            ends = [end.node for end in rng.choice(self.wires).ends]
            self.connect(*rng.sample(ends, 2))
        elif choice < 0.8 and self.wires:
            self.cut_wire(rng.choice(self.wires))
        elif choice < 0.88:
            logs, torn = self.crash(number), rng.random() < 0.5
            self.boot(number, {s: log[: rng.randint(0, len(log))] if torn else log for s, log in logs.items()})
        elif choice < 0.9 and len(alive) > 2:
            self.crash(number)
        elif choice < 0.93:
            self.fill_disk(number)
        self.run(self.now + rng.choice([0.0, 0.01, 0.2, 2.0]) * rng.random())

    def run(self, until: float) -> None:
        while self.queue and self.queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self.queue)
            action()
        self.now = until

    def heal(self) -> None:
        """Link the survivors in a random tree (never all pairs), redial what drops, and let time pass.

        Raises:
            AssertionError: They are not equal a minute later.
        """
        for wire in list(self.wires):
            self.cut_wire(wire)
        alive = sorted(self.nodes)
        self.rng.shuffle(alive)
        for index, number in enumerate(alive[1:], start=1):
            pair = [alive[self.rng.randrange(index)], number]
            for _ in range(self.rng.choice([1, 1, 3])):
                self.connect(*self.rng.sample(pair, 2))
            self.keep_linked(*pair)
        patience = self.now + 60.0
        while self.now < patience and not self.is_equal():
            self.run(self.now + 1.0)
        self.check_equal()

    def is_equal(self) -> bool:
        knows = [[source.known for source in by_space.values()] for by_space in self.sources.values()]
        return all(known == knows[0] for known in knows)

    def keep_linked(self, a: int, b: int) -> None:
        if not any({a, b} == {end.node for end in wire.ends} for wire in self.wires):
            self.connect(a, b)
        self.at(1.0 + self.rng.random(), lambda: self.keep_linked(a, b))

    def check_equal(self) -> None:
        """All survivors know everything that any of them knows, and hold the same rows."""
        for space in self.spaces:
            sources = {number: by_space[space] for number, by_space in self.sources.items()}
            everything = set().union(*(source.known for source in sources.values()))
            for number, source in sources.items():
                missed = everything - source.known
                assert not missed, f"n{number} misses {len(missed)} operations of {space!r}"
                source.check()
            rows = [{k: (r.siblings, dict(r.context)) for k, r in source.replica} for source in sources.values()]
            assert all(r == rows[0] for r in rows), f"rows of {space!r} differ after healing"


def simulate(seed: int, steps: int = 50) -> None:
    """Run one schedule; raises AssertionError with a line that replays it."""
    small = mock.patch.multiple("propagul.gossip.exchange", CHUNK_BYTES=48, ENTRIES_PER_DIGEST=2)
    with small:
        try:
            simulation = Simulation(seed)
            for _ in range(steps):
                simulation.step()
            simulation.heal()
        except Exception as error:
            line = f"replay: python -m tests.gossip.simulator {seed}"
            raise AssertionError(f"{type(error).__name__}: {error}\n{line}") from error


if __name__ == "__main__":
    first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for seed in range(first, first + count):
        simulate(seed)
    print(f"{count} schedules, 0 failures")
