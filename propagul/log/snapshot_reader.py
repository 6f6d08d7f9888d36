"""Reading snapshots back: whole and in order, or block by block from any thread.

Nothing is returned whose hash was not found right, and nothing is allocated on the word of a length that was not
checked. A reader needs no lock: a snapshot has its name only when it is complete, and is never changed after.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from propagul import _system
from propagul.errors import ClosedError, LocalProtocolError, StoreCorrupt
from propagul.log import blocks
from propagul.log.place import NUMBER_MAX, Place, in_snapshot, number_of, offset_of, place_of
from propagul.log.refusal import refusals_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_READ_BYTES = blocks.HEAD_BYTES + 64 * 1024
"""Read in one go: a usual block with its head."""


def snapshot_path(directory: Path, number: int) -> Path:
    """Where the snapshot `number` of a log stands."""
    return directory / f"{number:08}.snap"


class SnapshotFile:
    """One snapshot, open for reading; header and end record were found right.

    Raises:
        StoreCorrupt: They are not, or the file is gone.
        StoreError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = int(path.stem)
        with refusals_of(f"the snapshot {path} cannot be read"):
            try:
                self._descriptor = _system.open_to_read(path)
            except FileNotFoundError as error:
                raise StoreCorrupt(f"the snapshot {path} is gone") from error
            try:
                self._read_frame()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file. Once."""
        os.close(self._descriptor)

    def copy_descriptor(self) -> int:
        """The file once more, for a reader that may outlive this object."""
        return os.dup(self._descriptor)

    def contents(self) -> Iterator[tuple[Place, bytes]]:
        """Yield every block in order. The count and the hash of all hashes are checked at the end.

        Raises:
            StoreCorrupt: The next block, or the whole, is damaged.
            StoreError: The file cannot be read.
        """
        chain, offset = blocks.Chain(self._id), blocks.HEADER_BYTES
        while offset < self._end.offset:
            head, payload = self.block(self._descriptor, offset)
            if head.ordinal != chain.blocks:
                raise self._damaged(offset)
            yield place_of(self._number, offset, snapshot=True), payload
            chain.add(head.digest)
            offset += blocks.HEAD_BYTES + head.length
        if chain.end_at(offset) != self._end:
            raise self._damaged(offset)

    def block(self, descriptor: int, offset: int) -> tuple[blocks.Head, bytes]:
        """The block at `offset`, read through `descriptor`, which stays the caller's. From any thread.

        Raises:
            StoreCorrupt: It is damaged, or no block begins there.
            StoreError: The file cannot be read.
        """
        with refusals_of(f"the snapshot {self._path} cannot be read"):
            read = _system.read_at(descriptor, min(_READ_BYTES, self._end.offset - offset), offset)
            head = blocks.head_of(read[: blocks.HEAD_BYTES], self._id)
            start = offset + blocks.HEAD_BYTES
            if head is None or start + head.length > self._end.offset:
                raise self._damaged(offset)
            if start + head.length > offset + len(read):
                read += _system.read_at(descriptor, start + head.length - offset - len(read), offset + len(read))
        payload = read[blocks.HEAD_BYTES : blocks.HEAD_BYTES + head.length]
        if not blocks.is_sound(payload, head, self._id):
            raise self._damaged(offset)
        return head, payload

    def _read_frame(self) -> None:
        size = os.fstat(self._descriptor).st_size
        snapshot_id = blocks.id_of(_system.read_at(self._descriptor, blocks.HEADER_BYTES, 0), self._number)
        if snapshot_id is None:
            raise StoreCorrupt(f"{self._path} is damaged in its first bytes, or no snapshot {self._number} of ours")
        at = max(size - blocks.END_BYTES, 0)
        end = blocks.end_of(_system.read_at(self._descriptor, blocks.END_BYTES, at), snapshot_id)
        if end is None or end.offset != at:
            raise StoreCorrupt(f"{self._path} is cut off, or damaged in its last bytes")
        self._id, self._end = snapshot_id, end

    def _damaged(self, offset: int) -> StoreCorrupt:
        return StoreCorrupt(f"{self._path} is damaged at byte {offset}; nothing from there on was read")


def read_snapshot(path: Path) -> Iterator[tuple[Place, bytes]]:
    """Yield every block of a snapshot with its place, in the order of writing.

    A block was found right before it is yielded; that none is missing is known when the iterator has ended.

    Raises:
        StoreCorrupt: The snapshot is damaged or gone.
        StoreError: It cannot be read.
    """
    snapshot = SnapshotFile(path)
    try:
        yield from snapshot.contents()
    finally:
        snapshot.close()


class SnapshotReader:
    """Reads single blocks by their places, from any thread; keeps the last few files open.

    Args:
        directory: The log's.
        open_files_max: How many snapshots stay open. There are seldom more than two.
    """

    def __init__(self, directory: Path, *, open_files_max: int = 4) -> None:
        self._directory = directory
        self._open_files_max = open_files_max
        self._files: OrderedDict[int, SnapshotFile] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def read_block(self, place: Place) -> bytes:
        """The content of the block at a place that a writer or `read_snapshot` gave.

        Raises:
            StoreCorrupt: It is damaged, or its file is gone (a newer snapshot may have replaced it).
            StoreError: It cannot be read.
            LocalProtocolError: The place is in a segment.
            ClosedError: The reader is closed.
        """
        if not in_snapshot(place):
            raise LocalProtocolError("this place is in a segment, not in a snapshot")
        with self._lock:
            snapshot = self._file(number_of(place))
            descriptor = snapshot.copy_descriptor()  # the file may be closed by others while this thread reads
        try:
            return snapshot.block(descriptor, offset_of(place))[1]
        finally:
            os.close(descriptor)

    def forget_before(self, number: int) -> None:
        """Close the files of snapshots with lower numbers, so that their space is free once they are removed."""
        with self._lock:
            for old in [old for old in self._files if old < number]:
                self._files.pop(old).close()

    def close(self) -> None:
        """Close every file. Idempotent."""
        self.forget_before(NUMBER_MAX + 1)
        self._closed = True

    def _file(self, number: int) -> SnapshotFile:
        if self._closed:
            raise ClosedError("the snapshots are closed")
        if number not in self._files:
            self._files[number] = SnapshotFile(snapshot_path(self._directory, number))
        self._files.move_to_end(number)
        if len(self._files) > self._open_files_max:
            self._files.popitem(last=False)[1].close()
        return self._files[number]
