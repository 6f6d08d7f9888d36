"""The order in which rows changed: what arrived after a place costs O(changes)."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import compress
from operator import eq
from typing import TYPE_CHECKING, ClassVar, Final

from propagul.crdt.bulk import uncollected_at
from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from propagul.crdt.payload import Found

    When = range | array[int]
    Column = array[int] | bytes

CHUNK: Final = 4096


class Arrivals:
    """Slots in the order of their arrival; where most entries are stale, two chunks are swept for each new one.

    In the newest chunk the n-th entry is the n-th arrival after the chunk's first; older chunks have gaps and say when.

    Attributes:
        begin: The arrival number of the newest chunk's first entry.
        newest: That chunk.
        chunk: How many entries it has when it is full.
    """

    __slots__ = ("_arrivals", "_entries", "_slots", "_sweeping", "_swept", "_values", "begin", "newest")

    chunk: ClassVar[int] = CHUNK

    def __init__(self, slots: Mapping[str, int], values: list[Found], arrivals: array[int]) -> None:
        self._slots = slots
        self._values = values
        self._arrivals = arrivals
        self._entries = 0
        self._swept: list[tuple[array[int], When]] = []
        self._sweeping = 0
        self.begin = 1
        self.newest: list[int] = []

    def append(self, slot: int) -> None:
        """The next arrival is of this slot."""
        self._arrivals[slot] = self.begin + len(self.newest)
        self.newest.append(slot)
        if len(self.newest) >= CHUNK:
            self.close_chunk()

    def close_chunk(self) -> None:
        """Begin another chunk, and sweep two older ones."""
        count = len(self.newest)
        twin_of(uncollected_at)(self._values, self.newest)
        self._swept.append((array("I", self.newest), range(self.begin, self.begin + count)))
        self._entries += count
        self.begin += count
        self.newest = []
        for _ in range(2 if self._entries > 2 * len(self._slots) + CHUNK else 0):
            self._sweep()

    def since(self, after: int) -> list[int]:
        """Slots that arrived after `after`, oldest first. O(their number and the stale ones between)."""
        return self.since_with_numbers(after)[0]

    def since_with_numbers(self, after: int) -> tuple[list[int], array[int]]:
        """The same, and the arrival number of each."""
        found, numbers = list[int](), array("Q")
        for slots, when in self._chunks_since(after):
            live, arrived = self._live(slots, when)
            found += live
            numbers += arrived
        return found, numbers

    def _chunks_since(self, after: int) -> Iterator[tuple[array[int], When]]:
        """What of each chunk arrived after that, oldest first."""
        older: list[tuple[array[int], When]] = []
        for slots, when in reversed(self._swept) if after + 1 < self.begin else ():
            begin = bisect_right(when, after)
            older.append((slots[begin:], when[begin:]))
            if begin:
                break
        yield from reversed(older)
        begin = max(after + 1 - self.begin, 0)
        yield array("I", self.newest[begin:]), range(self.begin + begin, self.begin + len(self.newest))

    def _live(self, slots: array[int], when: When) -> tuple[array[int], array[int]]:
        kept, kept_when = twin_of(newest_of)(slots, when, self._arrivals)
        return array("I", kept), array("Q", kept_when)

    def _sweep(self) -> None:
        """Drop the stale entries of one chunk, and join it to the one before where both are small."""
        if self._sweeping >= len(self._swept):
            self._sweeping = 0
        entries, arrived = self._swept[self._sweeping]
        slots, when = self._live(entries, arrived)
        self._entries -= len(entries) - len(slots)
        before = self._swept[self._sweeping - 1] if self._sweeping else None
        if before is not None and len(before[0]) + len(slots) <= CHUNK:
            self._swept[self._sweeping - 1] = before[0] + slots, array("Q", before[1]) + when
            del self._swept[self._sweeping]
        else:
            self._swept[self._sweeping] = slots, when
            self._sweeping += 1


def newest_of(slots: array[int], when: When, arrivals: array[int]) -> tuple[Column, Column]:
    """The entries that are their slots' newest, in two columns, or in the bytes of these."""
    live = list(map(eq, map(arrivals.__getitem__, slots), when))  # no turn of a loop here: many entries pass
    return array("I", compress(slots, live)), array("Q", compress(when, live))
