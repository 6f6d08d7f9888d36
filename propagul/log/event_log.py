"""One process's event log: payloads appended in order, read back by place, synced for whoever waits.

Theory of operation. `append` returning means that the bytes are in the kernel: they survive the end of this process,
not a power cut. `sync` returning means that they are on the disk. One party appends at a time, under a lock of the
caller's; syncs, reads and waits come from any thread and do not take that lock, so nobody who writes waits for a disk.
A segment that is full, or ended by `rotate`, is on the disk and sealed before the next is begun.

**A sync that fails is never tried again.** The kernel may have dropped the pages it could not write and will call them
clean; a second sync would then succeed without the bytes being anywhere (the lesson of "fsyncgate", PostgreSQL 2018).
From then on the log refuses everything but reads. Opening the directory anew writes what was not proven once more.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import weakref
from typing import TYPE_CHECKING

from propagul import _system
from propagul.errors import ClosedError, LimitExceeded, LocalProtocolError, StoreBusy, StoreError
from propagul.log import records, writer
from propagul.log.place import NUMBER_MAX, in_snapshot, number_of, offset_of, place_of
from propagul.log.readers import SegmentReaders
from propagul.log.recovery import Recovery, Replay, boot_in_force, keep_torn
from propagul.log.refusal import refusal, refusals_of
from propagul.log.segment import segment_path
from propagul.log.writer import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from propagul.log.place import Place
    from propagul.log.segment import SegmentFile

SEGMENT_BYTES = 64 * 1024 * 1024
"""A record that would make a segment longer goes to the next one."""

PENDING_BYTES_MAX = 16 * 1024 * 1024
"""How much may be appended and not yet on the disk before writers wait."""


class EventLog:
    """The log under one directory. Call `recover` once, to its end, before the first `append`.

    Args:
        directory: Its own; it must exist.
        lock: What the caller holds around `append` and `rotate`, and not around `close`, which takes it.
        boot_id: What names this boot of the system (`_system.boot_id()`). Without one, damage that a power cut could
            explain is never called corruption.
        log_id: 64 bits that every segment must carry; None for those of the first segment, or random ones.
        segment_bytes: See `SEGMENT_BYTES`. Raising it makes snapshots rarer and waits for the next segment longer.
        window_bytes: See `writer.WINDOW_BYTES`.

    Attributes:
        recovery: What `recover` found.
    """

    __slots__ = ("__dict__", "__weakref__", "_writer")  # slots: what the kernel reads in place

    def __init__(
        self,
        directory: Path,
        *,
        lock: AbstractContextManager[object] | None = None,
        boot_id: str | None = None,
        log_id: int | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        window_bytes: int = writer.WINDOW_BYTES,
    ) -> None:
        self.recovery = Recovery()
        self._directory = directory
        self._lock = lock or contextlib.nullcontext()
        self._boot_id = hashlib.blake2b(boot_id.encode(), digest_size=16).digest() if boot_id else records.NO_BOOT
        self._log_id = log_id
        self._segment_bytes = segment_bytes
        self._window_bytes = window_bytes
        self._mapped = _system.writes_in_place(directory)
        self._next = 1
        self._writer: SegmentWriter | None = None
        self._refuses: Exception | None = LocalProtocolError("recover the event log before appending to it")
        self._syncing = threading.Lock()
        self._synced: Place = 0
        self._seal_due = False
        self._readers = SegmentReaders(directory)
        _logs.add(self)

    # --- opening -------------------------------------------------------------------------------------------------

    def recover(self, first: int = 1) -> Iterator[tuple[Place, bytes]]:
        """Yield every payload with its place, oldest first, then open the log for appending.

        Args:
            first: The segment to begin with; a snapshot stands for the ones before, and they are removed at the end.

        Raises:
            StoreCorrupt: A record other than a torn tail is damaged, or a segment is gone or not of this log.
            StoreError: The disk does not give what it holds, or a newer version wrote it.
        """
        replay = Replay(self._directory, first=first, log_id=self._log_id, boot_id=self._boot_id)
        for found in replay.run():
            self.recovery.records += len(found)
            yield from found
        self._next, self._log_id = first, replay.log_id
        if replay.last is not None:
            with refusals_of(f"the event log in {self._directory} cannot be opened for writing"):
                self._resume(replay, replay.last)
        self._refuses = None
        self.drop_before(first)

    def _resume(self, replay: Replay, last: SegmentFile) -> None:
        """Go on where the last segment ends, as far as it can be trusted."""
        torn_end = replay.torn_end(last)
        if torn_end > last.end:
            self.recovery.torn_copy, self.recovery.torn_bytes = keep_torn(last, torn_end), torn_end - last.end
        opened = SegmentWriter(last.path, last.trusted, last.end, mapped=self._mapped, window_bytes=self._window_bytes)
        boot = boot_in_force(last)
        synced = last.end if last.is_finished() else last.seal.covered if last.seal else records.HEADER_BYTES
        try:
            if records.NO_BOOT in (self._boot_id, boot) or boot == self._boot_id:
                opened.rewrite(synced)
            if torn_end > last.end:
                opened.cut()
                synced = last.end
        except BaseException:
            opened.close()
            raise
        self._seal_due = torn_end > last.end or boot != self._boot_id
        self._synced = place_of(opened.number, synced)
        self._next, self._writer = opened.number + 1, opened

    # --- appending, under the caller's lock ----------------------------------------------------------------------

    def append(self, payload: bytes) -> Place:
        """Append one payload and return its place; on return the kernel has it.

        Raises:
            StoreFull: The disk took no more; nothing of this payload is left in the log.
            StoreError: The system refused the write for another reason, or an earlier sync failed.
            LimitExceeded: It is over 2 GiB.
            ClosedError: The log is closed.
        """
        current = self._writer
        return (current is not None and current.copy(payload)) or self._append_slowly(payload)

    def rotate(self) -> int:
        """End the current segment and begin the next; return its number. What was appended stands in lower ones.

        Nothing happens if the current segment is empty. Waits for the disk: `sync` before keeps the wait short.

        Raises:
            StoreError: As `append` and `sync`. The log goes on in the old segment unless a sync failed.
        """
        self._check()
        with refusals_of(self._subject):
            current = self._writer
            return (current if current and not current.holds_records else self._begin_segment()).number

    def close(self) -> None:
        """Sync, seal and close. Idempotent. The log is closed even where this raises.

        Raises:
            StoreError: Not everything appended is proven to be on the disk.
        """
        with self._lock, self._syncing:
            current, refused = self._writer, self._refuses
            self._refuses, self._writer = ClosedError("the event log is closed"), None
            self._readers.clear()
            if current is None:
                return
            try:
                if refused is None:
                    self._end_with(current)
                elif self._synced < current.place | current.end:
                    raise refused
            finally:
                current.close()

    def _end_with(self, current: SegmentWriter) -> None:
        """Finish the last segment. That a seal found no space is no loss: the records themselves are on the disk."""
        end = current.place | current.end
        try:
            with refusals_of(self._subject):
                self._finish(current)
        except StoreError:
            if self._synced < end:
                raise

    def _append_slowly(self, payload: bytes) -> Place:
        """What one append in some thousands needs first: a check, a seal, a segment, a window."""
        self._check()
        if len(payload) > records.RECORD_BYTES_MAX:
            raise LimitExceeded("one log record", size=len(payload), limit=records.RECORD_BYTES_MAX)
        try:
            current = self._roomy(records.FRAME_BYTES + len(payload))
            if self._seal_due:
                self._seal_now(current, offset_of(self._synced))
            place = current.append(payload)
        except OSError as error:
            raise refusal(error, self._subject) from error
        current.room = min(current.room, self._segment_bytes)
        if self._seal_due or self._refuses is not None:  # since a moment ago, by a sync in another thread
            current.room = 0
        return place

    def _roomy(self, size: int) -> SegmentWriter:
        """The segment in which a record of this size belongs."""
        current = self._writer
        if current is None or (current.holds_records and current.end + size > self._segment_bytes):
            current = self._begin_segment()
        return current

    def _seal_now(self, current: SegmentWriter, covered: int) -> None:
        self._seal_due = False  # before, as a sync in another thread may make the next one due meanwhile
        try:
            current.append_seal(covered, self._boot_id)
        except BaseException:
            self._seal_due = True
            raise

    def _begin_segment(self) -> SegmentWriter:
        """Go on in a new segment; where that fails the old one stays in use."""
        with self._syncing:
            before = self._writer
            if before is not None:
                self._finish(before)
            if self._next > NUMBER_MAX:
                raise StoreError(f"{self._directory} has used up all segment numbers; move it away and begin anew")
            self._log_id = secrets.randbits(64) if self._log_id is None else self._log_id
            header = records.SegmentHeader(self._log_id, self._next, self._boot_id, records.new_seed())
            path = segment_path(self._directory, self._next)
            try:
                begun = SegmentWriter.create(path, header, mapped=self._mapped, window_bytes=self._window_bytes)
            except StoreError as error:
                self._refuse(error)
                raise
            self._synced = begun.place | begun.end
            self._seal_due, self._next, self._writer = False, self._next + 1, begun
            if before is not None:
                before.close()
            return begun

    def _finish(self, current: SegmentWriter) -> None:
        """Have all of a segment on the disk, ending with a seal over it. `_syncing` is held."""
        end = current.end
        if self._synced < current.place | end:
            self._sync_contents(current)
            self._seal_due = True
        if self._seal_due:
            self._seal_now(current, end)
        if not current.is_trim:
            try:
                current.trim()
            except OSError as error:
                raise self._unproven(current, error) from error

    # --- syncing, from any thread --------------------------------------------------------------------------------

    @property
    def end(self) -> Place:
        """Where the next record will stand, if it is not the first of a segment."""
        current = self._writer
        return 0 if current is None else current.place | current.end

    @property
    def pending_bytes(self) -> int:
        """How much was appended and is not proven to be on the disk."""
        current = self._writer
        return 0 if current is None else max(0, (current.place | current.end) - self._synced)

    def sync(self, upto: Place | None = None) -> None:
        """Return when the record at `upto`, or everything appended so far, is on the disk.

        One sync of the disk serves everybody who waited for it: the first to come syncs for all, the next finds its
        record covered or syncs for those behind it.

        Raises:
            StoreError: The disk did not take it. See the module: the log takes nothing more.
            ClosedError: The log is closed and that record was not synced before.
        """
        current = self._writer
        goal = upto + 1 if upto is not None else current.place | current.end if current is not None else 0
        if self._synced >= goal:
            return
        with self._syncing:
            if self._synced >= goal:
                return
            self._check()
            current = self._writer
            if current is not None:
                self._sync_contents(current)
                self._seal_due, current.room = True, 0

    def throttle(self, limit_bytes: int = PENDING_BYTES_MAX, *, block: bool = True) -> None:
        """Keep what is pending below a limit: sync, or refuse. Call it before a write, without the lock.

        Near the end of a segment a blocking call syncs earlier, so that ending it has little left to wait for.

        Raises:
            StoreBusy: More is pending, and `block` is false.
            StoreError: As `sync`.
        """
        pending, limit_bytes = self.pending_bytes, min(limit_bytes, self._left_bytes) if block else limit_bytes
        if pending <= limit_bytes:
            return
        self._check()
        if not block:
            raise StoreBusy(f"{pending} bytes wait for the disk, the limit is {limit_bytes}; try again in a moment")
        self.sync()

    def is_pressing(self, limit_bytes: int = PENDING_BYTES_MAX) -> bool:
        """Whether a blocking `throttle` would wait."""
        return self.pending_bytes > min(limit_bytes, self._left_bytes)

    @property
    def _left_bytes(self) -> int:
        """How much fits into the segment: what is pending then should be no more, for ending it waits for all of it."""
        current = self._writer
        left = self._segment_bytes if current is None else self._segment_bytes - current.end
        return max(writer.WINDOW_BYTES, left)

    def _sync_contents(self, current: SegmentWriter) -> None:
        """Sync and note how far. `_syncing` is held, so the segment cannot end meanwhile; appends may go on."""
        end = current.place | current.end
        try:
            current.sync()
        except OSError as error:
            raise self._unproven(current, error) from error
        self._synced = end

    def _unproven(self, current: SegmentWriter, error: OSError) -> StoreError:
        """Note a failed sync for good."""
        remedy = "what was appended since the last sync is unproven, and another sync would prove nothing"
        unproven = StoreError(f"{current.path} could not be synced ({error.strerror}): {remedy}; open it anew")
        self._refuse(unproven)
        return unproven

    def _refuse(self, error: StoreError) -> None:
        if not isinstance(self._refuses, ClosedError):
            self._refuses = error
        if self._writer is not None:
            self._writer.room = 0

    # --- reading, from any thread --------------------------------------------------------------------------------

    def read(self, place: Place) -> bytes:
        """The payload that `append` or `recover` gave this place for.

        Raises:
            StoreCorrupt: What stands there is damaged.
            StoreError: Its segment was dropped, or the disk does not give it.
            ClosedError: The log is closed.
        """
        if in_snapshot(place):
            raise StoreError("a place in a snapshot was asked of the event log")
        if isinstance(self._refuses, ClosedError):
            raise self._refuses
        return self._readers.get(number_of(place), self._log_id).read(offset_of(place))

    def drop_before(self, number: int) -> None:
        """Remove the segments below a number, never the current one. Places in them are good no more.

        Call it when a snapshot that stands for them is on the disk. What cannot be removed now goes at the next start.
        """
        self._readers.drop_before(min(number, self._next if self._writer is None else self._writer.number))

    # --- one and all ---------------------------------------------------------------------------------------------

    @property
    def _subject(self) -> str:
        return f"the event log in {self._directory} cannot be written"

    def _check(self) -> None:
        """Raise what speaks against appending."""
        if self._refuses is not None:
            raise self._refuses

    def abandon(self) -> None:
        """In a forked child: this log is its parent's. The locks may be held by threads that are not here."""
        self._lock, self._syncing = contextlib.nullcontext(), threading.Lock()
        self._readers = SegmentReaders(self._directory)
        current, self._writer = self._writer, None
        self._refuses = ClosedError("the event log was opened before a fork; the child must open a directory itself")
        if current is not None:
            current.close()


_logs: weakref.WeakSet[EventLog] = weakref.WeakSet()


def _abandon_all() -> None:
    for log in list(_logs):
        log.abandon()


_system.in_forked_child(_abandon_all)
