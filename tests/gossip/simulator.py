"""Gossip nodes under a seeded adversary, in virtual time.

FIFO links that break in the middle of a stream, several links between one pair that the two ends see in different
order, crashes that in some schedules are noticed late, restored backups, lost nodes, disks that are full for a while,
clocks ten years apart, two namespaces, in some schedules nodes that want nothing of one or send nothing of it, in some
nodes that are processes of one directory, in some namespaces whose news may wait.
The shipped node, replica and codec run unchanged and talk in encoded frames. Beside each replica walks the oracle's
knowledge: what a stream conveys is what its sender knew at the cut. After every change the replica must show exactly
what the oracle says, and after healing all survivors must be equal, as far as directions let them. A failing seed
replays with `python -m tests.gossip.simulator SEED`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

from propagul.crdt import REGISTER, REMOVE, Entry, Join, Op, Origin, Replica, VersionVector
from propagul.errors import StoreFull
from propagul.gossip import GossipConfig, GossipNode, LinkDown, LinkKey, LinkUp, Ready, Received, Settled, Tick, Wrote
from propagul.gossip.decoding import decode
from propagul.gossip.directions import Direction
from propagul.gossip.messages import Delta, Mend
from propagul.link.base import NodeId
from propagul.link.local import process_node
from propagul.log.fold import Fold
from propagul.store._journal import Journal
from propagul.store._namespace import Namespace
from propagul.store._upkeep import Upkeep
from tests.gossip.oracle import History
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from propagul.gossip import Effect, Event, Incoming, Outgoing, Provable

IDLE_NEVER = GossipConfig(pulse_interval_s=1e6, silence_s_max=1e7)
"""Without idle digests nothing is healed by chance: what is owed must be sent because it is owed."""

KEYS = [f"k{n}" for n in range(18)]
SPACES = ("", "room")
YEAR_NS = 365 * 24 * 3600 * 10**9


class MemoryLog:
    """A log whose disk is a list: events by place, and what the oracle knew after each of them."""

    def __init__(self, events: Sequence[bytes] = (), known: Sequence[set[int]] = ()) -> None:
        self.events = list(events)
        self.known = list(known)
        self.is_full = False

    def append(self, payload: bytes) -> int:
        if self.is_full:
            raise StoreFull("no space left")
        self.events.append(payload)
        self.known.append(set(self.known[-1]) if self.known else set())
        return len(self.events) - 1

    def read(self, place: int) -> bytes:
        return self.events[place]

    def sync(self, upto: int | None = None) -> None:
        pass

    def cut_off(self, count: int) -> MemoryLog:
        return MemoryLog(self.events[:count], self.known[:count])


Logs = dict[str, MemoryLog]
"""What is on a node's disk, by namespace."""


