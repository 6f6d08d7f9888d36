"""The seam between the typed structures and the namespace that keeps their rows.

Everything in this package is rows by key and nothing else: no state of its own, so that any number of handles, threads
and processes see the same thing. What the seam promises is written here, and the laws of the types rest on it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from propagul.crdt import Dot, Op, Row, Sibling

log = logging.getLogger("propagul.store")


class Rows(Protocol):
    """The rows of one namespace at one replica, from any thread.

    Inside a transaction every read shows the transaction's own operations, and what decides is called twice: when it is
    asked for, and again under the lock when the transaction is written, so that what it decided still holds. Only the
    second counts; so it may have no effect but its result, and what it told the caller.
    """

    @property
    def origin(self) -> int:
        """An origin that no other replica writes with."""

    def hold(self) -> object:
        """What makes every payload that is read from now on readable for as long as it is held."""

    def row(self, key: str) -> Row:
        """The row of a key as it is now; `EMPTY` if nothing is known of it."""

    def under(self, prefix: str) -> list[tuple[str, Row]]:
        """Every row with a sibling whose key begins with `prefix`, all of one instant, sorted by key."""

    def commit(self, ops: Sequence[Op]) -> None:
        """One transaction; each operation supersedes all siblings that its row holds at that moment.

        Raises:
            StoreFull, StoreError: Nothing was written.
        """

    def commit_with(self, make: Callable[[Dot, int], Sequence[Op]]) -> None:
        """Like `commit`, for operations that depend on their dot, and on how many the same dot has already."""

    def update(
        self, keys: Collection[str], decide: Callable[[Mapping[str, Row]], Sequence[Op]], *, under: Collection[str] = ()
    ) -> bool:
        """Read, decide and write in one step; return whether it was decided to write something.

        `decide` gets the rows of `keys` (`EMPTY` where nothing is known) and every row with a sibling whose key begins
        with one of the prefixes `under`. What it raises comes back, and nothing is written.
        """


def of_kind(row: Row, kind: int) -> list[Sibling]:
    """The siblings of a row that are of one kind, highest first. Others came from a newer version, or a hostile one."""
    return [sibling for sibling in row.siblings if sibling.kind == kind]
