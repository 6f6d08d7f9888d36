"""Reading a state directory whole without opening it: every record of every log, checked, decoded and folded.

Nothing is written, locked or created: a damaged directory stays as it is, and a running process is not disturbed. What
it appends meanwhile may or may not be seen. Judgement is recovery's: what opening would cut as a torn tail is noted,
what opening would refuse is a fault, and so is a row that must prove who wrote it and does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from propagul import _system
from propagul.crdt import Origin, Replica
from propagul.errors import StoreError
from propagul.log import records, snapshot
from propagul.log.cold import cold_if_large
from propagul.log.event_reader import EventReader
from propagul.log.fold import Fold
from propagul.log.formats import read_label
from propagul.log.place import number_of, offset_of
from propagul.log.recovery import Replay
from propagul.log.segment import SegmentFile, segment_path, segment_paths
from propagul.log.snapshot_reader import read_snapshot, snapshot_path
from propagul.store._holdings import holdings_of
from propagul.store._ownership import proving_in, reading_in
from propagul.store._signed import is_there
from propagul.store._spaces import OWN, ROOM, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from propagul.crdt import Row
    from propagul.store._owned import OwnedRows
    from propagul.store._verified import VerifiedRows

_LOG_ID: Final = re.compile(r"[0-9a-f]{16}")
_TRIES: Final = 5
_PAUSE_S: Final = 0.2
_ROUNDS: Final = 50

NAMED_MAX: Final = 100
"""Rows that do not prove who wrote them are named up to so many a log; of the rest it is said how many they are."""

_KEY_CHARS: Final = 80


@dataclass(slots=True, kw_only=True)
class LogReport:
    """What reading one log found.

    Attributes:
        path: The log's directory.
        records: Events read, in snapshot and segments.
        keys: Keys that hold a value, rows of counters, sets, logs and maps included.
        size_bytes: Of what was read.
        faults: What is wrong, with file and offset, or log and key.
        notes: What is odd and harms nothing: a write that had not finished.
    """

    path: Path
    records: int = 0
    keys: int = 0
    size_bytes: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(path: Path) -> Iterator[LogReport]:
    """Read every log of a state directory. O(bytes), and a signature for each row or batch that must bear one.

    Raises:
        OSError: The directory cannot be read.
    """
    logs = path / "log"
    for directory in sorted(logs.iterdir()) if logs.is_dir() else []:
        if _LOG_ID.fullmatch(directory.name) and directory.is_dir():
            yield verify_log(directory)


def verify_log(directory: Path) -> LogReport:
    """Read one log; again if its process replaced segments by a snapshot meanwhile."""
    for left in reversed(range(_TRIES)):
        first = _newest(directory)
        reading = _Reading(directory, first)
        try:
            reading.run()
        except FileNotFoundError as error:
            reading.report.faults.append(f"{error.filename} was removed while it was read")
        if not reading.report.faults or _newest(directory) == first or not left:
            break
    return reading.report


class _Reading:
    """One pass over a log."""

    def __init__(self, directory: Path, first: int) -> None:
        self.report = LogReport(path=directory)
        self._directory = directory
        self._first = first
        self._log_id = int(directory.name, 16)
        self._replicas = {space: Replica(Origin(1)) for space in (STATE, OWN, ROOM)}
        self._replicas[STATE].apart = reading_in(directory.parent.parent).apart
        self._proving = _proving_in(directory.parent.parent)
        self._reader = EventReader(directory, self._log_id)
        self._fold: Fold | None = Fold(self._replicas, self._reader.read)
        self._fold.cold = cold_if_large(directory, self._reader.read)

    def run(self) -> None:
        with contextlib.closing(self._reader):
            self._read()

    def _read(self) -> None:
        self._read_snapshots()
        paths = {path: number for number, path in segment_paths(self._directory).items()}
        for number in sorted(set(range(max(self._first, 1), max(paths.values(), default=0))) - set(paths.values())):
            self._fault(f"{segment_path(self._directory, number)} is gone; the log is not whole without it")
        for path in paths:
            self._read_segment(path, is_last=path == [*paths][-1])
        if self._fold is not None:
            self._look_at_values()
            self._look_at_proofs()

    def _read_snapshots(self) -> None:
        faults = snapshot.verify(self._directory)
        path = snapshot_path(self._directory, self._first)
        if self._first and not any(str(path) in fault for fault in faults):
            for place, event in read_snapshot(path):
                self._take(path, place, event)
            self.report.size_bytes += path.stat().st_size
        for fault in faults:
            self._fault(fault)

    def _read_segment(self, path: Path, *, is_last: bool) -> None:
        try:
            segment = SegmentFile(path).of_log(self._log_id)
            self._scan(segment)
            if is_last:
                self._look_at_tail(segment)
            else:
                self._scan(segment)  # what was appended before the next segment was begun
                if not segment.is_finished():
                    self._fault(f"{path} is damaged at byte {segment.end}, and later segments exist")
            self.report.size_bytes += segment.end
        except StoreError as error:
            self._fault(str(error))

    def _scan(self, segment: SegmentFile) -> None:
        for found in segment.scan():
            for place, event in found:
                self._take(segment.path, place, event)

    def _look_at_tail(self, segment: SegmentFile) -> None:
        """Judge what stands behind the last sound record, once no process is at it any more."""
        replay = Replay(self._directory, first=1, log_id=self._log_id, boot_id=_boot_id())
        for _ in range(_ROUNDS):
            end = segment.end
            if segment.evidence_from(end).end == end:
                return
            time.sleep(_PAUSE_S)
            self._scan(segment)
            if segment.end == end:
                break
        torn = replay.torn_end(segment) - segment.end
        if torn:
            self.report.notes.append(
                f"{segment.path} ends at byte {segment.end} with {torn} bytes of an unfinished write"
            )

    def _take(self, path: Path, place: int, event: bytes) -> None:
        self.report.records += 1
        if self._fold is None or number_of(place) < self._first:
            return
        try:
            self._fold.take(place, event)
        except StoreError as error:
            self._fault(f"{path} at byte {offset_of(place)}: {error}")

    def _fault(self, fault: str) -> None:
        """Note it. What follows is checked and no longer folded: it would build on what is missing."""
        self.report.faults.append(fault)
        self._fold = None

    def _look_at_values(self) -> None:
        held = holdings_of((key, row) for key, row in self._replicas[STATE] if is_there(row))
        self.report.keys = sum(len(holding.rows) for holding in held)
        for holding in held:
            if faults := holding.faults():
                count = "a value" if faults == 1 else f"{faults} values"
                self.report.faults.append(
                    f"{self._directory}: {holding.name!r} holds {count} that no version known reads"
                )

    def _look_at_proofs(self) -> None:
        """Check the signatures of rows that must bear one. A value in the log is read for it and not kept."""
        bad = 0
        for key, row in self._replicas[STATE] if self._proving is not None else ():
            if accused := self._unproven(key, row):
                bad += 1
                if bad <= NAMED_MAX:
                    self.report.faults.append(f"{self._directory}: {key[:_KEY_CHARS]!r} {accused}")
        if bad > NAMED_MAX:
            self.report.faults.append(f"{self._directory}: {bad - NAMED_MAX} more rows do not prove who wrote them")

    def _unproven(self, key: str, row: Row) -> str:
        """What is wrong with a row that must prove who wrote it; empty if nothing is."""
        rows = self._proving
        if rows is None or not key.startswith(rows.prefixes):
            return ""
        try:
            if all(rows.is_good(key, sibling) for sibling in row.siblings):
                return ""
        except StoreError as error:
            return f"cannot be read: {error}"
        if key.startswith(rows.owned):
            return f"was not written by its owner, {rows.owner_of(key) or 'who is nobody'}"
        return "does not prove who wrote it"


def _proving_in(path: Path) -> OwnedRows | VerifiedRows | None:
    label = read_label(path)
    return None if label is None else proving_in(path, label.room, STATE)


def _newest(directory: Path) -> int:
    """The number of the newest snapshot; 0 for none."""
    return max((int(path.stem) for path in directory.glob("[0-9]" * 8 + ".snap")), default=0)


def _boot_id() -> bytes:
    """As the event log writes it into seals."""
    boot_id = _system.boot_id()
    return hashlib.blake2b(boot_id.encode(), digest_size=16).digest() if boot_id else records.NO_BOOT
