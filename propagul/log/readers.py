"""The segments that reads have open: few, those used last, shared by all threads."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from propagul.errors import StoreError
from propagul.log.segment import SegmentFile, segment_path, segment_paths

if TYPE_CHECKING:
    from pathlib import Path

READERS_MAX = 8
"""Segments that are kept open."""


class SegmentReaders:
    """Open segments of one directory, by number. Any thread may call anything.

    A segment that is let go while another thread reads it is closed when that thread lets go of it too.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._open: dict[int, SegmentFile] = {}

    def get(self, number: int, log_id: int | None) -> SegmentFile:
        """A segment, opened if it is not.

        Raises:
            StoreError: It was dropped, or cannot be opened.
            StoreCorrupt: It is not of this log.
        """
        with self._lock:
            segment = self._open.pop(number, None) or self._opened(number, log_id)
            self._open[number] = segment
            if len(self._open) > READERS_MAX:
                self._open.pop(next(iter(self._open)))
            return segment

    def drop_before(self, number: int) -> None:
        """Remove the segments below a number from the disk; what the system will not remove stays."""
        with self._lock:
            self._open = {kept: segment for kept, segment in self._open.items() if kept >= number}
        for old, path in segment_paths(self._directory).items():
            if old < number:
                with contextlib.suppress(OSError):
                    path.unlink()

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._open.clear()

    def _opened(self, number: int, log_id: int | None) -> SegmentFile:
        path = segment_path(self._directory, number)
        try:
            return SegmentFile(path).of_log(log_id)
        except FileNotFoundError as error:
            raise StoreError(f"{path} was dropped; a snapshot took its place") from error
