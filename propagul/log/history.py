"""What a log keeps of its past: the files behind the newest snapshot, for as long as they are wanted.

    log/<log id>/history/NNNNNNNN.log, NNNNNNNN.snap      segments and snapshots that recovery no longer needs

A file is moved here by renaming it once a newer snapshot stands for it: a crash leaves it in one place or the other,
and the next open moves what was left behind. Recovery never looks here, so damage here stops no store from opening.
To read the past is to fold a *base* (an old snapshot, or nothing at all) and every segment from there on; what is kept
begins at the newest base that is older than the window. A snapshot says when it was made by beginning with the end of
an empty stream, an event that changes nothing and has a wall time.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul import _system
from propagul.crdt import Stamp, stamps_in, wire
from propagul.errors import PeerProtocolError, StoreCorrupt
from propagul.log.fold import BATCH, END, encode_end
from propagul.log.place import number_of, offset_of
from propagul.log.refusal import refusals_of
from propagul.log.segment import SegmentFile, segment_paths
from propagul.log.snapshot_reader import SnapshotFile, read_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from propagul.log.place import Place

FOLDER: Final = "history"

AHEAD_S_MAX: Final = 300.0
"""A time further in the future than this is taken for a clock's error."""

_log = logging.getLogger("propagul.log")


class Moment(NamedTuple):
    """What an event says of itself, without the rest of it being read.

    Attributes:
        kind: Its kind; see `fold`.
        space: Its namespace.
        stamp: When it was written; None where it does not say.
    """

    kind: int
    space: str
    stamp: Stamp | None


class Base(NamedTuple):
    """A state that segments can be folded onto.

    Attributes:
        first: The first of those segments.
        path: The snapshot; None for the empty state before the first segment.
        made: When the replica held it; None if `fault` says why that cannot be known.
        fault: What is wrong with the snapshot.
    """

    first: int
    path: Path | None
    made: Stamp | None
    fault: StoreCorrupt | None = None


def encode_made(space: str, wall: Stamp) -> bytes:
    """The first event of a snapshot: when it was made."""
    return encode_end(space, 0, wall, (), None, ())


def moment_of(event: bytes) -> Moment:
    """What kind of event this is, of which namespace, and when it was written.

    Raises:
        StoreCorrupt: It is no event.
    """
    try:
        reader = wire.Reader(event)
        reader.items(len(event))
        kind, space = reader.scalar(), reader.scalar()
        stamp = None
        if kind == BATCH:
            stamp = reader.scalar()
        elif kind == END:
            _, stamp = reader.scalar(), reader.scalar()
    except PeerProtocolError as error:
        raise StoreCorrupt("the event log holds a record this version cannot read") from error
    if type(kind) is not int or type(space) is not str or not (stamp is None or type(stamp) is int):
        raise StoreCorrupt("the event log holds a record this version cannot read")
    return Moment(kind, space, None if stamp is None else Stamp(stamp))


def believed(stamp: Stamp, last: Stamp, now: Stamp) -> Stamp:
    """The time of a step whose event says `stamp`, in a log whose step before was at `last` and that is read `now`.

    Steps stand in the order of the log, so their times never fall; none is after now; and what claims to be far in the
    future was stamped by a clock that was wrong.
    """
    return last if stamp > now + stamps_in(AHEAD_S_MAX) else max(last, min(stamp, now))


class Archive:
    """The past of one log.

    Args:
        log_path: The log's directory.
        log_id: The id its segments carry.
        keep_s: Says how long to keep what recovery does not need, seconds; 0 for not at all, infinity for ever.

    Attributes:
        lock: Held while files are read, moved or removed. *Use:* take it around `retire` and `retained`, and before
            the store's if both are needed.
        bytes: What is kept for the past only.
    """

    def __init__(self, log_path: Path, log_id: int, keep_s: Callable[[], float]) -> None:
        self.lock = threading.Lock()
        self.bytes = 0
        self._here, self._folder = log_path, log_path / FOLDER
        self._log_id = log_id
        self._keep_s = keep_s

    def retire(self, number: int, now: Stamp) -> None:
        """Move here what the snapshot `number` stands for, and remove what is older than is wanted.

        Raises:
            StoreError: The system refused. What was not moved stands where it stood.
        """
        with refusals_of(f"the history in {self._folder} cannot be changed"):
            keep_s = self._keep_s()
            if keep_s:
                self._move_before(number)
            if self._folder.is_dir():
                self._remove_before(self._begin(now, keep_s) if keep_s else None)
            self.bytes = sum(path.stat().st_size for path in self._folder.glob("*"))

    def retained(self, now: Stamp) -> Retained:
        """Everything that can be read now.

        Raises:
            StoreError: The system refused.
        """
        with refusals_of(f"the history in {self._folder} cannot be read"):
            segments, snapshots = segment_paths(self._folder), _snapshot_paths(self._folder)
            segments.update(segment_paths(self._here))
            snapshots.update(_snapshot_paths(self._here))
        return Retained(segments, snapshots, self._log_id, now)

    def _move_before(self, number: int) -> None:
        old = [
            path for paths in (segment_paths(self._here), _snapshot_paths(self._here)) for path in _below(number, paths)
        ]
        if old:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for path in old:
                _system.move(path, self._folder / path.name)
            _system.sync_directory(self._folder)
            _system.sync_directory(self._here)

    def _begin(self, now: Stamp, keep_s: float) -> int:
        """The lowest number of a file that is still wanted."""
        if keep_s == float("inf"):
            return 0
        base = base_at(self.retained(now).bases, Stamp(max(now - stamps_in(keep_s), 0)))
        return 0 if base is None else base.first

    def _remove_before(self, number: int | None) -> None:
        for path in sorted(self._folder.iterdir()):
            if number is None or (path.stem.isdigit() and int(path.stem) < number):
                path.unlink()
        if number is None:
            self._folder.rmdir()


