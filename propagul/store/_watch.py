"""Watching: every state a key passes through here, in order, or told how many were missed.

A watcher's buffer is bounded. When it is full it is folded to the newest state of each key; the change that stands for
several then says how many states of its key it replaced. So a slow watcher loses steps, never the end.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from propagul.crdt.payload import ABSENT, Absent, Evicted
from propagul.errors import StoreError
from propagul.store import _values
from propagul.store._signed import is_withdrawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from propagul.crdt import Change as RowChange
    from propagul.crdt import Dot, Found, Sibling

_log = logging.getLogger("propagul.store")

BUFFER_CHANGES = 1024
"""Changes a watcher may lag behind before they are folded; with more keys than this, two a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step of one key, as this replica saw it.

    Attributes:
        key: The key.
        payload: Its value after the step as it is stored; ABSENT if deleted.
        cause: `local` for a write of this store, `remote` for one that arrived.
        origin: Which process wrote the winner, as 16 hexadecimal digits; empty for a deletion.
        conflict: Whether the key now has several siblings.
        missed: How many earlier states of this key this watcher did not get.
    """

    key: str
    payload: Found
    cause: Literal["local", "remote"]
    origin: str
    conflict: bool
    missed: int = 0

    @property
    def deleted(self) -> bool:
        """Whether the key is gone; tells a deletion from a stored None."""
        return self.payload is ABSENT

    @property
    def value(self) -> object:
        """Its value after the step (the winner where there are siblings), the caller's own; None if deleted."""
        return None if isinstance(self.payload, Absent) else _values.thaw(self.key, self.payload)


def visible(change: RowChange, *, local: bool, inside: bool = False) -> Change | None:
    """The step a user sees, or None where only bookkeeping changed, or something inside a counter, set, log or map."""
    if not inside and change.key.startswith(_values.TYPED_MARK):
        return None
    before, after = change.before.winner, change.after.winner
    conflict = len(change.after.siblings) > 1
    if _dot_of(before) == _dot_of(after) and conflict == (len(change.before.siblings) > 1):
        return None
    if after is not None and is_withdrawn(after.payload):
        after = None
    return Change(
        key=change.key,
        payload=ABSENT if after is None else after.payload,
        cause="local" if local else "remote",
        origin="" if after is None else f"{after.dot.origin:016x}",
        conflict=conflict,
    )


def loaded(change: Change) -> Change | None:
    """The change with its value read from the disk, if it stands there alone.

    None if it is there no more: then a newer state of the key has replaced it, and that one follows.
    """
    if not isinstance(change.payload, Evicted):
        return change
    try:
        return replace(change, payload=change.payload.read())
    except StoreError as error:
        _log.info("store.change_passed_over key=%r: %s", change.key, error)
        return None


def _dot_of(sibling: Sibling | None) -> Dot | None:
    return None if sibling is None else sibling.dot


class Watcher:
    """A bounded buffer between a namespace's lock and one reader's event loop."""

    def __init__(self, prefix: str, loop: asyncio.AbstractEventLoop, *, inside: bool = False) -> None:
        self._prefix, self._inside = prefix, inside
        self._loop = loop
        self._lock = threading.Lock()
        self._buffer: collections.deque[Change] = collections.deque()
        self._filled = asyncio.Event()
        self._fold_above = BUFFER_CHANGES
        self._closed = False

    def offer(self, row_change: RowChange, local: bool) -> None:  # noqa: FBT001 - a listener's signature
        """Take a change from any thread."""
        if not row_change.key.startswith(self._prefix):
            return
        change = visible(row_change, local=local, inside=self._inside)
        if change is not None:
            with self._lock:
                self._buffer.append(change)
                if len(self._buffer) > self._fold_above:
                    self._fold()
            self._wake()

    def close(self) -> None:
        """End the iteration after what is buffered."""
        self._closed = True
        self._wake()

    async def changes(self) -> AsyncIterator[Change]:
        """Yield changes until closed."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while (change := self._take()) is not None:
                yield change
            if self._closed:
                return

    def _take(self) -> Change | None:
        """The next change, with its value in memory; None if there is none."""
        while True:
            with self._lock:
                if not self._buffer:
                    return None
                change = self._buffer.popleft()
            if (read := loaded(change)) is not None:
                return read

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._filled.set)

    def _fold(self) -> None:
        newest: dict[str, Change] = {}
        for change in self._buffer:
            older = newest.pop(change.key, None)
            newest[change.key] = change if older is None else replace(change, missed=change.missed + older.missed + 1)
        self._buffer = collections.deque(newest.values())
        self._fold_above = max(BUFFER_CHANGES, 2 * len(newest))  # or every change of many keys would fold them all
