"""`PropagulSessionService`: the `BaseSessionService` of the Agent Development Kit over a store.

    adk/<app>/begun/<user>/<session>/<generation>   odd: the session was created, and when; even: it was deleted
    adk/<app>/items/..., parts/..., state/...       events and state of a generation, see `Timeline`
    adk/<app>/app/<name>, users/<user>/<name>       what `app:` and `user:` stand for

Deletion and creation begin a generation each, so that what a replica writes that has not heard of a deletion is never
seen again, and replicas that create the same session at once mean the same one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Self, Unpack
from urllib.parse import unquote

from google.adk.errors._stale_session_error import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events.event import Event
from google.adk.platform.time import get_time
from google.adk.platform.uuid import new_uuid
from google.adk.sessions import Session, State
from google.adk.sessions.base_session_service import BaseSessionService, GetSessionConfig, ListSessionsResponse

from propagul import Connection, connect
from propagul.adapters import End, Entry, Timeline, asynchronous, in_thread, path
from propagul_adk._state import ScopedState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul import AgentStateStore, StoreOptions

_LOCKS: Final = 64
_TRIES: Final = 3
"""How often a session is read again because it was appended to meanwhile."""
_STALE: Final = "the session was modified in storage since it was loaded: load it again with get_session"


class PropagulSessionService(BaseSessionService):
    """Sessions, events and state that every replica of the store's room holds.

    Events that replicas append at once are all kept, in one order everywhere; so are edits of different names of a
    state. Of the same name the later one is read and `store.get_conflicts` shows both. A call has returned when the
    store's `durability` is met; the event loop never waits for that.

    Args:
        store: An open store, started or not. It stays open.
        refuse_stale: Whether `append_event` refuses a session that others have appended to since it was loaded, as
            the kit's `DatabaseSessionService` does. Without, the event is kept whatever else was, as in memory.

    Attributes:
        store: Where everything is kept.
    """

    def __init__(self, store: AgentStateStore, *, refuse_stale: bool = True) -> None:
        self.store, self._refuse_stale = store, refuse_stale
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, refuse_stale: bool = True, room: str | None = None, **options: Unpack[StoreOptions]
    ) -> Connection[Self]:
        """Open a store for sessions, for `with` and `async with`; the options are those of `propagul.connect`."""
        return connect(conn_string, lambda store: cls(store, refuse_stale=refuse_stale), room=room, **options)

    @asynchronous
    def create_session(
        self, *, app_name: str, user_id: str, state: dict[str, object] | None = None, session_id: str | None = None
    ) -> Session:
        """Create a session and return it.

        Raises:
            AlreadyExistsError: There is one of this id. Those that replicas create at once are one session.
        """
        kept = _Kept(self.store, app_name, user_id, (session_id or "").strip() or new_uuid())
        with self._locks[hash(kept.name) % _LOCKS]:
            if kept.timeline.generation() % 2:
                raise AlreadyExistsError(f"Session with id {kept.session_id} already exists.")
            with self.store.transaction():
                kept.update(kept.timeline.mark(get_time()), state or {})
            session = kept.session()
        kept.timeline.sweep()
        if session is None:
            raise SessionNotFoundError(f"Session {kept.session_id} was deleted while it was created.")
        return session

    @asynchronous
    def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        """The session with its events, or those of them that the config asks for; None if there is none."""
        return _Kept(self.store, app_name, user_id, session_id.strip()).session(config)

    @asynchronous
    def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        """Sessions of a user, or of all, without their events, the least recently updated first."""
        kept = [_Kept(self.store, app_name, *who) for who in _sessions(self.store, app_name, user_id)]
        found = [s for one in kept if (s := one.session(GetSessionConfig(num_recent_events=0))) is not None]
        return ListSessionsResponse(sessions=sorted(found, key=lambda s: (s.last_update_time, s.user_id, s.id)))

    @asynchronous
    def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Delete a session with its events and state, if it is there."""
        kept = _Kept(self.store, app_name, user_id, session_id.strip())
        with self._locks[hash(kept.name) % _LOCKS]:
            if kept.timeline.generation() % 2:
                kept.timeline.mark(get_time())
        kept.timeline.sweep()

    @asynchronous
    def get_user_state(self, *, app_name: str, user_id: str) -> dict[str, object]:
        """The state of a user, names without `user:`."""
        return _Kept(self.store, app_name, user_id, "").user.read()

    async def append_event(self, session: Session, event: Event) -> Event:
        """Append an event and apply its state.

        Raises:
            SessionNotFoundError: There is no such session, or it was deleted.
            StaleSessionError: Others have appended to it since it was loaded; see `refuse_stale`. Nothing was kept.
        """
        if event.partial or any(known == event for known in session.events if known.id == event.id):
            return event
        kept = _Kept(self.store, session.app_name, session.user_id, session.id)
        await in_thread(lambda: self._append(kept, session, _persisted(event)))
        return await super().append_event(session, event)

    def _append(self, kept: _Kept, session: Session, event: Event) -> None:
        with self._locks[hash(kept.name) % _LOCKS]:
            end = kept.timeline.end()
            if not end.generation % 2:
                raise SessionNotFoundError(f"Session {session.id} not found.")
            if self._refuse_stale and not kept.is_current(session, end):
                raise StaleSessionError(_STALE)
            with self.store.transaction():
                place = kept.timeline.append([event.model_dump_json(exclude_none=True)], end)
                kept.update(end.generation, event.actions.state_delta)
            session.last_update_time = event.timestamp
            session._storage_update_marker = _marker(end.generation, place)  # noqa: SLF001 - made for services


