"""Rows in the form in which they travel: plain ones as tuples of their columns, the others as they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from propagul.crdt.dot import Origin, Stamp
    from propagul.crdt.payload import Payload
    from propagul.crdt.row import Row


class Plain(NamedTuple):
    """A row of one sibling that has seen nothing else."""

    key: str
    payload: Payload
    kind: int
    stamp: Stamp
    origin: Origin


as_plain: Final = partial(tuple.__new__, Plain)
"""`Plain._make` at half its cost: blocks are made of thousands."""


class Block(NamedTuple):
    """Some rows, each key at most once.

    Attributes:
        plain: The plain ones. Unpack them: out of bytes they come as bare tuples, which are made and unpacked in a
            third of the time that a named tuple takes.
        other: The others, with their keys.
    """

    plain: list[Plain]
    other: list[tuple[str, Row]]

    def __len__(self) -> int:
        return len(self.plain) + len(self.other)
