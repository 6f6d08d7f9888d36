"""One segment file as its writer sees it: windows of memory that the kernel keeps when the process dies.

The file grows by windows: a stretch is allocated, filled with zeros and mapped, and a record is copied into the map
in one step. What does not fit a window, and everything where files cannot be mapped safely, is written with `pwrite`;
both meet in the page cache. *Invariant*: the bytes behind `end` are zeros or not there, and the file is never cut
inside a mapped window (touching that would kill the process).

Callers hold the log's lock, but for `sync`.
"""

from __future__ import annotations

import math
import mmap
import os
import zlib
from typing import TYPE_CHECKING

from propagul import _system
from propagul.errors import StoreError
from propagul.log import records
from propagul.log.place import place_of
from propagul.log.records import FRAME_BYTES, Seal, SegmentHeader

if TYPE_CHECKING:
    from pathlib import Path

    from propagul.log.place import Place

WINDOW_BYTES = 1024 * 1024
"""How much of a segment is mapped at once."""

FIRST_WINDOW_BYTES = 64 * 1024
"""The first window after opening: a store that writes little stays small."""

_frame = records.FRAME.pack


class SegmentWriter:
    """One segment open for appending.

    Args:
        path: The file; it exists and holds a sound header.
        header: That header.
        end: Offset behind its last record; nothing follows.
        mapped: Whether windows may be mapped here.
        window_bytes: Size of a window; raising it costs memory and zeros written, lowering it more system calls.

    Attributes:
        end: Offset at which the next record begins.
        room: Offset up to which `copy` may write; 0 sends the next append the long way round.
        place: Place of the segment's first byte.
    """

    # slots: what the kernel reads in place, and `end`, which it writes
    __slots__ = ("__dict__", "_seed", "_window", "_window_start", "end", "place", "room")

    def __init__(
        self, path: Path, header: SegmentHeader, end: int, *, mapped: bool, window_bytes: int = WINDOW_BYTES
    ) -> None:
        self.path = path
        self.number = header.number
        self.place: Place = place_of(header.number, 0)
        self.end = end
        self.room = 0
        self._seed = header.seed
        self._descriptor = _system.open_private(path)
        self._allocated = os.fstat(self._descriptor).st_size
        self._window: mmap.mmap | None = None
        self._window_start = self._window_end = 0
        self._window_bytes_next = -(-window_bytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._window_bytes = min(FIRST_WINDOW_BYTES, self._window_bytes_next)
        self._map_from: float = 0 if mapped else math.inf
        self._trimmed_at = end if self._allocated == end else 0
        self._spoilt = False

    @classmethod
    def create(cls, path: Path, header: SegmentHeader, *, mapped: bool, window_bytes: int) -> SegmentWriter:
        """Begin a segment; when this returns its name and header are on the disk.

        The file appears whole, under its name at once: a segment whose header is damaged was not cut off by a crash.

        Raises:
            OSError: The system refused; there is no such file.
            StoreError: It refused that too.
        """
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)  # what an earlier attempt left
        descriptor = _system.open_new(draft)
        try:
            _write_all(descriptor, records.encode_header(header), 0)
            _system.sync_file(descriptor)
        finally:
            os.close(descriptor)
        try:
            _system.move(draft, path)
            _system.sync_directory(path.parent)
            return cls(path, header, records.HEADER_BYTES, mapped=mapped, window_bytes=window_bytes)
        except OSError:
            _remove_begun(path)
            raise

    @property
    def holds_records(self) -> bool:
        """Whether anything stands behind the header."""
        return self.end > records.HEADER_BYTES

    @property
    def is_trim(self) -> bool:
        """Whether the file surely ends where its records end, on the disk too."""
        return self._trimmed_at == self.end

    def copy(self, payload: bytes) -> Place:
        """Append a payload if it fits into the room there is; 0 if it does not. The hot path.

        The copy comes before the new `end`: a write interrupted between them is overwritten by the next one.
        """
        start = self.end
        end = start + 12 + len(payload)  # FRAME_BYTES, spelt out
        if end > self.room:
            return 0
        shift = self._window_start
        checksum = zlib.crc32(payload, self._seed ^ end)
        self._window[start - shift : end - shift] = _frame(self._seed, len(payload), checksum) + payload  # type: ignore[index]  # room is 0 without a window
        self.end = end
        return self.place | start

    def append(self, payload: bytes) -> Place:
        """Append a payload, making room for it first.

        Raises:
            OSError: The disk did not take it; nothing of it is left.
            StoreError: An earlier attempt left something that could not be removed.
        """
        if self._spoilt:
            raise StoreError(f"{self.path} could not be mended after a write that failed; open the directory anew")
        start, size = self.end, FRAME_BYTES + len(payload)
        if start >= self._map_from and start + size > self._window_end and size <= self._window_bytes // 4:
            self._open_window()
        self.room = self._window_end
        if start + size <= self.room:
            return self.copy(payload)
        self._put(records.encode(payload, start, self._seed))
        return self.place | start

    def append_seal(self, covered: int, boot_id: bytes) -> None:
        """Append the statement that everything below `covered` was on the disk.

        Raises:
            OSError: The disk did not take it; nothing of it is left.
        """
        self._put(records.encode_seal(Seal(self.end, covered, boot_id), self._seed))

    def sync(self) -> None:
        """Force everything appended so far to the disk. From any thread, as long as nobody closes the writer.

        Raises:
            OSError: What of it is on the disk is not known, and a second attempt would not tell either.
        """
        _system.sync_contents(self._descriptor)

    def trim(self) -> None:
        """Cut the file to its end, and have its length on the disk.

        Raises:
            OSError: The system refused; the segment can go on as it is.
        """
        self._drop_window()
        if self._allocated > self.end:
            _system.truncate(self._descriptor, self.end)
            self._allocated = self.end
        _system.sync_file(self._descriptor)
        self._trimmed_at = self.end

    def rewrite(self, start: int) -> None:
        """Write what stands from `start` on once more, so that the next sync writes it to the disk.

        A sync that failed in an earlier process may have left pages that look written and are not.

        Raises:
            OSError: The disk does not give or take it.
        """
        while start < self.end:
            piece = _system.read_at(self._descriptor, min(WINDOW_BYTES, self.end - start), start)
            _write_all(self._descriptor, piece, start)
            start += len(piece)

    def cut(self) -> None:
        """Remove whatever stands behind `end`, on the disk too.

        Raises:
            OSError: The system refused.
        """
        _system.truncate(self._descriptor, self.end)
        self._allocated = self.end
        _system.sync_file(self._descriptor)

    def close(self) -> None:
        """Give map and descriptor back; nothing is synced. Idempotent."""
        self._drop_window()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _put(self, framed: bytes) -> None:
        """Append framed bytes: into the window if they fit what is left of it, else with a write."""
        start, end = self.end, self.end + len(framed)
        if self._window is not None and end <= self._window_end:
            self._window[start - self._window_start : end - self._window_start] = framed
        else:
            try:
                _write_all(self._descriptor, framed, start)
            except OSError:
                self._undo()
                raise
            self._allocated = max(self._allocated, end)
            if end > self._window_end:
                self._drop_window()
        self.end = end

    def _undo(self) -> None:
        """Remove what a failed write left behind `end`."""
        try:
            if self._window is None:
                self._allocated = self.end
            else:
                self._window[self.end - self._window_start :] = bytes(self._window_end - self.end)
            if os.fstat(self._descriptor).st_size > self._allocated:
                _system.truncate(self._descriptor, self._allocated)
        except OSError:
            self._spoilt, self.room = True, 0

    def _open_window(self) -> None:
        """Map the stretch in which the segment ends; without one if there is no space for it, or it cannot be."""
        start = self.end - self.end % mmap.ALLOCATIONGRANULARITY
        length, top = self._window_bytes, start + self._window_bytes
        self._drop_window()
        try:
            if top > self._allocated:
                _system.allocate(self._descriptor, self._allocated, top - self._allocated)
                _write_all(self._descriptor, bytes(top - self._allocated), self._allocated)
            self._window = _system.map_shared(self._descriptor, start, length)
        except OSError:
            self._map_from = self.end + FIRST_WINDOW_BYTES
            self._give_back()
            return
        self._allocated = max(self._allocated, top)
        self._window_start, self._window_end = start, top
        self._window_bytes = self._window_bytes_next

    def _give_back(self) -> None:
        try:
            _system.truncate(self._descriptor, self._allocated)
        except OSError:  # longer than noted: zeros behind the end, which is what may stand there
            self._allocated = os.fstat(self._descriptor).st_size

    def _drop_window(self) -> None:
        self.room = self._window_start = self._window_end = 0
        if self._window is not None:
            self._window.close()
            self._window = None


def _remove_begun(path: Path) -> None:
    """Take back a segment that cannot be used: one that came back would make the segment before it look cut off."""
    try:
        path.unlink(missing_ok=True)
        _system.sync_directory(path.parent)
    except OSError as error:
        raise StoreError(f"{path} was begun, cannot be used and cannot be removed: {error.strerror}") from error


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    written = _system.write_at(descriptor, content, offset)
    while written < len(content):
        written += _system.write_at(descriptor, memoryview(content)[written:], offset + written)
