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


FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
"""In an event, the kit writes others as `null`."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | st.text(),
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
WHAT = ["append"] * 10 + ["get"] * 6 + ["again"] * 2 + ["create", "create", "delete", "list", "list", "user state"]
STEPS = st.tuples(st.sampled_from(WHAT), WHO, IDS, STATES, CONFIGS)
FIRST: tuple[str, Who, str, dict[str, Any], None] = ("create", {"app_name": "app", "user_id": "u"}, "s", {}, None)


class Side:
    """One of the services, and what it says to each step."""

    def __init__(self, service: BaseSessionService) -> None:
        self.service, self.step = service, 0

    async def take(
        self, what: str, who: Who, session_id: str, state: dict[str, Any], config: GetSessionConfig | None
    ) -> object:
        """Do it; errors are answers."""
        self.step += 1
        set_time_provider(lambda: 10.0 + self.step)
        set_id_provider(lambda: f"chosen {self.step}")
        try:
            return await self._take(what, who, session_id, state, config)
        except (AlreadyExistsError, SessionNotFoundError) as error:
            return type(error), str(error)

    async def _take(
        self, what: str, who: Who, session_id: str, state: dict[str, Any], config: GetSessionConfig | None
    ) -> object:
        service = self.service
        match what:
            case "create":
                named = session_id if config is None else None
                return shown(await service.create_session(**who, session_id=named, state=state))
            case "get":
                return shown(await service.get_session(**who, session_id=session_id, config=config))
            case "delete":
                await service.delete_session(**who, session_id=session_id)
                return None
            case "user state":
                return await service.get_user_state(**who)
            case "list":
                user = who["user_id"] if config is None else None
                found = await service.list_sessions(app_name=who["app_name"], user_id=user)
                return [shown(session) for session in found.sessions]
            case _:
                return await self._append(what, who, session_id, state)

    async def _append(self, what: str, who: Who, session_id: str, delta: dict[str, Any]) -> object:
        session = await self.service.get_session(**who, session_id=session_id)
        if session is None:
            return None
        event = Event(
            id=f"event {self.step}",
            author="user",
            timestamp=float(self.step),
            actions=EventActions(state_delta=dict(delta)),
        )
        if what == "again" and session.events:
            event = session.events[0].model_copy(deep=True)
        given = await self.service.append_event(session, event)
        return shown(session), given.model_dump()


def shown(session: Session | None) -> object:
    """What a caller sees of a session."""
    return None if session is None else session.model_dump()


@given(st.lists(STEPS, min_size=10, max_size=25).map(lambda steps: [FIRST, *steps]))
def test_over_the_same_history_both_say_the_same(
    history: list[tuple[str, Who, str, dict[str, Any], GetSessionConfig | None]],
) -> None:
    async def scenario() -> None:
        ours, theirs = Side(PropagulSessionService(store)), Side(InMemorySessionService())
        for step in history:
            assert await ours.take(*step) == await theirs.take(*step)

    store = AgentStateStore("room", port=None)
    try:
        asyncio.run(scenario())
    finally:
        store.close()
