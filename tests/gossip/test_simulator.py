"""Replicas that can exchange messages converge, whatever was lost, duplicated, reordered, restarted or restored.

Each seed is one schedule; what the adversary does and what is checked after every step stands in `simulator.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest

from propagul.crdt import Replica
from propagul.gossip import Direction
from tests.crdt.histories import LONG
from tests.gossip.simulator import Simulation, simulate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from propagul.crdt import Block, Entry, Join, Merged, Stamp
    from propagul.gossip import Event
    from propagul.link import NodeId

SEEDS, BLOCK = 500, 50
OF_EACH = BLOCK if LONG else 20
"""How many schedules of a block are run: by its hundred a seed has processes, silences or directions in it."""


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_every_schedule_ends_with_equal_replicas_that_show_what_the_oracle_says(first: int) -> None:
    for seed in range(first, first + OF_EACH):
        simulate(seed)


def test_the_adversary_does_everything_it_is_said_to_do() -> None:
    """A simulator that never breaks a stream or fills a disk would prove nothing."""
    seen = {"refused by a full disk": 0, "twin links": 0, "interrupted streams": 0, "restarts": 0, "lost nodes": 0}
    for seed in range(40):
        simulation = Simulation(seed)
        feed, cut_wire, boot = simulation.obey, simulation.cut_wire, simulation.boot

        def obey(number: int, effects: list[object], feed: object = feed) -> None:
            for effect in effects:
                reason = getattr(effect, "reason", "")
                seen["refused by a full disk"] += "no space" in reason
                seen["twin links"] += "already linked" in reason or "replaced" in reason
            feed(number, effects)  # type: ignore[operator]

        def note_cut(wire: object, cut_wire: object = cut_wire, simulation: Simulation = simulation) -> None:
            ends = [end for end in wire.ends if end.frames is not None]  # type: ignore[attr-defined]
            seen["interrupted streams"] += bool(ends) and any(end.node in simulation.nodes for end in ends)
            cut_wire(wire)  # type: ignore[operator]

        def note_boot(number: int, logs: object, boot: object = boot) -> None:
            seen["restarts"] += 1
            boot(number, logs)  # type: ignore[operator]

        simulation.obey, simulation.cut_wire = obey, note_cut  # type: ignore[method-assign,assignment]
        simulation.boot = note_boot  # type: ignore[method-assign]
        began_with = len(simulation.nodes)
        chunks = mock.patch.multiple("propagul.gossip.exchange", CHUNK_BYTES=48)
        with chunks, mock.patch.multiple("propagul.gossip.messages", ENTRIES_PER_DIGEST=2):
            for _ in range(50):
                simulation.step()
        seen["lost nodes"] += began_with - len(simulation.nodes)
    assert all(count > 5 for count in seen.values()), seen


def test_in_some_schedules_a_crash_is_noticed_late_and_the_next_run_gets_in_all_the_same() -> None:
    came = 0
    for seed in range(300, 380):
        simulation = Simulation(seed)

        def feed(number: int, event: Event, simulation: Simulation = simulation) -> None:
            nonlocal came
            before = runs(simulation, number)
            Simulation.feed(simulation, number, event)
            came += sum(before.get(peer, run) != run for peer, run in runs(simulation, number).items())

        simulation.feed = feed  # type: ignore[method-assign]  # it looks on
        for _ in range(50):
            simulation.step()
    assert came > 10


def runs(simulation: Simulation, number: int) -> dict[NodeId, bytes]:
    """With which run of whom a node is linked."""
    node = simulation.nodes.get(number)
    return {} if node is None else {peer.node: peer.instance for peer in node._peers.values()}


def test_in_some_schedules_nodes_have_directions() -> None:
    schedules = [Simulation(seed) for seed in range(SEEDS)]
    ways = [way for schedule in schedules for ways in schedule.directions.values() for way in ways.values()]
    assert sum(bool(schedule.directions) for schedule in schedules) == 100
    assert min(ways.count(Direction.UP), ways.count(Direction.DOWN)) > 50


def test_a_failing_seed_prints_the_line_that_replays_it() -> None:
    def merge_the_vector_without_the_rows(
        self: Replica, _blocks: Iterable[Block], entries: Iterable[Entry], wall: Stamp, join: Join | None = None
    ) -> Merged:
        return merge(self, [], entries, wall, join)

    merge = Replica.merge
    with (
        mock.patch.object(Replica, "merge", merge_the_vector_without_the_rows),
        pytest.raises(AssertionError, match=r"replay: python -m tests\.gossip\.simulator 3"),
    ):
        simulate(3)
