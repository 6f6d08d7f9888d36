"""A replicated map at its simplest, for simulations of the fleet: dotted version vectors for each key, merged whole.

What the library's own replica does is proven elsewhere. Here it must only be right and small: a write replaces what its
author saw and nothing else, concurrent writes are kept, and two that merged each other are equal.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Dot = tuple[int, str]


class Row(NamedTuple):
    """Values by their dots, and for each author the last write that was seen."""

    siblings: dict[Dot, object]
    context: dict[str, int]


class Replica:
    """One node's copy.

    Attributes:
        clock: How much of each author's writing is in it.
        changes: Rises whenever anything in it changes.
    """

    def __init__(self, author: str) -> None:
        self.author = author
        self.rows: dict[str, Row] = {}
        self.clock: dict[str, int] = {}
        self.changes = 0

    # --- what `fleet_app.desired.rows.Rows` asks for ---------------------------------------------------------------

    def items(self, prefix: str) -> Iterator[tuple[str, object]]:
        return iter([(key, self.siblings(key)[0]) for key in sorted(self.keys(prefix))])

    def keys(self, prefix: str) -> list[str]:
        return [key for key, row in self.rows.items() if row.siblings and key.startswith(prefix)]

    def siblings(self, key: str) -> list[object]:
        row = self.rows.get(key)
        return [] if row is None else [row.siblings[dot] for dot in sorted(row.siblings, reverse=True)]

    def get(self, key: str) -> object:
        return next(iter(self.siblings(key)), None)

    def set(self, key: str, value: object) -> None:
        dot = self._dot()
        context = dict(self.rows[key].context) if key in self.rows else {}
        self.rows[key] = Row({dot: value}, {**context, self.author: dot[0]})

    def delete(self, key: str) -> bool:
        row = self.rows.get(key)
        if row is None or not row.siblings:
            return False
        self.rows[key] = Row({}, {**row.context, self.author: self._dot()[0]})
        return True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    # --- convergence -----------------------------------------------------------------------------------------------

    def merge(self, other: Replica) -> bool:
        """Take all that another copy holds; return whether that was news."""
        if all(self.clock.get(author, 0) >= count for author, count in other.clock.items()):
            return False
        self.changes += 1
        for key, theirs in other.rows.items():
            ours = self.rows.get(key)
            if ours is not theirs:
                self.rows[key] = theirs if ours is None else _joined(ours, theirs)
        for author, count in other.clock.items():
            self.clock[author] = max(self.clock.get(author, 0), count)
        return True

    def _dot(self) -> Dot:
        """Rising over all authors known here, so that the later write sorts first."""
        self.changes += 1
        count = 1 + max(self.clock.values(), default=0)
        self.clock[self.author] = count
        return count, self.author


def _joined(a: Row, b: Row) -> Row:
    kept = {
        dot: value
        for mine, others in ((a, b), (b, a))
        for dot, value in mine.siblings.items()
        if dot in others.siblings or dot[0] > others.context.get(dot[1], 0)
    }
    context = {author: max(a.context.get(author, 0), b.context.get(author, 0)) for author in {**a.context, **b.context}}
    return Row(kept, context)
