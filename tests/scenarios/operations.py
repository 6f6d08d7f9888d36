"""What may happen to a room of stores: a scenario is a list of these, written by hand or drawn from a seed.

Seconds are those of a room with `GossipConfig.lan()`; a world that runs another configuration scales them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = tuple(f"k{number}" for number in range(6))
PAIRS = ("p0", "p1")


@dataclass(frozen=True, slots=True)
class Write:
    """`node` writes a value of its own under `key`."""

    node: str
    key: str


@dataclass(frozen=True, slots=True)
class Delete:
    """`node` deletes `key`, if it has it."""

    node: str
    key: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """`node` writes both halves of `pair` in one step; only this writes them."""

    node: str
    pair: str


@dataclass(frozen=True, slots=True)
class Cut:
    """The links between two nodes break and no new one opens."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class CutOneWay:
    """Nothing that `source` sends arrives at `target` any more; links stay open, no new one opens."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Clog:
    """Bytes stall in both directions; links stay open."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Heal:
    """Every cut, clog, delay and loss ends, and who is paused goes on."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Everything between two nodes takes so long."""

    a: str
    b: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Lose:
    """Everywhere this share of what is sent comes late, or breaks its link."""

    share: float


@dataclass(frozen=True, slots=True)
class Reset:
    """The links between two nodes break; new ones may open at once."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Crash:
    """`node` ends as by `kill -9` and stays away; what its disk held then is kept."""

    node: str


@dataclass(frozen=True, slots=True)
class Restart:
    """`node` is started: from its disk if it is away, after a clean stop if it is running."""

    node: str


@dataclass(frozen=True, slots=True)
class Backup:
    """The disk of `node` is copied as it is."""

    node: str


@dataclass(frozen=True, slots=True)
class RestoreBackup:
    """`node` ends as by `kill -9` and is started from its newest backup."""

    node: str


@dataclass(frozen=True, slots=True)
class Pause:
    """The process of `node` stands still, as by SIGSTOP or in a laptop that sleeps."""

    node: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Skew:
    """The wall clock of `node` jumps to this far from the true time."""

    node: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pass:
    """Time passes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Await:
    """All nodes run and hold the same within so long, the stated bound if not given; checks everything."""

    within_s: float | None = None


Operation = (
    Write
    | Delete
    | Transaction
    | Cut
    | CutOneWay
    | Clog
    | Heal
    | Delay
    | Lose
    | Reset
    | Crash
    | Restart
    | Backup
    | RestoreBackup
    | Pause
    | Skew
    | Pass
    | Await
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who is in the room, and what happens, in order. Each begins with all nodes linked and ends as it says itself.

    Attributes:
        presence: Whether what members said of themselves must be back at every `Await`, besides that they are here. Not
            where one end may have forgotten it while its owner never lost that end: the owner does not say it again.
    """

    nodes: tuple[str, ...]
    operations: tuple[Operation, ...]
    presence: bool = True


def drawn(seed: int) -> Scenario:
    """The scenario of a seed: two rounds of faults and writes, each healed and waited for."""
    rng = random.Random(seed)
    nodes = tuple("abcde"[: rng.randint(3, 5)])
    operations: list[Operation] = []
    for _ in range(2):
        away = set[str]()
        operations += [Backup(node) for node in nodes]
        for _ in range(rng.randint(8, 14)):
            operations += _step(rng, nodes, away)
            operations.append(Pass(rng.choice([0.0, 0.1, 1.0, 5.0, 30.0]) * rng.random()))
        operations += [Heal(), *(Restart(node) for node in sorted(away)), Await()]
    return Scenario(nodes, tuple(operations), presence=False)


def _step(rng: random.Random, nodes: Sequence[str], away: set[str]) -> list[Operation]:
    """A write or two, and every other time something bad. Somebody always runs."""
    node = rng.choice([node for node in nodes if node not in away])
    steps: list[Operation] = []
    for _ in range(rng.randint(1, 3)):
        writes: list[Operation] = [Write(node, rng.choice(KEYS)), Delete(node, rng.choice(KEYS))]
        steps.append(rng.choice([*writes, Transaction(node, rng.choice(PAIRS))]))
    if rng.random() < 0.6:
        faults = [*_of_the_network(rng, nodes), *_of_a_node(rng, node)]
        steps += rng.choice(faults) if rng.random() < 0.85 else _of_a_process(rng, nodes, node, away)
    return steps


def _of_the_network(rng: random.Random, nodes: Sequence[str]) -> list[list[Operation]]:
    """One of each kind of fault."""
    a, b = rng.sample(nodes, 2)
    half = rng.sample(nodes, len(nodes) // 2)
    return [
        [Cut(x, y) for x in half for y in nodes if y not in half],
        [Cut(a, b)],
        [CutOneWay(a, b)],
        [Clog(a, b)],
        [Delay(a, b, rng.choice([0.05, 0.5, 3.0]))],
        [Lose(rng.choice([0.05, 0.3]))],
        [Reset(a, b)],
    ]


def _of_a_node(rng: random.Random, node: str) -> list[list[Operation]]:
    """One of each kind of fault."""
    return [
        [Restart(node)],
        [Backup(node)],
        [RestoreBackup(node)],
        [Pause(node, rng.choice([1.0, 15.0, 40.0]))],
        [Skew(node, rng.choice([-1, 1]) * rng.choice([2.0, 3600.0, 3e8]))],
    ]


def _of_a_process(rng: random.Random, nodes: Sequence[str], node: str, away: set[str]) -> list[Operation]:
    """A crash, or somebody who crashed is back."""
    if away and (len(away) == len(nodes) - 1 or rng.random() < 0.5):
        back = rng.choice(sorted(away))
        away.discard(back)
        return [Restart(back)]
    away.add(node)
    return [Crash(node)]
