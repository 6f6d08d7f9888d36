"""The records of one memory as this process knows them: parsed once, their vectors in one matrix of unit length.

`follow` brings it up to date with the store: what is the same row as before is not looked at again. The matrix grows by
doubling, and the rows of records that went are used again. Not thread-safe: the storage that has it holds a lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from crewai.memory.types import MemoryRecord
    from numpy.typing import NDArray

    from propagul import AgentStateStore
    from propagul_crewai._records import Records

FIRST_ROWS = 64


@dataclass(slots=True)
class Entry:
    """A record; what its row held when it was read; its vector's name and place in the matrix, if it has one."""

    record: MemoryRecord
    row: object
    vector: str | None
    slot: int | None = None


class Index:
    """Records by id, and their vectors.

    Args:
        records: Where they are.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._entries: dict[str, Entry] = {}
        self._matrix: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._free: list[int] = []

    def follow(self, store: AgentStateStore) -> None:
        """Read what came or changed since the last time, and drop what went. O(records), little for each."""
        rows = self._records.rows(store)
        for gone in self._entries.keys() - rows.keys():
            self._drop(gone)
        for record_id, row in rows.items():
            entry = self._entries.get(record_id)
            if entry is None or (entry.row is not row and entry.row != row):
                self._drop(record_id)
                self._read(store, record_id, row)

    def entries(self) -> Iterator[Entry]:
        """Every record."""
        return iter(self._entries.values())

    def scores(self, query: Sequence[float], entries: Iterable[Entry]) -> list[tuple[Entry, float]]:
        """The cosine between a query and each of these records that has a vector of its length. O(vectors)."""
        if self._matrix.shape[1] != len(query):
            return []
        every = self._matrix @ _unit(np.asarray(query, np.float32))
        return [(entry, float(every[entry.slot])) for entry in entries if entry.slot is not None]

    def _read(self, store: AgentStateStore, record_id: str, row: object) -> None:
        if (parsed := self._records.parse(store, record_id, row)) is not None:  # else another version's: left alone
            entry = self._entries[record_id] = Entry(parsed[0], row, parsed[1])
            vector = self._records.vector(store, entry.vector)
            entry.slot = None if vector is None else self._put(vector)

    def _put(self, vector: NDArray[np.float32]) -> int | None:
        """Find a row of the matrix for a vector; None for one of another length than the others have."""
        if not self._matrix.size:
            self._matrix, self._free = np.zeros((0, len(vector)), np.float32), []
        if len(vector) != self._matrix.shape[1]:
            return None
        if not self._free:
            held = len(self._matrix)
            self._matrix = np.vstack([self._matrix, np.zeros((max(held, FIRST_ROWS), len(vector)), np.float32)])
            self._free = list(range(held, len(self._matrix)))
        slot = self._free.pop()
        self._matrix[slot] = _unit(vector)
        return slot

    def _drop(self, record_id: str) -> None:
        entry = self._entries.pop(record_id, None)
        if entry is not None and entry.slot is not None:
            self._free.append(entry.slot)
        if not self._entries:  # the next vectors may be of another length
            self._matrix, self._free = np.zeros((0, 0), np.float32), []


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vector)
    return vector / length if length else vector
