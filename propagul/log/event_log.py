"""An append-only log of payloads in segment files.

`append` returning means the bytes are in the kernel: they survive the end of this process, not a power cut. Recovery
yields every appended payload in order. A torn tail (the last record of the last segment, cut off by a crash) is cut
away and kept beside the log; damage anywhere else raises `StoreCorrupt`, because what follows it was acknowledged.
Persist, then apply, then send: callers append before they let anybody see a write.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import secrets
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from propagul import _system
from propagul.errors import ClosedError, LimitExceeded, StoreCorrupt, StoreError, StoreFull
from propagul.log import records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment that has reached this size is closed and the next one begun."""

_log = logging.getLogger("propagul.log")


@dataclass(slots=True, kw_only=True)
class Recovery:
    """What reading the log back found.

    Attributes:
        records: Payloads read.
        torn_bytes: Bytes cut from the tail; 0 after a clean close.
        torn_copy: Where the cut bytes were kept.
    """

    records: int = 0
    torn_bytes: int = 0
    torn_copy: Path | None = None


class EventLog:
    """One process's log under one directory. Not thread-safe: the store's lock covers it.

    Call `recover` once, to its end, before the first `append`.
    """

    def __init__(self, directory: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._descriptor: int | None = None
        self._end = 0
        self._number = 0
        self._seed = 0
        self.recovery = Recovery()

    def recover(self) -> Iterator[bytes]:
        """Yield every payload, oldest first, then open the last segment for appending.

        Raises:
            StoreCorrupt: A record other than the torn tail is damaged, or a segment is not one of ours.
        """
        segments = sorted(self._directory.glob("[0-9]" * 8 + ".log"))
        for path, following in pairwise(segments):
            if int(path.stem) + 1 != int(following.stem):
                raise StoreCorrupt(f"a segment between {path.name} and {following.name} is gone from {self._directory}")
        for path in segments:
            yield from self._recover_segment(path, last=path == segments[-1])
        if segments:
            self._number = int(segments[-1].stem)
            self._open(segments[-1])
        else:
            self._begin_segment()

    def append(self, payload: bytes) -> None:
        """Append one payload; on return the kernel has it.

        Raises:
            StoreFull: The disk took no more; nothing of this payload is left in the log.
            StoreError: The system refused the write for another reason.
        """
        if self._descriptor is None:
            raise ClosedError("the event log is closed")
        if len(payload) > records.RECORD_BYTES_MAX:
            raise LimitExceeded("one log record", size=len(payload), limit=records.RECORD_BYTES_MAX)
        if self._end >= self._segment_bytes:
            self._begin_segment()
        self._write(records.encode(payload, self._seed))

    def sync(self) -> None:
        """Force everything appended so far to the disk.

        Raises:
            StoreError: The disk did not take it.
        """
        if self._descriptor is not None:
            try:
                _system.sync_contents(self._descriptor)
            except OSError as error:
                raise self._refused(error) from error

    def close(self) -> None:
        """Sync and close. Idempotent."""
        if self._descriptor is not None:
            try:
                self.sync()
            finally:
                os.close(self._descriptor)
                self._descriptor = None

    def _write(self, framed: bytes) -> None:
        assert self._descriptor is not None
        view, written = memoryview(framed), 0
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        except OSError as error:
            os.ftruncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            raise self._refused(error) from error
        self._end += len(framed)

    def _refused(self, error: OSError) -> StoreError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return StoreFull(f"no space left for the event log in {self._directory}")
        return StoreError(f"the event log in {self._directory} cannot be written: {error.strerror}")

    def _begin_segment(self) -> None:
        """Go on in a new segment; where that fails the old one stays open and nothing has changed."""
        self.sync()
        path = self._directory / f"{self._number + 1:08}.log"
        try:
            descriptor = _system.open_new(path)
        except OSError as error:
            raise self._refused(error) from error
        before, self._descriptor, self._end = (self._descriptor, self._end, self._seed), descriptor, 0
        try:
            self._write_header()
        except StoreError:
            os.close(descriptor)
            path.unlink()
            self._descriptor, self._end, self._seed = before
            raise
        self._number += 1
        if before[0] is not None:
            os.close(before[0])
        _system.sync_directory(self._directory)

    def _open(self, path: Path) -> None:
        self._descriptor = _system.open_private(path)
        self._end = os.lseek(self._descriptor, 0, os.SEEK_END)
        if self._end == 0:
            self._write_header()

    def _write_header(self) -> None:
        self._seed = secrets.randbits(32)
        self._write(records.segment_header(self._seed))

    def _recover_segment(self, path: Path, *, last: bool) -> Iterator[bytes]:
        size = path.stat().st_size
        end = records.HEADER_BYTES
        if size < end:
            if not last:
                raise StoreCorrupt(f"{path} is cut off in its first bytes, and later segments exist")
            self._cut(path, 0, size)
            return
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as segment,
        ):
            seed = records.seed_of(bytes(segment[:end]))
            if seed is None:
                raise StoreCorrupt(f"{path} is damaged in its first bytes, or no event log of this format")
            self._seed = seed
            for record in records.scan(segment, end, seed):
                self.recovery.records += 1
                end = record.end
                yield record.payload
            if end < size and (not last or records.find_record_after(segment, end + 1, seed) is not None):
                raise StoreCorrupt(f"{path} is damaged at byte {end}; records behind it were not trusted")
        if end < size:
            self._cut(path, end, size)

    def _cut(self, path: Path, end: int, size: int) -> None:
        """Cut a torn tail away, keeping its bytes beside the log: they were never acknowledged, but they are yours."""
        if size > end:
            copy = path.with_suffix(f".torn-{end}")
            with path.open("rb") as file:
                file.seek(end)
                copy.unlink(missing_ok=True)
                with os.fdopen(_system.open_new(copy), "wb") as kept:
                    kept.write(file.read())
            self.recovery.torn_bytes, self.recovery.torn_copy = size - end, copy
            _log.warning("torn tail cut: %d bytes of %s kept in %s", size - end, path.name, copy.name)
        os.truncate(path, end)
