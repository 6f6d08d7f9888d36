r"""How blocks stand in a snapshot: header, blocks, end record. Pure functions over bytes.

    snapshot = header | blocks | end                                                                        big endian
    header   = "PGSNAP\x00" | u8 version | u64 number | 16 bytes id | hash of all before it
    block    = u64 ordinal | u32 length | u32 CRC-32 of id, ordinal, length | hash of ordinal, length, content | content
    end      = "PGSNEND" | u8 version | u64 blocks | u64 own offset | hash of all blocks' hashes | hash of all before it

A hash is BLAKE2b of 16 bytes; all but the header's are keyed with the snapshot's random id, so that no block of another
snapshot, and nothing a user or a peer wrote, can pass for one of this. The CRC covers what must be believed before the
hash can be taken: a damaged length never makes a reader allocate. The header's number ties the content to the file's
name. The end record stands in the last bytes of the file: a snapshot without its end is no snapshot.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import NamedTuple

MAGIC = b"PGSNAP\x00\x01"
"""First bytes of a snapshot; the last one is the format version."""

END_MAGIC = b"PGSNEND\x01"
ID_BYTES = 16
HASH_BYTES = 16

HEADER_BYTES = len(MAGIC) + 8 + ID_BYTES + HASH_BYTES
"""Bytes before the first block."""

_HEAD = struct.Struct(f">QII{HASH_BYTES}s")
_END = struct.Struct(f">8sQQ{HASH_BYTES}s")

HEAD_BYTES = _HEAD.size
"""Bytes of a block before its content."""

END_BYTES = _END.size + HASH_BYTES

BLOCK_BYTES_MAX = 2**31 - 1
"""Most bytes of content in one block."""


class Head(NamedTuple):
    """What stands before a block's content."""

    ordinal: int
    length: int
    digest: bytes


class End(NamedTuple):
    """What the end record says: how many blocks there are, where it stands, and the hash of all their hashes."""

    blocks: int
    offset: int
    chain: bytes


class Chain:
    """Counts blocks and hashes their hashes, in order."""

    def __init__(self, snapshot_id: bytes) -> None:
        self.blocks = 0
        self._hash = hashlib.blake2b(digest_size=HASH_BYTES, key=snapshot_id)

    def add(self, digest: bytes) -> None:
        """Count one more block."""
        self.blocks += 1
        self._hash.update(digest)

    def end_at(self, offset: int) -> End:
        """What the end record has to say if it stands at `offset`."""
        return End(self.blocks, offset, self._hash.digest())


def encode_header(number: int, snapshot_id: bytes) -> bytes:
    """The first bytes of the snapshot `number`; its id is 16 random bytes."""
    content = MAGIC + number.to_bytes(8, "big") + snapshot_id
    return content + _digest(content)


def id_of(header: bytes, number: int) -> bytes | None:
    """The id in a header; None if it is damaged, of another format or of another number."""
    snapshot_id = header[len(MAGIC) + 8 : -HASH_BYTES]
    sound = len(snapshot_id) == ID_BYTES and header == encode_header(number, snapshot_id)
    return snapshot_id if sound else None


def encode_head(content: bytes, ordinal: int, snapshot_id: bytes) -> tuple[bytes, bytes]:
    """What goes before a block's content, and the block's hash."""
    digest = _block_digest(content, ordinal, len(content), snapshot_id)
    return _HEAD.pack(ordinal, len(content), _check(ordinal, len(content), snapshot_id), digest), digest


def head_of(head: bytes, snapshot_id: bytes) -> Head | None:
    """The first `HEAD_BYTES` of a block; None if ordinal or length are damaged."""
    if len(head) != HEAD_BYTES:
        return None
    ordinal, length, check, digest = _HEAD.unpack(head)
    return Head(ordinal, length, digest) if check == _check(ordinal, length, snapshot_id) else None


def is_sound(content: bytes | memoryview, head: Head, snapshot_id: bytes) -> bool:
    """Whether a block's content is what was written."""
    return head.digest == _block_digest(content, head.ordinal, head.length, snapshot_id)


def encode_end(end: End, snapshot_id: bytes) -> bytes:
    """The end record."""
    content = _END.pack(END_MAGIC, end.blocks, end.offset, end.chain)
    return content + _digest(content, snapshot_id)


def end_of(record: bytes, snapshot_id: bytes) -> End | None:
    """The last `END_BYTES` of a snapshot; None if they are no end record of it."""
    if len(record) != END_BYTES:
        return None
    _, blocks, offset, chain = _END.unpack(record[: _END.size])
    end = End(blocks, offset, chain)
    return end if record == encode_end(end, snapshot_id) else None


def _block_digest(content: bytes | memoryview, ordinal: int, length: int, snapshot_id: bytes) -> bytes:
    digest = hashlib.blake2b(struct.pack(">QI", ordinal, length), digest_size=HASH_BYTES, key=snapshot_id)
    digest.update(content)
    return digest.digest()


def _check(ordinal: int, length: int, snapshot_id: bytes) -> int:
    return zlib.crc32(snapshot_id + struct.pack(">QI", ordinal, length))


def _digest(content: bytes, key: bytes = b"") -> bytes:
    return hashlib.blake2b(content, digest_size=HASH_BYTES, key=key).digest()
