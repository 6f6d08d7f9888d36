"""`PropagulSession`: the `Session` of the OpenAI Agents SDK over a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self, Unpack, cast

from agents.memory.session_settings import SessionSettings, coerce_session_settings, resolve_session_limit

from propagul import Connection, connect
from propagul.adapters import Timeline, asynchronous, in_thread, path, printed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents.items import TResponseInputItem

    from propagul import AgentStateStore, StoreOptions


class PropagulSession:
    """A conversation that every replica of the store's room holds, and that any of them may go on with.

    What several add at once is all kept and stands in one order everywhere. A call has returned when the store's
    `durability` is met; the event loop never waits for that.

    Args:
        session_id: Which conversation.
        store: An open store, started or not. It stays open.
        session_settings: How many of the newest items `get_items` returns if not told.

    Attributes:
        session_id: Which conversation.
        session_settings: As given.
        store: Where it is kept.
    """

    def __init__(
        self,
        session_id: str,
        store: AgentStateStore,
        *,
        session_settings: SessionSettings | dict[str, int | None] | None = None,
    ) -> None:
        self.session_id, self.store = session_id, store
        self.session_settings: SessionSettings | None = coerce_session_settings(session_settings or SessionSettings())
        self._timeline: Timeline[object] = Timeline(store, "openai-agents", path(session_id), json.loads)

    @classmethod
    def from_conn_string(
        cls,
        session_id: str,
        conn_string: str,
        *,
        session_settings: SessionSettings | dict[str, int | None] | None = None,
        room: str | None = None,
        **options: Unpack[StoreOptions],
    ) -> Connection[Self]:
        """Open a store for one session, for `with` and `async with`; the options are those of `propagul.connect`."""
        return connect(
            conn_string, lambda store: cls(session_id, store, session_settings=session_settings), room=room, **options
        )

    @asynchronous
    def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The conversation, oldest first: the newest `limit` items of it, else what `session_settings` says.

        As in the SDK's own sessions, a negative limit is none. An item that cannot be read is left out.
        """
        newest = resolve_session_limit(limit, self.session_settings)
        if newest == 0:
            return []
        entries = self._timeline.read(None if newest is None or newest < 0 else newest)
        return [cast("TResponseInputItem", entry.item) for entry in entries]

    async def add_items(self, items: Sequence[TResponseInputItem]) -> None:
        """Append items: all of them side by side, or none.

        Raises:
            TypeError, ValueError: One is not JSON.
            LimitExceeded, StoreError, NotReplicated: As for a write of the store.
        """
        if items:
            texts = [printed(item) for item in items]
            await in_thread(lambda: self._timeline.append(texts))

    @asynchronous
    def pop_item(self) -> TResponseInputItem | None:
        """Remove the newest item and return it; None if there is none."""
        return cast("TResponseInputItem | None", self._timeline.pop())

    @asynchronous
    def clear_session(self) -> None:
        """Begin anew. What others add who have not heard of it yet does not come back."""
        self._timeline.begin()
