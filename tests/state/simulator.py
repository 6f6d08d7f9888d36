"""Replicas under a seeded adversary.

Streams that are read while their sender writes on, interrupted, lost, doubled, reordered and late; crashes, lost tails,
restored and copied directories, reboots, batons, clocks ten years apart, floors raised at any moment, replicas lost for
ever. The shipped replica, codec and fold run unchanged. After every change a replica must show exactly what the oracle
says; in the end the survivors exchange over a random connected graph and must be equal. A failing seed replays with
`python -m tests.state.simulator SEED`.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final
from unittest import mock

from propagul.crdt import Packed, wire
from tests.state.oracle import Deed
from tests.state.process import EPHEMERAL, KEYS, LOGGED, SPACES, YEAR_NS, Disk, Machine, Process, World, canonical
from tests.state.streams import Wires

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.crdt import Payload
    from tests.state.process import Rewriting

HOT_KEYS: Final = 4
ALIVE_MAX: Final = 7


class Simulation:
    """One seeded run."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.keys = KEYS[: rng.choice([2, 4, 8, 8])]
        self.world = World(rng, self.keys, offered=rng.choice([0.0, 0.5, 0.9]))
        self.seen = self.world.seen
        self.values = 0
        self.alive: list[Process] = []
        self.backups: list[tuple[Disk, Machine]] = []
        self.rewriting: list[Rewriting] = []
        self.spaces = rng.choice([SPACES, SPACES, (LOGGED, LOGGED, LOGGED, EPHEMERAL)])
        self.wires = Wires(self.world, self.alive)
        for _ in range(rng.choice([3, 3, 3, 4, 4, 5, 6])):
            machine = Machine(skew_ns=rng.choice([0, 0, 1, -1]) * 10 * YEAR_NS)
            self.alive.append(Process(self.world, machine, Disk()))

    def run(self) -> None:
        rng = self.rng
        weights = [weight * rng.choice(factors) for _, weight, factors in ACTIONS]
        for action in rng.choices([action for action, _, _ in ACTIONS], weights, k=rng.randint(40, 70)):
            action(self)
        self.settle()

    def someone(self) -> Process:
        return self.alive[int(self.rng.random() * len(self.alive))]

    # --- users ---------------------------------------------------------------------------------------------------

    def write(self) -> None:
        process, space = self.someone(), self.rng.choice(self.spaces)
        key = self.keys[int(self.rng.random() ** 2 * len(self.keys))]
        self.commit(process, space, [self.deed(process, space, key)])

    def transact(self) -> None:
        process, space = self.someone(), self.rng.choice(self.spaces)
        keys = self.rng.sample(self.keys, min(len(self.keys), self.rng.randint(2, 4)))
        self.seen["transactions"] += 1
        self.commit(process, space, [self.deed(process, space, key) for key in keys])

    def collide(self) -> None:
        """Several replicas write one key without having heard of each other, some of them with the same stamp."""
        space, key = self.rng.choice(self.spaces), self.rng.choice(self.keys[:HOT_KEYS])
        now_ns = self.world.now_ns
        for process in self.rng.sample(self.alive, min(len(self.alive), self.rng.randint(2, 3))):
            self.world.now_ns = now_ns
            self.commit(process, space, [Deed(key, 0, self.value())])

    def purge(self) -> None:
        """Delete a key and drop the record of it as soon as that may be."""
        process, space = self.someone(), self.rng.choice(self.spaces)
        live = [key for key in self.keys if process.replicas[space].row(key).siblings]
        if live:
            self.commit(process, space, [Deed(self.rng.choice(live), 0, keep=0)])
            for _ in range(2 if process.replicas[space].frozen_at is None else 3):
                process.raise_floor(space, whole=True)

    def drop_under_a_stream(self) -> None:
        """Delete a key that somebody holds, cut a stream for them, and drop the record before the stream is read."""
        sender, receiver = self.rng.sample(self.alive, 2) if len(self.alive) > 1 else (self.alive[0], self.alive[0])
        space = self.rng.choice(self.spaces)
        mine, theirs = sender.replicas[space], receiver.replicas[space]
        common = [key for key in self.keys if mine.row(key).siblings and theirs.row(key).siblings]
        if common and sender is not receiver:
            self.commit(sender, space, [Deed(self.rng.choice(common), 0, keep=0)])
            self.wires.begin(sender, receiver, space)
            for _ in range(2 if sender.replicas[space].frozen_at is None else 3):
                sender.raise_floor(space, whole=True)

    def disturb(self) -> None:
        """Write to, or tidy, a namespace that somebody is being sent."""
        found = self.wires.being_sent()
        if found is not None:
            process, space = found
            if self.rng.random() < 0.5:
                new = [key for key in self.keys if not process.replicas[space].row(key).siblings]
                key = self.rng.choice(new if new and self.rng.random() < 0.7 else self.keys)
                self.commit(process, space, [self.deed(process, space, key)])
            for _ in range(self.rng.randint(0, 2)):
                process.raise_floor(space, whole=True)

    def settle_conflict(self) -> None:
        """Resolve, delete or trim a key that has siblings; where there is none, let replicas hear of each other."""
        places = [
            (process, space, key)
            for process in self.alive
            for space in SPACES
            for key in self.keys[:HOT_KEYS]
            if len(process.replicas[space].row(key).siblings) > 1
        ]
        if not places:
            return self.open_stream()
        (process, space, key), choice = self.rng.choice(places), self.rng.random()
        if choice < 0.3:
            self.seen["conflicts deleted"] += 1
            self.commit(process, space, [Deed(key, 0, keep=0)])
        elif choice < 0.7:
            self.seen["trims"] += 1
            self.commit(process, space, [Deed(key, 0, keep=self.rng.randint(1, 2))])
        else:
            self.seen["resolves"] += 1
            self.commit(process, space, [Deed(key, 0, self.value())])
        return None

    def deed(self, process: Process, space: str, key: str) -> Deed:
        if self.rng.random() < 0.3:
            self.seen["conflicts deleted"] += len(process.replicas[space].row(key).siblings) > 1
            return Deed(key, 0, keep=0)
        return Deed(key, self.rng.choice([0, 0, 0, 0, 1, 2, 3, 4]), self.value())

    def value(self) -> Payload:
        self.values += 1
        n = self.values
        return (n, f"v{n}", b"v%d" % n, n + 0.5, Packed(wire.pack([n])))[n % 5]

    def commit(self, process: Process, space: str, deeds: list[Deed]) -> None:
        self.seen["operations"] += len(deeds)
        process.write(space, deeds)

    # --- streams, floors, logs -----------------------------------------------------------------------------------

    def open_stream(self) -> None:
        self.wires.open(self.spaces)

    def read_on(self) -> None:
        self.wires.read_on()

    def interrupt(self) -> None:
        self.wires.interrupt()

    def come_late(self) -> None:
        self.wires.come_late()

    def raise_floor(self) -> None:
        process, space = self.someone(), self.rng.choice(self.spaces)
        whole = self.rng.random() < 0.6
        process.raise_floor(space, whole=whole)
        if process.replicas[space].frozen_at is not None and self.rng.random() < 0.4:
            process.raise_floor(space, whole=whole)

    def settle_some(self) -> None:
        pending = [(p, space) for p in self.alive for space in SPACES if p.replicas[space].is_pending]
        if pending:
            process, space = self.rng.choice(pending)
            process.settle(space, self.rng.randint(1, 2))

    def evict(self) -> None:
        being_rewritten = [rewriting.process for rewriting in self.rewriting]
        holders = [process for process in self.alive if process.disk.records and process not in being_rewritten]
        if holders:
            self.rng.choice(holders).evict()

    def trim(self) -> None:
        process, space = self.someone(), self.rng.choice(self.spaces)
        process.replicas[space].trim(self.rng.randint(1, 3))
        process.check(space)

    def rewrite(self) -> None:
        """Begin to rewrite a log as a snapshot, or rename one into place; some processes die right after."""
        if self.rewriting and self.rng.random() < 0.7:
            rewriting = self.rewriting.pop()
            rewriting.finish()
            self.seen["snapshots"] += 1
            if self.rng.random() < 0.4:
                self.restart(rewriting.process)
        else:
            process = self.someone()
            if all(rewriting.process is not process for rewriting in self.rewriting):
                self.rewriting.append(process.begin_snapshot())

    # --- faults --------------------------------------------------------------------------------------------------

    def restart(self, process: Process | None = None) -> None:
        """A clean close, or a kill that loses nothing."""
        process, clean = process or self.someone(), self.rng.random() < 0.7
        if clean:
            process.close()
        if self.rng.random() < 0.15:
            self.reboot(process.machine)
        self.seen["restarts"] += 1
        process.check_refolded(self.reopen(process, process.disk))

    def reboot(self, machine: Machine) -> None:
        self.seen["reboots"] += 1
        machine.boot += 1
        if self.rng.random() < 0.5:  # else its memory was none that dies with the kernel
            machine.batons.clear()

    def lose_tail(self) -> None:
        process = self.someone()
        length = len(process.disk.records)
        lost = self.rng.choice([1, 2, 4, length])
        self.seen["lost tails"] += 1
        if self.rng.random() < 0.5:
            process.close()  # on a disk that then forgets what it took
        self.reopen(process, process.disk.copy(max(process.disk.snapshot, length - lost)))

    def back_up(self) -> None:
        process = self.someone()
        self.backups.append((process.disk.copy(), process.machine))

    def restore(self) -> None:
        """Open a backup in the place of its directory, or beside whatever became of that."""
        if not self.backups:
            return
        disk, machine = self.rng.choice(self.backups)
        here = [process for process in self.alive if process.machine is machine]
        if here and self.rng.random() < 0.5:
            if self.rng.random() < 0.5:
                here[0].close()
            self.seen["restores"] += 1
            self.reopen(here[0], disk.copy())
        elif len(self.alive) < ALIVE_MAX:
            self.seen["copies opened"] += 1
            where = machine if self.rng.random() < 0.5 else Machine(boot=self.rng.getrandbits(32))
            self.alive.append(Process(self.world, where, disk.copy()))

    def lose(self) -> None:
        """A replica is gone for ever."""
        if len(self.alive) > 2:
            self.seen["replicas lost"] += 1
            self.end(self.someone())

    def jump(self) -> None:
        """A clock is set, often between two writes."""
        process, space = self.someone(), self.rng.choice(self.spaces)
        for skew_ns in (process.machine.skew_ns, self.rng.choice([0, 0, 600 * 10**9, 10 * YEAR_NS, -10 * YEAR_NS])):
            process.machine.skew_ns = skew_ns
            if self.rng.random() < 0.5:
                self.commit(process, space, [self.deed(process, space, self.rng.choice(self.keys))])

    def reopen(self, process: Process, disk: Disk) -> Process:
        self.end(process)
        twin = Process(self.world, process.machine, disk)
        self.alive.append(twin)
        return twin

    def end(self, process: Process) -> None:
        self.alive.remove(process)
        self.rewriting = [rewriting for rewriting in self.rewriting if rewriting.process is not process]
        self.wires.hang_up(process)

    # --- the end ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Exchange over a random connected graph until nothing changes; then everybody must be equal."""
        self.wires.settle()
        edges = self.graph()
        for _ in range(len(self.alive) + 2):
            if not sum([self.wires.exchange(a, b, space) for a, b in edges for space in SPACES]):
                break
        else:
            raise AssertionError("the exchange does not come to an end")
        for space in SPACES:
            self.check_equal(space)

    def graph(self) -> list[tuple[Process, Process]]:
        alive = self.alive[:]
        self.rng.shuffle(alive)
        edges = [(alive[self.rng.randrange(n)], alive[n]) for n in range(1, len(alive))]
        if len(alive) > 1:
            edges += [(a, b) for a, b in (self.rng.sample(alive, 2) for _ in range(self.rng.randint(0, 2)))]
        return [*edges, *((b, a) for a, b in edges)]

    def check_equal(self, space: str) -> None:
        """Everybody knows what anybody knows, and is equal to the last byte once all have raised their floors."""
        everything = 0
        for process in self.alive:
            everything |= process.known[space]
        replicas = [process.replicas[space] for process in self.alive]
        for process, replica in zip(self.alive, replicas, strict=True):
            assert process.known[space] == everything, "an operation that survived somewhere is not everywhere"
            for _ in range(2 if replica.frozen_at is None else 3):
                process.raise_floor(space, whole=True)
        assert len({replica.vector.digest() for replica in replicas}) == 1, "digests differ"
        assert all(sorted(replica.vector) == sorted(replicas[0].vector) for replica in replicas), "vectors differ"
        assert len({canonical(replica) for replica in replicas}) == 1, "rows differ"


