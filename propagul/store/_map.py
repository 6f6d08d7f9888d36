"""The local half of a store: a map that is read, written and watched without the network.

Every method works from any thread, before `start` and after, except where it says otherwise. Writes are logged before
they are visible; what `get` returns is the caller's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, StoreCorrupt
from propagul.store import _values
from propagul.store._namespace import live
from propagul.store._watch import Watcher, visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from propagul.crdt import Change as RowChange
    from propagul.store._namespace import Namespace
    from propagul.store._values import Limits
    from propagul.store._watch import Change

_log = logging.getLogger("propagul.store")


class StateMap:
    """Keys and values of one namespace."""

    def __init__(self, space: Namespace, limits: Limits) -> None:
        self._state = space
        self._limits = limits
        self._closed = False
        self._home: asyncio.AbstractEventLoop | None = None
        """The event loop the store runs in; None while it is not started."""
        self._callbacks: list[Callable[[str, object], None]] = []
        self._callbacks_failed = 0
        self._pending: deque[Change] = deque()
        self._watchers: set[Watcher] = set()
        space.listen(self._note_remote)

    def set(self, key: str, value: object) -> None:
        """Store a value. When it returns the kernel has it (with a path); it survives the end of this process.

        Raises:
            TypeError, ValueError: The key or value cannot be stored; the message names the path inside it.
            LimitExceeded: The key or value is too large.
            StoreFull, StoreError: The log took it not; nothing was stored.
        """
        packed = _values.pack(_values.check_key(key, self._limits), value, self._limits)
        self._writable().put(key, packed)
        self._wrote()

    def get(self, key: str, default: object = None) -> object:
        """The value of a key: the newest of its siblings where there are several. The caller's own."""
        winner = self._state.row(key).winner
        return default if winner is None else _values.unpack(key, winner.payload)

    def delete(self, key: str) -> bool:
        """Remove a key, with every sibling seen here; return whether it was there.

        A write that another store makes at the same time survives.
        """
        removed = self._writable().remove(key)
        if removed:
            self._wrote()
        return removed

    def get_all(self, prefix: str = "") -> dict[str, object]:
        """Keys under a prefix with their values, all of one instant, sorted by key. O(rows).

        A value that this version cannot read is left out, so that one bad row hides no other; `get` says what it is.
        """
        return dict(self.items(prefix))

    def items(self, prefix: str = "") -> Iterator[tuple[str, object]]:
        """Like `get_all`, one pair at a time."""
        for key, packed in sorted(live(self._state.rows(), prefix)):
            try:
                value = _values.unpack(key, packed)
            except StoreCorrupt:
                _log.warning("store.value_unreadable key=%r", key)
            else:
                yield key, value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._state.row(key).winner is not None

    def __len__(self) -> int:
        return sum(1 for _ in live(self._state.rows(), ""))

    def get_conflicts(self, key: str) -> list[object]:
        """All values of a key that were written concurrently, the one `get` returns first; empty without a conflict."""
        siblings = self._state.row(key).siblings
        return [_values.unpack(key, s.payload) for s in siblings] if len(siblings) > 1 else []

    def resolve(self, key: str, choose: Callable[[list[object]], object]) -> object:
        """Settle a conflict: `choose` gets the siblings, newest first, and returns the value to keep.

        Called again if the siblings changed meanwhile. Without a conflict nothing happens. Returns the key's value.
        """
        while True:
            row = self._state.row(key)
            if len(row.siblings) < 2:
                return self.get(key)
            chosen = choose([_values.unpack(key, s.payload) for s in row.siblings])
            if self._writable().resolve(key, row, _values.pack(key, chosen, self._limits)):
                self._wrote()
                return chosen

    # --- watching ------------------------------------------------------------------------------------------------

    def on_change(self, callback: Callable[[str, object], None]) -> Callable[[], None]:
        """Call `callback(key, value)` for every change made elsewhere, None for a deletion; return how to stop.

        Runs in the store's event loop, in order. A callback that raises is logged and counted in `stats`.
        """
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    async def watch(self, prefix: str = "") -> AsyncIterator[Change]:
        """Yield every state that keys under a prefix pass through, local and remote, in order per key.

        Begins when the iteration does; ends when the store is stopped.

        Raises:
            ClosedError: The store is stopped already.
        """
        self._writable()
        watcher = Watcher(prefix, asyncio.get_running_loop())
        stop = self._state.listen(watcher.offer)
        self._watchers.add(watcher)
        try:
            async for change in watcher.changes():
                yield change
        finally:
            stop()
            self._watchers.discard(watcher)

    def _writable(self) -> Namespace:
        if self._closed:
            raise ClosedError("the store is closed")
        return self._state

    def _note_remote(self, row_change: RowChange, local: bool) -> None:  # noqa: FBT001 - a listener's signature
        """Under the namespace's lock: remember what callbacks must hear, and call them after it."""
        if local or not self._callbacks or self._home is None:
            return
        change = visible(row_change, local=False)
        if change is not None:
            self._pending.append(change)
            self._home.call_soon_threadsafe(self._call_back)

    def _call_back(self) -> None:
        while self._pending:
            change = self._pending.popleft()
            for callback in list(self._callbacks):
                try:
                    callback(change.key, change.value)
                except Exception:  # noqa: BLE001 # supervisor: a user's callback must not end gossip
                    self._callbacks_failed += 1
                    _log.exception("store.callback_failed")

    def _wrote(self) -> None:
        """A local write happened: the network half pushes it."""

    def _close_map(self) -> None:
        self._closed = True
        for watcher in list(self._watchers):
            watcher.close()
