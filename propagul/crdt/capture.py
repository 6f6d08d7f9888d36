"""The chosen rows of a table as they were at one instant, read in slices while the table changes.

Whoever changes a row that a capture has yet to read leaves the row's former state with it.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING

from propagul.crdt.block import Block
from propagul.crdt.bulk import read_slots
from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from propagul.crdt.block import Plain
    from propagul.crdt.row import Row
    from propagul.crdt.table import Table


class Capture:
    """The chosen rows of a table as they were at one instant, read in slices while the table changes."""

    __slots__ = ("__weakref__", "_after", "_former", "_position", "_slots", "_table", "_until", "_whole")

    def __init__(self, table: Table, slots: Sequence[int], after: int) -> None:
        self._table = table
        self._slots = slots
        self._after, self._until = after, table.arrival
        self._whole = isinstance(slots, range)
        self._position = 0
        self._former: dict[int, tuple[str, Row] | None] = {}

    def __len__(self) -> int:
        """Rows to read, those already read included; free slots count."""
        return len(self._slots)

    @property
    def at_end(self) -> bool:
        """Whether every row was read."""
        return self._position >= len(self._slots)

    def leave(self, slot: int, before: tuple[str, Row] | None) -> None:
        """Keep what a slot held, if that is to be read; None for a free one. Its arrival is still the former one."""
        if self._whole:
            wanted = self._position <= slot < len(self._slots)
        else:
            wanted = self._after < self._table._arrivals[slot] <= self._until  # noqa: SLF001 - one class in two halves
        if wanted:
            self._former.setdefault(slot, before)

    def read(self, most: int) -> Block:
        """The next rows, at most `most`; fewer than that only where slots were free, none at the end."""
        block = Block([], [])
        while not block and self._position < len(self._slots):
            block = self._slice(self._slots[self._position : self._position + most])
            self._position += most
        return block

    def _slice(self, slots: Sequence[int]) -> Block:
        former = self._former
        changed = [slot for slot in slots if slot in former] if former else []
        if changed:
            slots = [slot for slot in slots if slot not in former]
        plain, other = twin_of(read_slots)(self._table, slots)
        for slot in changed:
            _file(former.pop(slot), plain, other)
        return Block(plain, other)

    def special_rows(self) -> Iterator[Row]:
        """The chosen rows that are not plain. Ask at once, before the table changes."""
        special = self._table._special  # noqa: SLF001 - one class in two halves
        return iter(special.values()) if self._whole else (special[slot] for slot in self._slots if slot in special)

    def close(self) -> None:
        """Let the table change without leaving former rows here. Idempotent."""
        with contextlib.suppress(ValueError):
            self._table._captures.remove(weakref.ref(self))  # noqa: SLF001 - one class in two halves
        self._former.clear()


def _file(former: tuple[str, Row] | None, plain: list[Plain], other: list[tuple[str, Row]]) -> None:
    """Put a row that has changed since where it belongs."""
    if former is None:
        return
    key, row = former
    if row.is_plain:
        (dot, kind, payload), *_ = row.siblings
        plain.append((key, payload, kind, dot.stamp, dot.origin))
    else:
        other.append(former)
