"""Reads single events of a log that somebody else has open, or nobody: from segments and snapshots, by their places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.log.place import in_snapshot, number_of, offset_of
from propagul.log.readers import SegmentReaders
from propagul.log.snapshot_reader import SnapshotReader

if TYPE_CHECKING:
    from pathlib import Path

    from propagul.log.place import Place


class EventReader:
    """Any thread may read.

    Args:
        directory: The log's.
        log_id: What its segments must carry; None for any.
    """

    def __init__(self, directory: Path, log_id: int | None = None) -> None:
        self._log_id = log_id
        self._segments = SegmentReaders(directory)
        self._snapshots = SnapshotReader(directory)

    def read(self, place: Place) -> bytes:
        """The event at a place.

        Raises:
            StoreCorrupt: What stands there is damaged.
            StoreError: Its file was dropped, or the disk does not give it.
        """
        if in_snapshot(place):
            return self._snapshots.read_block(place)
        return self._segments.get(number_of(place), self._log_id).read(offset_of(place))

    def close(self) -> None:
        """Let go of every file. Idempotent."""
        self._segments.clear()
        self._snapshots.close()
