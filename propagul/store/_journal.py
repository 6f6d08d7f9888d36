"""One event log under several namespaces: events in the order in which they were acknowledged.

The caller of `append` holds the store's lock; what waits for a disk does not.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Protocol

from propagul.crdt import REGISTER, wire
from propagul.log.cold import ColdValues
from propagul.log.fold import BATCH, block_of, encode_block, encode_end, encode_floor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from propagul.crdt import Entry, Evicted, Join, Payload, Stamp
    from propagul.log.place import Place

_GROWTH_BITS: Final = 20
GROWTH_BYTES: Final = 1 << _GROWTH_BITS


class Log(Protocol):
    """What a journal needs of an event log; see `propagul.log.EventLog`."""

    def append(self, payload: bytes) -> Place: ...
    def read(self, place: Place) -> bytes: ...
    def sync(self, upto: Place | None = None) -> None: ...


class Journal:
    """The log, and the streams that are on their way into it.

    Attributes:
        on_growth: Called with a place now and then: about every `GROWTH_BYTES`, and in each new segment.
        on_staged: Likewise called while a stream is staged, of which nothing is effective yet.
        cut_at: What stands before this place is in a snapshot, or will be when it is finished. *Invariant:* the end
            of a stream never stands behind it while a block of the stream stands before it.
        cold: Reads what stands only in the log.
        hold: Keeps what stands in the log now there, for as long as the result is held.
        has_room: Whether a stream of so many bytes fits into memory; if not, its values stay in the log.
        sync_each: Whether every event is on the disk before it is visible.
    """

    __slots__ = ("__dict__", "_grown", "sync_each")  # slots: what the kernel reads in place

    def __init__(self, log: Log, cold: ColdValues | None = None) -> None:
        self._log = log
        self.cold = cold or ColdValues(log.read)
        self.on_growth: Callable[[Place], None] = lambda _: None
        self.on_staged: Callable[[], None] = lambda: None
        self.sync_each = False
        self.hold: Callable[[], object] = object
        self.has_room: Callable[[int], bool] = lambda _: True
        self.cut_at: Place = 0
        self._grown = self._staged_to = 0
        self._next_stream = secrets.randbits(48)
        self._staging: set[Staged] = set()
        self._pack = wire.packer()

    def append(self, event: bytes) -> Place:
        """Append one event; see `EventLog.append`. Waits for the disk if `sync_each` is set."""
        place = self._log.append(event)
        if place >> _GROWTH_BITS != self._grown:
            self._grown = place >> _GROWTH_BITS
            self.on_growth(place)
        if self.sync_each:
            self._log.sync(place)
        return place

    def append_write(self, space: str, key: str, payload: Payload, stamp: int, origin: int) -> None:
        """Append the event of one register's write: `fold.encode_batch` without the objects."""
        self.append(self._pack([BATCH, space, stamp, origin, key, REGISTER, payload]))

    def append_floor(self, space: str, kind: int) -> None:
        """Append the event of a freeze or a commit."""
        self.append(encode_floor(space, kind))

    def end(  # noqa: PLR0917 - what `encode_end` takes
        self,
        space: str,
        staged: Staged | None,
        wall: Stamp,
        entries: Sequence[Entry],
        join: Join | None,
        blocks: Sequence[bytes],
    ) -> Place:
        """Append the event that ends a stream. What was staged before a cut that came in between is logged again."""
        for _ in () if staged is None else staged.move(self.cut_at):
            pass
        return self.append(encode_end(space, 0 if staged is None else staged.stream, wall, entries, join, blocks))

    def sync(self, upto: Place | None = None) -> None:
        """Force the log to the disk, up to a place or all of it."""
        self._log.sync(upto)

    def stage(self, space: str) -> Staged:
        """A stream that begins."""
        staged = Staged(self, space, self._next_stream)
        self._next_stream += 1
        self._staging.add(staged)
        return staged

    def log_block(self, space: str, stream: int, block: bytes) -> Place:
        """Log a block that waits for the end of its stream; what it costs to sync is paid by whoever syncs next."""
        place = self._log.append(encode_block(space, stream, block))
        if place >> _GROWTH_BITS != self._staged_to:
            self._staged_to = place >> _GROWTH_BITS
            self.on_staged()
        return place

    def block_at(self, place: Place) -> bytes:
        """A block that waits in the log."""
        return block_of(self._log.read(place))

    def unstage(self, staged: Staged) -> None:
        """It ended, one way or the other."""
        self._staging.discard(staged)

    def staging(self) -> list[Staged]:
        """Streams on their way in."""
        return list(self._staging)


class Staged:
    """Blocks of one stream, waiting in the log for its end. Call with the store's lock held.

    Attributes:
        places: Where each block stands; those of a compacted log move. They stay once the stream has ended.
        bytes: How long the blocks are.
        resumed: A block may name keys of an earlier one again. *Invariant:* then they stand in their order in the log.
    """

    def __init__(self, journal: Journal, space: str, stream: int) -> None:
        self.stream = stream
        self.places: list[Place] = []
        self.bytes = 0
        self.resumed = False
        self._journal = journal
        self._space = space

    def add(self, block: bytes) -> None:
        """Log one block."""
        self.places.append(self._journal.log_block(self._space, self.stream, block))
        self.bytes += len(block)

    def found(self, payload: Evicted) -> Evicted:
        """Where a payload stands now that was left in a block."""
        return self._journal.cold.moved(payload, self.places)

    def move(self, before: Place) -> Iterator[int]:
        """Log every block that stands before a place again, one at a time: what holds them is about to go."""
        for index, place in enumerate(self.places):
            if place < before or (self.resumed and index and place < self.places[index - 1]):
                self.places[index] = self._journal.log_block(self._space, self.stream, self._journal.block_at(place))
                yield index
