"""A long stream that is effective at once and joined row by row.

Joining a hundred thousand rows takes longer than a reader may wait, and showing them as they come would tear
transactions. So a stream is gathered as an `Offer` while it arrives; when it is complete it becomes `Pending`, which
costs nothing, and from then on whoever touches a key joins that key's row first, and the rest is joined at leisure.

The rule of this file: *with a pending stream a replica shows, writes and sends what it would after the whole join*.
Every row is joined with the vector as it was before the stream, whenever that is done; what was written meanwhile has
seen the stream, because its key was joined first.
"""

from __future__ import annotations

from array import array
from itertools import chain, islice
from typing import TYPE_CHECKING

from propagul.crdt import row as rows
from propagul.crdt.bulk import offer_plains, uncollected
from propagul.crdt.dot import Origin, Stamp
from propagul.crdt.payload import Evicted
from propagul.crdt.row import Row
from propagul.crdt.twins import twin_of
from propagul.errors import PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul.crdt.block import Block
    from propagul.crdt.merge import Merge
    from propagul.crdt.payload import Payload
    from propagul.crdt.table import Table

    Offered = int | Row


class Offer:
    """The rows of one stream by key.

    Plain rows stand here in columns, and not as the tuples they came as: those are objects for the collector of cycles,
    and so many at once have it go through the whole process, whoever's objects those are.

    Attributes:
        by_key: For each key the place of its plain row in the columns, or its row; None once that is joined.
        resumed: The stream broke off and goes on: what is named again is newer.
        found: For an `Evicted` in a row, the one that is to stand in the replica. *Use:* where a payload stands in the
            log may change as long as the stream is not complete.
    """

    __slots__ = ("_kinds", "_origins", "_payloads", "_stamps", "by_key", "found", "resumed")

    def __init__(self) -> None:
        self.by_key: dict[str, Offered | None] = {}
        self.resumed = False
        self.found: Callable[[Evicted], Evicted] = lambda evicted: evicted
        self._payloads: list[Payload] = []
        twin_of(uncollected)(self._payloads)
        self._kinds, self._stamps, self._origins = array("H"), array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, block: Block) -> None:
        """Take the rows of a block.

        Raises:
            PeerProtocolError: A key was named before. The stream is of no use.
        """
        before = len(self.by_key)
        columns = twin_of(offer_plains)(self.by_key, len(self._payloads), block.plain)
        self._payloads += columns[0]
        self._kinds += array("H", columns[1])
        self._stamps += array("Q", columns[2])
        self._origins += array("Q", columns[3])
        self.by_key.update(block.other)
        if len(self.by_key) != before + len(block) and not self.resumed:
            raise PeerProtocolError("a stream names a key twice")

    def plain_at(self, place: int) -> tuple[Payload, int, Stamp, Origin]:
        """Payload, kind, stamp and origin of a plain row."""
        return self._payloads[place], self._kinds[place], Stamp(self._stamps[place]), Origin(self._origins[place])

    def leave(self, key: str, offered: Offered) -> None:
        """The row of a key is joined."""
        self.by_key[key] = None
        if isinstance(offered, int):
            self._payloads[offered] = None


class Pending:
    """A stream that is effective and not wholly joined yet.

    Args:
        table: The replica's rows.
        merge: What joins one row.
        offer: Its rows; used up here.
        whole: Whether it is a snapshot join: a key that it does not name was removed, as far as its sender knew it.
    """

    __slots__ = ("_found", "_left", "_merge", "_offer", "_rows", "_whole")

    def __init__(self, table: Table, merge: Merge, offer: Offer, *, whole: bool) -> None:
        self._merge = merge
        self._offer = offer
        self._rows = offer.by_key
        self._found = offer.found
        there = table.keys_so_far() if whole else ()
        self._left: Iterator[str] = chain(self._rows, there)  # no key of these comes or goes
        self._whole = whole

    @property
    def crowded(self) -> list[str]:
        """Keys that have more siblings now than a row should."""
        return self._merge.crowded

    def settle(self, key: str) -> None:
        """Join the row of a key, unless that was done."""
        offered = self._rows.get(key)
        if offered is not None:
            self._join(key, offered)
            self._offer.leave(key, offered)  # after: a join that failed half-way is done again
        elif self._whole and key not in self._rows:
            self._merge.join(key, rows.EMPTY)  # idempotent: what was written since is not in the sender's vector

    def settle_some(self, most: int | None) -> bool:
        """Join up to `most` rows; return whether any may be left. O(`most`)."""
        taken = 0
        for key in islice(self._left, most):
            try:
                self.settle(key)
            except BaseException:  # whatever it was, it is raised again, and the key comes again
                self._left = chain((key,), self._left)
                raise
            taken += 1
        return taken == most

    def _join(self, key: str, offered: Offered) -> None:
        if isinstance(offered, Row):
            self._merge.join(key, self._placed_in(offered))
        else:
            payload, kind, stamp, origin = self._offer.plain_at(offered)
            self._merge.take_plain(key, self._placed(payload), kind, stamp, origin)

    def _placed(self, payload: Payload) -> Payload:
        return self._found(payload) if isinstance(payload, Evicted) else payload

    def _placed_in(self, row: Row) -> Row:
        return row._replace(siblings=tuple([s._replace(payload=self._placed(s.payload)) for s in row.siblings]))
