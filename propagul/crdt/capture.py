"""The chosen rows of a table as they were at one instant, read in slices while the table changes.

Whoever changes a row that a capture has yet to read leaves the row's former state with it. How far one was read is two
numbers, an arrival and a slot: all that had arrived by then in the slots before. A later capture can go on from there,
with what has changed since in those slots first.
"""

from __future__ import annotations

import contextlib
import weakref
from itertools import chain
from typing import TYPE_CHECKING

from propagul.crdt.block import Block
from propagul.crdt.bulk import read_slots
from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Sequence

    from propagul.crdt.block import Plain
    from propagul.crdt.row import Row
    from propagul.crdt.table import Table


class Capture:
    """The chosen rows of a table as they were at one instant, read in slices while the table changes.

    Args:
        table: Whose.
        changed: Of the slots before `below`, those that arrived after `after`, in that order; they are read first.
        numbers: The arrival number of each.
        after: See there.
        below: See there. All slots from here on are chosen, too.
    """

    __slots__ = (
        "__weakref__",
        "_after",
        "_changed",
        "_former",
        "_next",
        "_numbers",
        "_position",
        "_slots",
        "_table",
        "_until",
    )

    def __init__(self, table: Table, changed: Sequence[int], numbers: array[int], after: int, below: int) -> None:
        self._table = table
        self._changed, self._numbers = changed, numbers
        self._slots = range(below, len(table._keys))  # noqa: SLF001 - one class in two halves
        self._after, self._until = after, table.arrival
        self._position, self._next = 0, below
        self._former: dict[int, tuple[str, Row] | None] = {}

    def __len__(self) -> int:
        """Rows to read, those already read included; free slots count."""
        return len(self._changed) + len(self._slots)

    @property
    def at_end(self) -> bool:
        """Whether every row was read."""
        return self._position >= len(self._changed) and self._next >= self._slots.stop

    @property
    def position(self) -> tuple[int, int]:
        """How far it was read: `after` and `below` of a capture that goes on from here."""
        if self._position >= len(self._changed):
            return self._until, self._next
        return self._numbers[self._position - 1] if self._position else self._after, self._slots.start

    def leave(self, slot: int, before: tuple[str, Row] | None) -> None:
        """Keep what a slot held, if that is to be read; None for a free one. Its arrival is still the former one."""
        if slot >= self._slots.start:
            wanted = self._next <= slot < self._slots.stop
        else:
            wanted = self._after < self._table._arrivals[slot] <= self._until  # noqa: SLF001 - one class in two halves
        if wanted:
            self._former.setdefault(slot, before)

    def read(self, most: int) -> Block:
        """The next rows, at most `most`; fewer than that only where slots were free, none at the end."""
        block = Block([], [])
        while not block and not self.at_end:
            block = self._slice(self._advance(most))
        return block

    def _advance(self, most: int) -> Sequence[int]:
        begin = self._position
        if begin < len(self._changed):
            self._position = min(begin + most, len(self._changed))
            return self._changed[begin : self._position]
        first, self._next = self._next, min(self._next + most, self._slots.stop)
        return range(first, self._next)

    def _slice(self, slots: Sequence[int]) -> Block:
        former = self._former
        changed = [slot for slot in slots if slot in former] if former else []
        if changed:
            slots = [slot for slot in slots if slot not in former]
        plain, other = twin_of(read_slots)(self._table, slots)
        for slot in changed:
            if (former_row := former.pop(slot)) is not None:
                file(former_row, plain, other)
        return Block(plain, other)

    def special_rows(self) -> Iterator[Row]:
        """The chosen rows that are not plain. Ask at once, before the table changes."""
        special = self._table._special  # noqa: SLF001 - one class in two halves
        chosen = chain(self._changed, self._slots)
        return iter(special.values()) if not self._slots.start else (special[s] for s in chosen if s in special)

    def close(self) -> None:
        """Let the table change without leaving former rows here. Idempotent."""
        with contextlib.suppress(ValueError):
            self._table._captures.remove(weakref.ref(self))  # noqa: SLF001 - one class in two halves
        self._former.clear()


def file(former: tuple[str, Row], plain: list[Plain], other: list[tuple[str, Row]]) -> None:
    """Put a row that has changed since where it belongs."""
    key, row = former
    if row.is_plain:
        (dot, kind, payload), *_ = row.siblings
        plain.append((key, payload, kind, dot.stamp, dot.origin))
    else:
        other.append(former)
