"""The rows under a prefix as they were at one instant, sorted by key, read in slices while the table changes."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING

from propagul.crdt.block import Block
from propagul.crdt.bulk import read_slots
from propagul.crdt.capture import file
from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from propagul.crdt.row import Row
    from propagul.crdt.table import Table


class Listing:
    """What a `Capture` is to slots, for keys: whoever changes a row that is to be read leaves its former state here.

    Args:
        table: Whose.
        prefix: What the keys begin with.
        keys: All of that instant, sorted; removal records may be among them.
    """

    __slots__ = ("__weakref__", "_former", "_keys", "_next", "_prefix", "_table")

    def __init__(self, table: Table, prefix: str, keys: list[str]) -> None:
        self._table = table
        self._prefix, self._keys, self._next = prefix, keys, 0
        self._former: dict[str, Row] = {}

    def __len__(self) -> int:
        """Rows to read, those already read included."""
        return len(self._keys)

    def leave(self, slot: int, before: tuple[str, Row] | None) -> None:  # noqa: ARG002 - a capture's signature
        """Keep what a key held, if that is to be read."""
        if before is None or self._next >= len(self._keys):
            return
        key, row = before
        if key >= self._keys[self._next] and key.startswith(self._prefix):
            self._former.setdefault(key, row)

    def read(self, most: int) -> Block:
        """The next rows, at most `most`; none at the end. All of them are below those of the next slice."""
        keys = self._keys[self._next : self._next + most]
        self._next += len(keys)
        slots, former = self._table.slots, self._former
        changed = [(key, former.pop(key)) for key in keys if key in former] if former else []
        if changed:
            keys = sorted(set(keys).difference([key for key, _ in changed]))
        plain, other = twin_of(read_slots)(self._table, [slots[key] for key in keys])
        for item in changed:
            file(item, plain, other)
        return Block(plain, other)

    def close(self) -> None:
        """Let the table change without leaving former rows here. Idempotent."""
        with contextlib.suppress(ValueError):
            self._table._captures.remove(weakref.ref(self))  # noqa: SLF001 - one class in two halves
        self._former.clear()
