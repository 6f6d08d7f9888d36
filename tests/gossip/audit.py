"""Members that prove their rows, one among them that lies, in the simulator's network and virtual time.

The oracle: once the lies have stopped, each honest member holds exactly the valid rows that any of them holds, of two
payloads of one dot the larger one, and a row that is not its author's is never held by any. A failing seed replays with
`python -m tests.gossip.audit SEED`.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

from propagul.crdt import Origin
from propagul.gossip import GossipConfig, GossipNode, Wrote
from propagul.link.base import NodeId
from tests.gossip.proven import Liar, Proven
from tests.gossip.simulator import IDLE_NEVER, MemoryLog, Simulation

if TYPE_CHECKING:
    from tests.gossip.simulator import Logs

INTERVAL_S = 20.0
LIAR = 0
"""Its number among the nodes."""


class Audit(Simulation):
    """One seeded run: the network, crashes and restored backups of the simulator, and a liar."""

    def __init__(self, seed: int, *, nodes: int | None = None, lan: bool = False) -> None:
        super().__init__(seed, nodes=nodes, lan=lan, spaces=("",), directions={})
        for number in range(1, 0 if lan else len(self.nodes)):
            self.connect(number, LIAR)

    def boot(self, number: int, logs: Logs) -> None:
        self.begin_run(number)
        origin, rng = Origin(self.rng.getrandbits(60)), random.Random(self.rng.random())
        log = logs.get("", MemoryLog())
        is_liar = number == LIAR and not self.lan
        source = Liar(origin, log, rng) if is_liar else Proven(origin, log)
        source.restless = 0.0 if self.lan else 0.2
        self.sources[number] = {"": source}  # type: ignore[dict-item]
        base = GossipConfig() if self.config is not IDLE_NEVER else IDLE_NEVER
        me, config = NodeId(f"n{number}"), replace(base, compare_interval_s=INTERVAL_S)
        self.nodes[number] = GossipNode(me, me, {"": source}, config, rng)
        self.nodes[number].be_sparse(self.sparse, self.now)

    def write(self, number: int, space: str, key: str, value: bytes | None) -> None:
        source = self.proven(number)
        source.now = self.now
        if not source.log.is_full:
            source.write(key, "" if value is None else value.decode())
            self.feed(number, Wrote(space))

    def proven(self, number: int) -> Proven:
        source = self.sources[number][""]
        assert isinstance(source, Proven)
        return source

    def step(self) -> None:
        super().step()
        source = self.proven(LIAR) if LIAR in self.nodes else None
        chance = self.rng.random()
        if isinstance(source, Liar) and chance < 0.2 and not source.log.is_full:
            source.claim()
            self.obey(LIAR, self.nodes[LIAR].learned("", self.now))
            self.arm(LIAR)
        elif source is not None and chance < 0.5:
            self.write(LIAR, "", self.rng.choice(self.keys), b"l%d" % next(self.values))

    def honest(self) -> list[Proven]:
        return [self.proven(number) for number in self.nodes if number != LIAR or self.lan]

    def heal(self) -> None:
        """The lies stop; the honest ones are linked with each other, and perhaps with who has lied.

        Raises:
            AssertionError: They are not equal five intervals later.
        """
        for wire in list(self.wires):
            self.cut_wire(wire)
        alive = sorted(self.nodes.keys() - {LIAR})
        self.rng.shuffle(alive)
        for index, number in enumerate(alive[1:], start=1):
            self.keep_linked(alive[self.rng.randrange(index)], number)
        if LIAR in self.nodes and alive and self.rng.random() < 0.7:
            liar = self.proven(LIAR)
            assert isinstance(liar, Liar)
            liar.lies = False
            self.keep_linked(self.rng.choice(alive), LIAR)
        self.brittle = 0.0
        for number in alive:
            self.proven(number).log.is_full = False
        patience = self.now + 5 * INTERVAL_S
        while self.now < patience and not self.is_equal():
            self.run(self.now + 1.0)
        self.check_honest()

    def is_equal(self) -> bool:
        rows = [source.rows for source in self.honest()]
        return all(held == rows[0] for held in rows)

    def check_honest(self) -> None:
        everything: dict[object, str] = {}
        for source in self.honest():
            for name, payload in source.rows.items():
                everything[name] = max(payload, everything.get(name, ""))
        for source in self.honest():
            missed = sum(name not in source.rows for name in everything)
            other = sum(everything[name] != payload for name, payload in source.rows.items())
            assert not missed, f"{missed} rows were held back from {source.origin} for good"
            assert not other, f"{other} rows of {source.origin} have the payload that ranks lower"


def simulate(seed: int, steps: int = 40) -> None:
    """Run one schedule; raises AssertionError with a line that replays it."""
    small = mock.patch.multiple("propagul.gossip.exchange", CHUNK_BYTES=48)
    short = mock.patch.multiple("propagul.gossip.messages", ENTRIES_PER_DIGEST=2)
    with small, short, mock.patch("propagul.gossip.compare.CHUNK_BYTES", 48):
        try:
            simulation = Audit(seed)
            for _ in range(steps):
                simulation.step()
            simulation.heal()
        except Exception as error:
            line = f"replay: python -m tests.gossip.audit {seed}"
            raise AssertionError(f"{type(error).__name__}: {error}\n{line}") from error


if __name__ == "__main__":
    first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for seed in range(first, first + count):
        simulate(seed)
    print(f"{count} schedules, 0 failures")
