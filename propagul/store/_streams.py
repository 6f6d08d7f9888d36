"""Streams into and out of a namespace, in slices: the lock is held for one slice at a time.

An outgoing stream is of one instant although it is read while writers go on. An incoming one becomes visible in one
step, however long it is.
"""

from __future__ import annotations

import functools
import struct
import time
from typing import TYPE_CHECKING, Final

from propagul.crdt import Block, Offer, Position, codec
from propagul.errors import PeerProtocolError
from propagul.gossip import InThread
from propagul.log.cold import filled, is_cold, left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.crdt import Cut, Entry, Join
    from propagul.store._journal import Journal, Staged
    from propagul.store._namespace import Namespace

STAGE_BYTES: Final = 1024 * 1024
"""A stream longer than this waits in the log and not in memory."""

EAGER_ROWS_MAX: Final = 1000
"""A stream of more rows than this is not joined in one go."""

_SLICE_ROWS: Final = 64
"""So many rows are read before others have a turn: with values of some KiB, and those on the disk, a millisecond."""

_SLICES_MAX: Final = 8
"""So many slices are read at once where the peer has most of their rows: looking at a row costs next to nothing."""

_POSITION: Final = struct.Struct(">QQI?")
"""How a position is told: in which life of the sender's, and where."""


def read_position(told: bytes, life: int) -> Position | None:
    """A position that was told in this life; None for any other bytes."""
    if len(told) != _POSITION.size:
        return None
    where, arrival, slots, whole = _POSITION.unpack(told)
    return Position(arrival, slots, whole) if where == life else None


class OutgoingStream:
    """Implements `propagul.gossip.Outgoing`. Made with the namespace's lock held.

    Args:
        space: Whose.
        cut: What the peer lacks.
        life: In which positions are told; 0 if nobody can go on from them, as the cut leaves rows out.
    """

    def __init__(self, space: Namespace, cut: Cut, life: int = 0) -> None:
        self._space = space
        self._cut = cut
        self._hold = space.hold()
        self._life = life
        self.entries, self.arrival, self.mark, self.join = cut.entries, cut.arrival, cut.mark, cut.join
        self.goes_on = cut.goes_on
        self.is_empty = cut.join is None and not cut.goes_on and cut.is_empty
        self.position = b""

    def blocks(self) -> Iterator[bytes | InThread]:
        """See `Outgoing.blocks`."""
        while not self._cut.at_end:
            with self._space.lock:
                block = self._read_some()
                position = self._cut.position
            if not block and not self._cut.at_end:
                yield InThread(self._pass_over)
                continue
            read: list[bytes] = []
            if is_cold(block):
                yield InThread(functools.partial(_encode_filled, block, read))
            else:
                read += codec.encode_blocks(block)
            for index, packed in enumerate(read, 1):
                if index == len(read) and self._life:
                    self.position = _POSITION.pack(self._life, *position)
                yield packed

    def _read_some(self) -> Block:
        """A slice, and some more where the peer has most of its rows: a few rows make one block, and one frame."""
        block = self._cut.read(_SLICE_ROWS)
        for _ in range(_SLICES_MAX - 1):
            if 2 * len(block) > _SLICE_ROWS or self._cut.at_end:
                break
            more = self._cut.read(_SLICE_ROWS)
            block = Block([*block.plain, *more.plain], [*block.other, *more.other])
        return block

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

    def go_on(self) -> None:
        """See `Incoming.go_on`. What is named again must replace what was named before, so keys must be known."""
        self._gather().resumed = True
        if self._staged is not None:
            self._staged.resumed = True

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
        journal = self._space.journal
        if journal is not None and (self._staged is not None or self._size > STAGE_BYTES):
            self._stage(journal)
        elif self._rows > EAGER_ROWS_MAX:
            self._gather()

    def apply(self, entries: list[Entry], join: Join | None) -> bool:
        """See `Incoming.apply`: log the end, have it effective, tell of it."""
        if join is not None and self._space.sealed is not None and self._space.sealed.is_whole:
            raise PeerProtocolError("a snapshot join, where no peer's word removes a row")
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

    def _gather(self) -> Offer:
        """Move the rows of blocks that are not staged to the offer."""
        self._offer = offer = self._offer if self._offer is not None else Offer()
        for block in self._blocks:
            offer.add(block)
        self._blocks = []
        return offer

    def _stage(self, journal: Journal) -> None:
        self._offer = self._offer if self._offer is not None else Offer()
        with self._space.lock:
            self._staged = staged = self._staged or journal.stage(self._space.name)
            staged.resumed = self._offer.resumed
            for raw in self._raw:
                staged.add(raw)
        for number, block in enumerate(self._blocks, len(staged.places) - len(self._blocks)):  # some may be gathered
            self._offer.add(block if journal.has_room(staged.bytes) else left(block, number))
        self._offer.found = staged.found
        self._raw, self._blocks, self._size = [], [], 0
