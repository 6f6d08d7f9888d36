"""Snapshots on disk: `NNNNNNNN.snap` stands for everything in the segments of lower numbers.

A snapshot is a sequence of opaque blocks (`blocks.py` has the bytes). It is written under another name, synced, renamed
and its directory synced: a crash at any moment leaves the old snapshots or the new one. A block is yielded only after
its hash was found right (`snapshot_reader.py`). Whoever calls anything here but `verify` holds the log's lock. What the
blocks mean, and when older segments may go, is the caller's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from itertools import pairwise
from typing import TYPE_CHECKING

from propagul import _system
from propagul.errors import ClosedError, LimitExceeded, LocalProtocolError, StoreCorrupt, StoreError
from propagul.log import blocks
from propagul.log.place import NUMBER_MAX, OFFSET_MAX, Place, place_of
from propagul.log.refusal import refusals_of
from propagul.log.snapshot_reader import SnapshotFile, read_snapshot, snapshot_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_log = logging.getLogger(__name__)

SYNC_BYTES = 4 * 1024 * 1024
"""A snapshot is forced to the disk in pieces of this size: all at once would hold up who else waits for the disk."""

_UNFINISHED, _DAMAGED = ".snap-unfinished", ".snap-damaged-"


class SnapshotWriter:
    """Writes one snapshot, block by block, as slowly as the caller likes. Not thread-safe.

    As a context manager it is aborted on leaving unless it was committed. After a refused write it has aborted itself,
    so that a full disk has its space back; what `write` returned is then void.

    Args:
        directory: The log's.
        number: The snapshot stands for the segments below this number; 2 or more, and not yet taken.

    Raises:
        LocalProtocolError: The number cannot be used.
        StoreFull, StoreError: The disk refused.
    """

    def __init__(self, directory: Path, number: int) -> None:
        if not 1 < number <= NUMBER_MAX:
            raise LocalProtocolError(f"a snapshot's number is from 2 to {NUMBER_MAX}, not {number}")
        self.number, self.path = number, snapshot_path(directory, number)
        if self.path.exists():
            raise LocalProtocolError(f"{self.path} exists; begin a new segment before the next snapshot")
        self._draft = self.path.with_suffix(_UNFINISHED)
        self._id = secrets.token_bytes(blocks.ID_BYTES)
        self._chain = blocks.Chain(self._id)
        self._descriptor: int | None = None
        self._end = self._synced = 0
        with self._abort_on_refusal():
            self._draft.unlink(missing_ok=True)
            self._descriptor = _system.open_new(self._draft)
            self._append(blocks.encode_header(number, self._id))

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._end

    def write(self, payload: bytes) -> Place:
        """Append one block and return the place it will have once the snapshot is committed.

        Raises:
            ClosedError: The snapshot was committed or aborted.
            LimitExceeded: The block has 2 GiB or more, or the snapshot 1 TiB.
            StoreFull, StoreError: The disk refused; the snapshot is aborted.
        """
        if len(payload) > blocks.BLOCK_BYTES_MAX:
            raise LimitExceeded("one block", size=len(payload), limit=blocks.BLOCK_BYTES_MAX)
        if self._end > OFFSET_MAX:
            raise LimitExceeded("a snapshot", size=self._end, limit=OFFSET_MAX)
        place = place_of(self.number, self._end, snapshot=True)
        head, digest = blocks.encode_head(payload, self._chain.blocks, self._id)
        with self._abort_on_refusal():
            self._append(head + payload)
        self._chain.add(digest)
        return place

    def commit(self) -> None:
        """End the snapshot, sync it and give it its name. On return it survives power loss.

        Raises:
            ClosedError: It was committed or aborted.
            StoreFull, StoreError: The disk refused; the snapshot is aborted.
        """
        with self._abort_on_refusal():
            self._append(blocks.encode_end(self._chain.end_at(self._end), self._id))
            _system.sync_contents(self._opened())
            self._close()
            _system.move(self._draft, self.path)
            self._publish()

    def abort(self) -> None:
        """Remove what was written, unless it was committed. Idempotent."""
        if self._descriptor is not None:
            self._close()
        with contextlib.suppress(OSError):  # removed at the next open
            self._draft.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.abort()

    def _publish(self) -> None:
        """Sync the new name. Where that fails the name goes again: nobody may drop segments on the strength of it."""
        try:
            _system.sync_directory(self.path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                self.path.unlink()
            raise

    def _append(self, content: bytes) -> None:
        view, written = memoryview(content), 0
        while written < len(view):
            written += os.write(self._opened(), view[written:])
        self._end += len(view)
        if self._end - self._synced >= SYNC_BYTES:
            _system.sync_contents(self._opened())
            self._synced = self._end

    def _opened(self) -> int:
        if self._descriptor is None:
            raise ClosedError(f"the snapshot {self.path.name} was committed or aborted")
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._opened(), None
        os.close(descriptor)

    @contextlib.contextmanager
    def _abort_on_refusal(self) -> Iterator[None]:
        with refusals_of(f"the snapshot {self.path} cannot be written"):
            try:
                yield
            except OSError:
                self.abort()
                raise


def newest_snapshot(directory: Path) -> int | None:
    """The number of the snapshot to begin with, None for none; clear away what a crash left unfinished.

    Header and end record are checked; where there is a choice between states, every block. A damaged snapshot is passed
    over for that older state (an older snapshot or none, and every segment from there on) and set aside.

    Raises:
        StoreCorrupt: The newest one is damaged and the segments it stands for are gone. Nothing was changed.
        StoreError: The directory cannot be read.
    """
    with refusals_of(f"the log {directory} cannot be read"):
        for leftover in directory.glob("*" + _UNFINISHED):
            leftover.unlink()
        segments, snapshots = _numbers(directory, "log"), sorted(_numbers(directory, "snap"), reverse=True)
        faults: list[StoreCorrupt] = []
        for number, older in pairwise([*snapshots, 0, 0]):
            if faults and not _covers(segments, number, snapshots[0]):
                break
            whole = bool(faults) or _covers(segments, older, number)
            fault = _fault(directory, number, whole=whole) if number else None
            if fault is None:
                _set_aside(directory, snapshots[: len(faults)], faults)
                return number or None
            faults.append(fault)
    raise StoreCorrupt(f"{faults[0]}, and the older state is not there") from faults[0]


def drop_snapshots_before(directory: Path, number: int) -> None:
    """Remove the snapshots with lower numbers. What cannot be removed is logged and left for the next time."""
    for old in _numbers(directory, "snap"):
        if old < number:
            try:
                snapshot_path(directory, old).unlink(missing_ok=True)
            except OSError as error:
                _log.warning("old snapshot not removed: %s in %s (%s)", old, directory, error.strerror)


def verify(directory: Path) -> list[str]:
    """Read every snapshot of a log whole and name each fault found. Changes nothing; O(bytes)."""
    faults = []
    for number in sorted(_numbers(directory, "snap")):
        try:
            for _ in read_snapshot(snapshot_path(directory, number)):
                pass
        except StoreError as error:
            faults.append(str(error))
    return faults + [f"{path} was damaged and set aside" for path in sorted(directory.glob(f"*{_DAMAGED}*"))]


def _numbers(directory: Path, suffix: str) -> set[int]:
    name = re.compile(rf"(\d{{8}})\.{suffix}")
    return {int(found[1]) for entry in os.listdir(directory) if (found := name.fullmatch(entry))}  # noqa: PTH208 - names suffice


def _covers(segments: set[int], start: int, end: int) -> bool:
    """Whether the snapshot `start` (0: none) and the segments make up the state that the snapshot `end` stands for."""
    return segments.issuperset(range(max(start, 1), end))


def _fault(directory: Path, number: int, *, whole: bool) -> StoreCorrupt | None:
    path = snapshot_path(directory, number)
    try:
        if whole:
            for _ in read_snapshot(path):
                pass
        else:
            SnapshotFile(path).close()
    except StoreCorrupt as error:
        return error
    return None


def _set_aside(directory: Path, numbers: list[int], faults: list[StoreCorrupt]) -> None:
    for number, fault in zip(numbers, faults, strict=True):
        path = snapshot_path(directory, number)
        aside = path.with_suffix(_DAMAGED + secrets.token_hex(4))
        _system.move(path, aside)
        _log.error("damaged snapshot set aside as %s, an older state is used: %s", aside.name, fault)
    if numbers:
        _system.sync_directory(directory)
