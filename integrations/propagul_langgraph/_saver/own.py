"""The saver's own rows in a store that others use too, and whether any came that are not its own.

No write here waits, so that it may be made under a lock and in an event loop: who must wait settles the store after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul import AgentStateStore

_AT_ONCE: Final = 256


class OwnRows:
    """Reads and writes rows, and counts what it writes.

    Args:
        store: Where they are.
    """

    def __init__(self, store: AgentStateStore) -> None:
        self.store = store
        self.get, self.keys = store.get, store.keys
        self._written = 0

    @property
    def others(self) -> int:
        """A number that changes whenever a row was written by anybody but this object.

        It may change without that: two threads that write at the same time are counted as one.
        """
        return self.store.revision - self._written

    def set(self, key: str, value: object) -> None:
        """Write a row."""
        if self.store.waits:
            with self.store.without_waiting():
                self.store.set(key, value)
        else:
            self.store.set(key, value)
        self._written += 1  # after it: a row of another that comes in between must not be taken for ours

    def siblings(self, key: str) -> Sequence[object]:
        """The values of a row: several if machines wrote it at the same time, none if it is not there."""
        return [] if self.get(key) is None else self.store.siblings(key)

    def delete(self, key: str) -> bool:
        """Remove a row; whether it was there."""
        with self.store.without_waiting():
            was_there = self.store.delete(key)
        self._written += was_there
        return was_there

    def remove(self, keys: Sequence[str]) -> None:
        """Remove rows, some at a time."""
        for start in range(0, len(keys), _AT_ONCE):
            with self.store.without_waiting(), self.store.transaction():
                for key in keys[start : start + _AT_ONCE]:
                    self._written += self.store.delete(key)
