"""A second machine with this node's identity is named, and neither loses anything; a restart is none."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, GossipConfig
from propagul.link.messages import TWIN
from propagul.link.twins import RETURNS, runs_twice
from tests.store.world import ROOM, Island, address, loopback, on_island, run, until

if TYPE_CHECKING:
    from pathlib import Path


LINKS = 8
"""Fewer than so many a node opens with twins in the longest pause between two dials; all three of them dial."""


def named(store: AgentStateStore) -> bool:
    return any(TWIN in trouble for trouble in store.troubles())


def test_twins_that_never_meet_are_named_by_both_and_by_the_third_and_lose_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        home, copy = tmp_path / "home", tmp_path / "copy"
        first = loopback("a", path=home)
        first.set("before", 1)
        first.close()
        shutil.copytree(home, copy)
        async with AsyncExitStack() as stack:
            third = await stack.enter_async_context(loopback("c"))
            twins = [loopback("a", path=home), loopback("a", path=copy)]
            for number, twin in enumerate(twins):
                await twin.start(peers=[address(third)])
                stack.push_async_callback(twin.stop)
                twin.set(f"by {number}", number)
            assert twins[0].node == twins[1].node
            await until(lambda: all(map(named, twins)))
            for twin, other in zip(twins, reversed(twins), strict=True):
                trouble = next(trouble for trouble in twin.troubles() if TWIN in trouble)
                assert f"at {other.addresses[0]}: give one of them a fresh data directory" in trouble
            for number in range(20):
                for which, twin in enumerate(twins):
                    twin.set(f"{which}/{number}", number)
            expected = {"before": 1, "by 0": 0, "by 1": 1} | {f"{w}/{n}": n for w in (0, 1) for n in range(20)}
            await until(lambda: all(store.get_all() == expected for store in (third, *twins)))
            assert all(store.stats.conflicts == 0 for store in (third, *twins))
            await until(lambda: runs_twice(twins[0].node) in [refusal.reason for refusal in third.refusals()])
            await twins.pop().stop()
            await until(lambda: not named(twins[0]))

    run(scenario)


def test_a_dial_to_a_twin_says_so_and_the_twin_counts_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        loopback("a", path=tmp_path / "home").close()
        shutil.copytree(tmp_path / "home", tmp_path / "copy")
        async with loopback("a", path=tmp_path / "home") as first:
            second = loopback("a", path=tmp_path / "copy")
            report = await second.start(peers=[address(first), ("127.0.0.1", 1)])
            assert TWIN in report.peers[0].trouble
            assert named(second)
            await until(lambda: any(TWIN in refusal.reason for refusal in first.refusals()))
            assert any(TWIN in refusal.reason for refusal in second.refusals())
            await second.stop()

    run(scenario)


def test_a_store_that_is_given_its_own_address_is_no_twin() -> None:
    async def scenario() -> None:
        async with loopback("a") as store:
            store.add_peer(*address(store))
            await until(lambda: "is this node itself" in "".join(store.troubles()))
            assert not named(store)
            assert store.refusals() == []

    run(scenario)


def test_a_node_that_was_killed_and_started_again_is_no_twin_of_what_it_left() -> None:
    """Its old row is with the others until it expires, newer ones come late, and its clock may have been ahead."""

    async def scenario(island: Island) -> None:
        third, fourth = await island.start("c"), await island.start("d", "c")
        island.network.delay("c", "d", 1.5)
        left: set[str] = set()
        for life in range(4):
            store = island.make("a", label=f"life {life}")
            row = "members/" + store.node
            left |= {heard.origin for one in (third, fourth) if (heard := one.presence.get(row)) is not None}
            await island.finish(started(store, ("c", 9000), ("d", 9000)))
            for _ in range(40 if life == 3 else 6 + life):
                await island.clock.advance(0.25)
                assert not named(store)
            kill(island, store, "a")
        assert len(left) == 3, "each life found the row of the one before it"

    on_island(scenario)


def kill(island: Island, store: AgentStateStore, host: str) -> None:
    """End a store as a signal would: no word to anybody, and nothing of it goes on."""
    assert store._network is not None
    assert store._network._runner is not None
    store._network._runner.cancel()
    island.network.crash(host)


def test_a_node_that_said_goodbye_and_started_again_is_no_twin() -> None:
    async def scenario(island: Island) -> None:
        await island.start("c")
        for _ in range(3):
            store = await island.start("a", "c")
            await island.clock.advance(5)
            assert not named(store)
            await island.finish(store.stop())

    on_island(scenario)


@pytest.mark.parametrize(
    ("row", "twin"),
    [
        ({"run": ["{own}", ""], "addresses": []}, True),
        ({"run": ["0" * 16, "{own}", "later"], "addresses": [["10.0.0.7", 9001]], "later": 1}, True),
        ({"run": ["0" * 16, "1" * 16], "addresses": []}, False),
        ({"run": ["0" * 16], "addresses": []}, False),
        ({"run": "{own}", "addresses": []}, False),
        ({"run": [7, 7], "addresses": 7}, False),
        ({"label": "of a version that names no run", "addresses": []}, False),
        ("no row", False),
    ],
)
def test_a_row_under_our_name_proves_a_twin_only_by_naming_our_run(row: object, *, twin: bool) -> None:
    """The first is what a clone of the running process writes: our own run in a row that is not ours."""

    async def scenario(island: Island) -> None:
        third = await island.start("c")
        store = await island.start("a", "c")
        await island.clock.advance(1)
        assert store._network is not None
        own = store._network._twins.run
        named_so = eval(repr(row).replace("{own}", own))
        third.presence.set("members/" + store.node, named_so)
        await island.clock.advance(0.5)
        assert named(store) == twin
        third.presence.delete("members/" + store.node)
        await island.clock.advance(30)
        assert not named(store)
        assert third.presence.get("members/" + store.node) is not None, "it goes on saying who it is"

    on_island(scenario)


def test_twins_find_out_in_a_few_rounds_of_presence_also_with_the_slowest_settings() -> None:
    async def scenario(island: Island) -> None:
        def make(host: str, port: int) -> AgentStateStore:
            transport, config = island.network.transport(host), GossipConfig.wan()
            store = AgentStateStore(ROOM, host, port, transport=transport, clock=island.clock, config=config)
            island.stores.append(store)
            return store

        await make("c", 9000).start()
        twins = [make("a", port) for port in (9000, 9001)]
        for twin in twins:
            await island.finish(started(twin, ("c", 9000)))
        began = island.clock.monotonic()
        while not all(map(named, twins)):
            await island.clock.advance(0.5)
            assert island.clock.monotonic() - began < 3 * GossipConfig.wan().presence_ttl_s

    on_island(scenario)


@pytest.mark.parametrize("port", [9000, None])
def test_who_is_told_the_addresses_of_both_twins_is_linked_with_them_by_turns(port: int | None) -> None:
    """Also where it listens nowhere, so that neither can come by itself."""

    async def scenario(island: Island) -> None:
        twins = [await starting(island, "a", 9000), await starting(island, "a", 9001)]
        third = await starting(island, "c", port, ("a", 9000), ("a", 9001))
        for number, twin in enumerate(twins):
            twin.set(f"by {number}", number)
        met, told = [0, 0], [0, 0]
        for _ in range(480):
            await island.clock.advance(0.25)
            for number, twin in enumerate(twins):
                met[number] += third.node in twin.linked()
                told[number] += named(twin)
        assert min(met) > 120, "none has less than a quarter of the time"
        assert min(told) > 240, "and both are told nearly always"
        assert [store.get_all() for store in (third, *twins)] == [{"by 0": 0, "by 1": 1}] * 3
        while third.node not in twins[1].linked():
            await island.clock.advance(0.25)
        await island.finish(twins[0].stop())
        await island.clock.advance(10)
        failed = third.stats.dials_failed
        await island.clock.advance(60)
        assert third.stats.dials_failed == failed, "who is gone is not dialled for ever"
        assert third.node in twins[1].linked()

    on_island(scenario)


@pytest.mark.parametrize("dials", [True, False])
def test_twins_that_take_turns_open_few_links(*, dials: bool) -> None:
    """Whoever was put out comes back, and waits longer each time, up to the longest pause between two dials."""

    async def scenario(island: Island) -> None:
        third = await starting(island, "c", 9000)
        twins = [await starting(island, "a", port, ("c", 9000)) for port in (9000, 9001)]
        if dials:
            for port in (9000, 9001):
                third.add_peer("a", port)
        for _ in range(3):
            opened, told = third.stats.links_opened, [0, 0]
            for _ in range(60):
                await island.clock.advance(1)
                told = [count + named(twin) for count, twin in zip(told, twins, strict=True)]
            assert RETURNS < third.stats.links_opened - opened < LINKS * 60 / GossipConfig().redial_s_max
            assert min(told) > 30

    on_island(scenario)


async def starting(island: Island, host: str, port: int | None, *peers: tuple[str, int]) -> AgentStateStore:
    """A store that runs; two on one host are twins."""
    store = AgentStateStore(ROOM, host, port, transport=island.network.transport(host), clock=island.clock)
    island.stores.append(store)
    await island.finish(started(store, *peers))
    return store


async def started(store: AgentStateStore, *peers: tuple[str, int]) -> None:
    await store.start(peers=peers)
