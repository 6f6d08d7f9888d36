r"""How records stand in a segment. Pure functions over bytes; this format is frozen. All numbers are big endian.

    segment = header | records and seals | zeros (as far as the file was allocated ahead)
    header  = 7 bytes "PGLOG\0\0" | u8 format | u64 log id | u64 number | 16 bytes boot id | u32 seed | 16 zero bytes
              | u32 CRC-32 of the 60 bytes before
    record  = u32 seed  | u32 length | u32 CRC-32 of the payload, begun with seed XOR end             | payload
    seal    = u32 ~seed | u32 24     | u32 CRC-32 of the content, begun with NOT (seed XOR end)
              | u64 offset below which the segment was on the disk when this was written | 16 bytes boot id

`end` is the offset just behind the record. So a checksum holds the record's place and its length: bytes at another
place, of another segment or of another length never pass. The seed is 32 random bits; it also stands in front of each
record, so that a search for the next one meets no decoy that a user or a peer put into a value. Neither the seed nor
its complement begins with a zero byte: the zeros behind the last record are no record.
"""

from __future__ import annotations

import secrets
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from propagul.log.place import Place

FORMAT = 2
"""Version of this format. 1 was never released."""

HEADER_BYTES = 64
"""Bytes before the first record of a segment."""

FRAME_BYTES = 12
"""Bytes before the payload of a record."""

SEAL_BYTES = FRAME_BYTES + 24
"""Bytes of a seal."""

RECORD_BYTES_MAX = 2**31 - 1
"""Highest length of a payload."""

NO_BOOT = bytes(16)
"""The boot id of a system that tells none: no two boots are known to be the same."""

_MAGIC = b"PGLOG\0\0"
_ONES = 0xFFFFFFFF
_HEADER = struct.Struct(">7sBQQ16sI16x")
_CHECK = struct.Struct(">I")
_SEAL = struct.Struct(">Q16s")

FRAME = struct.Struct(">III")
"""Seed (or its complement), length, checksum."""


class SegmentHeader(NamedTuple):
    """What the first bytes of a segment say.

    Attributes:
        log_id: 64 random bits; all segments of a log have the same.
        number: The segment's place in the log; its file is named so.
        boot_id: 16 bytes that name the boot of the system in which it was begun.
        seed: See the module.
    """

    log_id: int
    number: int
    boot_id: bytes
    seed: int


class Seal(NamedTuple):
    """A statement in the log: what lies below `covered` was on the disk.

    Attributes:
        at: Where the seal itself begins.
        covered: An offset in the same segment, at most `at`.
        boot_id: The boot in which what follows was appended.
    """

    at: int
    covered: int
    boot_id: bytes


class Chunk(NamedTuple):
    """What a stretch of a segment holds.

    Attributes:
        records: Payloads, each with the place of its record.
        end: Offset behind the last sound record or seal.
        seal: The last seal.
        wanted: How many bytes from `end` on would show one more record; 0 if what stands there is none.
    """

    records: list[tuple[Place, bytes]]
    end: int
    seal: Seal | None
    wanted: int


def new_seed() -> int:
    """32 random bits of which the first byte is neither near 0 nor near 255."""
    return 0x40000000 + secrets.randbelow(0x80000000)


def encode_header(header: SegmentHeader) -> bytes:
    """The first `HEADER_BYTES` of a segment."""
    content = _HEADER.pack(_MAGIC, FORMAT, header.log_id, header.number, header.boot_id, header.seed)
    return content + _CHECK.pack(zlib.crc32(content))


def decode_header(first: bytes) -> SegmentHeader | None:
    """What a segment's first bytes say; None if they are cut off, damaged or of another format."""
    if len(first) < HEADER_BYTES or not _passes(first):
        return None
    magic, version, *fields = _HEADER.unpack_from(first)
    return SegmentHeader(*fields) if (magic, version) == (_MAGIC, FORMAT) else None


def foreign_format(first: bytes) -> int | None:
    """The format of a segment of ours that another version wrote; None if it is of this one, damaged or not ours."""
    if len(first) < HEADER_BYTES or not first.startswith(_MAGIC) or first[len(_MAGIC)] == FORMAT:
        return None
    as_ours = first[: len(_MAGIC)] + bytes([FORMAT]) + first[len(_MAGIC) + 1 :]
    return None if _passes(as_ours) else first[len(_MAGIC)]


