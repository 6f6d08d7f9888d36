"""Streams into and out of a namespace, in slices: the lock is held for one slice at a time.

An outgoing stream is of one instant although it is read while writers go on. An incoming one is staged, in memory while
it is small and then in the log, and becomes visible in one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propagul.crdt import codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.crdt import Cut, Entry, Join
    from propagul.store._journal import Staged
    from propagul.store._namespace import Namespace

STAGE_BYTES: Final = 1024 * 1024
"""A stream longer than this waits in the log and not in memory."""

_SLICE_ROWS: Final = 256


class OutgoingStream:
    """Implements `propagul.gossip.Outgoing`. Made with the namespace's lock held."""

    def __init__(self, space: Namespace, cut: Cut) -> None:
        self._space = space
        self._cut = cut
        self.entries, self.arrival, self.mark, self.join = cut.entries, cut.arrival, cut.mark, cut.join
        self.is_empty = cut.join is None and cut.is_empty(_SLICE_ROWS)

    def blocks(self) -> Iterator[bytes]:
        """See `Outgoing.blocks`."""
        while True:
            with self._space.lock:
                block = self._cut.read(_SLICE_ROWS)
            if not block:
                return
            yield from codec.encode_blocks(block)


class IncomingStream:
    """Implements `propagul.gossip.Incoming`."""

    def __init__(self, space: Namespace) -> None:
        self._space = space
        self._blocks: list[bytes] = []
        self._size = 0
        self._staged: Staged | None = None

    def add(self, block: bytes) -> None:
        """See `Incoming.add`."""
        self._blocks.append(block)
        self._size += len(block)
        if self._size > STAGE_BYTES and self._space.journal is not None:
            self._stage()

    def apply(self, entries: list[Entry], join: Join | None) -> bool:
        """See `Incoming.apply`: decode all, log the end, apply all, tell all."""
        staged = [] if self._staged is None else list(self._staged.blocks())
        decoded = [codec.decode_block(block) for block in (*staged, *self._blocks)]
        try:
            return self._space.receive(self._staged, self._blocks, decoded, entries, join)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """See `Incoming.abandon`."""
        if self._staged is not None and self._space.journal is not None:
            self._space.journal.unstage(self._staged)
        self._staged, self._blocks = None, []

    def _stage(self) -> None:
        with self._space.lock:
            assert self._space.journal is not None
            if self._staged is None:
                self._staged = self._space.journal.stage(self._space.name)
            for block in self._blocks:
                self._staged.add(block)
        self._blocks, self._size = [], 0
