"""The rows of a namespace that prove themselves, as two members compare them: see `propagul.gossip.compare`.

Keys fall into 256 buckets. Of each bucket there is a sum over its rows as they stand, removals included, that depends
on every key, dot and payload in it and not on their order.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import time
from typing import TYPE_CHECKING, Final

from propagul.crdt import Block, codec
from propagul.gossip import InThread
from propagul.log.cold import filled, is_cold
from propagul.store._instant import rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from propagul.crdt import Row
    from propagul.store._namespace import Namespace

BUCKETS: Final = 256

_SUMS: Final = struct.Struct(f">{BUCKETS}Q")
_HIGHEST: Final = 2**64


class ComparedRows:
    """Implements `propagul.gossip.Provable`."""

    def __init__(self, space: Namespace) -> None:
        self._space = space
        self._counted = -1, b""

    def sums(self) -> bytes | None:
        """See `Provable.sums`."""
        arrival, sums = self._counted
        return sums if arrival == self._space.arrival else None

    def count(self) -> None:
        """See `Provable.count`. O(rows), and every value that only the disk holds is read."""
        sums, hold = [0] * BUCKETS, self._space.hold()
        arrival, blocks = self._space.capture()
        for block in blocks:
            for key, row in rows_of([filled(block)]):
                sums[bucket_of(key)] += _sum_of(key, row)
            time.sleep(0)  # others wait for the interpreter
        del hold  # until here, what only the disk holds could be read
        self._counted = arrival, _SUMS.pack(*(number % _HIGHEST for number in sums))

    def rows_in(self, buckets: Collection[int]) -> Iterator[bytes | InThread]:
        """See `Provable.rows_in`."""
        hold, (_, blocks) = self._space.hold(), self._space.capture()
        for block in blocks:
            wanted = Block(
                [item for item in block.plain if bucket_of(item[0]) in buckets],
                [item for item in block.other if bucket_of(item[0]) in buckets],
            )
            encoded: list[bytes] = []
            if is_cold(wanted):
                yield InThread(functools.partial(_encode, wanted, encoded))
            else:
                _encode(wanted, encoded)
            yield from encoded
        del hold

    def mend(self, block: bytes) -> bool:
        """See `Provable.mend`."""
        incoming = self._space.incoming()
        incoming.add(block)
        return incoming.apply([], None)


def bucket_of(key: str) -> int:
    """The bucket of a key."""
    return hashlib.blake2b(key.encode(), digest_size=1).digest()[0]


def _sum_of(key: str, row: Row) -> int:
    total = 0
    for dot, kind, payload in row.siblings:
        written = codec.encode_block(Block([(key, payload, kind, *dot)], []))
        total += int.from_bytes(hashlib.blake2b(written, digest_size=8).digest())
    return total


def _encode(block: Block, encoded: list[bytes]) -> None:
    if block:
        encoded += codec.encode_blocks(filled(block))
