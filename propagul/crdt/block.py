"""Rows in the form in which they travel: plain ones as tuples of their columns, the others as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from propagul.crdt.dot import Origin, Stamp
    from propagul.crdt.payload import Payload
    from propagul.crdt.row import Row

    Plain = tuple[str, Payload, int, Stamp, Origin]
    """Key, payload, kind, stamp and origin of a row of one sibling that has seen nothing else.

    A bare tuple: blocks are made of thousands, and a named one takes three times as long to make and to unpack.
    """


class Block(NamedTuple):
    """Some rows, each key at most once."""

    plain: list[Plain]
    other: list[tuple[str, Row]]

    def __len__(self) -> int:
        return len(self.plain) + len(self.other)
