"""The version vector: for each origin the highest stamp whose effect, and that of all before it, is in the rows.

Invariant (kept by whoever advances it): what is covered is applied. Entries are kept in the order in
which they last changed, so that "what changed since I last told you" is O(changes) and not O(origins).
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from propagul.crdt.dot import Dot, Origin, Stamp

Entry = tuple["Origin", "Stamp"]


class VersionVector:
    """A map from origin to stamp that only rises."""

    __slots__ = ("_changed", "_mark", "_stamps")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._stamps: dict[Origin, Stamp] = {}
        self._changed: dict[Origin, int] = {}
        self._mark = 0
        self.join(entries)

    def __len__(self) -> int:
        return len(self._stamps)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._stamps.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VersionVector) and self._stamps == other._stamps

    __hash__ = None  # type: ignore[assignment]  # mutable: must not be a dict key

    @property
    def mark(self) -> int:
        """A number that rises with every change; pass it to `since` later."""
        return self._mark

    def stamp_of(self, origin: Origin) -> Stamp | None:
        """The highest stamp applied of an origin; None if it is unknown."""
        return self._stamps.get(origin)

    def covers(self, dot: Dot) -> bool:
        """Whether this dot's effect is applied."""
        return self._stamps.get(dot.origin, 0) >= dot.stamp

    def covers_entry(self, origin: Origin, stamp: Stamp) -> bool:
        """Whether everything of `origin` up to `stamp` is applied."""
        return self._stamps.get(origin, 0) >= stamp

    def advance(self, origin: Origin, stamp: Stamp) -> bool:
        """Raise one entry; return whether it rose."""
        if self._stamps.get(origin, 0) >= stamp:
            return False
        self._stamps[origin] = stamp
        self._mark += 1
        self._changed.pop(origin, None)
        self._changed[origin] = self._mark
        return True

    def join(self, entries: Iterable[Entry]) -> bool:
        """Raise every entry that is higher in `entries`; return whether any rose."""
        mark = self._mark
        for origin, stamp in entries:
            self.advance(origin, stamp)
        return self._mark != mark

    def since(self, mark: int) -> list[Entry]:
        """Entries that changed after `mark`, newest first. O(their number)."""
        changed = []
        for origin in reversed(self._changed):
            if self._changed[origin] <= mark:
                break
            changed.append((origin, self._stamps[origin]))
        return changed

    def digest(self) -> bytes:
        """16 bytes that are equal iff the vectors are (BLAKE2b over the sorted entries). O(n log n)."""
        packed = b"".join(struct.pack(">QQ", origin, stamp) for origin, stamp in sorted(self._stamps.items()))
        return hashlib.blake2b(packed, digest_size=16).digest()
