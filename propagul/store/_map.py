"""The local half of a store: a map that is read, written and watched without the network.

Every method works from any thread, before `start` and after, except where it says otherwise. Writes are logged before
they are visible; what `get` returns is the caller's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING

from propagul.crdt import ABSENT, REGISTER, REMOVE, Evicted, Op, Packed
from propagul.errors import ClosedError, LocalProtocolError, StoreCorrupt, StoreError
from propagul.store import _kernel, _values
from propagul.store._conflicts import Conflicts
from propagul.store._pressure import NoPressure
from propagul.store._rows import Rows
from propagul.store._signed import is_there
from propagul.store._types import AddWinsSet, Counter, NestedMap, OrderedLog
from propagul.store._watch import Watcher, loaded, visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime

    from propagul.crdt import Change as RowChange
    from propagul.store._history import History, Past, PastState
    from propagul.store._namespace import Namespace
    from propagul.store._pressure import Pressure
    from propagul.store._values import Limits
    from propagul.store._watch import Change

_AS_IT_IS = frozenset({type(None), bool, int, float, str, bytes})

_log = logging.getLogger("propagul.store")


class StateMap(Conflicts):
    """Keys and values of one namespace."""

    __slots__ = ("__dict__", "__weakref__", "_closed", "_tells", "_waits")  # slots: what the kernel reads in place

    def __init__(self, space: Namespace, limits: Limits, pressure: Pressure | None = None) -> None:
        self._state = space
        self._limits, self._key_max, self._value_max = limits, limits.key_bytes, limits.value_bytes
        self._rows = Rows(space, self._before_rows, self._wrote_locally)
        space.on_detour = self._rows.detour
        if space.sealed is not None and space.sealed.is_whole:
            self._rows.detour(1)  # for good: the table does not show them as they are
        self._waits = False
        self._past: Past | None = None
        self._pressure = pressure or NoPressure()
        self._put_plain, self._table = space.put_plain, space.table
        self._slot_of, self._values = space.table.slots.get, space.table.values
        self._closed = False
        self._home: asyncio.AbstractEventLoop | None = None
        """The event loop the store runs in; None while it is not started."""
        self._tells: asyncio.AbstractEventLoop | None = None
        """The same, but None while the loop is going to look for writes anyhow: it need not be told of more."""
        self._callbacks: list[Callable[[str, object], None]] = []
        self._callbacks_failed = 0
        self._pending: deque[Change] = deque()
        self._watchers: set[Watcher] = set()
        self._unlisten: Callable[[], None] | None = None
        _kernel.bind(self, StateMap)  # its `set` and `get`, where it can, stand before those below, which do the rest

    def set(self, key: str, value: object, *, block: bool = True) -> None:
        """Store a value. What it survives when this has returned is the store's `durability`.

        Args:
            key: Up to 1 KiB of text.
            value: None, bool, int, float, str, bytes, list, dict, or a datetime with a timezone; up to 1 MiB.
            block: Wait where more than 16 MiB are on their way to the disk; otherwise refuse.

        Raises:
            TypeError, ValueError: The key or value cannot be stored; the message names the path inside it.
            LimitExceeded: The key or value is too large.
            StoreBusy: The disk cannot keep up, and `block` is false; nothing was stored.
            StoreFull, StoreError: The log took it not; nothing was stored.
            NotReplicated: It is stored, and fewer members have logged it in time than `durability` asks for.
        """
        if self._pressure.is_pressing or self._waits or self._closed:
            self._check_open()
            self._before_write(block=block)
        if (  # what most writes are, checked without a call; everything else is checked in full
            type(key) is str
            and type(value) is str
            and key.isascii()
            and value.isascii()
            and 0 < len(key) <= self._key_max
            and len(value) <= self._value_max
            and key[0] != "\0"
            and not self._rows.open_transactions
            and self._put_plain(key, value)
        ):
            if self._tells is not None or self._waits:
                self._wrote_locally()
            return
        payload = _values.freeze(_values.check_key(key, self._limits), value, self._limits)
        self._rows.commit((Op(key, REGISTER, payload),))

    def get(self, key: str, default: object = None) -> object:
        """The value of a key: the newest of its siblings where there are several. The caller's own."""
        if self._rows.open_transactions:
            return self._get_slowly(key, default)
        table = self._table
        drops, slot = table.drops, self._slot_of(key)
        if slot is None:
            return default
        found = self._values[slot]
        if table.drops != drops:  # another thread may have given the slot to another key in between
            return self._get_slowly(key, default)
        if type(found) in _AS_IT_IS:
            return found
        if isinstance(found, (Packed, Evicted)):
            with contextlib.suppress(StoreError):  # its place has changed just now, or it is at fault: see below
                return default if (value := _values.thaw(key, found)) is ABSENT else value
        return self._get_slowly(key, default)

    async def aget(self, key: str, default: object = None) -> object:
        """Like `get`, for an event loop: a value that only the disk holds is read in a thread."""
        if isinstance(self._state.table.get(key), Evicted):
            return await asyncio.to_thread(self.get, key, default)
        return self.get(key, default)

    def _get_slowly(self, key: str, default: object) -> object:
        """The value of a key in a transaction, while a stream is joined, or on the disk."""
        while (winner := self._rows.row(key).winner) is not None:
            try:
                return default if (value := _values.thaw(key, winner.payload)) is ABSENT else value
            except StoreError:
                if not self._state.has_moved(key, winner):
                    raise
        return default

    def delete(self, key: str) -> bool:
        """Remove a key, with every sibling seen here; return whether it was there.

        A write that another store makes at the same time survives.
        """
        return self._rows.update((key,), lambda rows: [Op(key, REGISTER, REMOVE)] if is_there(rows[key]) else [])

    def get_all(self, prefix: str = "") -> dict[str, object]:
        """Keys under a prefix with their values, all of one instant, sorted by key. O(found), as `keys`.

        A value that this version cannot read is left out, so that one bad row hides no other; `get` says what it is.
        """
        return dict(self.items(prefix))

    def items(self, prefix: str = "") -> Iterator[tuple[str, object]]:
        """Like `get_all`, one pair at a time."""
        hold = self._state.hold()
        for key, payload in sorted(self._rows.live(prefix), key=lambda item: item[0]):
            try:
                value = _values.thaw(key, payload)
            except StoreCorrupt:
                _log.warning("store.value_unreadable key=%r", key)
            else:
                yield key, value
        del hold  # until here, what only the disk holds could be read

    def keys(self, prefix: str = "", *, reverse: bool = False, limit: int | None = None) -> list[str]:
        """Keys under a prefix, sorted, all of one instant; the first `limit` of them, from the end with `reverse`.

        O(found), or O(limit). Keys that are new since the last such question are put in order first, once.

        Raises:
            ValueError: `limit` is negative.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"a limit of keys is 0 or more, not {limit}")
        return self._rows.keys(prefix, reverse=reverse, limit=limit)

    @property
    def revision(self) -> int:
        """A number that rises with every row that is written here or arrives. *Use:* whether anything has changed."""
        return self._table.arrival

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and is_there(self._rows.row(key))

    def __len__(self) -> int:
        return sum(1 for _ in self._rows.live(""))

    def transaction(self) -> AbstractContextManager[None]:
        """`with store.transaction():` everything written inside the block becomes visible at its end, in one step.

        It is one event of the log and one stamp: concurrent transactions rank the same way in every key. Reads of the
        same task see what it wrote; others see all of it or nothing, here and at every replica. An exception drops
        it. At most 16 MiB; transactions may be nested and are then one.

        Raises:
            LimitExceeded: It is too large. Nothing was written.
            StoreFull, StoreError: The log took it not. Nothing was written.
        """
        return self._rows.transaction()

    # --- more than a value ---------------------------------------------------------------------------------------

    def counter(self, name: str) -> Counter:
        """The counter of that name: any number of replicas add and subtract, and nothing is lost."""
        return Counter(self._rows, name, self._limits)

    def set_of(self, name: str) -> AddWinsSet:
        """The set of that name; an addition wins over a removal that did not see it."""
        return AddWinsSet(self._rows, name, self._limits)

    def log_of(self, name: str) -> OrderedLog:
        """The log of that name: entries in the same order everywhere."""
        return OrderedLog(self._rows, name, self._limits)

    def map_of(self, name: str) -> NestedMap:
        """The nested map of that name; its leaves are written one by one, subtrees are removed as they were seen."""
        return NestedMap(self._rows, name, self._limits)

    # --- the past ------------------------------------------------------------------------------------------------

    def history(self, key: str, limit: int | None = None) -> History:
        """The versions of a key that this replica saw, oldest first; the newest `limit` of them.

        How far back they go is the store's `retention`, and is in `.earliest` of the list. Read from the disk beside
        the writers: O(retained log) in time, O(state) in memory, so call it in a thread where that matters.

        Raises:
            LocalProtocolError: The store has no path.
            ValueError: `limit` is negative.
            StoreCorrupt: Something that is kept is damaged; the message names the file.
            StoreError: The disk does not give it.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"a limit of versions is 0 or more, not {limit}")
        return self._kept_past().versions(_values.check_key(key, self._limits), limit)

    def at(self, time: datetime) -> PastState:
        """What this replica held at a moment, to be read like the store. Costs what `history` does.

        Raises:
            NotRetained: The moment lies before everything that is kept; it names the earliest that is.
            ValueError: It has no time zone.
            LocalProtocolError, StoreCorrupt, StoreError: As `history`.
        """
        return self._kept_past().at(time)

    def _kept_past(self) -> Past:
        self._check_open()
        if self._past is None:
            raise LocalProtocolError(
                "this store has no past to read: give it a `path`, and a `retention` such as Retention('7d')"
            )
        return self._past

    # --- watching ------------------------------------------------------------------------------------------------

    def on_change(self, callback: Callable[[str, object], None]) -> Callable[[], None]:
        """Call `callback(key, value)` for every change made elsewhere, None for a deletion; return how to stop.

        Runs in the store's event loop, in order. A callback that raises is logged and counted in `stats`.
        """
        self._callbacks.append(callback)
        if self._unlisten is None:  # watching costs every write: only while somebody does
            self._unlisten = self._state.listen(self._note_remote)
        return lambda: self._stop_calling(callback)

    async def watch(self, prefix: str = "", *, inside: bool = False) -> AsyncIterator[Change]:
        """Yield every state that keys under a prefix pass through, local and remote, in order per key.

        With `inside`, also the rows of counters, sets, logs and nested maps, whose keys begin with NUL. Begins when the
        iteration does; ends when the store is stopped.

        Raises:
            ClosedError: The store is stopped already.
        """
        self._check_open()
        watcher = Watcher(prefix, asyncio.get_running_loop(), inside=inside)
        stop = self._state.listen(watcher.offer)
        self._watchers.add(watcher)
        try:
            async for change in watcher.changes():
                yield change
        finally:
            stop()
            self._watchers.discard(watcher)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the store is closed")

    def _before_rows(self) -> None:
        self._check_open()
        self._before_write()

    def _wrote_locally(self) -> None:
        if self._tells is not None:
            self._tells = None  # before the loop is told, or what it does then might come first
            self._wrote()
        if self._waits:
            self._settle()

    def _tell_again(self, space: str) -> None:
        """In the loop, which is about to look what was written: it must hear of what is written from now on."""
        if space == self._state.name:
            self._tells = self._home

    def _before_write(self, *, block: bool = True) -> None:
        """Wait for a disk that cannot keep up, or refuse."""
        if self._pressure.is_pressing:
            self._pressure.relieve(block=block)

    def _settle(self) -> None:
        """Wait until what was written is as durable as it should be."""

    def _stop_calling(self, callback: Callable[[str, object], None]) -> None:
        if callback in self._callbacks:
            self._callbacks.remove(callback)
        if not self._callbacks and self._unlisten is not None:
            self._unlisten()
            self._unlisten = None

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
            if (change := loaded(self._pending.popleft())) is None:
                continue
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