class _Kept:
    """What is stored of one session and around it."""

    def __init__(self, store: AgentStateStore, app_name: str, user_id: str, session_id: str) -> None:
        self._store, self.app_name, self.user_id, self.session_id = store, app_name, user_id, session_id
        self.name, self._space = path(user_id, session_id), f"adk/{path(app_name)}"
        self.timeline = Timeline(store, self._space, self.name, Event.model_validate_json, rooms=["state"])
        self.app = ScopedState(store, f"{self._space}/app/", f"{self._space}/app-parts/")
        user = path(user_id)
        self.user = ScopedState(store, f"{self._space}/users/{user}/", f"{self._space}/users-parts/{user}/")

    def state(self, generation: int) -> ScopedState:
        """The session's own."""
        return ScopedState(
            self._store, self.timeline.under("state", generation), self.timeline.under("parts", generation)
        )

    def update(self, generation: int, delta: Mapping[str, object]) -> None:
        """Write state where its names' prefixes say, but for `temp:`."""
        scopes = {State.APP_PREFIX: self.app, State.USER_PREFIX: self.user, "": self.state(generation)}
        for prefix, scope in scopes.items():
            scope.update({n.removeprefix(prefix): v for n, v in delta.items() if _prefix(n) == prefix})

    def session(self, config: GetSessionConfig | None = None) -> Session | None:
        """The session as of one moment, or where others never stop to append, as it was read: that is stale at once."""
        for _ in range(_TRIES):
            end = self.timeline.end()
            session = self._session(end, config) if end.generation % 2 else None
            if self.timeline.end() == end:
                break
        return session

    def is_current(self, session: Session, end: End) -> bool:
        """Whether a session was loaded when it ended there; of one that was not loaded, whether it ends alike."""
        if (marker := session._storage_update_marker) is not None:  # noqa: SLF001 - made for services
            return bool(marker == _marker(end.generation, end.place))
        return [entry.item.id for entry in self.timeline.read(1)] == [event.id for event in session.events[-1:]]

    def _session(self, end: End, config: GetSessionConfig | None) -> Session:
        state = self.state(end.generation).read()
        state |= {State.APP_PREFIX + name: value for name, value in self.app.read().items()}
        state |= {State.USER_PREFIX + name: value for name, value in self.user.read().items()}
        session = Session(id=self.session_id, app_name=self.app_name, user_id=self.user_id, state=state)
        newest = self.timeline.read(1)
        session.events = self._events(config, newest)
        session.last_update_time = newest[0].item.timestamp if newest else self._created(end.generation)
        session._storage_update_marker = _marker(end.generation, end.place)  # noqa: SLF001 - made for services
        return session

    def _events(self, config: GetSessionConfig | None, newest: list[Entry[Event]]) -> list[Event]:
        limit = None if config is None else config.num_recent_events
        entries = newest[:limit] if limit in {0, 1} else self.timeline.read(limit)
        events = [entry.item for entry in entries]
        if config is not None and config.after_timestamp is not None:
            early = [place for place, event in enumerate(events) if event.timestamp < config.after_timestamp]
            del events[: early[-1] + 1 if early else 0]
        return events

    def _created(self, generation: int) -> float:
        at = self._store.get(f"{self._space}/begun/{self.name}/{generation:08x}")
        return at if isinstance(at, float) else 0.0


def _sessions(store: AgentStateStore, app_name: str, user_id: str | None) -> list[tuple[str, str]]:
    """Users and ids of sessions that were ever created and may be there."""
    begun = f"adk/{path(app_name)}/begun/"
    keys = store.keys(begun if user_id is None else f"{begun}{path(user_id)}/")
    pairs = dict.fromkeys(tuple(key.removeprefix(begun).split("/")[:2]) for key in keys)
    return [(unquote(user), unquote(session)) for user, session in pairs]


def _persisted(event: Event) -> Event:
    """The event without what is only for this invocation."""
    delta = event.actions.state_delta
    kept = {name: value for name, value in delta.items() if not name.startswith(State.TEMP_PREFIX)}
    if len(kept) == len(delta):
        return event
    return event.model_copy(update={"actions": event.actions.model_copy(update={"state_delta": kept})})


def _prefix(name: str) -> str | None:
    """The scope of a name of the state: None for what is not kept."""
    if name.startswith(State.TEMP_PREFIX):
        return None
    return next((prefix for prefix in (State.APP_PREFIX, State.USER_PREFIX) if name.startswith(prefix)), "")


def _marker(generation: int, place: str) -> str:
    return f"{generation}/{place}"