def encode(payload: bytes, start: int, seed: int) -> bytes:
    """The record of a payload at the offset `start`."""
    end = start + FRAME_BYTES + len(payload)
    return FRAME.pack(seed, len(payload), zlib.crc32(payload, seed ^ end)) + payload


def encode_seal(seal: Seal, seed: int) -> bytes:
    """The bytes of a seal at its offset."""
    content = _SEAL.pack(seal.covered, seal.boot_id)
    return FRAME.pack(seed ^ _ONES, len(content), _seal_checksum(content, seal.at, seed)) + content


def scan_chunk(chunk: bytes, start: int, number: int, seed: int) -> Chunk:
    """Read records from a stretch that begins at the offset `start`, up to the first that is cut off or unsound."""
    found: list[tuple[Place, bytes]] = []
    seal: Seal | None = None
    at, size, take = 0, len(chunk), twin_of(take_records)
    while True:
        at = take(chunk, at, number << 40 | start, start, seed, found)
        if at + FRAME_BYTES > size:
            return Chunk(found, start + at, seal, FRAME_BYTES)
        mark, length, _ = FRAME.unpack_from(chunk, at)
        if mark == seed:
            cut_off = at + FRAME_BYTES + length > size and length <= RECORD_BYTES_MAX
            return Chunk(found, start + at, seal, FRAME_BYTES + length if cut_off else 0)
        seal_here = decode_seal(chunk[at : at + SEAL_BYTES], start + at, seed) if mark == seed ^ _ONES else None
        if seal_here is None:
            cut_off = mark == seed ^ _ONES and at + SEAL_BYTES > size
            return Chunk(found, start + at, seal, SEAL_BYTES if cut_off else 0)
        seal, at = seal_here, at + SEAL_BYTES


def take_records(  # noqa: PLR0917 - bound to a twin that takes no names
    chunk: bytes, at: int, place: Place, start: int, seed: int, found: list[tuple[Place, bytes]]
) -> int:
    """Read sound records, one behind the other; return where the first thing stands that is none.

    The one loop that recovery spends its time in: a record a turn, no calls but checksum, unpack and append.

    Args:
        chunk: A stretch of a segment.
        at: Where in it to begin.
        place: The place of its first byte in the log.
        start: Its offset in the segment.
        seed: The segment's.
        found: Takes the records, each with its place.
    """
    size, crc32, unpack = len(chunk), zlib.crc32, FRAME.unpack_from
    while at + 12 <= size:
        mark, length, checksum = unpack(chunk, at)
        body = at + 12
        end = body + length
        if mark != seed or end > size:
            break
        payload = chunk[body:end]
        if crc32(payload, seed ^ (start + end)) != checksum:
            break
        found.append((place + at, payload))
        at = end
    return at


def length_of(framed: bytes) -> int:
    """How long the record is of which these are the first bytes, if it is one."""
    return FRAME_BYTES + int.from_bytes(framed[4:8], "big")


def decode_record(framed: bytes, start: int, seed: int) -> bytes | None:
    """The payload of the record that these bytes are, all of them, at the offset `start`; None if it is unsound."""
    mark, length, checksum = FRAME.unpack_from(framed)
    payload = framed[FRAME_BYTES:]
    sound = mark == seed and length == len(payload)
    return payload if sound and zlib.crc32(payload, seed ^ (start + len(framed))) == checksum else None


def decode_seal(framed: bytes, start: int, seed: int) -> Seal | None:
    """The seal that these bytes are at the offset `start`; None if it is cut off or unsound."""
    if len(framed) != SEAL_BYTES:
        return None
    mark, length, checksum = FRAME.unpack_from(framed)
    content = framed[FRAME_BYTES:]
    sound = mark == seed ^ _ONES and length == len(content) and _seal_checksum(content, start, seed) == checksum
    return Seal(start, *_SEAL.unpack(content)) if sound else None


def marks(seed: int) -> tuple[bytes, bytes]:
    """What records and seals of a segment begin with."""
    return seed.to_bytes(4, "big"), (seed ^ _ONES).to_bytes(4, "big")


def _passes(first: bytes) -> bool:
    return first[_HEADER.size : HEADER_BYTES] == _CHECK.pack(zlib.crc32(first[: _HEADER.size]))


def _seal_checksum(content: bytes, start: int, seed: int) -> int:
    return zlib.crc32(content, seed ^ (start + SEAL_BYTES) ^ _ONES)
