"""Streams into and out of a namespace, in slices: the lock is held for one slice at a time.

An outgoing stream is of one instant although it is read while writers go on. An incoming one becomes visible in one
step, however long it is.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Final

from propagul.crdt import Offer, codec
from propagul.gossip import InThread
from propagul.log.cold import filled, is_cold, left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.crdt import Block, Cut, Entry, Join
    from propagul.store._journal import Journal, Staged
    from propagul.store._namespace import Namespace

STAGE_BYTES: Final = 1024 * 1024
"""A stream longer than this waits in the log and not in memory."""

EAGER_ROWS_MAX: Final = 1000
"""A stream of more rows than this is not joined in one go."""

_SLICE_ROWS: Final = 64
"""So many rows are read before others have a turn: with values of some KiB, and those on the disk, a millisecond."""


class OutgoingStream:
    """Implements `propagul.gossip.Outgoing`. Made with the namespace's lock held."""

    def __init__(self, space: Namespace, cut: Cut) -> None:
        self._space = space
        self._cut = cut
        self._hold = space.hold()
        self.entries, self.arrival, self.mark, self.join = cut.entries, cut.arrival, cut.mark, cut.join
        self.is_empty = cut.join is None and cut.is_empty

    def blocks(self) -> Iterator[bytes | InThread]:
        """See `Outgoing.blocks`."""
        while not self._cut.at_end:
            with self._space.lock:
                block = self._cut.read(_SLICE_ROWS)
            if not block and not self._cut.at_end:
                yield InThread(self._pass_over)
            elif is_cold(block):
                read: list[bytes] = []
                yield InThread(functools.partial(_encode_filled, block, read))
                yield from read
            else:
                yield from codec.encode_blocks(block)

    def _pass_over(self) -> None:
        more = True
        while more:
            with self._space.lock:
                more = self._cut.pass_over(_SLICE_ROWS)
            time.sleep(0)  # a lock that is let go of and taken again would pass nobody by


def _encode_filled(block: Block, encoded: list[bytes]) -> None:
    encoded += codec.encode_blocks(filled(block))


class IncomingStream:
    """Implements `propagul.gossip.Incoming`.

    Blocks are decoded as they come. A short stream is joined in one go; the rows of a longer one are gathered in an
    offer, its blocks are logged ahead of its end, and nothing of it but the offer stays in memory.
    """

    def __init__(self, space: Namespace) -> None:
        self._space = space
        self._raw: list[bytes] = []
        self._blocks: list[Block] = []
        self._size = self._rows = 0
        self._staged: Staged | None = None
        self._offer: Offer | None = None

    def add(self, block: bytes) -> None:
        """See `Incoming.add`."""
        received = codec.decode_block(block)
        decoded = self._space.traffic.admit(received)
        if decoded is not received:
            self._space.traffic.refused_rows += len(received) - len(decoded)
            block = codec.encode_block(decoded)
        self._raw.append(block)
        self._blocks.append(decoded)
        self._size += len(block)
        self._rows += len(decoded)
        if self._size > STAGE_BYTES and self._space.journal is not None:
            self._stage(self._space.journal)
        elif self._rows > EAGER_ROWS_MAX and self._space.journal is None:
            self._gather()

    def apply(self, entries: list[Entry], join: Join | None) -> bool:
        """See `Incoming.apply`: log the end, have it effective, tell of it."""
        if self._offer is not None or self._rows > EAGER_ROWS_MAX:
            self._gather()
        rows = self._blocks if self._offer is None else self._offer
        try:
            return self._space.receive(self._staged, self._raw, rows, entries, join)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """See `Incoming.abandon`."""
        if self._staged is not None and self._space.journal is not None:
            self._space.journal.unstage(self._staged)
        self._staged = self._offer = None
        self._raw, self._blocks = [], []

    def _gather(self) -> None:
        """Move the rows of blocks that are not staged to the offer."""
        self._offer = self._offer or Offer()
        for block in self._blocks:
            self._offer.add(block)
        self._blocks = []

    def _stage(self, journal: Journal) -> None:
        self._offer = self._offer or Offer()
        with self._space.lock:
            self._staged = staged = self._staged or journal.stage(self._space.name)
            first = len(staged.places)
            for raw in self._raw:
                staged.add(raw)
        for number, block in enumerate(self._blocks, first):
            self._offer.add(block if journal.has_room(staged.bytes) else left(block, number))
        self._offer.found = staged.found
        self._raw, self._blocks, self._size = [], [], 0
