"""Watching: every state in order per key, or a word of how many were missed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, Change, ClosedError
from propagul.store._watch import BUFFER_CHANGES
from tests.store.world import Island, on_island, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def begun(store: AgentStateStore, prefix: str = "") -> tuple[AsyncIterator[Change], asyncio.Task[Change]]:
    """A watcher that is listening, and its first change to come."""
    changes = store.watch(prefix)
    first = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    return changes, first


def test_a_watcher_sees_every_state_of_its_keys_in_order_with_origin_and_cause() -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        changes, first = await begun(a, "task/")
        a.set("task/1", "mine")
        a.set("other", "not watched")
        await island.clock.advance(1)
        b.set("task/1", "theirs")
        await island.clock.advance(1)
        b.delete("task/1")
        await island.clock.advance(1)
        a.set("task/1", None)
        seen = [await first, *[await anext(changes) for _ in range(3)]]
        assert [(change.value, change.deleted, change.cause) for change in seen] == [
            ("mine", False, "local"),
            ("theirs", False, "remote"),
            (None, True, "remote"),
            (None, False, "local"),
        ]
        assert all(change.key == "task/1" and change.missed == 0 for change in seen)
        assert len({change.origin for change in seen}) == 3  # a's, b's, and none for the delete
        await changes.aclose()  # type: ignore[attr-defined]

    on_island(scenario)


def test_a_watcher_is_told_of_deletes_and_tells_them_from_a_stored_none() -> None:
    async def scenario() -> None:
        store = AgentStateStore("room", port=None)
        changes, first = await begun(store)
        store.set("k", None)
        store.delete("k")
        store.set("k", 1)
        seen = [await first, await anext(changes), await anext(changes)]
        assert [(change.value, change.deleted) for change in seen] == [(None, False), (None, True), (1, False)]
        assert {change.cause for change in seen} == {"local"}
        assert [bool(change.origin) for change in seen] == [True, False, True]
        store.close()

    run(scenario)


def test_remote_changes_and_conflicts_are_seen() -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        changes, first = await begun(a)
        b.set("k", 1)
        await island.clock.advance(1)
        island.network.cut("a", "b")
        a.set("k", "a's")
        await island.clock.advance(1)
        b.set("k", "b's")
        island.network.heal("a", "b")
        await island.clock.advance(10)
        seen = [await first, await anext(changes), await anext(changes)]
        assert [(change.value, change.cause, change.conflict) for change in seen] == [
            (1, "remote", False),
            ("a's", "local", False),
            ("b's", "remote", True),
        ]

    on_island(scenario)


def test_a_slow_watcher_is_told_what_it_missed_and_always_gets_the_end() -> None:
    async def scenario() -> None:
        store = AgentStateStore("room", port=None)
        changes, first = await begun(store)
        writes = 3 * BUFFER_CHANGES
        for number in range(writes):
            store.set("k", number)
        store.close()
        seen = [await first, *[change async for change in changes]]
        assert len(seen) < writes
        assert seen[-1].value == writes - 1
        assert sum(1 + change.missed for change in seen) == writes
        values = [change.value for change in seen]
        assert values == sorted(values)  # type: ignore[type-var]

    run(scenario)


def test_a_slow_watcher_of_many_keys_costs_their_writer_little() -> None:
    async def scenario() -> None:
        store = AgentStateStore("room", port=None)
        changes, first = await begun(store)
        began = time.process_time()
        for number in range(20_000):
            store.set(f"k{number}", number)
        assert time.process_time() - began < 5.0  # folding them all for each one takes a minute
        store.close()
        assert len([await first, *[change async for change in changes]]) == 20_000

    run(scenario)


def test_watching_ends_when_the_store_stops_and_cannot_begin_after() -> None:
    async def scenario(island: Island) -> None:
        store = await island.start("a")
        changes, first = await begun(store)
        store.set("k", 1)
        await island.finish(store.stop())
        assert (await first).value == 1
        assert [change async for change in changes] == []
        with pytest.raises(ClosedError):
            await anext(store.watch())

    on_island(scenario)


def test_a_watcher_that_leaves_is_forgotten() -> None:
    async def scenario() -> None:
        store = AgentStateStore("room", port=None)
        changes, first = await begun(store)
        store.set("k", 1)
        await first
        await changes.aclose()  # type: ignore[attr-defined]
        assert store._watchers == set()
        assert not store._state._listeners
        store.close()

    run(scenario)
