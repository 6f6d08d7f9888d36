"""A place: where one record or block stands on the disk, as one unsigned 64-bit integer.

    bit 63        1: in a snapshot (NNNNNNNN.snap), 0: in a segment (NNNNNNNN.log)
    bits 40..62   the file's number
    bits 0..39    the offset of its first byte (of the length and checksum, not of the content) in the file

Segments and snapshots are numbered together: a snapshot stands for every segment of a lower number. A place is good as
long as its file is there; a number is never used again for another file of the same kind, so a stale place finds no
file rather than a wrong one. Nothing here checks its arguments: who opens a file checks its number once.
"""

from __future__ import annotations

from typing import TypeAlias

Place: TypeAlias = int
"""An alias and no NewType: places stand packed in arrays by the million and are computed with."""

OFFSET_BITS = 40
SNAPSHOT_BIT = 1 << 63

NUMBER_MAX = (1 << 23) - 1
"""Highest number of a segment or snapshot: 8,388,607."""

OFFSET_MAX = (1 << OFFSET_BITS) - 1
"""Highest offset in a file: 1 TiB less one byte."""


def place_of(number: int, offset: int, *, snapshot: bool = False) -> Place:
    """The place at `offset` of the file `number`."""
    return (SNAPSHOT_BIT if snapshot else 0) | number << OFFSET_BITS | offset


def number_of(place: Place) -> int:
    """The number of the file that a place is in."""
    return place >> OFFSET_BITS & NUMBER_MAX


def offset_of(place: Place) -> int:
    """The offset of a place in its file."""
    return place & OFFSET_MAX


def in_snapshot(place: Place) -> bool:
    """Whether a place is in a snapshot rather than in a segment."""
    return place & SNAPSHOT_BIT != 0
