"""The rows of a namespace that prove themselves, as two members compare them: see `propagul.gossip.compare`.

Keys fall into 256 buckets. The sum of a bucket is a keyed hash of the sorted hashes of its words, each of key, dot and
payload, removals included: it does not depend on their order, and nobody can make other words that come to the same.
The key is the digest of the vector, which those who compare share: what somebody might find out for one vector is of no
use at the next.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from propagul.crdt import Block, codec
from propagul.gossip import InThread
from propagul.gossip.messages import SUM_BYTES, SUMS
from propagul.log.cold import filled, is_cold
from propagul.store._instant import blocks_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from propagul.crdt import Row
    from propagul.store._namespace import Namespace

_HASH_BYTES = 16


class _Counted(NamedTuple):
    """Sums, and the instant that they are of."""

    arrival: int
    vector: bytes
    sums: bytes


class ComparedRows:
    """Implements `propagul.gossip.Provable`."""

    def __init__(self, space: Namespace) -> None:
        self._space = space
        self._counting = threading.Lock()
        self._counted: _Counted | None = None

    def sums(self) -> bytes | None:
        """See `Provable.sums`."""
        counted = self._counted
        now = self._space.arrival, self._space.hello()[0]
        return counted.sums if counted is not None and counted[:2] == now else None

    def count(self) -> None:
        """See `Provable.count`. O(rows), and every value that only the disk holds is read."""
        with self._counting:  # several links may want it at once
            if self.sums() is not None:
                return
            words: list[list[bytes]] = [[] for _ in range(SUMS)]
            hold, (arrival, vector, capture) = self._space.hold(), self._space.instant()
            for block in blocks_of(capture, self._space.lock):
                for key, row in rows_of([filled(block)]):
                    words[bucket_of(key)] += _hashes_of(key, row)
                time.sleep(0)  # others wait for the interpreter
            del hold  # until here, what only the disk holds could be read
            self._counted = _Counted(arrival, vector, b"".join(_sum(found, vector) for found in words))

    def rows_in(self, buckets: Collection[int]) -> Iterator[bytes | InThread]:
        """See `Provable.rows_in`."""
        hold, (_, _, capture) = self._space.hold(), self._space.instant()
        for block in blocks_of(capture, self._space.lock):
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


def _hashes_of(key: str, row: Row) -> list[bytes]:
    written = (Block([(key, payload, kind, *dot)], []) for dot, kind, payload in row.siblings)
    return [hashlib.blake2b(codec.encode_block(block), digest_size=_HASH_BYTES).digest() for block in written]


def _sum(hashes: list[bytes], vector: bytes) -> bytes:
    return hashlib.blake2b(b"".join(sorted(hashes)), digest_size=SUM_BYTES, key=vector).digest()


def _encode(block: Block, encoded: list[bytes]) -> None:
    if block:
        encoded += codec.encode_blocks(filled(block))
