"""`PropagulChatStore`: the `BaseChatStore` of LlamaIndex over a store."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self, Unpack
from urllib.parse import unquote

from llama_index.core.llms import ChatMessage
from llama_index.core.storage.chat_store.base import BaseChatStore
from pydantic import ConfigDict, PrivateAttr

from propagul import AgentStateStore, Connection, connect
from propagul.adapters import Timeline, asynchronous, path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul import StoreOptions

_SPACE = "llamaindex/chats"


class PropagulChatStore(BaseChatStore):
    """Chats that every replica of the store's room holds: all of what several add, in one order everywhere.

    A call has returned when the store's `durability` is met; the async ones never let the event loop wait for that.

    Args:
        store: An open store, started or not. It stays open.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    _store: AgentStateStore = PrivateAttr()
    _setting: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, store: AgentStateStore) -> None:
        super().__init__()
        self._store = store

    @classmethod
    def class_name(cls) -> str:
        """How LlamaIndex calls it."""
        return "PropagulChatStore"

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, room: str | None = None, **options: Unpack[StoreOptions]
    ) -> Connection[Self]:
        """Open a store for chats, for `with` and `async with`; the options are those of `propagul.connect`."""
        return connect(conn_string, cls, room=room, **options)

    def set_messages(self, key: str, messages: Sequence[ChatMessage]) -> None:
        """Begin a chat anew with these messages, 16 MiB at most.

        What others add who have not heard of it yet does not come back. Replicas that set a chat at once set it to the
        messages of both; threads, to those of one.
        """
        texts, timeline = [message.model_dump_json() for message in messages], self._timeline(key)
        with self._setting, self._store.transaction():
            timeline.mark(True)
            if texts:
                timeline.append(texts)
        timeline.sweep()

    def get_messages(self, key: str) -> list[ChatMessage]:
        """The messages of a chat, oldest first; one that cannot be read is left out."""
        return [entry.item for entry in self._timeline(key).read()]

    def add_message(self, key: str, message: ChatMessage) -> None:
        """Append a message to a chat."""
        self._timeline(key).append([message.model_dump_json()])

    def delete_messages(self, key: str) -> list[ChatMessage] | None:
        """Delete a chat and return what it was; None if there is none."""
        messages = self.get_messages(key)
        if not messages:
            return None
        self._timeline(key).begin()
        return messages

    def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Delete the message at a place and return it; None if there is none."""
        timeline = self._timeline(key)
        entries = timeline.read()
        return timeline.remove(entries[idx].place) if -len(entries) <= idx < len(entries) else None

    def delete_last_message(self, key: str) -> ChatMessage | None:
        """Delete the newest message and return it; None if there is none."""
        return self._timeline(key).pop()

    def get_keys(self) -> list[str]:
        """The names of all chats that have messages, sorted."""
        rows = self._store.keys(f"{_SPACE}/items/")
        names = {unquote(row.removeprefix(f"{_SPACE}/items/").partition("/")[0]) for row in rows}
        return sorted(name for name in names if self._timeline(name).end().place)

    aset_messages, aget_messages = asynchronous(set_messages), asynchronous(get_messages)
    async_add_message, adelete_messages = asynchronous(add_message), asynchronous(delete_messages)
    adelete_message, adelete_last_message = asynchronous(delete_message), asynchronous(delete_last_message)
    aget_keys = asynchronous(get_keys)

    def _timeline(self, key: str) -> Timeline[ChatMessage]:
        return Timeline(self._store, _SPACE, path(key), ChatMessage.model_validate_json)
