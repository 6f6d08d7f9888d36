"""The rows of one memory: records, their vectors, when they were last used, how long vectors are.

A vector is written before the record that names it, under a name of its own, and goes after the record names another
one. A change of a record always brings its own copy of the vector: if it named the old one, a deletion elsewhere that
did not see the change would take the vector away and leave the record.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from crewai.memory.storage.backend import EmbeddingDimensionMismatchError
from crewai.memory.types import MemoryRecord
from pydantic import ValidationError

from propagul_crewai._stores import texts_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from propagul import AgentStateStore


class Records:
    """Reads and writes the rows of the memory of that name. The store is the caller's to give."""

    def __init__(self, name: str) -> None:
        stem = f"crewai/memory/{quote(name, safe='')}"
        self._records, self._vectors = f"{stem}/record/", f"{stem}/vector/"
        self._touched, self._dimension = f"{stem}/touched/", f"{stem}/dimension"

    def rows(self, store: AgentStateStore) -> dict[str, object]:
        """Every record's row by its id: what to compare, and what `parse` takes."""
        return {key.removeprefix(self._records): value for key, value in store.items(self._records)}

    def read(self, store: AgentStateStore, record_id: str) -> tuple[MemoryRecord, str | None] | None:
        """The record of that id and the name of its vector; None if there is none that this version can read."""
        row = store.get(self._records + record_id)
        return None if row is None else self.parse(store, record_id, row)

    def parse(self, store: AgentStateStore, record_id: str, row: object) -> tuple[MemoryRecord, str | None] | None:
        """The record of a row and the name of its vector; None for a row that this version cannot read."""
        text = row if isinstance(row, str) else next(iter(texts_in(store).siblings(self._records + record_id)), None)
        try:
            parsed = json.loads(text or "")
            return MemoryRecord.model_validate(parsed["record"]), _name_in(parsed)
        except (ValueError, KeyError, TypeError, ValidationError):
            return None

    def vector(self, store: AgentStateStore, name: str | None) -> NDArray[np.float32] | None:
        """The vector of that name."""
        packed = None if name is None else store.get(self._vectors + name)
        return np.frombuffer(packed, np.float32) if isinstance(packed, bytes) else None

    def write(self, store: AgentStateStore, record: MemoryRecord, vector: NDArray[np.float32] | None) -> None:
        """Write a vector, the record that names it, and remove the vectors of what that replaced."""
        replaced = self._vectors_of(store, record.id)
        name = None if vector is None else f"{record.id}/{uuid.uuid4().hex[:12]}"
        text = json.dumps({"record": record.model_dump(mode="json"), "vector": name})
        if vector is not None:
            store.set(f"{self._vectors}{name}", vector.tobytes())
        texts_in(store).put(self._records + record.id, text)
        for key in (*replaced, self._touched + record.id):
            store.delete(key)

    def remove(self, store: AgentStateStore, record_id: str) -> bool:
        """Remove a record with all that belongs to it; return whether it was there."""
        replaced = self._vectors_of(store, record_id)
        was_there = texts_in(store).remove(self._records + record_id)
        for key in (*replaced, self._touched + record_id):
            store.delete(key)
        return was_there

    def touch(self, store: AgentStateStore, record_id: str, time: str) -> None:
        """Note when a record was used, if it is there."""
        if self._records + record_id in store:
            store.set(self._touched + record_id, time)

    def touched(self, store: AgentStateStore, record_id: str) -> str | None:
        """When a record was used since it was last written."""
        time = store.get(self._touched + record_id)
        return time if isinstance(time, str) else None

    def check(self, store: AgentStateStore, lengths: Sequence[int]) -> int | None:
        """How long the vectors of this memory are, if there was one yet.

        Raises:
            EmbeddingDimensionMismatchError: One of these is not as long.
        """
        known = store.get(self._dimension)
        stored = known if isinstance(known, int) else None
        for length in lengths:
            stored = length if stored is None else stored
            if length != stored:
                raise EmbeddingDimensionMismatchError(stored, length)
        return stored

    def settle(self, store: AgentStateStore, length: int | None) -> None:
        """Say how long vectors are; None if that is open again."""
        if length is None:
            store.delete(self._dimension)
        elif store.get(self._dimension) != length:
            store.set(self._dimension, length)

    def _vectors_of(self, store: AgentStateStore, record_id: str) -> list[str]:
        """The keys of a record's vectors, also of versions that were written concurrently."""
        texts = texts_in(store).siblings(self._records + record_id)
        return [self._vectors + name for text in texts if (name := _name_in(_json(text))) is not None]


def _json(text: str | None) -> object:
    try:
        return json.loads(text or "")
    except ValueError:
        return None


def _name_in(row: object) -> str | None:
    name = row.get("vector") if isinstance(row, dict) else None
    return name if isinstance(name, str) else None
