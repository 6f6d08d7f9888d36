"""What a replicated map must show, computed from the history of operations alone.

Imports nothing of propagul. A replica's knowledge is a set of operations, kept as the bits of one integer. An operation
remembers which operations it superseded: all that its author knew on that key, or for a `keep`, all but the highest.
The siblings of a key are the known writes that no known operation superseded, highest (stamp, origin) first.
"""

from __future__ import annotations

from typing import NamedTuple

Sibling = tuple[tuple[int, int], int, object]
"""((stamp, origin), kind, payload)."""


class Deed(NamedTuple):
    """What a batch does to one key: writes `payload`, or removes (`keep` 0), or keeps the `keep` highest siblings."""

    key: str
    kind: int
    payload: object = None
    keep: int | None = None


class History:
    """Every operation of a run."""

    def __init__(self, keys: list[str]) -> None:
        self.on = dict.fromkeys(keys, 0)
        self._transactions: list[int] = []
        self._siblings: list[Sibling | None] = []
        self._superseded: list[int] = []
        self._covered: dict[tuple[int, int], int] = {}
        self._newest: dict[int, int] = {}
        self._shown: dict[tuple[str, int], tuple[Sibling, ...]] = {}

    def __len__(self) -> int:
        return len(self._siblings)

    def record(self, known: int, deeds: list[Deed], stamp: int, origin: int) -> int:
        """Add a batch made by somebody who knew `known`; return what they know now."""
        batch = 0
        for deed in deeds:
            seen = known & self.on[deed.key]
            for rank, _, _ in self.siblings(known, deed.key)[: deed.keep or 0]:
                seen &= ~self._bit_of(rank, seen)
            bit = 1 << len(self._siblings)
            batch |= bit
            self._siblings.append(((stamp, origin), deed.kind, deed.payload) if deed.keep is None else None)
            self._superseded.append(seen)
            self.on[deed.key] |= bit
        if len(deeds) > 1:
            self._transactions.append(batch)
        assert (origin, stamp) not in self._covered, "one dot for two batches"
        self._newest[origin] = self._covered[origin, stamp] = self._newest.get(origin, 0) | batch
        return known | batch

    def siblings(self, known: int, key: str) -> tuple[Sibling, ...]:
        """What the key must show to somebody who knows `known`."""
        known &= self.on[key]
        found = self._shown.get((key, known))
        if found is None:
            gone = self._gone(known)
            left = [s for n in _bits(known & ~gone) if (s := self._siblings[n]) is not None]
            found = self._shown[key, known] = tuple(sorted(left, key=lambda s: s[0], reverse=True))
        return found

    def covered(self, origin: int, stamp: int) -> int:
        """The operations that an origin had made at a stamp; a stamp that it never minted is an error."""
        return self._covered[origin, stamp]

    def torn(self, known: int) -> bool:
        """Whether somebody who knows `known` knows a part of a transaction and misses another part."""
        return any(0 != known & transaction != transaction for transaction in self._transactions)

    def _gone(self, known: int) -> int:
        gone = 0
        for n in _bits(known):
            gone |= self._superseded[n]
        return gone

    def _bit_of(self, rank: tuple[int, int], among: int) -> int:
        for n in _bits(among):
            sibling = self._siblings[n]
            if sibling is not None and sibling[0] == rank:
                return 1 << n
        raise AssertionError("a sibling that nobody wrote")


def _bits(mask: int) -> list[int]:
    """The numbers of the bits that are set."""
    numbers = []
    while mask:
        low = mask & -mask
        numbers.append(low.bit_length() - 1)
        mask ^= low
    return numbers
