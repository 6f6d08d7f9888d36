"""Replicas that can exchange messages converge, and see each other, whatever processes, disks and networks do.

The same scenarios run over a network in memory in virtual time and over TCP on loopback. Everything that is checked
stands in `world.py`: within the stated bound all hold the same and see each other, nothing acknowledged is lost,
nothing deleted is back, transactions are whole at every moment, and (in virtual time, where nobody is late by chance)
nobody is reported down who was in reach, nor twice for one fault.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from propagul.crdt import Replica
from propagul.gossip import GossipConfig
from propagul.store._presence import Presence
from propagul.store._roll import Roll
from tests.scenarios.operations import (
    Await,
    Backup,
    Clog,
    Crash,
    Cut,
    CutOneWay,
    Delay,
    Delete,
    Heal,
    Lose,
    Pass,
    Pause,
    Reset,
    Restart,
    RestoreBackup,
    Scenario,
    Skew,
    Transaction,
    Write,
    drawn,
)
from tests.scenarios.running import play, play_seed
from tests.scenarios.world import bound_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from propagul.crdt import Block, Entry, Join, Merged, Stamp

IS_LONG = os.environ.get("LONG_TESTS") == "1"
SEEDS, BLOCK = (600 if IS_LONG else 5), 5
REAL_SEEDS = range(30 if IS_LONG else 1)

QUARTET = ("a", "b", "c", "d")
HALVES = tuple(Cut(x, y) for x in "ab" for y in "cd")
BY_HAND = {
    "both halves of a partition write, delete and forget each other": Scenario(
        QUARTET,
        (
            Write("a", "k0"), Write("b", "k1"), Transaction("c", "p0"), Await(), *HALVES,
            Write("a", "k0"), Write("d", "k0"), Delete("c", "k1"), Transaction("a", "p0"), Transaction("d", "p0"),
            Pass(40.0), Heal(), Await(),
        ),
    ),
    "one link is cut and everybody still sees everybody": Scenario(
        QUARTET, (Cut("a", "b"), Write("a", "k0"), Pass(60.0), Write("b", "k0"), Pass(1.0), Heal(), Await())
    ),
    "nothing from one node arrives anywhere": Scenario(
        QUARTET,
        (
            *(CutOneWay("a", other) for other in "bcd"), Write("a", "k0"), Write("b", "k1"), Pass(60.0),
            Write("a", "k1"), Heal(), Await(),
        ),
    ),
    "a link stalls for longer than it may be silent": Scenario(
        ("a", "b"), (Clog("a", "b"), Write("a", "k0"), Write("b", "k0"), Pass(45.0), Heal(), Await())
    ),
    "a node that slept accuses nobody": Scenario(
        QUARTET, (Write("a", "k0"), Pause("a", 60.0), Pass(1.0), Write("b", "k0"), Pass(60.0), Await())
    ),
    "a disk from yesterday": Scenario(
        ("a", "b", "c"),
        (
            Write("a", "k0"), Write("a", "k1"), Await(), Backup("a"), Delete("a", "k1"), Write("a", "k0"), Await(),
            RestoreBackup("a"), Write("a", "k2"), Write("a", "k0"), Await(),
        ),
    ),
    "all crash at once, one with a clock that is ten years ahead": Scenario(
        ("a", "b", "c"),
        (
            Skew("b", 3e8), Write("b", "k0"), Write("a", "k1"), Pass(1.0), Write("a", "k0"), Crash("a"), Crash("b"),
            Crash("c"), Skew("b", 0.0), Restart("a"), Restart("b"), Restart("c"), Write("b", "k0"), Await(),
        ),
    ),
    "both ends dial each other at once over a slow line": Scenario(
        ("a", "b"), (Delay("a", "b", 0.5), Reset("a", "b"), Await(20.0), Reset("a", "b"), Write("a", "k0"), Await(20.0))
    ),
    "a network that loses a third of everything, and links that break": Scenario(
        QUARTET,
        (
            Lose(0.3), *(Write(node, f"k{number}") for number in range(5) for node in QUARTET),
            Reset("a", "b"), Pass(10.0), Reset("c", "d"), Delete("a", "k0"), Delete("d", "k4"), Pass(10.0), Heal(),
            Await(),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_every_scenario_ends_as_promised_in_memory(first: int) -> None:
    for seed in range(first, first + BLOCK):
        play_seed(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", REAL_SEEDS)
def test_the_same_scenarios_end_as_promised_over_tcp(seed: int) -> None:
    play_seed(seed, real=True)


DOWNS = {
    "both halves of a partition write, delete and forget each other": {
        pair: 1 for x in "ab" for y in "cd" for pair in ((x, y), (y, x))
    },
    "one link is cut and everybody still sees everybody": {},
    "a node that slept accuses nobody": {(other, "a"): 1 for other in "bcd"},
    "a disk from yesterday": {},
}
"""How often who is reported down by whom, where that is the point of the scenario."""


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("real", [False, True] if IS_LONG else [False])
def test_by_hand(name: str, *, real: bool) -> None:
    world = play(BY_HAND[name], real=real)
    assert real or world.downs == DOWNS.get(name, world.downs)


def test_a_seed_is_one_scenario_that_takes_one_course() -> None:
    courses = []
    for _ in range(2):
        world = play(BY_HAND["a network that loses a third of everything, and links that break"], seed=5)
        courses.append((world.clock.monotonic(), world.downs, world.frames))
    assert courses[0] == courses[1]
    assert drawn(5) == drawn(5) != drawn(6)


def test_the_seeds_hold_every_kind_of_operation() -> None:
    kinds = {type(operation) for seed in range(60) for operation in drawn(seed).operations}
    assert {kind.__name__ for kind in kinds} == {
        "Await", "Backup", "Clog", "Crash", "Cut", "CutOneWay", "Delay", "Delete", "Heal", "Lose", "Pass", "Pause",
        "Reset", "Restart", "RestoreBackup", "Skew", "Transaction", "Write",
    }  # fmt: skip


def test_the_bound_is_a_minute_on_a_lan() -> None:
    assert 40 < bound_s(GossipConfig.lan(), 5) < 65
    assert bound_s(GossipConfig.test(), 5) < 10


def merge_the_vector_without_the_rows(
    self: Replica, _blocks: Iterable[Block], entries: Iterable[Entry], wall: Stamp, join: Join | None = None
) -> Merged:
    return merge(self, [], entries, wall, join)


merge = Replica.merge


def test_a_failing_seed_prints_the_line_that_replays_it() -> None:
    with (
        mock.patch.object(Replica, "merge", merge_the_vector_without_the_rows),
        pytest.raises(AssertionError, match=r"replay: python -m tests\.scenarios 0$"),
    ):
        play_seed(0)


def test_presence_that_one_side_alone_forgot_comes_back() -> None:
    cut_short = (Pass(0.9), Restart("b"), Pass(20.0), Cut("a", "b"), Pass(11.0), Heal(), Await())
    play(Scenario(("a", "b"), cut_short), seed=2)


@contextmanager
def forgetful() -> Iterator[None]:
    """What is out of reach is not kept, and nobody says anything again when it is back."""
    with mock.patch("propagul.store._presence._KEPT", 0.01), mock.patch.object(Roll, "_is_back", return_value=False):
        yield


PLANTED: dict[str, tuple[AbstractContextManager[object], str, str]] = {
    "who was out of reach for a while is forgotten for good": (
        forgetful(),
        "both halves of a partition write, delete and forget each other",
        "does not see",
    ),
    "who cannot be reached directly is down": (
        mock.patch("propagul.store._roll.reachable", lambda linked, *_: set(linked)),
        "one link is cut and everybody still sees everybody",
        "that was in reach",
    ),
    "a process that slept takes the others for dead": (
        mock.patch.object(Presence, "_now", lambda self: self._monotonic()),
        "a node that slept accuses nobody",
        "a reports b down",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    planted, scenario, message = PLANTED[name]
    with planted, pytest.raises(AssertionError, match=message):
        play(BY_HAND[scenario])
