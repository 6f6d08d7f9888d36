"""What nodes say over real links, folded into the view of another."""

from __future__ import annotations

import itertools
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fleet_app.presence.demand import Demand
from fleet_app.presence.intake import ROW_BYTES_MAX
from fleet_app.presence.voice import Voice
from fleet_app.roster import NODES, Roster
from propagul import AgentStateStore, Limits
from propagul.crdt.wire import size_of
from propagul.store import _values
from tests.presence.scene import box, engine, gpu
from tests.store.world import FAST, ROOM, SECRET, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from fleet_app.presence import NodePresence
    from fleet_app.view import FleetView, NodeView
    from propagul.crdt import Payload


class Member:
    """A node's store, what it says, and how it sees the fleet."""

    def __init__(self, name: str) -> None:
        self.store = AgentStateStore(ROOM, name, 0, "127.0.0.1", secret=SECRET, config=FAST, owned=(NODES,))
        self.row = NODES + self.store.node
        self.said = box(name)
        self.voice = Voice(self.store.presence, row=self.row)
        self.roster = Roster(self.store, lambda: self.said)
        self.demand = Demand(self.store.presence, nodes=NODES, node=self.store.node, monotonic=time.monotonic)

    def say(self) -> None:
        self.voice.say(self.said, time.monotonic(), watched=self.demand.is_anywhere())

    def view(self) -> FleetView:
        self.roster._viewed_at = float("-inf")
        return self.roster.view()

    def other(self) -> NodeView | None:
        """How it sees the other one; None before it does."""
        return next((node for node in self.view().nodes[1:] if node.presence is not None), None)

    def told(self) -> NodePresence | None:
        """What the other one has told it."""
        seen = self.other()
        return None if seen is None else seen.presence


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Member, Member]]:
    """Two members that are linked; the second has an inventory and has said all of it."""
    here, attic = Member("here"), Member("attic")
    await here.store.start()
    await attic.store.start(peers=[here.store.addresses[0]])
    try:
        attic.said = box("attic", gpus=(gpu(),), backends=(engine(models=1000),))
        attic.say()
        here.say()
        await until(lambda: (seen := here.other()) and seen.presence and seen.presence.backends)
        yield here, attic
    finally:
        await attic.store.stop()
        await here.store.stop()


def test_all_that_a_node_says_is_in_the_view_of_another() -> None:
    async def scenario() -> None:
        async with two() as (here, attic):
            await until(
                lambda: (seen := here.other()) and seen.presence and len(seen.presence.backends[0].models) == 1000
            )
            seen = here.other()
            assert seen
            assert seen.presence
            assert (seen.name, seen.state, seen.reach) == ("attic", "up", "linked")
            assert seen.presence.model_copy(update={"at_s": attic.said.at_s}) == attic.said
            assert seen.figures_s is not None
            assert here.view().notices == ()

    run(scenario)


def test_a_node_that_says_nothing_for_a_while_stays_up_and_its_clock_goes_on() -> None:
    async def scenario() -> None:
        async with two() as (here, _):
            first = here.other()
            await until(lambda: (seen := here.other()) and (seen.figures_s or 0) > 2 * FAST.presence_ttl_s)
            seen = here.other()
            assert first
            assert seen
            assert (seen.state, seen.reach) == ("up", "linked")
            assert seen.heard_s is not None
            assert seen.heard_s < FAST.presence_ttl_s
            assert first.presence
            assert seen.presence
            assert seen.presence.at_s - first.presence.at_s > FAST.presence_ttl_s

    run(scenario)


def test_who_watches_at_one_node_makes_another_beat() -> None:
    async def scenario() -> None:
        async with two() as (here, attic):
            attic.say()
            attic.said = attic.said.model_copy(update={"in_flight": 3})
            attic.say()
            here.demand.touch()
            await until(attic.demand.is_anywhere)
            attic.say()
            await until(lambda: (seen := here.other()) and seen.presence and seen.presence.in_flight == 3)

    run(scenario)


def test_who_watches_no_more_is_heard_no_more() -> None:
    async def scenario() -> None:
        async with two() as (here, attic):
            attic.store.presence.set(f"{attic.row}/watching", 1)
            await until(here.demand.is_anywhere)
            attic.store.presence.delete(f"{attic.row}/watching")
            await until(lambda: not here.demand.is_anywhere())

    run(scenario)


def test_rows_that_nobody_can_read_are_told_of_and_hide_no_other() -> None:
    async def scenario() -> None:
        async with two() as (here, attic):
            nested: list[object] = []
            for _ in range(30):
                nested = [nested]
            attic.store.presence.set(f"{attic.row}/pulls", "not a list")
            attic.store.presence.set(f"{attic.row}/conditions/0", nested)
            attic.store.presence.set(f"{attic.row}/from the future", {"a": [1]})
            told = "attic sends rows this version cannot read: update the older of the two"
            await until(lambda: told in here.view().notices)
            seen = here.other()
            assert seen
            assert seen.presence
            assert seen.presence.cpu == attic.said.cpu
            assert seen.presence.backends
            attic.store.presence.delete(f"{attic.row}/pulls")
            attic.store.presence.delete(f"{attic.row}/conditions/0")
            await until(lambda: here.view().notices == ())

    run(scenario)


def test_a_row_of_two_mebibytes_is_refused_without_being_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with two() as (here, attic):
            attic.store.presence._limits = Limits(value_bytes=4 * 2**20)
            attic.store.presence.set(f"{attic.row}/conditions/0", [0] * 2**21)
            attic.store.presence.set(f"{attic.row}/watching", [0] * 2**21)
            await until(here.demand.is_anywhere)
            told = "attic sends rows this version cannot read: update the older of the two"
            await until(lambda: told in here.view().notices)
            assert here.roster._last[attic.store.node].account.refused == 2
            seen = here.other()
            assert seen
            assert seen.presence
            assert seen.presence.backends

    thaw = _values.thaw

    def careful(key: str, payload: Payload) -> object:
        assert size_of(payload) <= ROW_BYTES_MAX
        return thaw(key, payload)

    monkeypatch.setattr(_values, "thaw", careful)
    run(scenario)


def test_a_node_that_floods_is_named_and_the_others_are_read() -> None:
    async def scenario() -> None:
        async with two() as (here, attic):
            told = "attic sends far more than a node has to say; most of it is passed over"
            rounds = itertools.count()

            def is_named() -> bool:
                value = next(rounds)
                for number in range(300):
                    attic.store.presence.set(f"{attic.row}/zz{number}", value)
                return told in here.view().notices

            await until(is_named)
            assert here.view().nodes[0].presence == here.said

    run(scenario)


def test_what_a_node_said_stays_when_it_is_gone() -> None:
    async def scenario() -> None:
        async with two() as (here, attic):
            await attic.store.stop()
            await until(lambda: (seen := here.other()) and seen.state == "down")
            seen = here.other()
            assert seen
            assert seen.presence
            assert seen.presence.backends

    run(scenario)
