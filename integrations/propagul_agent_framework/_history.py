"""`PropagulHistoryProvider`: a `HistoryProvider` of the Microsoft Agent Framework over a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from agent_framework import HistoryProvider, Message

from propagul import Connection, connect
from propagul.adapters import Timeline, asynchronous, in_thread, path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul import AgentStateStore, StoreOptions

_NO_SESSION: Final = "default"


class PropagulHistoryProvider(HistoryProvider):
    """Conversations that every replica of the store's room holds: all of what several add, in one order everywhere.

    A call has returned when the store's `durability` is met; the event loop never waits for that.

    Args:
        store: An open store, started or not. It stays open.
        source_id: Names this provider among those of an agent; providers of different names share nothing.
        options: Those of `HistoryProvider`: `load_messages`, `store_inputs`, `store_outputs`, ...

    Attributes:
        store: Where everything is kept.
    """

    def __init__(self, store: AgentStateStore, *, source_id: str = "propagul", **options: Any) -> None:  # noqa: ANN401 - HistoryProvider's
        super().__init__(source_id, **options)
        self.store = store

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, source_id: str = "propagul", room: str | None = None, **options: Unpack[StoreOptions]
    ) -> Connection[Self]:
        """Open a store for history, for `with` and `async with`; the options are those of `propagul.connect`."""
        return connect(conn_string, lambda store: cls(store, source_id=source_id), room=room, **options)

    @asynchronous
    def get_messages(
        self,
        session_id: str | None,
        *,
        state: dict[str, object] | None = None,  # noqa: ARG002 - that is for providers that keep history there
        **_: object,
    ) -> list[Message]:
        """The messages of a session, oldest first; one that cannot be read is left out."""
        return [entry.item for entry in self._timeline(session_id).read()]

    async def save_messages(
        self,
        session_id: str | None,
        messages: Sequence[Message],
        *,
        state: dict[str, object] | None = None,  # noqa: ARG002 - that is for providers that keep history there
        **_: object,
    ) -> None:
        """Append messages to a session: all of them side by side, or none.

        Raises:
            TypeError, ValueError: One is not JSON.
        """
        if texts := [message.to_json() for message in messages]:
            await in_thread(lambda: self._timeline(session_id).append(texts))

    @asynchronous
    def clear(self, session_id: str | None) -> None:
        """Begin a session anew. What others add who have not heard of it yet does not come back."""
        self._timeline(session_id).begin()

    def _timeline(self, session_id: str | None) -> Timeline[Message]:
        space, name = f"agent-framework/history/{path(self.source_id)}", path(session_id or _NO_SESSION)
        return Timeline(self.store, space, name, _message)


def _message(text: str) -> Message:
    try:
        return Message.from_dict(json.loads(text))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("no message") from error