ALWAYS, OFTEN, SELDOM = (1, 2), (1, 1, 4), (0, 0, 1, 2)
"""By what a seed may multiply the weight of an action: no two schedules are alike, and many know no such fault."""

ACTIONS: Final[list[tuple[Callable[[Simulation], None], int, tuple[int, ...]]]] = [
    (Simulation.write, 20, ALWAYS),
    (Simulation.transact, 6, ALWAYS),
    (Simulation.collide, 4, SELDOM),
    (Simulation.settle_conflict, 8, ALWAYS),
    (Simulation.disturb, 6, OFTEN),
    (Simulation.drop_under_a_stream, 4, SELDOM),
    (Simulation.purge, 4, SELDOM),
    (Simulation.open_stream, 26, OFTEN),
    (Simulation.read_on, 12, SELDOM),
    (Simulation.interrupt, 6, SELDOM),
    (Simulation.come_late, 12, SELDOM),
    (Simulation.raise_floor, 10, ALWAYS),
    (Simulation.settle_some, 8, ALWAYS),
    (Simulation.evict, 10, SELDOM),
    (Simulation.trim, 1, ALWAYS),
    (Simulation.rewrite, 8, SELDOM),
    (Simulation.restart, 5, SELDOM),
    (Simulation.lose_tail, 4, SELDOM),
    (Simulation.back_up, 5, SELDOM),
    (Simulation.restore, 6, SELDOM),
    (Simulation.lose, 3, SELDOM),
    (Simulation.jump, 3, SELDOM),
]


def simulate(seed: int) -> Counter[str]:
    """Run one schedule; return what happened in it. Raises AssertionError with a line that replays it."""
    sizes = {"crdt.arrivals.CHUNK": 4, "crdt.hot.CHUNK": 4, "crdt.cut.Cut.few": 2, "log.cold.LARGE_BYTES": 0}
    with ExitStack() as small:  # so that the journal is swept, and texts and bytes are evicted
        for name, size in sizes.items():
            small.enter_context(mock.patch(f"propagul.{name}", size))
        try:
            simulation = Simulation(seed)
            simulation.run()
        except Exception as error:
            line = f"replay: python -m tests.state.simulator {seed}"
            raise AssertionError(f"{type(error).__name__}: {error}\n{line}") from error
    return simulation.seen


if __name__ == "__main__":
    first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        seen += simulate(seed)
    print(f"{count} schedules, 0 failures; {dict(sorted(seen.items()))}")
