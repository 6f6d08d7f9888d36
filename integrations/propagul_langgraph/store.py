"""`PropagulStore`: LangGraph's long-term memory over a replicated store.

One class, sync and async. What a call does by name is a few local reads and writes, done at once; searches, and writes
where they wait for a disk, go through a thread in the async half, and embedding never holds up the event loop.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Unpack

from langgraph.store.base import BaseStore, GetOp, ListNamespacesOp, PutOp, SearchOp

from propagul import AgentStateStore, connect
from propagul.adapters import in_thread, waiting_once
from propagul_langgraph._expiry import check_ttl
from propagul_langgraph._memory.batch import Batch
from propagul_langgraph._memory.index import NOTHING, Index, Made
from propagul_langgraph._memory.items import Items, Stored
from propagul_langgraph._memory.keys import path_of
from propagul_langgraph._memory.lifetimes import Lifetimes
from propagul_langgraph._memory.search import Search
from propagul_langgraph._memory.sweeper import Sweeper
from propagul_langgraph._memory.vectors import Vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langgraph.store.base import IndexConfig, Item, Op, Result, TTLConfig

    from propagul import Connection, StoreOptions
    from propagul_langgraph._memory.index import Embedded
    from propagul_langgraph._memory.items import Get

ROOT: Final = "lgs/"
SWEEP_MINUTES: Final = 5.0
_SETTINGS: Final = frozenset({"default_ttl", "refresh_on_read", "omit_expired", "sweep_interval_minutes"})


class PropagulStore(BaseStore):
    """Memory that survives crashes and machines, and that every machine searches by itself.

    Args:
        store: A store; it may be open elsewhere, too. Before it is started, items are kept on this machine only.
        index: How items are embedded for searches by meaning: `dims`, `embed`, `fields`. Vectors are replicated with
            the items: only who puts needs the embedding of texts, and who searches that of the query.
        ttl: `default_ttl` in minutes, `refresh_on_read` (True), `omit_expired` (False), `sweep_interval_minutes` (5).
        root: How the keys of its rows begin; stores with different ones do not see each other's items.
        now: The time, in seconds since 1970.

    Raises:
        ValueError: A setting of `index` or `ttl` has no such name or value.
    """

    supports_ttl = True

    def __init__(
        self,
        store: AgentStateStore,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        root: str = ROOT,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        check_ttl(ttl or {}, _SETTINGS)
        self.store, self.index_config, self.ttl_config = store, index, ttl
        self._index = None if index is None else Index(index)
        self._now = now
        self._items, self._vectors = Items(store, root), Vectors(store, root)
        self._lifetimes = Lifetimes(store, f"{root}x/", now)
        self._omits = bool((ttl or {}).get("omit_expired", False))
        self._sweeper = Sweeper(self.sweep_ttl)

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        **options: Unpack[StoreOptions],
    ) -> Connection[PropagulStore]:
        """Open a store for it: for `with`, and for `async with`.

        Args:
            conn_string: A directory, which any number of processes of this machine share; `memory://`; or
                `propagul://room@host:port,...?secret_file=...&path=...`, peers of a room.
            index: See the class.
            ttl: See the class.
            options: For the store, such as `durability="group"`.
        """
        return connect(conn_string, lambda store: cls(store, index=index, ttl=ttl), **options)

    def setup(self) -> None:
        """Nothing: there are no tables to be made. For programs that call it for every store."""

    async def asetup(self) -> None:
        """See `setup`."""

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do operations; see `BaseStore.batch`. Reads see what was there before the puts of the same batch.

        Each put is written whole, with its vectors, in the order of the batch; if one cannot be stored, those before it
        were. What a put survives when this has returned is the store's durability.

        Raises:
            InvalidNamespaceError, TypeError, ValueError, LimitExceeded: An operation is none; nothing was done.
            TypeError, ValueError, LimitExceeded: A value cannot be stored; the message says what in it, and why.
            LocalProtocolError: It would have to wait, in the thread of the event loop that the store runs in.
            StoreFull, StoreError: The log took it not.
        """
        batch = Batch(ops)
        embedded = NOTHING if self._index is None else self._index.embed(batch)
        return self._run(batch, embedded, self.store.get)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """See `batch`."""
        batch = Batch(ops)
        embedded = NOTHING if self._index is None else await self._index.aembed(batch)
        if batch.is_long or self.store.waits:
            return await in_thread(lambda: self._run(batch, embedded, self.store.get))
        keys = [
            key_of(path) for path in batch.paths.values() for key_of in (self._items.key_of, self._lifetimes.key_of)
        ]
        held = {key: await self.store.aget(key) for key in keys}  # what only the disk holds is read in a thread
        return self._run(batch, embedded, held.get)

    def conflicts(self, namespace: tuple[str, ...], key: str) -> list[Item]:
        """What was put under one key on several machines at the same time, newest first: `get` returns the first.

        Empty without a conflict. The next put to the key settles it.
        """
        return self._items.conflicts((namespace, key))

    # --- lifetimes -----------------------------------------------------------------------------------------------

    def sweep_ttl(self) -> int:
        """Delete what has expired; return how many items that were. O(items with a lifetime)."""
        swept = 0
        for path, _ in list(self._lifetimes.due()):
            item = self._items.at(path, self.store.get)
            if item is not None and item.ttl is None:
                self._lifetimes.drop(path)
            elif item is not None and self._lifetimes.is_past(item, self.store.get):
                self._remove(path)
                swept += 1
            elif self._items.key_of(path) not in self.store:
                self._remove(path)  # what another machine left
        return swept

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> Future[None]:
        """Sweep every so many minutes, in a thread, until `stop_ttl_sweeper` or until what is returned is cancelled.

        Without a `ttl` of the store nothing is started, as with LangGraph's own stores.
        """
        if not self.ttl_config:
            done: Future[None] = Future()
            done.set_result(None)
            return done
        minutes = sweep_interval_minutes or self.ttl_config.get("sweep_interval_minutes") or SWEEP_MINUTES
        return self._sweeper.start(60 * minutes)

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop sweeping; return whether the thread has ended within `timeout` seconds."""
        return self._sweeper.stop(timeout)

    # --- inside --------------------------------------------------------------------------------------------------

    def _run(self, batch: Batch, embedded: Embedded, get: Get) -> list[Result]:
        """Do operations, and wait once for all that was put. `get` gives the rows of items that are named."""
        search = Search(self._items, self._vectors, self._lifetimes, get, omits=self._omits)
        with waiting_once(self.store) if batch.puts else self.store.without_waiting():
            results = [self._read(op, search, embedded, get) for op in batch.ops]
            for name, op in batch.puts.items():
                if op.value is None:
                    self._remove(batch.paths[name])
                else:
                    self._put(op, embedded.items.get(name, Made()), search, get)
        return results

    def _read(self, op: Op, search: Search, embedded: Embedded, get: Get) -> Result:
        match op:
            case GetOp():
                return self._get(op, search, get)
            case SearchOp():
                return search.items(op, embedded.queries.get(op.query or ""))
            case ListNamespacesOp():
                return search.namespaces(op)
            case PutOp():
                return None

    def _get(self, op: GetOp, search: Search, get: Get) -> Item | None:
        item = self._items.named((op.namespace, op.key), get)
        if item is None or search.is_gone(item):
            return None
        if op.refresh_ttl:
            self._lifetimes.read(item, get)
        return item.item()

    def _put(self, op: PutOp, made: Made, search: Search, get: Get) -> None:
        """Write an item and what belongs to it, in one step."""
        path = path_of(op.namespace, op.key)
        former = self._items.at(path, get)
        now = dt.datetime.fromtimestamp(self._now(), dt.UTC)
        created = now if former is None or search.is_gone(former) else former.created
        item = Stored(path, dict(op.value or {}), created, now, op.ttl, made.digest, (op.namespace, op.key))
        is_plain = not (op.ttl or made.vectors) and (former is None or not (former.ttl or former.vectors))
        with contextlib.nullcontext() if is_plain else self.store.transaction():
            if op.ttl is not None:
                self._lifetimes.start(path, 60 * op.ttl)
            elif former is not None and former.ttl is not None:
                self._lifetimes.drop(path)
            if made.vectors:
                self._vectors.put(path, made.digest, made.vectors)
            elif former is not None and former.vectors:
                self._vectors.drop(path)
            self._items.put(item)

    def _remove(self, path: str) -> None:
        with self.store.transaction():
            self.store.delete(self._items.key_of(path))
            self._vectors.drop(path)
            self._lifetimes.drop(path)
