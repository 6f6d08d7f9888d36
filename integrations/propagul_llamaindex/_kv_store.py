"""`PropagulKVStore`: the `BaseKVStore` of LlamaIndex over a store.

    llamaindex/rows/<collection>/<key>   JSON; `null` where the key was deleted
    llamaindex/parts/<collection>/...    of long values, see `Texts`

A deletion stays as a row of its own, so that it wins over what a replica writes at the same time that has not heard of
it; whoever has may put the key again.
"""

from __future__ import annotations

import json
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, Self, Unpack
from urllib.parse import unquote

from llama_index.core.storage.kvstore.types import DEFAULT_BATCH_SIZE, DEFAULT_COLLECTION, BaseKVStore

from propagul import Connection, connect
from propagul.adapters import Texts, asynchronous, path, printed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from propagul import AgentStateStore, StoreOptions

_DELETED: Final = "null"
_STEP_CHARS: Final = 2_000_000


class PropagulKVStore(BaseKVStore):
    """Collections of dicts that every replica of the store's room holds; puts of different keys merge.

    Of one key that replicas put at once the later value is read, and `conflicts` shows all. A call has returned when
    the store's `durability` is met; the async ones never let the event loop wait for that.

    Args:
        store: An open store, started or not. It stays open.

    Attributes:
        store: Where everything is kept.
    """

    def __init__(self, store: AgentStateStore) -> None:
        self.store, self._lock = store, threading.Lock()

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, room: str | None = None, **options: Unpack[StoreOptions]
    ) -> Connection[Self]:
        """Open a store for collections, for `with` and `async with`; the options are those of `propagul.connect`."""
        return connect(conn_string, cls, room=room, **options)

    def put(self, key: str, val: dict[str, object], collection: str = DEFAULT_COLLECTION) -> None:
        """Store a dict under a key.

        Raises:
            TypeError, ValueError: It is no dict, or not JSON.
        """
        text = _printed(val)
        with self._lock:
            self._texts(collection).put(_row(collection, key), text)

    def put_all(
        self,
        kv_pairs: Sequence[tuple[str, dict[str, object]]],
        collection: str = DEFAULT_COLLECTION,
        batch_size: int = DEFAULT_BATCH_SIZE,  # noqa: ARG002 - BaseKVStore's
    ) -> None:
        """Store all of them: in one step, which others see all or nothing of, up to two million characters.

        Raises:
            TypeError, ValueError: One is no dict, or not JSON. Nothing was stored.
        """
        texts, rows = self._texts(collection), [(_row(collection, key), _printed(val)) for key, val in kv_pairs]
        with self._lock:
            for step in _steps(rows):
                with self.store.transaction() if len(step) > 1 else nullcontext():
                    for row, text in step:
                        texts.put(row, text)

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, object] | None:
        """The dict under a key; None if there is none."""
        return self._value(_row(collection, key), collection)

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, object]]:
        """A whole collection."""
        under = _row(collection, "")
        found = ((unquote(key.removeprefix(under)), self._value(key, collection)) for key in self.store.keys(under))
        return {key: value for key, value in found if value is not None}

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Delete a key; False if it is not there."""
        row = _row(collection, key)
        with self._lock:
            if self._value(row, collection) is None:
                return False
            self._texts(collection).put(row, _DELETED)
            return True

    def conflicts(self, key: str, collection: str = DEFAULT_COLLECTION) -> list[dict[str, object]]:
        """What replicas put under a key at once, what `get` returns first; empty if nobody else did."""
        texts = self._texts(collection).siblings(_row(collection, key))
        values = [value for text in texts if (value := _loaded(text)) is not None]
        return values if len(values) > 1 else []

    aput, aput_all, aget = asynchronous(put), asynchronous(put_all), asynchronous(get)
    aget_all, adelete = asynchronous(get_all), asynchronous(delete)

    def _value(self, row: str, collection: str) -> dict[str, object] | None:
        """What a row says: nothing where one of its siblings is a deletion."""
        texts = self._texts(collection).siblings(row)
        return None if not texts or _DELETED in texts else _loaded(texts[0])

    def _texts(self, collection: str) -> Texts:
        return Texts(self.store, f"llamaindex/parts/{path(collection)}/")


def _row(collection: str, key: str) -> str:
    return f"llamaindex/rows/{path(collection, key)}"


def _steps(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Rows in stretches that are no larger than a transaction may be, or alone."""
    step: list[tuple[str, str]] = []
    chars = 0
    for row in rows:
        if step and chars + sum(map(len, row)) > _STEP_CHARS:
            yield step
            step, chars = [], 0
        step.append(row)
        chars += sum(map(len, row))
    yield step


def _printed(value: object) -> str:
    if not isinstance(value, dict):
        raise TypeError(f"a value is a dict, not {type(value).__name__}")
    return printed(value)


def _loaded(text: str | None) -> dict[str, object] | None:
    try:
        value = json.loads(text or _DELETED)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
