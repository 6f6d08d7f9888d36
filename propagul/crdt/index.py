"""Which keys of typed rows there are, in order: so that reading what is under a prefix costs what it finds."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

_FEW: Final = 64


class KeyIndex:
    """A sorted set of keys. Single-threaded: the caller holds the lock.

    Keys that come in bulk, as when a log is read, are sorted once, at the next question.
    """

    __slots__ = ("_held", "_keys", "_new")

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._held: set[str] = set()
        self._new: list[str] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, key: str) -> None:
        """Add a key. O(1); idempotent."""
        if key not in self._held:
            self._held.add(key)
            self._new.append(key)

    def discard(self, key: str) -> None:
        """Remove a key if it is there. O(log n), and a move of n/2 references."""
        if key in self._held:
            self._held.remove(key)
            self._settle()
            del self._keys[bisect_left(self._keys, key)]

    def under(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`, sorted. O(log n + keys found), after O(new keys) once."""
        self._settle()
        end = begin = bisect_left(self._keys, prefix)
        while end < len(self._keys) and self._keys[end].startswith(prefix):
            end += 1
        return self._keys[begin:end]

    def _settle(self) -> None:
        if len(self._new) > _FEW:
            self._keys += self._new
            self._keys.sort()
        else:
            for key in self._new:
                insort(self._keys, key)
        self._new.clear()