class Retained:
    """The files of one log that make up what is known of its past, at one moment. Read it under the archive's lock.

    Attributes:
        bases: States to begin with, oldest first; from each on, every segment is here. Never empty.
    """

    def __init__(self, segments: dict[int, Path], snapshots: dict[int, Path], log_id: int, now: Stamp) -> None:
        self._segments = segments
        self._log_id = log_id
        self._last = max(segments, default=0)
        self._staged: SegmentFile | None = None
        first = self._last
        while first - 1 in segments:
            first -= 1
        whole = [Base(1, None, Stamp(0))] if first <= 1 else []
        bases = whole + [_base_of(number, path) for number, path in sorted(snapshots.items()) if number >= first]
        self.bases = _believed_bases(bases, now)
        if not self.bases:
            raise StoreCorrupt(f"no snapshot is there for {segments[first]}; nothing can be read of the past")

    def events(self, base: Base) -> Iterator[tuple[Place, bytes]]:
        """Yield the events of a base and of every segment behind it, up to what is acknowledged now.

        Raises:
            StoreCorrupt: A file is damaged or gone; the message names it. What was yielded before is sound.
            StoreError: The disk does not give it.
        """
        if base.path is not None:
            yield from read_snapshot(base.path)
        for number in range(base.first, self._last + 1):
            segment = self._opened(number)
            for found in segment.scan():
                yield from found
            if number == self._last:
                yield from self._tail(segment)
            elif not segment.is_finished():
                raise _damaged(segment)

    def read(self, place: Place) -> bytes:
        """The event at a place of a segment.

        Raises:
            StoreCorrupt: What stands there is damaged, or its file is gone.
            StoreError: The disk does not give it.
        """
        if self._staged is None or self._staged.number != number_of(place):
            self._staged = self._opened(number_of(place))
        return self._staged.read(offset_of(place))

    def _opened(self, number: int) -> SegmentFile:
        path = self._segments.get(number)
        try:
            if path is not None:
                return SegmentFile(path).of_log(self._log_id)
        except FileNotFoundError:
            pass
        raise StoreCorrupt(f"{path or f'segment {number}'} is gone; what came after it cannot be read")

    def _tail(self, segment: SegmentFile) -> Iterator[tuple[Place, bytes]]:
        """The rest of the segment that is written to meanwhile: sound bytes behind an unsound place may be new ones."""
        while segment.evidence_from(segment.end).sound:
            before = segment.end
            for found in segment.scan():
                yield from found
            if segment.end == before:
                raise _damaged(segment)


def base_at(bases: list[Base], moment: Stamp) -> Base | None:
    """The newest base that the replica held by then; None if every one is younger or cannot say."""
    found = None
    for base in bases:
        if base.made is not None and base.made > moment:
            break
        found = base if base.made is not None else found
    return found


def _believed_bases(bases: list[Base], now: Stamp) -> list[Base]:
    """These bases, none of them younger than now. One that a clock dated far ahead serves only if it is the last."""
    limit = now + stamps_in(AHEAD_S_MAX)
    kept = [base for base in bases if base.made is None or base.made <= limit or base is bases[-1]]
    return [base if base.made is None else base._replace(made=min(base.made, now)) for base in kept]


def _base_of(number: int, path: Path) -> Base:
    try:
        return Base(number, path, _made(path))
    except StoreCorrupt as error:
        return Base(number, path, None, error)


def _made(path: Path) -> Stamp:
    """When a snapshot was made. Reads its first block only."""
    snapshot = SnapshotFile(path)
    try:
        moment = next((moment_of(event) for _, event in snapshot.contents()), None)
    finally:
        snapshot.close()
    if moment is None or moment.kind != END or moment.stamp is None:
        raise StoreCorrupt(f"{path} does not say when it was made")
    return moment.stamp


def _snapshot_paths(directory: Path) -> dict[int, Path]:
    """The snapshots in a directory by their numbers, in order."""
    return {int(path.stem): path for path in sorted(directory.glob("[0-9]" * 8 + ".snap"))}


def _below(number: int, paths: dict[int, Path]) -> list[Path]:
    return [path for found, path in paths.items() if found < number]


def _damaged(segment: SegmentFile) -> StoreCorrupt:
    return StoreCorrupt(f"{segment.path} is damaged at byte {segment.end}; what came after it cannot be read")
