"""How one record stands in a segment: length, checksum, payload. Pure functions over bytes.

    record = u32 length | u32 CRC-32 of (length, payload) | payload          big endian

The checksum covers the length, so a torn or flipped length is found like any other damage. A segment begins with
eight bytes that name the format and its version.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"PGLOG\x00\x00\x01"
"""First bytes of a segment; the last one is the format version."""

RECORD_BYTES_MAX = 2**31 - 1
_HEADER = struct.Struct(">II")


class Record(NamedTuple):
    """One payload and the offset just behind it."""

    payload: bytes
    end: int


def encode(payload: bytes) -> bytes:
    """Frame one payload."""
    return _HEADER.pack(len(payload), _checksum(payload)) + payload


def scan(segment: memoryview, start: int) -> Iterator[Record]:
    """Yield records from `start` on until the first one that is torn or damaged, or the end."""
    offset = start
    while (record := _record_at(segment, offset)) is not None:
        yield record
        offset = record.end


def find_record_after(segment: memoryview, start: int) -> int | None:
    """The offset of the first sound record at or behind `start`, or None.

    Tells a torn tail (nothing sound follows) from damage in the middle. A random match needs a plausible length and a
    matching checksum; empty payloads are never written and never match.
    """
    return next((at for at in range(start, len(segment) - _HEADER.size) if _record_at(segment, at)), None)


def _record_at(segment: memoryview, offset: int) -> Record | None:
    body = offset + _HEADER.size
    if body > len(segment):
        return None
    length, checksum = _HEADER.unpack_from(segment, offset)
    if length == 0 or body + length > len(segment):
        return None
    payload = bytes(segment[body : body + length])
    return Record(payload, body + length) if _checksum(payload) == checksum else None


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(len(payload).to_bytes(4, "big")))
