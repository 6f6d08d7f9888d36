"""The version vector: for each origin the highest stamp whose effect, and that of all before it, is in the rows.

Origins are never forgotten, only stored cold: any rule that forgets one is wrong in some history. The vector is an
immutable *floor* (sorted arrays, 16 bytes an origin, looked up by bisection) under a *hot* dict of what changed since
the floor was raised. Raising takes two steps, `freeze` and `fold`, so that peers who are a moment behind are not cut
off. Coverage never depends on when, or whether, that is done.

Invariant, kept by whoever advances it: what is covered is applied.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from propagul.crdt.dot import Origin, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from propagul.crdt.dot import Dot

Entry = tuple[Origin, Stamp]


class Floor:
    """An immutable vector: origins in order, and the highest stamp of each."""

    __slots__ = ("_origins", "_stamps")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        ordered = dict(sorted(entries))  # of an origin named twice the highest stamp
        self._origins = array("Q", ordered)
        self._stamps = array("Q", ordered.values())

    def __len__(self) -> int:
        return len(self._origins)

    def __iter__(self) -> Iterator[Entry]:
        return zip(map(Origin, self._origins), map(Stamp, self._stamps), strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Floor) and (self._origins, self._stamps) == (other._origins, other._stamps)

    __hash__ = None  # type: ignore[assignment]  # compared by content, which is long

    def stamp_of(self, origin: Origin) -> Stamp:
        """The highest stamp of an origin; 0 if it is unknown. O(log n)."""
        place = bisect_left(self._origins, origin)
        if place < len(self._origins) and self._origins[place] == origin:
            return Stamp(self._stamps[place])
        return Stamp(0)

    def covers(self, origin: Origin, stamp: Stamp) -> bool:
        """Whether the floor has this stamp of this origin, or a later one."""
        return self.stamp_of(origin) >= stamp

    def joined(self, entries: Iterable[Entry]) -> Floor:
        """The floor that covers this one and the entries. O(n log n)."""
        highest = dict(self)
        for origin, stamp in entries:
            if highest.get(origin, 0) < stamp:
                highest[origin] = stamp
        return Floor(highest.items())


@dataclass(frozen=True, slots=True)
class Frozen:
    """A copy of the hot entries, waiting to be folded into the floor."""

    entries: dict[Origin, Stamp]
    mark: int


class VersionVector:
    """A map from origin to stamp that only rises."""

    __slots__ = ("_floor", "_folded_mark", "_hot", "_mark", "_marks")

    def __init__(self, entries: Iterable[Entry] = (), floor: Floor | None = None) -> None:
        self._floor = floor or Floor()
        self._hot: dict[Origin, Stamp] = {}
        self._marks: dict[Origin, int] = {}
        self._mark = self._folded_mark = 0
        self.join(entries)

    def __len__(self) -> int:
        return len(self._floor) + sum(1 for origin in self._hot if not self._floor.stamp_of(origin))

    def __iter__(self) -> Iterator[Entry]:
        for origin, stamp in self._floor:
            if origin not in self._hot:
                yield origin, stamp
        yield from self._hot.items()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VersionVector) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]  # mutable: must not be a dict key

    @property
    def mark(self) -> int:
        """A number that rises with every change; pass it to `since` later."""
        return self._mark

    @property
    def floor(self) -> Floor:
        """The part that only `fold` and `raise_floor` change."""
        return self._floor

    @property
    def hot(self) -> list[Entry]:
        """Entries changed since the floor was raised, oldest change first."""
        return [(origin, self._hot[origin]) for origin in self._marks]

    def stamp_of(self, origin: Origin) -> Stamp:
        """The highest stamp applied of an origin; 0 if it is unknown."""
        stamp = self._hot.get(origin)
        return self._floor.stamp_of(origin) if stamp is None else stamp

    def covers(self, dot: Dot) -> bool:
        """Whether this dot's effect is applied."""
        return self.stamp_of(dot.origin) >= dot.stamp

    def covers_entry(self, origin: Origin, stamp: Stamp) -> bool:
        """Whether everything of `origin` up to `stamp` is applied."""
        return self.stamp_of(origin) >= stamp

    def covers_all(self, entries: Iterable[Entry]) -> bool:
        """Whether every one of these entries is covered. A floor that is our own is not looked at."""
        return entries is self._floor or all(self.stamp_of(origin) >= stamp for origin, stamp in entries)

    def advance(self, origin: Origin, stamp: Stamp) -> bool:
        """Raise one entry; return whether it rose."""
        if self.stamp_of(origin) >= stamp:
            return False
        self._hot[origin] = stamp
        self._mark += 1
        self._marks.pop(origin, None)
        self._marks[origin] = self._mark
        return True

    def join(self, entries: Iterable[Entry]) -> bool:
        """Raise every entry that is higher in `entries`; return whether any rose."""
        mark = self._mark
        for origin, stamp in entries:
            self.advance(origin, stamp)
        return self._mark != mark

    def since(self, mark: int) -> list[Entry]:
        """Entries that changed after `mark`, newest first; every entry if the floor was raised over that mark."""
        if mark < self._folded_mark:
            return list(self)
        changed = []
        for origin in reversed(self._marks):
            if self._marks[origin] <= mark:
                break
            changed.append((origin, self._hot[origin]))
        return changed

    def copy(self) -> VersionVector:
        """An independent vector that covers the same and shares the floor. O(hot entries)."""
        twin = VersionVector(floor=self._floor)
        twin._hot, twin._marks = dict(self._hot), dict(self._marks)
        twin._mark, twin._folded_mark = self._mark, self._folded_mark
        return twin

    def freeze(self) -> Frozen:
        """First step of raising the floor. O(hot entries)."""
        return Frozen(dict(self._hot), self._mark)

    def fold(self, frozen: Frozen) -> None:
        """Second step: the floor rises to what was hot at `freeze`; what changed since stays hot."""
        self._floor = self._floor.joined(frozen.entries.items())
        changed = [(origin, mark) for origin, mark in self._marks.items() if mark > frozen.mark]
        self._hot = {origin: self._hot[origin] for origin, _ in changed}  # made anew: a dict keeps its largest size
        self._marks = dict(changed)
        self._folded_mark = max(self._folded_mark, frozen.mark)

    def raise_floor(self, entries: Iterable[Entry]) -> None:
        """Join entries that are covered already into the floor, as a snapshot join does."""
        self._floor = self._floor.joined(entries)

    def digest(self) -> bytes:
        """16 bytes that are equal iff the vectors are (BLAKE2b over the sorted entries). O(n log n)."""
        packed = b"".join(struct.pack(">QQ", origin, stamp) for origin, stamp in sorted(self))
        return hashlib.blake2b(packed, digest_size=16).digest()
