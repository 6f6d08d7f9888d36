"""One segment file as a reader sees it: its header, its records one by one or in order, and what follows damage.

Read with `pread` and never through a map: a bad block is then an error and not the end of the process. Any number of
readers may stand beside the one writer. Whether damage is a torn tail or corruption is not judged here; see `recovery`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from propagul import _system
from propagul.errors import StoreCorrupt, StoreError
from propagul.log import records
from propagul.log.place import NUMBER_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from propagul.log.place import Place
    from propagul.log.records import Seal, SegmentHeader

CHUNK_BYTES = 1024 * 1024
"""What a scan reads at once; a record that is larger is read whole."""

_FIRST_READ_BYTES = 4096
"""What reading one record asks for at first: most are smaller."""


class Evidence(NamedTuple):
    """What stands behind a damaged place.

    Attributes:
        end: Offset behind the last byte that is not zero; the damaged place itself if there is none.
        sound: A sound record or seal follows.
        sealed: A sound seal follows that says the damaged place was on the disk.
    """

    end: int
    sound: bool
    sealed: bool


class SegmentFile:
    """One open segment. Close it, or let the last reference to it go.

    Attributes:
        path: The file.
        number: What the file's name says.
        header: What its first bytes say; None if they are damaged.
        end: Offset behind the last sound record that `scan` met.
        seal: The last seal that `scan` met.

    Raises:
        FileNotFoundError: It is gone.
        StoreError: It cannot be read, or another version wrote it.
        StoreCorrupt: Its name and its first bytes contradict each other.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self.path = path
        self.number = int(path.stem)
        self.end = records.HEADER_BYTES
        self.seal: Seal | None = None
        try:
            self._descriptor = _system.open_to_read(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
        first = self.read_bytes(0, records.HEADER_BYTES)
        self.header = records.decode_header(first)
        if (newer := records.foreign_format(first)) is not None:
            raise StoreError(f"{path} has format {newer}; this version reads format {records.FORMAT}")
        if self.header is not None and self.header.number != self.number:
            raise StoreCorrupt(f"{path} is segment {self.header.number} under another name")

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def trusted(self) -> SegmentHeader:
        """The header.

        Raises:
            StoreCorrupt: It is damaged.
        """
        if self.header is None:
            raise StoreCorrupt(f"{self.path} is damaged in its first {records.HEADER_BYTES} bytes, or no event log")
        return self.header

    def of_log(self, log_id: int | None) -> SegmentFile:
        """This segment, checked to belong to a log; None for any.

        Raises:
            StoreCorrupt: It belongs to another one, or does not say.
        """
        if log_id is not None and self.trusted.log_id != log_id:
            raise StoreCorrupt(f"{self.path} belongs to another log; it was copied here")
        return self

    @property
    def size(self) -> int:
        """How long the file is now, the zeros behind its records included."""
        return os.fstat(self._descriptor).st_size

    def read_bytes(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes, fewer only at the end of the file.

        Raises:
            StoreError: The disk does not give them.
        """
        try:
            return _system.read_at(self._descriptor, length, offset)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}") from error

    def read(self, offset: int) -> bytes:
        """The payload of the record at an offset.

        Raises:
            StoreCorrupt: No sound record begins there.
        """
        framed = self.read_bytes(offset, _FIRST_READ_BYTES)
        if len(framed) >= records.FRAME_BYTES:
            length = records.length_of(framed)
            if len(framed) < length <= self.size - offset:
                framed += self.read_bytes(offset + len(framed), length - len(framed))
            payload = records.decode_record(framed[:length], offset, self.trusted.seed)
            if payload is not None:
                return payload
        raise StoreCorrupt(f"{self.path} holds no sound record at byte {offset}")

    def scan(self) -> Iterator[list[tuple[Place, bytes]]]:
        """Yield the records from `end` on, in lists, up to the first that is cut off or unsound.

        May be called again on a segment that has grown.
        """
        header, wanted = self.trusted, CHUNK_BYTES
        while True:
            chunk = self.read_bytes(self.end, wanted)
            found = records.scan_chunk(chunk, self.end, header.number, header.seed)
            self.end, self.seal = found.end, found.seal or self.seal
            yield found.records
            if len(chunk) < wanted or not found.wanted:
                return
            if found.wanted > CHUNK_BYTES and found.wanted > self.size - self.end:
                return
            wanted = max(found.wanted, CHUNK_BYTES)

    def is_finished(self) -> bool:
        """Whether the segment was ended: a seal over all of it is the last thing `scan` met."""
        return self.seal is not None and self.seal.covered == self.seal.at == self.end - records.SEAL_BYTES

    def evidence_from(self, damage: int) -> Evidence:
        """Search what stands at and behind a damaged place. O(bytes searched)."""
        end, sound, sealed = damage, False, False
        at, record_mark, seal_mark = damage, *records.marks(self.trusted.seed)
        while chunk := self.read_bytes(at, CHUNK_BYTES):
            if filled := len(chunk.rstrip(b"\0")):
                end = at + filled
                sound = sound or any(self._is_record(at + place) for place in _places(chunk, record_mark))
                seals = [self._seal_at(at + place) for place in _places(chunk, seal_mark)]
                sound = sound or any(seals)
                sealed = sealed or any(seal.covered > damage for seal in seals if seal)
            if len(chunk) < CHUNK_BYTES:
                break
            at += CHUNK_BYTES - len(record_mark) + 1
        return Evidence(end, sound, sealed)

    def _is_record(self, offset: int) -> bool:
        try:
            self.read(offset)
        except StoreCorrupt:
            return False
        return True

    def _seal_at(self, offset: int) -> Seal | None:
        return records.decode_seal(self.read_bytes(offset, records.SEAL_BYTES), offset, self.trusted.seed)


def segment_paths(directory: Path) -> dict[int, Path]:
    """The segments in a directory by their numbers, in order."""
    numbered = {int(path.stem): path for path in directory.glob("[0-9]" * 8 + ".log")}
    return {number: numbered[number] for number in sorted(numbered) if 0 < number <= NUMBER_MAX}


def segment_path(directory: Path, number: int) -> Path:
    """Where the segment of a number stands."""
    return directory / f"{number:08}.log"


def _places(chunk: bytes, mark: bytes) -> Iterator[int]:
    at = chunk.find(mark)
    while at >= 0:
        yield at
        at = chunk.find(mark, at + 1)
