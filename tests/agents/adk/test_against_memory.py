"""The kit's own service in memory, run side by side with ours over the same histories, says the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events.event import Event
from google.adk.events.event_actions import EventActions
from google.adk.platform.time import set_time_provider
from google.adk.platform.uuid import set_id_provider
from google.adk.sessions import InMemorySessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from hypothesis import given
from hypothesis import strategies as st
from propagul_adk import PropagulSessionService

from propagul import AgentStateStore

if TYPE_CHECKING:
    from google.adk.sessions import Session
    from google.adk.sessions.base_session_service import BaseSessionService

    from tests.agents.adk.world import Who

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, width=32) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.tuples(st.sampled_from(["", "app:", "user:", "temp:"]), st.sampled_from(["a", "b/c", "é", ""])).map("".join)
STATES = st.dictionaries(NAMES, JSON, max_size=4)
WHO = st.fixed_dictionaries(
    {
        "app_name": st.sampled_from(["app", "app", "app", "app", "app/2"]),
        "user_id": st.sampled_from(["u", "u", "u", "u", "v", ""]),
    }
)
IDS = st.sampled_from(["s", "s", "s", "s", " s ", "t", "s/t"])
CONFIGS = st.none() | st.builds(
    GetSessionConfig,
    num_recent_events=st.none() | st.integers(0, 4),
    after_timestamp=st.none() | st.integers(0, 25).map(float),
)
STEPS = st.one_of(
    st.tuples(st.just("create"), WHO, IDS | st.just("") | st.none(), STATES | st.none()),
    *[st.tuples(st.just("append"), WHO, IDS, STATES)] * 4,
    st.tuples(st.just("again"), WHO, IDS, st.none()),
    *[st.tuples(st.just("get"), WHO, IDS, CONFIGS)] * 2,
    st.tuples(st.just("list"), WHO, st.booleans(), st.none()),
    st.tuples(st.just("user state"), WHO, st.none(), st.none()),
    st.tuples(st.just("delete"), WHO, IDS, st.none()),
)


class Side:
    """One of the services, and what it says to each step."""

    def __init__(self, service: BaseSessionService) -> None:
        self.service = service

    async def take(self, number: int, what: str, who: Who, one: object, other: object) -> object:
        """Do it; errors are answers."""
        set_time_provider(lambda: 10.0 + number)
        set_id_provider(lambda: f"chosen {number}")
        try:
            return await self._take(number, what, who, one, other)
        except (AlreadyExistsError, SessionNotFoundError) as error:
            return type(error), str(error)

    async def _take(self, number: int, what: str, who: Who, one: Any, other: Any) -> object:
        service = self.service
        match what:
            case "create":
                return shown(await service.create_session(**who, session_id=one, state=other))
            case "get":
                return shown(await service.get_session(**who, session_id=one, config=other))
            case "delete":
                await service.delete_session(**who, session_id=one)
                return None
            case "user state":
                return await service.get_user_state(**who)
            case "list":
                user = who["user_id"] if one else None
                found = await service.list_sessions(app_name=who["app_name"], user_id=user)
                return [shown(session) for session in found.sessions]
            case _:
                return await self._append(number, what, who, one, other)

    async def _append(self, number: int, what: str, who: Who, session_id: str, delta: Any) -> object:
        session = await self.service.get_session(**who, session_id=session_id)
        if session is None:
            return None
        event = Event(
            id=f"event {number}",
            author="user",
            timestamp=float(number),
            actions=EventActions(state_delta=dict(delta or {})),
        )
        if what == "again" and session.events:
            event = session.events[0].model_copy(deep=True)
        given = await self.service.append_event(session, event)
        return shown(session), given.model_dump()


def shown(session: Session | None) -> object:
    """What a caller sees of a session. How its state is ordered is nobody's promise."""
    return None if session is None else session.model_dump()


FIRST = ("create", {"app_name": "app", "user_id": "u"}, "s", None)


@given(st.lists(STEPS, max_size=25).map(lambda steps: [FIRST, *steps]))
def test_over_the_same_history_both_say_the_same(history: list[tuple[str, Who, object, object]]) -> None:
    async def scenario() -> None:
        ours, theirs = Side(PropagulSessionService(store)), Side(InMemorySessionService())
        for number, step in enumerate(history):
            assert await ours.take(number, *step) == await theirs.take(number, *step)

    store = AgentStateStore("room", port=None)
    try:
        asyncio.run(scenario())
    finally:
        store.close()
