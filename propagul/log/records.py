r"""How one record stands in a segment: length, checksum, payload. Pure functions over bytes.

    segment = 8 bytes that name format and version | u32 seed | u32 CRC-32 of both | records
    record  = 4 bytes "\xa7PG\x9e" | u32 length | u32 CRC-32 of (seed, length, payload) | payload      big endian

The checksum covers the length, so a torn or flipped length is found like any other damage. It begins with a random
seed of the segment, so that no value a user or a peer wrote can pass for a record of ours. The four bytes in front let
a search for the next record run at the speed of a search for text: a torn tail may be as large as a stream.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"PGLOG\x00\x00\x01"
"""First bytes of a segment; the last one is the format version."""

HEADER_BYTES = len(MAGIC) + 8
"""Bytes before the first record of a segment."""

RECORD_BYTES_MAX = 2**31 - 1
MARK = b"\xa7PG\x9e"
"""First bytes of a record; no msgpack of ours begins so, but a payload may hold them."""

_MARKS = re.compile(re.escape(MARK))
_HEADER = struct.Struct(">4sII")


class Record(NamedTuple):
    """One payload and the offset just behind it."""

    payload: bytes
    end: int


def segment_header(seed: int) -> bytes:
    """The first bytes of a segment whose checksums begin with `seed`, 32 random bits."""
    return _sealed(MAGIC + seed.to_bytes(4, "big"))


def seed_of(header: bytes) -> int | None:
    """The seed in a segment's first `HEADER_BYTES`; None if they are damaged or of another format."""
    if not header.startswith(MAGIC) or _sealed(header[:-4]) != header:
        return None
    return int.from_bytes(header[len(MAGIC) : -4], "big")


def encode(payload: bytes, seed: int) -> bytes:
    """Frame one payload."""
    return _HEADER.pack(MARK, len(payload), _checksum(payload, seed)) + payload


def scan(segment: memoryview, start: int, seed: int) -> Iterator[Record]:
    """Yield records from `start` on until the first one that is torn or damaged, or the end."""
    offset = start
    while (record := _record_at(segment, offset, seed)) is not None:
        yield record
        offset = record.end


def find_record_after(segment: memoryview, start: int, seed: int) -> int | None:
    """The offset of the first sound record at or behind `start`, or None.

    Tells a torn tail (nothing sound follows) from damage in the middle. O(bytes searched), plus a checksum for each
    place that looks like a record's beginning. Empty payloads are never written and never match.
    """
    places = (match.start() for match in _MARKS.finditer(segment, start))
    return next((at for at in places if _record_at(segment, at, seed)), None)


def _record_at(segment: memoryview, offset: int, seed: int) -> Record | None:
    body = offset + _HEADER.size
    if body > len(segment):
        return None
    mark, length, checksum = _HEADER.unpack_from(segment, offset)
    if mark != MARK or length == 0 or body + length > len(segment):
        return None
    payload = bytes(segment[body : body + length])
    return Record(payload, body + length) if _checksum(payload, seed) == checksum else None


def _sealed(content: bytes) -> bytes:
    return content + zlib.crc32(content).to_bytes(4, "big")


def _checksum(payload: bytes, seed: int) -> int:
    return zlib.crc32(payload, zlib.crc32(len(payload).to_bytes(4, "big"), seed))
