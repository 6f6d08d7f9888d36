"""Reading a log back: what is a torn tail, what is corruption, and what a reader beside the writer may see.

Records behind a damaged place were acknowledged. They may be given up only if a power cut explains the damage, because
then nothing above the last sync was promised; so damage is *corruption* if

- a later segment exists: a segment is on the disk, and ends with a seal over all of it, before the next is begun; or
- a sound seal behind it says that the place was on the disk; or
- something sound follows it and the segment was last written in this boot of the system: what a process appended is in
  the kernel when it dies, so a hole cannot come from that.

Everything else is a *torn tail*: cut away, kept beside the log, and reported. Zeros behind the last record are neither.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from propagul import _system
from propagul.errors import StoreCorrupt, StoreError
from propagul.log import records
from propagul.log.refusal import refusals_of
from propagul.log.segment import CHUNK_BYTES, SegmentFile, segment_path, segment_paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from propagul.log.place import Place

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


class Replay:
    """Reads the segments of a log in order, once.

    Args:
        directory: Where they stand.
        first: Number of the segment to begin with; it must be there, unless it is 1.
        log_id: The log that they must belong to; None for that of the first one.
        boot_id: 16 bytes that name this boot, or `records.NO_BOOT`.

    Attributes:
        last: The last segment, scanned to its end. None if there are none.
        log_id: As given or found.
    """

    def __init__(self, directory: Path, *, first: int, log_id: int | None, boot_id: bytes) -> None:
        self._directory = directory
        self._first = first
        self._boot_id = boot_id
        self.log_id = log_id
        self.last: SegmentFile | None = None

    def run(self) -> Iterator[list[tuple[Place, bytes]]]:
        """Yield every record, oldest first, in lists.

        Raises:
            StoreCorrupt: A segment is damaged, gone, or not of this log.
            StoreError: The disk does not give it, or a newer version wrote it.
        """
        paths = self._checked_paths()
        for path in paths:
            self.last = self._opened(path)
            yield from self.last.scan()
            if path != paths[-1] and not self.last.is_finished():
                raise StoreCorrupt(f"{path} is damaged at byte {self.last.end}, and later segments exist")

    def written_in_this_boot(self, segment: SegmentFile) -> bool:
        """Whether what stands at the end of a segment is surely as its writers left it in the page cache."""
        return self._boot_id == boot_in_force(segment) != records.NO_BOOT

    def torn_end(self, segment: SegmentFile) -> int:
        """The offset behind the torn tail of the last segment; `segment.end` if nothing is torn.

        Raises:
            StoreCorrupt: It is no torn tail.
        """
        evidence = segment.evidence_from(segment.end)
        if evidence.sealed or (evidence.sound and self.written_in_this_boot(segment)):
            raise StoreCorrupt(f"{segment.path} is damaged at byte {segment.end}; records behind it were not trusted")
        return evidence.end

    def _checked_paths(self) -> list[Path]:
        numbered = {number: path for number, path in segment_paths(self._directory).items() if number >= self._first}
        if not numbered and self._first == 1:
            return []
        missing = set(range(self._first, max(numbered, default=self._first) + 1)) - set(numbered)
        if missing:
            raise StoreCorrupt(
                f"{segment_path(self._directory, min(missing))} is gone; the log is not whole without it"
            )
        return list(numbered.values())

    def _opened(self, path: Path) -> SegmentFile:
        try:
            segment = SegmentFile(path).of_log(self.log_id)
        except FileNotFoundError as error:
            raise StoreCorrupt(f"{path} was removed while the log was read") from error
        self.log_id = segment.trusted.log_id
        return segment


def boot_in_force(segment: SegmentFile) -> bytes:
    """In which boot the end of a scanned segment was written."""
    return segment.seal.boot_id if segment.seal else segment.trusted.boot_id


def keep_torn(segment: SegmentFile, end: int) -> Path:
    """Copy the torn tail of a segment, up to `end`, beside it. It was not promised, but it is yours.

    Raises:
        StoreFull: There is no space for the copy; nothing was cut.
        StoreError: The system refused it for another reason.
    """
    copy = segment.path.with_suffix(f".torn-{segment.end}")
    with refusals_of(f"the torn tail of {segment.path} could not be kept in {copy.name}"):
        draft = copy.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        with os.fdopen(_system.open_new(draft), "wb") as kept:
            for at in range(segment.end, end, CHUNK_BYTES):
                kept.write(segment.read_bytes(at, min(CHUNK_BYTES, end - at)))
            kept.flush()
            _system.sync_contents(kept.fileno())
        _system.move(draft, copy)
        _system.sync_directory(copy.parent)
    _log.warning("torn tail: %d bytes of %s kept in %s", end - segment.end, segment.path.name, copy.name)
    return copy


def scan_directory(directory: Path, *, first: int = 1) -> Iterator[tuple[Place, bytes]]:
    """Yield what another process's log holds now, without a lock and without changing anything.

    Stops at the first record that is not wholly there: its writer may be at it. Call again for what came since.

    Raises:
        StoreCorrupt: A segment is damaged though a later one exists.
        StoreError: A segment was dropped while it was read, because a snapshot took its place: begin with that.
    """
    number, log_id = first, None
    while _is_there(directory, number):
        path = segment_path(directory, number)
        try:
            segment = SegmentFile(path).of_log(log_id)
        except FileNotFoundError as error:
            raise StoreError(f"{path} was dropped meanwhile; begin again with the newer snapshot") from error
        log_id, number = segment.trusted.log_id, number + 1
        for found in segment.scan():
            yield from found
        if not _is_there(directory, number):
            return
        for found in segment.scan():  # what was appended before the next segment was begun
            yield from found
        if not segment.is_finished():
            raise StoreCorrupt(f"{path} is damaged at byte {segment.end}, and later segments exist")


def _is_there(directory: Path, number: int) -> bool:
    """Whether a segment exists; False if it is still to come.

    Raises:
        StoreError: It was dropped: later ones exist.
    """
    path = segment_path(directory, number)
    if path.exists():
        return True
    if max(segment_paths(directory), default=0) <= number or path.exists():
        return path.exists()
    raise StoreError(f"{path} was dropped meanwhile; begin again with the newer snapshot")
