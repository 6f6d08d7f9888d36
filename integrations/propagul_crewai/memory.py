"""`PropagulMemoryStorage`: what a crew knows, on every machine of the room.

Two rows a record: its fields as JSON, and its vector as 32-bit floats, which is written first, never changed, and named
by the record. So whoever sees a record sees its vector, and a process that has read a vector once need not do so again.
When a record was last used is a row of its own, so that recalling it writes little and takes part in no conflict.

Every process searches all vectors by cosine, in memory, and looks before each search which records came or went. Right
for the tens of thousands of records that a crew has: nothing is approximate, and there is nothing to compact.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from crewai.memory.types import ScopeInfo

from propagul.adapters import asynchronous
from propagul_crewai._index import Entry, Index
from propagul_crewai._records import Records
from propagul_crewai._scopes import children, is_within, normal
from propagul_crewai._stores import Lease, OnStore, Place, named

if TYPE_CHECKING:
    import os

    from crewai.memory.types import MemoryRecord

    from propagul import AgentStateStore

SPEC = "propagul:"
"""How the `storage` of a `Memory` begins that is meant for here."""


class PropagulMemoryStorage(OnStore):
    """CrewAI's protocol of memory storage, in a replicated store: `Memory(storage=PropagulMemoryStorage("state/"))`.

    Two machines that change the same record without having seen the other's change leave both; the same one of them is
    shown everywhere, until somebody changes it again. All methods work from any thread.

    Args:
        conn_string: A directory, `memory://`, or `propagul://room@host:port`; or a store that is open.
        name: Which memory of the store's. Those of different names know nothing of each other.
        room: The room's name, where neither the string nor the directory says; then `agents`.
        durability: What a record that was saved survives: `os`, `group`, `each` or `peers:n`.
    """

    def __init__(
        self,
        conn_string: str | os.PathLike[str] | AgentStateStore,
        name: str = "memory",
        *,
        room: str | None = None,
        durability: str = "os",
    ) -> None:
        self._lease = Lease(Place(named(conn_string), room, durability))
        self._records = Records(name)
        self._index = Index(self._records)
        self._reading, self._writing = threading.RLock(), threading.Lock()  # one may wait for disk or peers

    # --- writing -------------------------------------------------------------------------------------------------

    def save(self, records: list[MemoryRecord]) -> None:
        """Add records, or replace those of the same ids.

        Raises:
            EmbeddingDimensionMismatchError: Their vectors are not as long as those that are there. Nothing was saved.
            PropagulError: The store did not take one; those before it are saved.
        """
        store = self.store
        with self._writing:
            length = self._records.check(store, [len(record.embedding) for record in records if record.embedding])
            self._records.settle(store, length)
            for record in records:
                vector = np.asarray(record.embedding, np.float32) if record.embedding else None
                self._records.write(store, record, vector)

    def update(self, record: MemoryRecord) -> None:
        """Replace the record of that id. Without an embedding it keeps the one that it has.

        Raises:
            EmbeddingDimensionMismatchError, PropagulError: As `save`.
        """
        if record.embedding:
            self.save([record])
            return
        store = self.store
        with self._writing:
            known = self._records.read(store, record.id)
            self._records.write(store, record, self._records.vector(store, known[1] if known else None))

    def touch_records(self, record_ids: list[str]) -> None:
        """Note that these records were used now."""
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()  # without a zone, as CrewAI's own dates are
        for record_id in record_ids:
            self._records.touch(self.store, record_id, now)

    def delete(
        self,
        scope_prefix: str | None = None,
        categories: list[str] | None = None,
        record_ids: list[str] | None = None,
        older_than: datetime | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> int:
        """Delete the records that meet all that is given, all of them if nothing is; return how many those were."""
        wanted, store = None if record_ids is None else set(record_ids), self.store
        with self._reading:
            found = [
                entry.record.id
                for entry in self._matching(scope_prefix, categories, metadata_filter)
                if (wanted is None or entry.record.id in wanted)
                and (older_than is None or _utc(entry.record.created_at) < _utc(older_than))
            ]
        with self._writing:
            return sum(self._records.remove(store, record_id) for record_id in found)

    def reset(self, scope_prefix: str | None = None) -> None:
        """Delete everything in a scope. Without one, the next records may have vectors of another length."""
        self.delete(scope_prefix)
        if normal(scope_prefix) == "/":
            self._records.settle(self.store, None)

    # --- reading -------------------------------------------------------------------------------------------------

    def search(  # noqa: PLR0917 - CrewAI's signature
        self,
        query_embedding: list[float],
        scope_prefix: str | None = None,
        categories: list[str] | None = None,
        metadata_filter: dict[str, Any] | None = None,
        limit: int = 10,
        min_score: float = 0.0,
    ) -> list[tuple[MemoryRecord, float]]:
        """The records most like a vector among those that meet the filters, with the cosine, best first. O(records).

        Raises:
            EmbeddingDimensionMismatchError: The vector is not as long as those that are there.
        """
        store = self.store
        with self._reading:
            self._records.check(store, [len(query_embedding)])
            matching = self._matching(scope_prefix, categories, metadata_filter)
            scored = [found for found in self._index.scores(query_embedding, matching) if found[1] >= min_score]
            scored.sort(key=lambda found: (-found[1], found[0].record.id))
            return [(self._shown(store, entry.record, entry.vector), score) for entry, score in scored[: max(limit, 0)]]

    def get_record(self, record_id: str) -> MemoryRecord | None:
        """The record of that id; None if there is none."""
        store = self.store
        known = self._records.read(store, record_id)
        return None if known is None else self._shown(store, *known)

    def list_records(self, scope_prefix: str | None = None, limit: int = 200, offset: int = 0) -> list[MemoryRecord]:
        """The records of a scope, newest first."""
        if limit <= 0 or offset < 0:
            return []
        store = self.store
        with self._reading:
            entries = sorted(self._matching(scope_prefix), key=_age, reverse=True)
            return [self._shown(store, entry.record, entry.vector) for entry in entries[offset : offset + limit]]

    def get_scope_info(self, scope: str) -> ScopeInfo:
        """How many records a scope holds, of which categories, from when to when, and the scopes right below it."""
        path = normal(scope)
        with self._reading:
            records = [entry.record for entry in self._matching(path)]
        dates = sorted((record.created_at for record in records), key=_utc)
        return ScopeInfo(
            path=path,
            record_count=len(records),
            categories=sorted({category for record in records for category in record.categories}),
            oldest_record=dates[0] if dates else None,
            newest_record=dates[-1] if dates else None,
            child_scopes=children((normal(record.scope) for record in records), path),
        )

    def list_scopes(self, parent: str = "/") -> list[str]:
        """The scopes right below one."""
        with self._reading:
            return children((normal(entry.record.scope) for entry in self._matching()), normal(parent))

    def list_categories(self, scope_prefix: str | None = None) -> dict[str, int]:
        """How many records of a scope each category has."""
        counts: dict[str, int] = {}
        with self._reading:
            for category in (name for entry in self._matching(scope_prefix) for name in entry.record.categories):
                counts[category] = counts.get(category, 0) + 1
        return counts

    def count(self, scope_prefix: str | None = None) -> int:
        """How many records a scope holds."""
        with self._reading:
            return len(self._matching(scope_prefix))

    asave, asearch, adelete = asynchronous(save), asynchronous(search), asynchronous(delete)

    # --- inside --------------------------------------------------------------------------------------------------

    def _matching(
        self,
        scope_prefix: str | None = None,
        categories: list[str] | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> list[Entry]:
        """The records, as they are now, that meet the filters. With the lock held."""
        self._index.follow(self.store)
        outer, wanted = normal(scope_prefix), (metadata_filter or {}).items()
        return [
            entry
            for entry in self._index.entries()
            if is_within(normal(entry.record.scope), outer)
            and (not categories or not set(categories).isdisjoint(entry.record.categories))
            and all(entry.record.metadata.get(key) == value for key, value in wanted)
        ]

    def _shown(self, store: AgentStateStore, known: MemoryRecord, vector_name: str | None) -> MemoryRecord:
        """A record for the caller to keep, with its vector and when it was last used."""
        record = known.model_copy(deep=True)
        vector = self._records.vector(store, vector_name)
        record.embedding = None if vector is None else vector.tolist()
        if (touched := self._records.touched(store, record.id)) is not None:
            record.last_accessed = datetime.fromisoformat(touched)
        return record


def memory_storage_factory(spec: str) -> PropagulMemoryStorage | None:
    """What `set_memory_storage_factory` takes: `Memory(storage="propagul:state/")` then stands on that store.

    Such a `Memory` can be part of a checkpoint, as its storage is a text.
    """
    if not spec.startswith(SPEC):
        return None
    return PropagulMemoryStorage(spec if spec.startswith(f"{SPEC}//") else spec.removeprefix(SPEC))


def _utc(time: datetime) -> datetime:
    """CrewAI's dates are in UTC and mostly do not say so."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _age(entry: Entry) -> tuple[datetime, str]:
    return _utc(entry.record.created_at), entry.record.id
