"""Replicas that had not heard of each other: all is kept, in one order, and what was cleared stays cleared."""

from __future__ import annotations

from propagul_openai_agents import PropagulSession

from tests.agents.openai_agents.world import said, texts
from tests.store.world import Island, apart, on_island


async def both(island: Island) -> tuple[PropagulSession, PropagulSession]:
    """One session at two linked replicas."""
    one, other = await island.start("a"), await island.start("b", "a")
    return PropagulSession("s", one), PropagulSession("s", other)


def test_what_both_add_at_once_is_all_kept_in_one_order_and_each_turn_side_by_side() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        await here.add_items(said("first"))
        async with apart(island):
            for number in range(5):
                await here.add_items(said(f"here {number}", f"here {number}+"))
                await there.add_items(said(f"there {number}", f"there {number}+"))
        await here.add_items(said("last"))
        await island.clock.advance(30)
        held = texts(await here.get_items())
        assert held == texts(await there.get_items())
        assert (held[0], held[-1], len(held)) == ("first", "last", 22)
        assert [text + "+" for text in held[1:-1:2]] == held[2:-1:2]
        for side in ("here", "there"):
            assert [text for text in held[1:-1:2] if text.startswith(side)] == [f"{side} {n}" for n in range(5)]

    on_island(scenario)


def test_a_cleared_session_stays_cleared_under_late_writes_and_begins_anew() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        await here.add_items(said("old"))
        async with apart(island):
            await here.clear_session()
            await there.add_items(said("late", "x" * 300_000))
            await there.add_items(said("later"))
        assert await here.get_items() == await there.get_items() == []
        assert await there.pop_item() is None
        await there.add_items(said("new"))
        await island.clock.advance(30)
        assert texts(await here.get_items()) == texts(await there.get_items()) == ["new"]

    on_island(scenario)


def test_late_writes_to_a_cleared_session_are_removed_by_the_next_clearing() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        async with apart(island):
            await here.clear_session()
            await there.add_items(said("late", "x" * 300_000))
        await here.clear_session()
        await island.clock.advance(30)
        assert len(here.store) == len(there.store) == 1

    on_island(scenario)


def test_two_that_clear_at_once_begin_the_same_conversation() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        await here.add_items(said("old"))
        async with apart(island):
            for session, name in ((here, "here"), (there, "there")):
                await session.clear_session()
                await session.add_items(said(name))
        assert sorted(texts(await here.get_items())) == ["here", "there"]
        assert await here.get_items() == await there.get_items()

    on_island(scenario)


def test_an_item_popped_by_two_at_once_is_gone_once() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        await here.add_items(said("1", "2", "x" * 300_000))
        async with apart(island):
            assert await here.pop_item() == await there.pop_item() == said("x" * 300_000)[0]
            await there.add_items(said("3"))
        assert texts(await here.get_items()) == texts(await there.get_items()) == ["1", "2", "3"]
        assert len(here.store) == 3

    on_island(scenario)
