"""Replicas that had not heard of each other: events and state merge, and what was deleted stays deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul_adk import PropagulSessionService

from tests.agents.adk.world import HERE, WHO, event, texts
from tests.store.world import Island, apart, on_island

if TYPE_CHECKING:
    from google.adk.sessions import Session


async def both(island: Island) -> tuple[PropagulSessionService, PropagulSessionService]:
    """A service at each of two linked replicas."""
    return PropagulSessionService(await island.start("a")), PropagulSessionService(await island.start("b", "a"))


async def loaded(service: PropagulSessionService) -> Session:
    session = await service.get_session(**HERE)
    assert session is not None
    return session


def test_what_both_append_at_once_is_all_kept_in_one_order_and_state_merges_by_name() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        await here.append_event(await here.create_session(**HERE), event("first"))
        async with apart(island):
            ours, theirs = await loaded(here), await loaded(there)
            for number in range(3):
                await here.append_event(ours, event(f"here {number}", here=number, **{"app:here": number}))
                await there.append_event(theirs, event(f"there {number}", there=number, **{"user:there": number}))
        ours, theirs = await loaded(here), await loaded(there)
        assert texts(ours) == texts(theirs)
        assert sorted(texts(ours)) == ["first", "here 0", "here 1", "here 2", "there 0", "there 1", "there 2"]
        assert ours.state == theirs.state == {"here": 2, "there": 2, "app:here": 2, "user:there": 2}

    on_island(scenario)


def test_the_same_name_edited_on_both_sides_reads_alike_and_shows_both_values() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        await here.create_session(**HERE)
        async with apart(island):
            await here.append_event(await loaded(here), event("1", name="here"))
            await there.append_event(await loaded(there), event("2", name="there"))
        assert (await loaded(here)).state == (await loaded(there)).state
        (key,) = here.store.keys("adk/app/state/")
        assert sorted(map(str, here.store.get_conflicts(key))) == ['"here"', '"there"']

    on_island(scenario)


def test_a_deleted_session_stays_deleted_under_late_writes_and_is_created_anew() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        await here.append_event(await here.create_session(**HERE, state={"old": 1}), event("old"))
        async with apart(island):
            late = await loaded(there)
            await here.delete_session(**HERE)
            await there.append_event(late, event("late", late="x" * 300_000))
        for service in (here, there):
            assert await service.get_session(**HERE) is None
            assert (await service.list_sessions(app_name="app")).sessions == []
        await there.append_event(await there.create_session(**HERE), event("new"))
        await island.clock.advance(30)
        assert texts(await loaded(here)) == texts(await loaded(there)) == ["new"]
        assert (await loaded(here)).state == {}
        assert len(here.store) == len(there.store) == 2

    on_island(scenario)


def test_a_session_that_both_create_at_once_is_one() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        async with apart(island):
            await here.append_event(await here.create_session(**HERE, state={"here": 1}), event("here"))
            await there.append_event(await there.create_session(**HERE, state={"there": 1}), event("there"))
        assert sorted(texts(await loaded(here))) == ["here", "there"]
        assert (await loaded(here)).state == (await loaded(there)).state == {"here": 1, "there": 1}
        assert len((await there.list_sessions(**WHO)).sessions) == 1

    on_island(scenario)
