"""`PropagulCache`: results of nodes and tasks that LangGraph caches, kept over restarts and shared by machines.

An entry is one row of bytes, made and read by the cache's serde; what is over half a MiB goes on in further rows. An
entry that cannot be had whole, that has expired, or that holds a class which the serde does not allow, is not there:
it is computed again.
"""

from __future__ import annotations

import logging
import re
import time
from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple, Unpack

import msgpack
from langgraph.cache.base import BaseCache, ValueT
from langgraph.checkpoint.serde.event_hooks import register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from propagul import AgentStateStore, connect
from propagul.adapters import in_thread, waiting_once
from propagul_langgraph._memory.keys import path_of, prefix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from langgraph.cache.base import FullKey, Namespace
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.checkpoint.serde.event_hooks import SerdeEvent

    from propagul import Connection, StoreOptions

ROOT: Final = "lgc/"
_FORM: Final = 1
_ROW_BYTES_MAX: Final = 512 * 1024
_SWEPT_AT_ONCE: Final = 100
_SECOND: Final = re.compile(r"[0-9a-f]{12}")

_log = logging.getLogger("propagul.langgraph")

_refused: ContextVar[list[str] | None] = ContextVar("refused", default=None)
"""Classes that the serde has refused to make while one value is read."""


class _Head(NamedTuple):
    """The first row of an entry.

    Attributes:
        form: Of the row.
        kind: As the serde calls it.
        until: Seconds since 1970; None for ever.
        rows: How many rows its content takes.
        digest: Of the content.
        content: The first part of it.
    """

    form: int
    kind: str
    until: float | None
    rows: int
    digest: bytes
    content: bytes