class SimSource:
    """A namespace of one simulated node: the shipped one with its log, and the oracle's knowledge beside it."""

    def __init__(self, name: str, history: History, origin: Origin, skew_ns: int, log: MemoryLog) -> None:
        self.history = history
        self.log = log
        self.known: set[int] = set(log.known[-1]) if log.known else set()
        self.skew_ns = skew_ns
        self.last_cut_known: set[int] = set()
        self.incoming_known: set[int] = set()
        self.now = 0.0
        self.replica = Replica(origin)
        journal = Journal(log)
        fold = Fold({name: self.replica}, log.read)
        for place, event in enumerate(list(log.events)):
            fold.take(place, event)
        own = fold.own[name]
        self.space = Namespace(name, self.replica, threading.Lock(), journal, wall_ns=self.wall_ns, own=own)
        self.check()

    def wall_ns(self) -> int:
        return max(0, 10**18 + self.skew_ns + int(self.now * 1e9))

    def write(self, key: str, value: bytes | None) -> None:
        known = {*self.known, self.history.record(self.known, key, value)}
        op = Op(key, REGISTER, REMOVE if value is None else value)
        self.space.write([lambda _: [op]])
        self.learn(known)

    def learn(self, known: set[int]) -> None:
        self.known = known
        self.log.known[-1] = set(known)
        self.check()

    def raise_floor(self) -> None:
        """What the store's chores do, without waiting for anybody: any moment must do."""
        with mock.patch.object(Upkeep, "_is_untidy", return_value=True):
            self.space.tidy(lambda _: True)
        self.check()

    def shown(self) -> dict[str, set[object]]:
        return {key: {s.payload for s in row.siblings} for key, row in self.replica if row.siblings}

    def check(self) -> None:
        expected = self.history.siblings(self.known)
        if self.space.is_busy:  # to look at all rows would join them: one read, as a user makes it
            key = min(expected, default="none")
            payloads = {sibling.payload for sibling in self.space.row(key).siblings}
            assert payloads == expected.get(key, set()), f"{key} shows {payloads}, the oracle says {expected.get(key)}"
            return
        assert self.shown() == expected, f"shows {self.shown()}, the oracle says {expected}"

    # --- the Source protocol -------------------------------------------------------------------------------------
    @property
    def arrival(self) -> int:
        return self.space.arrival

    def hello(self) -> tuple[bytes, VersionVector, int]:
        return self.space.hello()

    def told_since(self, mark: int) -> tuple[list[Entry], int]:
        return self.space.told_since(mark)

    def covers(self, entries: Iterable[Entry]) -> bool:
        return self.space.covers(entries)

    def origins(self) -> int:
        return self.space.origins()

    def cut(self, *, after: int, known: VersionVector, told: int, held: bytes = b"") -> Outgoing:
        self.last_cut_known = set(self.known)
        return self.space.cut(after=after, known=known, told=told, held=held)

    def cut_own(self, *, after: int, known: VersionVector) -> Outgoing | None:
        peek = self.replica.cut_own(after=after, known=known)
        if peek is not None:
            block = peek.read(10_000)
            keys = {plain[0] for plain in block.plain} | {key for key, _ in block.other}
            self.last_cut_known = self.history.on(self.known, keys)
            peek.close()
        return self.space.cut_own(after=after, known=known)

    @property
    def is_busy(self) -> bool:
        return self.space.is_busy

    def settle(self) -> bool:
        return self.space.settle()

    @property
    def provable(self) -> Provable | None:
        return self.space.provable

    def incoming(self) -> Incoming:
        return SimIncoming(self, self.space.incoming())


class SimIncoming:
    """A stream into a simulated namespace: with it comes what its sender knew."""

    def __init__(self, source: SimSource, stream: Incoming) -> None:
        self.source = source
        self.stream = stream
        self.known = source.incoming_known

    def add(self, block: bytes) -> None:
        self.stream.add(block)

    def apply(self, entries: list[Entry], join: Join | None) -> bool:
        news = self.stream.apply(entries, join)
        self.source.learn(self.source.known | self.known)
        return news

    def go_on(self) -> None:
        self.stream.go_on()
        self.known = self.source.incoming_known

    def abandon(self) -> None:
        self.stream.abandon()


