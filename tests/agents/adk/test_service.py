"""Sessions keep whole events and every scope of state, refuse what is stale, and are deleted for good."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from google.adk.events.event import Event
from google.adk.events.event_actions import EventActions
from google.adk.sessions import DatabaseSessionService
from google.genai import types
from propagul_adk import PropagulSessionService

from tests.agents.adk.world import HERE, WHO, event, texts
from tests.store.world import often_switching, run, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from google.adk.sessions import Session
    from google.adk.sessions.base_session_service import BaseSessionService

    from propagul import AgentStateStore


def test_an_event_comes_back_whole(store: AgentStateStore) -> None:
    async def scenario() -> None:
        service = PropagulSessionService(store)
        session = await service.create_session(**WHO)
        image = types.Part.from_bytes(data=bytes(range(256)) * 8000, mime_type="image/png")
        full = Event(
            author="agent",
            invocation_id="one",
            content=types.Content(role="model", parts=[image, types.Part(text="é🙂")]),
            actions=EventActions(artifact_delta={"file": 3}, transfer_to_agent="other", escalate=True),
            long_running_tool_ids={"call"},
            error_code="code",
            usage_metadata=types.GenerateContentResponseUsageMetadata(prompt_token_count=1, total_token_count=2),
            custom_metadata={"key": [1, {"a": None}]},
            grounding_metadata=types.GroundingMetadata(
                search_entry_point=types.SearchEntryPoint(sdk_blob=b"\xff\x00 blob")
            ),
            turn_complete=True,
            timestamp=1700000000.125,
        )
        await service.append_event(session, full)
        assert await service.get_session(**WHO, session_id=session.id) == session
        assert session.events == [full]

    run(scenario)


def test_large_state_is_kept_and_what_it_replaces_leaves_nothing_behind(store: AgentStateStore) -> None:
    async def scenario() -> None:
        service = PropagulSessionService(store)
        session = await service.create_session(**HERE)
        before = len(store)
        large = {"session": "é" * 300_000, "app:a": ["x" * 300_000], "user:u": {"y": "y" * 300_000}}
        await service.append_event(session, event(**large))
        got = await service.get_session(**HERE)
        assert got is not None
        assert got.state == large
        await service.append_event(got, event(**dict.fromkeys(large, 1)))
        kept = [key for key in store.get_all() if "/parts/" not in key]
        assert len(kept) == before + 2 + len(large)
        assert not [key for key in store.get_all() if "-parts/" in key]

    run(scenario)


def test_what_is_no_json_is_kept_as_the_kit_keeps_it(store: AgentStateStore) -> None:
    async def scenario() -> None:
        service = PropagulSessionService(store)
        session = await service.create_session(**HERE, state={"pair": (1, 2), "call": print})
        assert session.state == {"pair": [1, 2], "call": repr(print)}

    run(scenario)


async def outcome(service: BaseSessionService, *, same_object: bool) -> tuple[list[str], list[str]]:
    """What is said of two appends at once, to one session object or to two; what is then there."""
    one = await service.create_session(**HERE)
    other = one if same_object else await service.get_session(**HERE)
    assert other is not None
    appended = await asyncio.gather(
        service.append_event(one, event("1")), service.append_event(other, event("2")), return_exceptions=True
    )
    errors = [type(error).__name__ for error in appended if isinstance(error, BaseException)]
    return errors, texts(await service.get_session(**HERE))


def test_a_session_that_others_appended_to_is_refused_as_by_the_kits_database(store: AgentStateStore) -> None:
    async def scenario() -> None:
        async with DatabaseSessionService("sqlite+aiosqlite:///:memory:") as theirs:
            expected, there = await outcome(theirs, same_object=False)
        errors, here = await outcome(PropagulSessionService(store), same_object=False)
        assert errors == expected == ["StaleSessionError"]
        assert len(here) == len(there) == 1

    run(scenario)


def test_of_many_that_append_at_once_to_copies_of_one_session_one_does(store: AgentStateStore) -> None:
    async def scenario() -> None:
        service = PropagulSessionService(store)
        await service.create_session(**HERE)
        for number in range(5):
            copies = [await service.get_session(**HERE) for _ in range(16)]
            with store._state.lock:  # until all of them are at the first thing that they read
                appends = [service.append_event(copy, event(str(number))) for copy in copies if copy is not None]
                tasks = [asyncio.ensure_future(one) for one in appends]
                for _ in range(50):
                    await asyncio.sleep(0)
            appended = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(not isinstance(one, BaseException) for one in appended) == 1
        assert texts(await service.get_session(**HERE)) == ["0", "1", "2", "3", "4"]

    with often_switching():
        run(scenario)


def test_a_session_that_others_never_stop_appending_to_can_be_read(store: AgentStateStore) -> None:
    async def append(service: PropagulSessionService, session: Session, done: threading.Event) -> None:
        while not done.is_set():
            await service.append_event(session, event("x" * 1000))

    async def scenario() -> None:
        service, done = PropagulSessionService(store, refuse_stale=False), threading.Event()
        session = await service.create_session(**HERE)
        for number in range(60):
            await service.append_event(session, event(f"{number}"))
        with ThreadPoolExecutor(1) as pool:
            appending = pool.submit(asyncio.run, append(service, session, done))
            try:
                read = await asyncio.wait_for(service.get_session(**HERE), 60)
            finally:
                done.set()
            appending.result()
        assert texts(read)[:60] == [f"{number}" for number in range(60)]

    run(scenario, within_s=100)


def test_branches_that_append_to_one_session_object_at_once_are_no_strangers(store: AgentStateStore) -> None:
    async def scenario() -> None:
        errors, here = await outcome(PropagulSessionService(store), same_object=True)
        assert errors == []
        assert here == ["1", "2"]

    run(scenario)


def test_a_stale_session_is_taken_where_the_service_was_told_so(store: AgentStateStore) -> None:
    async def scenario() -> None:
        errors, here = await outcome(PropagulSessionService(store, refuse_stale=False), same_object=False)
        assert errors == []
        assert sorted(here) == ["1", "2"]

    run(scenario)


def test_a_session_object_that_was_not_loaded_is_good_while_it_ends_as_the_stored_one(store: AgentStateStore) -> None:
    async def scenario() -> None:
        service = PropagulSessionService(store)
        session = await service.create_session(**HERE)
        await service.append_event(session, event("1"))
        copied = type(session).model_validate_json(session.model_dump_json())
        await service.append_event(copied, event("2"))
        assert texts(await service.get_session(**HERE)) == ["1", "2"]
        behind = type(session).model_validate_json(session.model_dump_json())
        with pytest.raises(ValueError, match="load it again"):
            await service.append_event(behind, event("3"))

    run(scenario)


def test_an_append_to_a_session_that_was_deleted_or_created_anew_is_refused(store: AgentStateStore) -> None:
    async def scenario() -> None:
        service = PropagulSessionService(store)
        session = await service.create_session(**HERE, state={"old": 1})
        await service.append_event(session, event("1"))
        await service.delete_session(**HERE)
        with pytest.raises(ValueError, match="Session s not found"):
            await service.append_event(session, event("2"))
        await service.create_session(**HERE)
        with pytest.raises(ValueError, match="load it again"):
            await service.append_event(session, event("3"))
        got = await service.get_session(**HERE)
        assert got is not None
        assert (got.events, got.state) == ([], {})
        assert len(store) == 1

    run(scenario)


def test_what_is_stored_grows_by_what_is_said(store: AgentStateStore) -> None:
    async def scenario() -> None:
        service = PropagulSessionService(store)
        session = await service.create_session(**HERE)
        for number in range(100):
            await service.append_event(session, event(f"{number:03}" + "x" * 1997, count=number))
        stored = sum(len(key) + len(str(value)) for key, value in store.items())
        said = sum(len(one.model_dump_json(exclude_none=True)) for one in session.events)
        assert stored < 1.1 * said

    run(scenario)


@pytest.mark.parametrize("durability", ["group", "each", "peers:1"])
def test_a_store_that_waits_for_disk_or_peers_does_not_stop_its_loop(durability: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting(durability, tmp_path) as store:
            service = PropagulSessionService(store)
            session = await service.create_session(**HERE, state={"a": 1})
            await service.append_event(session, event("1", b=2))
            found = (await service.list_sessions(app_name="app")).sessions
            assert [one.state for one in found] == [{"a": 1, "b": 2}]
            await service.delete_session(**HERE)
            assert await service.get_session(**HERE) is None

    run(scenario)


def test_a_connection_string_opens_a_service(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PropagulSessionService.from_conn_string(str(tmp_path)) as service:
            await service.create_session(**HERE, state={"a": 1})
        async with PropagulSessionService.from_conn_string(str(tmp_path)) as service:
            got = await service.get_session(**HERE)
            assert got is not None
            assert got.state == {"a": 1}

    run(scenario)