class PropagulCache(BaseCache[ValueT]):
    """Cached results that survive restarts, and that every machine has which is linked with the one that made them.

    Args:
        store: A store; it may be open elsewhere, too.
        serde: How values become bytes. By default strict: classes beside those that LangGraph calls safe are refused,
            so what holds one is computed again each time; pass a serde to allow them, or to encrypt.
        root: How the keys of its rows begin; caches with different ones do not see each other's entries.
        now: The time, in seconds since 1970.
    """

    def __init__(
        self,
        store: AgentStateStore,
        *,
        serde: SerializerProtocol | None = None,
        root: str = ROOT,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(serde=serde or JsonPlusSerializer(allowed_msgpack_modules=None))
        self.store, self._now = store, now
        self._entries, self._ends = f"{root}e/", f"{root}x/"

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, serde: SerializerProtocol | None = None, **options: Unpack[StoreOptions]
    ) -> Connection[PropagulCache[ValueT]]:
        """Open a store for it: for `with`, and for `async with`. See `PropagulStore.from_conn_string`."""
        return connect(conn_string, lambda store: cls(store, serde=serde), **options)

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values that are there, by namespace and key."""
        found: dict[FullKey, ValueT] = {}
        for namespace, key in keys:
            at = self._entries + path_of(namespace, key)
            if (head := self._head(at, self.store.get(at))) is not None:
                parts = [self.store.get(row) for row in _further(at, head.rows)]
                found |= self._loaded((tuple(namespace), key), at, head, parts)
        return found

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """See `get`. What only the disk holds is read in a thread."""
        found: dict[FullKey, ValueT] = {}
        for namespace, key in keys:
            at = self._entries + path_of(namespace, key)
            if (head := self._head(at, await self.store.aget(at))) is not None:
                parts = [await self.store.aget(row) for row in _further(at, head.rows)]
                found |= self._loaded((tuple(namespace), key), at, head, parts)
        return found

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keep values, each for so many seconds, or for ever. Some of what has expired is removed on the way.

        Raises:
            LocalProtocolError: It would have to wait, in the thread of the event loop that the store runs in.
            StoreFull, StoreError: The log took it not.
        """
        with waiting_once(self.store):
            for (namespace, key), (value, ttl) in pairs.items():
                kind, content = self.serde.dumps_typed(value)
                self._put(path_of(namespace, key), kind, content, None if ttl is None else self._now() + ttl)
            self._sweep()

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """See `set`."""
        if self.store.waits:
            await in_thread(lambda: self.set(pairs))
        else:
            self.set(pairs)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Remove what is in these namespaces, or everything. O(found)."""
        with waiting_once(self.store):
            if namespaces is None:
                self._delete([*self.store.keys(self._entries), *self.store.keys(self._ends)])
            for namespace in namespaces or ():
                start = self._entries + prefix_of(namespace)
                self._delete([key for key in self.store.keys(start) if "/" not in key[len(start) :]])

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """See `clear`; in a thread."""
        await in_thread(lambda: self.clear(namespaces))

    # --- inside --------------------------------------------------------------------------------------------------

    def _put(self, path: str, kind: str, content: bytes, until: float | None) -> None:
        """Write an entry, what it refers to first."""
        at = self._entries + path
        parts = [content[start : start + _ROW_BYTES_MAX] for start in range(0, len(content), _ROW_BYTES_MAX)] or [b""]
        former = _read(self.store.get(at))
        for row, part in zip(_further(at, len(parts)), parts[1:], strict=True):
            self.store.set(row, part)
        if until is not None:
            self.store.set(f"{self._ends}{max(int(until), 0):012x}/{path}", True)
        head = _Head(_FORM, kind, until, len(parts), _digest(content), parts[0])
        self.store.set(at, msgpack.packb(head))
        if former is not None:
            self._delete(list(_further(at, former.rows))[len(parts) - 1 :])

    def _sweep(self) -> None:
        """Remove entries that have expired, the first so many; costs nothing but a look where none has."""
        if not any(map(self._has_ended, self.store.keys(self._ends, limit=1))):
            return
        for key in self.store.keys(self._ends, limit=_SWEPT_AT_ONCE):
            if not self._has_ended(key):
                break
            path = key[len(self._ends) :].partition("/")[2]
            at = self._entries + path
            head = _read(self.store.get(at))
            if head is not None and head.until is not None and head.until <= self._now():
                self._delete([at, *_further(at, head.rows)])
            self.store.delete(key)

    def _has_ended(self, key: str) -> bool:
        second = key[len(self._ends) :].partition("/")[0]
        return not _SECOND.fullmatch(second) or int(second, 16) < self._now()

    def _head(self, at: str, value: object) -> _Head | None:
        """The first row of an entry, if there is one and it has not expired."""
        if value is None:
            return None
        if (head := _read(value)) is None:
            _log.warning("cache.entry_unreadable key=%r", at)
        elif head.until is None or self._now() < head.until:
            return head
        return None

    def _loaded(self, key: FullKey, at: str, head: _Head, parts: Sequence[object]) -> dict[FullKey, ValueT]:
        """The value of an entry under its name; nothing if it cannot be had."""
        content = b"".join([head.content, *(part for part in parts if type(part) is bytes)])
        if _digest(content) != head.digest:
            return {}
        refused: list[str] = []
        token = _refused.set(refused)
        try:
            value: ValueT = self.serde.loads_typed((head.kind, content))
        except Exception as error:  # noqa: BLE001 # supervisor: another machine's bytes must not end a run
            _log.warning("cache.entry_unreadable key=%r error=%s", at, type(error).__name__)
            return {}
        finally:
            _refused.reset(token)
        return {} if refused else {key: value}

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.store.delete(key)


def _further(at: str, rows: int) -> Iterator[str]:
    """Keys of the rows in which an entry goes on."""
    return (f"{at}#{number}" for number in range(1, rows))


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=8).digest()


def _read(value: object) -> _Head | None:
    """The first row of an entry; None if it is none that this version can read."""
    if type(value) is not bytes:
        return None
    try:
        row = msgpack.unpackb(value)
    except (ValueError, msgpack.UnpackException):
        return None
    match row:
        case [1, str(), float() | int() | None, int(rows), bytes(), bytes()] if 0 < rows < 1 << 16:
            return _Head(*row)
    return None


def _note(event: SerdeEvent) -> None:
    if (refused := _refused.get()) is not None and event["kind"].endswith("blocked"):
        refused.append(f"{event['module']}.{event['name']}")


register_serde_event_listener(_note)
