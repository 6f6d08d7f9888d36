"""Keys in order, so that reading what is under a prefix costs what it finds.

The keys stand in sorted runs of some hundreds, one after the other: a key that comes or goes moves a few of them, and
no step of the work is long, however many keys there are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import chain
from typing import TYPE_CHECKING, Final

from propagul.crdt.bulk import uncollected
from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RUN: Final = 512
"""Keys of a run that is new; it is parted when it has twice as many."""

_FEW: Final = 16


class KeyIndex:
    """A sorted set of keys. Single-threaded: the caller holds the lock.

    Keys that come are put in order at the next question, or before it by `take_in`, a slice at a time.
    """

    __slots__ = ("_lasts", "_new", "_runs", "_uncollected")

    def __init__(self) -> None:
        self._runs: list[list[str]] = []
        self._lasts: list[str] = []
        self._new: set[str] = set()
        self._uncollected = twin_of(uncollected)

    def __len__(self) -> int:
        return self.count("")

    def add(self, key: str) -> None:
        """Add a key. O(1); idempotent."""
        self._new.add(key)

    def discard(self, key: str) -> None:
        """Remove a key if it is there. O(log n)."""
        place = bisect_left(self._lasts, key)
        run = self._runs[place] if place < len(self._runs) else []
        at = bisect_left(run, key)
        self._new.discard(key)
        if at == len(run) or run[at] != key:
            return
        del run[at]
        if run:
            self._lasts[place] = run[-1]
        else:
            del self._runs[place], self._lasts[place]

    def take_in(self, most: int | None = None) -> int:
        """Put new keys in order, at most `most`; return how many are left. O(log n) each."""
        if not self._new:
            return 0
        if most is None or most >= len(self._new):
            coming, self._new = self._new, set()
            self.merge(coming)
        else:
            self.merge([self._new.pop() for _ in range(most)])
        return len(self._new)

    def merge(self, keys: Iterable[str]) -> None:
        """Put keys in order at once. O(log n) each; idempotent."""
        coming, begin = sorted(keys), 0
        while begin < len(coming):
            place = bisect_left(self._lasts, coming[begin])
            if place >= len(self._runs) - 1:  # what is above all others goes into the last run
                place, end = max(0, len(self._runs) - 1), len(coming)
            else:
                end = bisect_right(coming, self._lasts[place], begin)
            self._put(place, coming[begin:end])
            begin = end

    def under(self, prefix: str, *, reverse: bool = False) -> Iterator[str]:
        """The keys that begin with `prefix`, in order, to be read before the index changes. O(log n + keys read)."""
        self.take_in()
        runs = self._between(prefix)
        return chain.from_iterable(map(reversed, reversed(runs)) if reverse else runs)

    def count(self, prefix: str) -> int:
        """How many keys begin with `prefix`. O(log n + runs of them)."""
        self.take_in()
        return sum(map(len, self._between(prefix)))

    def _between(self, prefix: str) -> list[list[str]]:
        """The runs, or parts of them, with the keys that begin with `prefix`."""
        first, above = bisect_left(self._lasts, prefix), _above(prefix)
        last = len(self._runs) if above is None else bisect_left(self._lasts, above, first)
        runs = self._runs[first : last + 1]
        if not runs:
            return []
        begin = bisect_left(runs[0], prefix)
        end = len(runs[-1]) if above is None else bisect_left(runs[-1], above)
        if len(runs) == 1:
            return [runs[0][begin:end]]
        return [runs[0][begin:], *runs[1:-1], runs[-1][:end]]

    def _put(self, place: int, keys: list[str]) -> None:
        if not self._runs:
            self._runs, self._lasts = [[]], [""]
        run = self._runs[place]
        if len(keys) <= _FEW:
            for key in keys:
                at = bisect_left(run, key)
                if at == len(run) or run[at] != key:
                    run.insert(at, key)
        else:
            run[:] = dict.fromkeys(sorted(run + keys))  # sorting finds the order that there is
        self._lasts[place] = run[-1]
        if len(run) > 2 * RUN:
            self._part(place, run)

    def _part(self, place: int, run: list[str]) -> None:
        pieces = [run[at : at + RUN] for at in range(0, len(run), RUN)]
        for piece in pieces:
            self._uncollected(piece)
        self._runs[place : place + 1] = pieces
        self._lasts[place : place + 1] = [piece[-1] for piece in pieces]


def _above(prefix: str) -> str | None:
    """The lowest text above all that begin with `prefix`; None if there is none."""
    stem = prefix.rstrip("\U0010ffff")
    return stem[:-1] + chr(ord(stem[-1]) + 1) if stem else None
