"""The SDK's own session, run side by side with ours over the same histories, says the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from agents.memory import SessionSettings
from agents.memory.sqlite_session import SQLiteSession
from hypothesis import given
from hypothesis import strategies as st
from propagul_openai_agents import PropagulSession

from propagul import AgentStateStore

if TYPE_CHECKING:
    from agents.items import TResponseInputItem
    from agents.memory import Session

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ITEMS = st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4)
LIMITS = st.none() | st.integers(-2, 8)
STEPS = st.one_of(
    st.tuples(st.just("add"), ITEMS),
    st.tuples(st.just("get"), LIMITS),
    st.tuples(st.just("pop"), st.none()),
    st.tuples(st.just("clear"), st.none()),
)
HISTORIES = st.lists(st.tuples(st.integers(0, 1), STEPS), max_size=25)


async def take(session: Session, step: tuple[str, object]) -> object:
    match step:
        case "add", items:
            await session.add_items(cast("list[TResponseInputItem]", items))
        case "get", limit:
            return await session.get_items(cast("int | None", limit))
        case "pop", _:
            return await session.pop_item()
        case _:
            await session.clear_session()
    return None


@given(HISTORIES, LIMITS)
def test_over_the_same_history_both_say_the_same(
    history: list[tuple[int, tuple[str, object]]], limit: int | None
) -> None:
    async def scenario() -> None:
        for which, step in history:
            assert await take(ours[which], step) == await take(theirs[which], step)
        for which in (0, 1):
            assert await take(ours[which], ("get", None)) == await take(theirs[which], ("get", None))

    store, settings = AgentStateStore("room", port=None), SessionSettings(limit=limit)
    theirs = [SQLiteSession(name, session_settings=settings) for name in ("one", "other")]
    ours = [PropagulSession(name, store, session_settings=settings) for name in ("one", "other")]
    try:
        asyncio.run(scenario())
    finally:
        store.close()
        for session in theirs:
            session.close()
