"""What a namespace shows: rows by key and in order, each answer of one instant.

Where rows of a stream wait, they are joined first; where keys are new since somebody asked for them in order, they are
put in order first. Both are done in slices with the lock let go of between them, and what is read is read in slices
too, so that nobody waits for a long answer.
"""

from __future__ import annotations

import contextlib
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from propagul.store._instant import blocks_of
from propagul.store._rows import live
from propagul.store._signed import is_shown, is_there
from propagul.store._values import TYPED_MARK

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterable, Iterator

    from propagul.crdt import Block, Change, Replica, Row
    from propagul.crdt.capture import Capture
    from propagul.crdt.table import Table
    from propagul.store._sealed import SealedRows

_SLICE_ROWS: Final = 256
_SLICE_KEYS: Final = 256

AT_ONCE_KEYS: Final = 1024
"""So many keys are read without letting go of the lock."""

LISTED_KEYS: Final = 65_536
"""Where more keys are found than this, all rows are read in the order they stand in: that takes the lock for less."""


class Reads:
    """The reading half of a `Namespace`."""

    if TYPE_CHECKING:  # what the namespace brings
        lock: threading.Lock
        table: Table
        on_detour: Callable[[int], None]
        _replica: Replica
        _opened: Callable[[Row], Row]
        _listeners: list[Callable[[Change, bool], None]]

        @property
        def sealed(self) -> SealedRows | None: ...

        def _tell(self, changes: Iterable[Change], *, local: bool) -> None: ...

        def _cut_down_crowded(self) -> None: ...

    def row(self, key: str) -> Row:
        """The row of a key as it is now."""
        with self.lock:
            row = self._row(key)
            self._tell_settled()
            return row

    def blocks(self) -> Iterator[Block]:
        """Every row of this instant, removal records included, in slices. O(rows), the lock is held for one of them."""
        return self._shown(blocks_of(self.instant()[2], self.lock))

    def instant(self) -> tuple[int, bytes, Capture]:
        """The arrival number of now, the digest of the vector, and every row as it stands, proofs included."""
        with self._whole():
            return self._replica.arrival, self._replica.vector.digest(), self._replica.capture()

    def under(self, prefix: str) -> list[tuple[str, Row]]:
        """Every row of one instant whose key begins so and that is not removed, sorted by key. O(found)."""
        with self._ordered(prefix):
            return self._under(prefix)

    def blocks_under(self, prefix: str) -> Iterator[Block]:
        """At least every row of one instant whose key begins so, in slices; typed ones for a prefix that is of them.

        O(found), after O(new keys) once; where that is much, O(rows).
        """
        if prefix or len(self.table) <= LISTED_KEYS:
            with self._ordered(prefix):
                listing = self.table.listing(prefix, LISTED_KEYS)
                if listing is not None and len(listing) <= AT_ONCE_KEYS:
                    block = listing.read(AT_ONCE_KEYS)
                    listing.close()
                    return self._shown(iter((block,)))
            if listing is not None:
                return self._shown(blocks_of(listing, self.lock))
        return self.blocks()

    def keys(self, prefix: str, *, reverse: bool = False, limit: int | None = None) -> list[str]:
        """Keys that begin so and have a value, sorted, all of one instant. O(found), or O(limit)."""
        most = AT_ONCE_KEYS if limit is None else min(limit, AT_ONCE_KEYS)
        with self._ordered(prefix):
            keys = () if prefix.startswith(TYPED_MARK) else self.table.keys_under(prefix, reverse=reverse)
            found = list(islice(filter(self._is_there, keys), most))
        if most == limit or len(found) < most:
            return found
        return sorted((key for key, _ in live(self.blocks_under(prefix), prefix)), reverse=reverse)[:limit]

    def settle(self) -> bool:
        """Join a slice of the rows that wait for it; return whether more are left."""
        with self.lock:
            return self._settle_some()

    def settle_all(self, under: Collection[str] = ()) -> None:
        """Join every row that waits for it, and put the keys under these prefixes in order, in slices."""
        while self.settle():
            time.sleep(0)  # or nobody else would get the lock
        for prefix in under:
            with self._ordered(prefix):
                pass

    # --- inside the lock -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """The lock, at a moment when no row waits to be joined. What waits is joined in slices, without it between."""
        while True:
            with self.lock:
                if not self._settle_some():
                    yield
                    return
            time.sleep(0)  # or nobody else would get the lock

    @contextlib.contextmanager
    def _ordered(self, prefix: str) -> Iterator[None]:
        """The same, at a moment when no key under a prefix waits to be put in order.

        Slices grow where others write as fast as that is done, so that there is an end to it.
        """
        most, left_before = _SLICE_KEYS, 0
        while True:
            with self.lock:
                if not self._settle_some():
                    left = self.table.order(prefix, most)
                    if not left:
                        yield
                        return
                    if left > left_before - most // 2:
                        most *= 2
                    left_before = left
            time.sleep(0)  # as above

    def _settle_some(self) -> bool:
        if not self._replica.is_pending:
            return False
        more = self._replica.settle(_SLICE_ROWS)
        self._tell_settled()
        if not more:
            self.on_detour(-1)
            self._cut_down_crowded()
        return more

    def _tell_settled(self) -> None:
        if self._listeners:
            self._tell(self._replica.settled(), local=False)

    def _row(self, key: str) -> Row:
        return self._opened(self._replica.row(key))

    def _is_there(self, key: str) -> bool:
        return is_shown(self.table.get(key)) if self.sealed is None else is_there(self._opened(self.table.row(key)))

    def _under(self, prefix: str) -> list[tuple[str, Row]]:
        opened = ((key, self._opened(row)) for key, row in self._replica.under(prefix))
        return [(key, row) for key, row in opened if row.siblings]

    def _shown(self, blocks: Iterator[Block]) -> Iterator[Block]:
        return blocks if self.sealed is None else map(self.sealed.shown, blocks)
