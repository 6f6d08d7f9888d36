"""One complete stream on its way into a replica.

A local sibling goes iff the incoming row has seen its dot and does not hold it; an incoming one is refused iff we have
seen its dot and do not hold it. What goes into a replica that nobody watches takes a shorter way (see `bulk`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from propagul.crdt import row as rows
from propagul.crdt.bulk import take_plains, take_rows
from propagul.crdt.dot import Dot
from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.crdt.block import Block
    from propagul.crdt.dot import Origin, Stamp
    from propagul.crdt.payload import Payload
    from propagul.crdt.row import Row
    from propagul.crdt.table import Table
    from propagul.crdt.vector import VersionVector


class Change(NamedTuple):
    """A row before and after; `before` is `row.EMPTY` for a new key."""

    key: str
    before: Row
    after: Row


class Merged(NamedTuple):
    """What a stream brought: whether anything was new, and the row changes if the replica is watched."""

    news: bool
    changes: list[Change]


class Apart(NamedTuple):
    """Keys whose rows are joined by a rule of their own.

    Attributes:
        prefixes: How those keys begin; an empty one for all.
        join: What becomes of our row and one that came, given what was applied before the stream; our row itself where
            nothing changes. What a peer says it has seen or removed does not reach it.
    """

    prefixes: tuple[str, ...]
    join: Callable[[Row, Row, VersionVector], Row]


class Merge:
    """One stream on its way into a replica.

    Args:
        table: The replica's rows.
        here: Our vector as it was before the stream, for as long as this is used.
        there: In a snapshot join, the sender's vector.
        changes: Where the changes of rows are told; None if nobody wants to know.
        apart: Which keys have another rule, and which.

    Attributes:
        crowded: Keys that have more siblings now than a row should.
    """

    __slots__ = ("_apart", "_changes", "_here", "_is_all_apart", "_offered", "_table", "_there", "crowded")

    def __init__(
        self,
        table: Table,
        here: VersionVector,
        there: VersionVector | None,
        changes: list[Change] | None,
        apart: Apart | None = None,
    ) -> None:
        self._apart = apart
        self._is_all_apart = apart is not None and "" in apart.prefixes
        self._table = table
        self._here = here
        self._there = there
        self._changes = changes
        self._offered: set[str] = set()
        self.crowded: list[str] = []

    def take(self, block: Block) -> None:
        """Join some of its rows. In a snapshot join a key that was named before is passed over: newest rows first."""
        if self._there is None and self._changes is None and not self._is_all_apart:
            self._take_unwatched(block)
        else:
            for plain in block.plain:
                if plain[0] not in self._offered:
                    self.take_plain(*plain)
            for key, theirs in block.other:
                if key not in self._offered:
                    self.join(key, theirs)
        if self._there is not None:
            self._offered.update(plain[0] for plain in block.plain)
            self._offered.update(key for key, _ in block.other)

    def _take_unwatched(self, block: Block) -> None:
        for plain in twin_of(take_plains)(self._table, self._here.stamp_of, block.plain):
            self.take_plain(*plain)
        if block.other:
            twin_of(take_rows)(self._table, self._here, block.other, self.join)

    def remove_what_the_sender_removed(self) -> None:
        """In a snapshot join, after all rows: what it did not hold and its vector covers is gone."""
        for key in [key for key, _ in self._table if key not in self._offered]:
            self.join(key, rows.EMPTY)

    def take_plain(self, key: str, payload: Payload, kind: int, stamp: Stamp, origin: Origin) -> None:
        """Join a row of one sibling that has seen nothing else."""
        if self._is_all_apart:
            self.join(key, rows.plain(Dot(stamp, origin), kind, payload))
            return
        known = self._table.plain_dot(key)
        if self._here.stamp_of(origin) >= stamp and self._there is None:
            return
        if known is None or known[1] not in (0, origin) or self._there is not None:
            self.join(key, rows.plain(Dot(stamp, origin), kind, payload))
        elif known[0] < stamp:
            before = rows.EMPTY if self._changes is None else self._table.row(key)
            self._table.write(key, kind, payload, stamp, origin)
            self._note(key, before)

    def join(self, key: str, theirs: Row) -> None:
        """Join any row."""
        before = self._table.row(key)
        if self._apart is not None and key.startswith(self._apart.prefixes):
            after = self._apart.join(before, theirs, self._here)
        else:
            after = rows.join(before, theirs, self._here, self._there)
        if after is not before:
            self._table.put(key, after)
            self._note(key, before)
            if len(after.siblings) > rows.SIBLINGS_MAX:
                self.crowded.append(key)

    def _note(self, key: str, before: Row) -> None:
        if self._changes is not None:
            self._changes.append(Change(key, before, self._table.row(key)))