@dataclass(slots=True)
class End:
    """One end of a link, at one run of a node: frames waiting to be taken, and frames on their way to the other end."""

    node: int
    key: LinkKey
    instance: bytes
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
        directions: Those of some nodes; None for some in some schedules.
        processes: Nodes that are processes of one directory; None for some in some schedules.
        patient: Namespaces whose news may wait; None for some in some schedules.
    """

    def __init__(
        self,
        seed: int,
        *,
        nodes: int | None = None,
        lan: bool = False,
        spaces: Sequence[str] = SPACES,
        directions: Mapping[int, Mapping[str, Direction]] | None = None,
        processes: Collection[int] | None = None,
        patient: Collection[str] | None = None,
    ) -> None:
        self.rng, self.breaks = random.Random(seed), random.Random(seed)
        self.brittle = 0.0 if lan else self.breaks.choice([0.0, 0.1, 0.3])
        self.keys = KEYS[: self.breaks.choice([6, 6, 18])]
        self.lan, self.spaces = lan, spaces
        self.config = GossipConfig() if lan else self.rng.choice([GossipConfig(), IDLE_NEVER])
        self.sparse = not lan and self.rng.random() < 0.5
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
        self.authored: dict[tuple[int, str], set[int]] = {}
        self.kept: set[tuple[int, int]] = set()
        self.runs = itertools.count(1)
        self.instances: dict[int, bytes] = {}
        self.quiet = random.Random(seed) if not lan and 300 <= seed % 500 < 400 else None
        count = nodes or self.rng.randint(3, 6)
        self.directions = self.some_directions(seed, count) if directions is None else directions
        self.processes = self.some_processes(seed, count) if processes is None else processes
        self.patient = self.some_patient(seed) if patient is None else patient
        for number in range(count):
            self.boot(number, {})

    def some_patient(self, seed: int) -> Collection[str]:
        """In the second hundred of each five hundred schedules, and in every other one of those with directions."""
        chance = random.Random(seed + 3 * 10**9)
        if self.lan or not (100 <= seed % 500 < 200 or (seed % 500 >= 400 and seed % 2)):
            return ()
        return chance.sample(self.spaces, chance.randint(1, len(self.spaces)))

    def some_directions(self, seed: int, nodes: int) -> dict[int, dict[str, Direction]]:
        """In the last hundred of each five hundred schedules up to half of the nodes have a direction somewhere."""
        chance = random.Random(seed + 10**9)
        if self.lan or seed % 500 < 400:
            return {}
        ways = [Direction.UP, Direction.UP, Direction.DOWN]
        return {
            number: {space: chance.choice(ways) for space in chance.sample(self.spaces, chance.choice([1, 1, 2]))}
            for number in chance.sample(range(nodes), chance.randint(1, nodes // 2))
        }

    def some_processes(self, seed: int, nodes: int) -> Collection[int]:
        """In the hundred schedules before those in which crashes are noticed late, two nodes or more."""
        chance = random.Random(seed + 2 * 10**9)
        if self.lan or not 200 <= seed % 500 < 300:
            return ()
        return chance.sample(range(nodes), chance.randint(2, nodes))

    def called(self, number: int, by: int) -> NodeId:
        """What a node is called on its links to another, or by itself."""
        node = NodeId(f"n{number}")
        return process_node(node, "process") if {number, by} <= {*self.processes} else node

    def begin_run(self, number: int) -> None:
        self.instances[number] = next(self.runs).to_bytes(8)

    def boot(self, number: int, logs: Logs) -> None:
        self.begin_run(number)
        skew = 0 if self.lan else self.rng.choice([0, 0, 1, -1]) * 10 * YEAR_NS
        self.sources[number] = {}
        for space in self.spaces:
            origin = Origin(self.rng.getrandbits(64))
            log = logs.get(space, MemoryLog())
            self.sources[number][space] = SimSource(space, self.histories[space], origin, skew, log)
        me = self.called(number, number)
        jitter = random.Random(self.rng.random())
        ways = self.directions.get(number, {})
        self.nodes[number] = GossipNode(
            me, me, self.sources[number], self.config, jitter, patient=self.patient, directions=ways
        )
        self.nodes[number].be_sparse(self.sparse and self.rng.random() < 0.9, self.now)

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + delay, next(self.order), action))

    def feed(self, number: int, event: Event) -> None:
        if number in self.nodes:
            node = self.nodes[number]
            self.obey(number, node.handle(event, self.now))
            for space in node.busy():
                self.at(self.pause(0.5), lambda space=space: self.settle(number, node, space))  # type: ignore[misc]
            self.arm(number)

    def settle(self, number: int, node: GossipNode, space: str) -> None:
        """A slice of the rows that wait to be joined; the rest later."""
        if self.nodes.get(number) is not node:
            return
        if node.settle(space):
            self.at(self.pause(0.2), lambda: self.settle(number, node, space))
        else:
            self.feed(number, Settled(space))

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
            end.ready, end.frames = False, taken(self.nodes[end.node].outgoing(end.key))
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
            if wire.open and self.breaks.random() < self.brittle and isinstance(decode(frame), Delta | Mend):
                self.break_off(wire)

    def break_off(self, wire: Wire) -> None:
        """A link breaks in the middle of a stream; things happen at its ends, and most often there is soon another."""
        self.cut_wire(wire)
        ends = self.breaks.sample([end.node for end in wire.ends], 2)
        space = self.breaks.choice(self.spaces)
        for _ in range(self.breaks.randint(0, 5)):
            value = None if self.breaks.random() < 0.4 else b"w%d" % next(self.values)
            self.write(self.breaks.choice(ends), space, self.breaks.choice(self.keys), value)
        for source in (self.sources[end][space] for end in ends if self.breaks.random() < 0.4):
            for _ in range(0 if source.log.is_full else self.breaks.randint(1, 4)):
                source.raise_floor()
        if self.breaks.random() < 0.8:
            self.at(self.breaks.choice([0.0, 0.1, 1.0]), lambda: self.connect(*ends))

    def latency(self) -> float:
        return 0.001 if self.lan else self.rng.choice([0.001, 0.02, 0.3]) * self.rng.random()

    def pause(self, longest: float) -> float:
        return 0.0 if self.lan else longest * self.rng.random()

    def connect(self, a: int, b: int) -> None:
        """Open a link that `a` dials, unless one of them is gone; each end hears of it in its own time."""
        if a not in self.nodes or b not in self.nodes:
            return
        here, there = (End(number, LinkKey(next(self.link_keys)), self.instances[number]) for number in (a, b))
        wire = Wire((here, there))
        self.wires.append(wire)
        for side, end in enumerate(wire.ends):
            end.up_at = self.now + self.pause(self.rng.choice([0.0, 0.0, 0.2]))
            self.at(end.up_at - self.now, lambda side=side: self.link_up(wire, side))  # type: ignore[misc]

    def link_up(self, wire: Wire, side: int) -> None:
        end, other = wire.ends[side], wire.ends[1 - side]
        if wire.open:
            peer = self.called(other.node, end.node)
            self.feed(end.node, LinkUp(end.key, peer, side == 0, instance=other.instance))

    def cut_wire(self, wire: Wire) -> None:
        if wire.open:
            wire.open = False
            self.wires.remove(wire)
            for end in wire.ends:
                self.feed(end.node, LinkDown(end.key))

    def leave_open(self, wire: Wire, late: float) -> None:
        """Nothing goes over a link any more, and its ends hear of that later."""
        wire.open = False
        self.wires.remove(wire)
        for end in wire.ends:
            self.at(late, lambda end=end: self.feed(end.node, LinkDown(end.key)))  # type: ignore[misc]  # of this turn

    def crash(self, number: int) -> Logs:
        """A node is gone. In the hundred schedules before those with directions its peers notice late, if at all."""
        for wire in [w for w in self.wires if number in (w.ends[0].node, w.ends[1].node)]:
            if self.quiet is not None and self.quiet.random() < 0.7:
                self.leave_open(wire, self.quiet.choice([0.5, 5.0]))
            else:
                self.cut_wire(wire)
        del self.nodes[number]
        self.ticking.pop(number, None)
        return {space: source.log for space, source in self.sources.pop(number).items()}

    def write(self, number: int, space: str, key: str, value: bytes | None) -> None:
        source = self.sources[number][space]
        if not source.log.is_full:
            source.now, before = self.now, source.known
            source.write(key, value)
            self.authored.setdefault((number, space), set()).update(source.known - before)
            self.feed(number, Wrote(space))

    def fill_disk(self, number: int) -> None:
        """Nothing can be logged for a while, in any namespace."""
        sources = list(self.sources[number].values())
        for source in sources:
            source.log.is_full = True
        self.at(self.rng.random() * 3.0, lambda: self.empty_disk(sources))

    def empty_disk(self, sources: list[SimSource]) -> None:
        for source in sources:
            source.log.is_full = False

    def step(self) -> None:
        """One thing the adversary or a user does."""
        rng, alive = self.rng, sorted(self.nodes)
        choice = rng.random()
        number = rng.choice(alive)
        if choice < 0.5:
            value = None if rng.random() < 0.25 else b"v%d" % next(self.values)
            self.write(number, rng.choice(self.spaces), rng.choice(self.keys), value)
        elif choice < 0.68 and len(alive) > 1:
            self.connect(*rng.sample(alive, 2))
        elif choice < 0.72 and self.wires:  # a link between a pair that has one, from either side
            ends = [end.node for end in rng.choice(self.wires).ends]
            self.connect(*rng.sample(ends, 2))
        elif choice < 0.8 and self.wires:
            self.cut_wire(rng.choice(self.wires))
        elif choice < 0.88:
            logs, torn = self.crash(number), rng.random() < 0.5
            self.boot(
                number,
                {
                    s: log.cut_off(rng.randint(0, len(log.events)) if torn else len(log.events))
                    for s, log in logs.items()
                },
            )
        elif choice < 0.9 and len(alive) > 2:
            self.crash(number)
        elif choice < 0.93:
            self.fill_disk(number)
        elif choice < 0.97:
            source = self.sources[number][rng.choice(self.spaces)]
            for _ in range(0 if source.log.is_full else rng.randint(1, 3)):
                source.raise_floor()
        self.run(self.now + rng.choice([0.0, 0.01, 0.2, 2.0]) * rng.random())

    def run(self, until: float) -> None:
        while self.queue and self.queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self.queue)
            action()
        self.now = until

    def heal(self) -> None:
        """Link the survivors in a random tree (never all pairs), redial what drops, and let time pass.

        Who has a direction is linked with one or two of those who have none, as it passes not everything on, and some
        with each other.

        Raises:
            AssertionError: They are not equal a minute later.
        """
        for wire in list(self.wires):
            self.cut_wire(wire)
        for pair in self.pairs_to_link():
            for _ in range(self.rng.choice([1, 1, 3])):
                self.connect(*self.rng.sample(pair, 2))
            self.keep_linked(*pair)
            self.kept |= {(pair[0], pair[1]), (pair[1], pair[0])}
        self.brittle = 0.0
        patience = self.now + 60.0
        while self.now < patience and not self.is_settled():
            self.run(self.now + 1.0)
        self.check_courses() if self.directions else self.check_equal(sorted(self.nodes))

    def pairs_to_link(self) -> Iterator[list[int]]:
        alive = [number for number in sorted(self.nodes) if number not in self.directions] or sorted(self.nodes)
        leaves = sorted(self.nodes.keys() - set(alive))
        self.rng.shuffle(alive)
        for index, number in enumerate(alive[1:], start=1):
            yield [alive[self.rng.randrange(index)], number]
        yield from map(list, itertools.pairwise(leaves))
        for leaf in leaves:
            yield from ([hub, leaf] for hub in self.rng.sample(alive, min(len(alive), self.rng.choice([1, 2]))))

    def way(self, number: int, space: str) -> Direction:
        return self.directions.get(number, {}).get(space, Direction.MESH)

    def courses(self, space: str) -> list[tuple[int, int]]:
        """From whom to whom rows go over the links that are kept, by what the directions mean."""
        return [
            (a, b)
            for a, b in self.kept
            if self.way(a, space) is not Direction.DOWN and self.way(b, space) is not Direction.UP
        ]

    def is_settled(self) -> bool:
        """Whether everybody knows what it is to be sent."""
        return all(
            self.sources[a][space].known <= self.sources[b][space].known
            for space in self.spaces
            for a, b in self.courses(space)
        )

    def is_equal(self) -> bool:
        knows = [[source.known for source in by_space.values()] for by_space in self.sources.values()]
        return all(known == knows[0] for known in knows)

    def keep_linked(self, a: int, b: int) -> None:
        if not any({a, b} == {end.node for end in wire.ends} for wire in self.wires):
            self.connect(a, b)
        self.at(1.0 + self.rng.random(), lambda: self.keep_linked(a, b))

    def check_courses(self) -> None:
        """Everybody knows what it is to be sent, and nothing that it is not; those without a direction are equal."""
        for space in self.spaces:
            for a, b in self.courses(space):
                missed = self.sources[a][space].known - self.sources[b][space].known
                assert not missed, f"n{b} misses {len(missed)} operations of {space!r} that n{a} has"
            for number, by_space in self.sources.items():
                own, way = self.authored.get((number, space), set()), self.way(number, space)
                kept_back = own if way is Direction.DOWN else set()
                others = [other[space].known for name, other in self.sources.items() if name != number]
                assert not any(map(kept_back.intersection, others)), f"n{number} sent what it does not send"
                assert way is not Direction.UP or by_space[space].known <= own, f"n{number} was sent what it wants not"
                by_space[space].space.settle_all()
                by_space[space].check()
            self.check_nobody_lags(space)
        self.check_equal([number for number in sorted(self.nodes) if number not in self.directions])

    def check_nobody_lags(self, space: str) -> None:
        """On the links that are kept nobody waits for anything, and no floor for who is sent nothing, or answers."""
        self.run(self.now + 5.0)
        for number, node in self.nodes.items():
            peers = [peer for peer in node._peers.values() if (number, int(peer.node.removeprefix("n"))) in self.kept]
            for exchange in [peer.exchanges[space] for peer in peers]:
                assert exchange.caught_up, f"n{number} waits for what it will not be sent"
                if not (exchange.course.gives and exchange.course.takes):
                    assert exchange.served() == self.sources[number][space].arrival, f"n{number} waits for an answer"

    def check_equal(self, numbers: Sequence[int]) -> None:
        """These know everything that any of them knows, and hold the same rows."""
        for space in self.spaces:
            sources = {number: self.sources[number][space] for number in numbers}
            everything = set().union(*(source.known for source in sources.values()))
            for number, source in sources.items():
                missed = everything - source.known
                assert not missed, f"n{number} misses {len(missed)} operations of {space!r}"
                source.space.settle_all()
                source.check()
            for source in sources.values():
                source.log.is_full = False
                for _ in range(4):
                    source.raise_floor()
            rows = [dict(source.replica) for source in sources.values()]
            assert all(r == rows[0] for r in rows), f"rows of {space!r} differ after healing"


@contextlib.contextmanager
def smallness(seed: int) -> Iterator[None]:
    """Frames, blocks and slices so small that a few rows need many of them."""
    eager = (0, 3, 1000)[seed % 3]
    with contextlib.ExitStack() as patched:
        for patch in (
            mock.patch.multiple("propagul.gossip.exchange", CHUNK_BYTES=48),
            mock.patch.multiple("propagul.gossip.messages", ENTRIES_PER_DIGEST=2),
            mock.patch.multiple("propagul.store._streams", STAGE_BYTES=100, _SLICE_ROWS=2, EAGER_ROWS_MAX=eager),
            mock.patch("propagul.store._reads._SLICE_ROWS", 1),
            mock.patch.multiple("propagul.crdt.codec", BLOCK_BYTES=64),
            mock.patch("propagul.crdt.cut.Cut.few", 2),
            mock.patch.multiple("propagul.gossip.turns", AT_ONCE=(1, 4)[seed % 2], TURN_S=(1e6, 2.0)[seed // 2 % 2]),
        ):
            patched.enter_context(patch)
        yield


def simulate(seed: int, steps: int = 50) -> None:
    """Run one schedule; raises AssertionError with a line that replays it."""
    with smallness(seed):
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
