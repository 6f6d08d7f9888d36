"""Reading a replica at one moment, beside the node that writes it.

A log is files that only grow: the newest snapshot and the segments from there on. All of them are opened first, so that
what a compaction removes meanwhile is still there to read, and the last one is read up to its last whole record. What
stands before that is a prefix of what the node acknowledged, and a transaction is one record. Where a file went away
between looking and opening, it is looked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fleet_app.errors import FleetError
from propagul.log.history import Archive
from propagul.log.segment import SegmentFile, segment_paths
from propagul.log.snapshot_reader import snapshot_path
from propagul.store._history import Past
from propagul.store._ownership import reading_in
from propagul.store._spaces import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_TRIES = 20
_PAUSE_S = 0.1
_LOG_ID = re.compile(r"[0-9a-f]{16}")


class Piece:
    """The first `size` bytes of an open file, to be read once; knows their hash when they were.

    Attributes:
        name: Its name in a backup.
        size: How many bytes.
    """

    def __init__(self, name: str, opened: BinaryIO, size: int) -> None:
        self.name, self.size = name, size
        self._opened = opened
        self._left = size
        self._hash = hashlib.sha256()

    def read(self, length: int = -1) -> bytes:
        """Up to `length` bytes; what `tarfile` asks for."""
        content = self._opened.read(self._left if length < 0 else min(length, self._left))
        self._left -= len(content)
        self._hash.update(content)
        return content

    def sha256(self) -> str:
        """The hash of all of it.

        Raises:
            FleetError: Not all of it could be read.
        """
        if self._left:
            raise FleetError(f"{self.name} became shorter while it was read; is something else writing there?")
        return self._hash.hexdigest()


@contextlib.contextmanager
def pieces_of(state: Path) -> Iterator[list[Piece]]:
    """Give every file of a state directory as it is at this moment.

    Raises:
        FleetError: Its files went away again and again.
        StoreError: A log is damaged.
        OSError: It cannot be read.
    """
    for left in reversed(range(_TRIES)):
        with contextlib.ExitStack() as files:
            try:
                pieces = [*_labels(state, files), *_logs(state, files)]
            except FileNotFoundError:
                if not left:
                    raise FleetError(f"{state} is being rewritten all the time; try again in a while") from None
            else:
                yield pieces
                return
        time.sleep(_PAUSE_S)


def declared_rows(state: Path, prefixes: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """Keys and values under some prefixes, of the fullest log; the newest value where several stand beside each other.

    Raises:
        FleetError: There is no log.
        StoreError: It is damaged.
    """
    logs = _log_paths(state)
    if not logs:
        raise FleetError(f"{state} has no log yet: nothing was written")
    fullest = max(logs, key=lambda log: sum(file.stat().st_size for file in log.iterdir()))
    archive = Archive(fullest, int(fullest.name, 16), lambda: float("inf"))
    past = Past(archive, STATE, time.time_ns, reading_in(state)).at(datetime.now(UTC) + timedelta(days=1))
    for prefix in prefixes:
        yield from past.items(prefix)


def _labels(state: Path, files: contextlib.ExitStack) -> Iterator[Piece]:
    for path in sorted(state.glob("*.json")):
        opened = files.enter_context(path.open("rb"))
        yield Piece(f"state/{path.name}", opened, path.stat().st_size)


def _logs(state: Path, files: contextlib.ExitStack) -> Iterator[Piece]:
    for log in _log_paths(state):
        first = max((int(path.stem) for path in log.glob("[0-9]" * 8 + ".snap")), default=0)
        if first:
            yield _whole(snapshot_path(log, first), log, files)
        segments = {number: path for number, path in segment_paths(log).items() if number >= first}
        if not segments and not first:
            continue
        last = max(segments, default=0)
        if [*segments] != [*range(max(first, 1), last + 1)]:
            raise FileNotFoundError(log)
        yield from (_whole(path, log, files) for number, path in segments.items() if number != last)
        yield _scanned(segments[last], log, files)


def _log_paths(state: Path) -> list[Path]:
    logs = state / "log"
    return sorted(path for path in logs.iterdir() if _LOG_ID.fullmatch(path.name) and path.is_dir())


def _whole(path: Path, log: Path, files: contextlib.ExitStack) -> Piece:
    opened = files.enter_context(path.open("rb"))
    return Piece(f"state/log/{log.name}/{path.name}", opened, path.stat().st_size)


def _scanned(path: Path, log: Path, files: contextlib.ExitStack) -> Piece:
    """A segment that may still grow, up to its last whole record."""
    opened = files.enter_context(path.open("rb"))
    segment = SegmentFile(path).of_log(int(log.name, 16))
    with contextlib.closing(segment):
        for _ in segment.scan():
            pass
        return Piece(f"state/log/{log.name}/{path.name}", opened, segment.end)
