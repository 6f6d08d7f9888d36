r"""How one record stands in a segment: length, checksum, payload. Pure functions over bytes.

    record = 4 bytes "\xa7PG\x9e" | u32 length | u32 CRC-32 of (length, payload) | payload          big endian

The checksum covers the length, so a torn or flipped length is found like any other damage. The four bytes in front
let a search for the next record run at the speed of a search for text: a torn tail may be as large as a stream. A
segment begins with eight bytes that name the format and its version.
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

RECORD_BYTES_MAX = 2**31 - 1
MARK = b"\xa7PG\x9e"
"""First bytes of a record; no msgpack of ours begins so, but a payload may hold them."""

_MARKS = re.compile(re.escape(MARK))
_HEADER = struct.Struct(">4sII")


class Record(NamedTuple):
    """One payload and the offset just behind it."""

    payload: bytes
    end: int


def encode(payload: bytes) -> bytes:
    """Frame one payload."""
    return _HEADER.pack(MARK, len(payload), _checksum(payload)) + payload


def scan(segment: memoryview, start: int) -> Iterator[Record]:
    """Yield records from `start` on until the first one that is torn or damaged, or the end."""
    offset = start
    while (record := _record_at(segment, offset)) is not None:
        yield record
        offset = record.end


def find_record_after(segment: memoryview, start: int) -> int | None:
    """The offset of the first sound record at or behind `start`, or None.

    Tells a torn tail (nothing sound follows) from damage in the middle. O(bytes searched), plus a checksum for each
    place that looks like a record's beginning. Empty payloads are never written and never match.
    """
    places = (match.start() for match in _MARKS.finditer(segment, start))
    return next((at for at in places if _record_at(segment, at)), None)


def _record_at(segment: memoryview, offset: int) -> Record | None:
    body = offset + _HEADER.size
    if body > len(segment):
        return None
    mark, length, checksum = _HEADER.unpack_from(segment, offset)
    if mark != MARK or length == 0 or body + length > len(segment):
        return None
    payload = bytes(segment[body : body + length])
    return Record(payload, body + length) if _checksum(payload) == checksum else None


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(len(payload).to_bytes(4, "big")))
