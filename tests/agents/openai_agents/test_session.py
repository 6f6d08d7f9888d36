"""A session keeps what it was given, side by side, whatever its size, and is cleared for good."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import pytest
from agents.memory import Session, SessionSettings
from propagul_openai_agents import PropagulSession

from propagul import AgentStateStore, LimitExceeded, Limits
from tests.agents.openai_agents.world import said, texts
from tests.store.world import often_switching, run, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from agents.items import TResponseInputItem


def test_it_is_a_session_for_the_sdk(store: AgentStateStore) -> None:
    assert isinstance(PropagulSession("s", store), Session)


def test_sessions_do_not_see_each_other_whatever_they_are_called(store: AgentStateStore) -> None:
    async def scenario() -> None:
        names = ["a", "a/b", "a%2Fb", "a/00000000", "a/00000001", "é", ""]
        for name in names:
            await PropagulSession(name, store).add_items(said(name))
        await PropagulSession("a", store).clear_session()
        for name in names[1:]:
            assert texts(await PropagulSession(name, store).get_items()) == [name]

    run(scenario)


def test_how_many_are_read_is_what_the_call_says_or_else_the_settings(store: AgentStateStore) -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store, session_settings=SessionSettings(limit=2))
        await session.add_items(said("1", "2", "3"))
        assert texts(await session.get_items()) == ["2", "3"]
        assert texts(await session.get_items(1)) == ["3"]
        assert texts(await PropagulSession("s", store, session_settings={"limit": 1}).get_items()) == ["3"]
        assert texts(await PropagulSession("s", store).get_items()) == ["1", "2", "3"]

    run(scenario)


def test_an_item_larger_than_a_value_is_kept_and_leaves_nothing_behind(store: AgentStateStore) -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store)
        large = said("é🙂x" * 500_000)
        await session.add_items([*said("small"), *large])
        assert await session.get_items() == [*said("small"), *large]
        assert await session.get_items(1) == large
        assert await session.pop_item() == large[0]
        assert len(store) == 1
        await session.add_items(large)
        await session.clear_session()
        assert len(store) == 1  # that it was cleared
        assert await session.get_items() == []

    run(scenario)


def test_a_large_item_that_lost_a_part_is_not_shown_with_a_gap(store: AgentStateStore) -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store)
        await session.add_items(said("x" * 500_000))
        store.delete(next(key for key in store.get_all() if key.endswith("/000001")))
        assert await session.get_items() == []

    run(scenario)


def test_text_that_json_can_write_and_utf_8_cannot_comes_back(store: AgentStateStore) -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store)
        await session.add_items(said("half of a pair: \ud83d"))
        assert texts(await session.get_items()) == ["half of a pair: \ud83d"]

    run(scenario)


def test_a_turn_with_an_item_that_is_no_json_is_refused_whole(store: AgentStateStore) -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store)
        bad = cast("list[TResponseInputItem]", [*said("good"), {"role": "user", "content": object()}])
        with pytest.raises(TypeError, match="JSON"):
            await session.add_items(bad)
        assert await session.get_items() == []
        assert len(store) == 0

    run(scenario)


def test_a_turn_that_the_store_refuses_in_the_middle_is_refused_whole() -> None:
    async def scenario() -> None:
        session = PropagulSession("s", small)
        with pytest.raises(LimitExceeded):
            await session.add_items(said("good", "x" * 5000))
        assert await session.get_items() == []

    small = AgentStateStore("room", port=None, limits=Limits(value_bytes=1000))
    run(scenario)
    small.close()


def test_a_row_that_cannot_be_read_hides_no_other(store: AgentStateStore) -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store)
        for text in ("1", "2", "3", "4"):
            await session.add_items(said(text))
        for key in list(store.get_all())[2:]:
            store.set(key, "{ no JSON")
        assert texts(await session.get_items()) == ["1", "2"]
        assert texts(await session.get_items(1)) == ["2"]
        assert await session.pop_item() == said("2")[0]
        assert len(store) == 1

    run(scenario)


def test_what_is_stored_grows_by_what_is_said(store: AgentStateStore) -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store)
        for turn in range(200):
            await session.add_items(said(f"{turn:03}" + "x" * 997))
        stored = sum(len(key) + len(str(value)) for key, value in store.items())
        assert stored < 1.2 * 200 * 1000

    run(scenario)


def test_threads_that_add_and_pop_at_once_lose_nothing_and_get_nothing_twice(store: AgentStateStore) -> None:
    async def add(name: int) -> None:
        session = PropagulSession("s", store)
        for number in range(25):
            await session.add_items(said(f"{name}/{number}", f"{name}/{number}+"))

    async def pop() -> list[TResponseInputItem]:
        session = PropagulSession("s", store)
        return [item for _ in range(50) if (item := await session.pop_item()) is not None]

    with often_switching(), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: asyncio.run(add(name)), range(4)))
        held = texts(asyncio.run(PropagulSession("s", store).get_items()))
        popped = [texts(items) for items in pool.map(lambda _: asyncio.run(pop()), range(4))]
    assert sorted(held) == sorted(f"{name}/{n}{plus}" for name in range(4) for n in range(25) for plus in ("", "+"))
    assert [text + "+" for text in held[::2]] == held[1::2]
    for name in range(4):
        assert [text for text in held[::2] if text[0] == str(name)] == [f"{name}/{n}" for n in range(25)]
    assert sorted(text for texts in popped for text in texts) == sorted(held)
    assert len(store) == 0


@pytest.mark.parametrize("durability", ["group", "each", "peers:1"])
def test_a_store_that_waits_for_disk_or_peers_does_not_stop_its_loop(durability: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting(durability, tmp_path) as store:
            session = PropagulSession("s", store)
            await session.add_items(said("1", "x" * 300_000))
            assert await session.pop_item() == said("x" * 300_000)[0]
            assert texts(await session.get_items()) == ["1"]
            await session.clear_session()
            assert await session.get_items() == []

    run(scenario)


def test_a_call_that_is_cancelled_has_ended_when_it_returns(store: AgentStateStore) -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store)
        with store._state.lock:  # nothing can be written for now
            adding = asyncio.ensure_future(session.add_items(said("1")))
            await asyncio.sleep(0)
            adding.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not adding.done()
        await asyncio.wait([adding])
        assert adding.cancelled()
        assert texts(await session.get_items()) == ["1"]

    run(scenario)


def test_a_connection_string_opens_a_session_with_and_without_a_loop(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PropagulSession.from_conn_string("s", str(tmp_path), session_settings={"limit": 1}) as session:
            await session.add_items(said("1", "2"))
            assert texts(await session.get_items()) == ["2"]

    run(scenario)
    with PropagulSession.from_conn_string("s", str(tmp_path)) as session:
        assert texts(asyncio.run(session.get_items())) == ["1", "2"]
