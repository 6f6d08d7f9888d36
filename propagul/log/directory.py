"""A state directory: one room, any number of local processes, a log for each.

    state/
      room.json            which room this is and of which format; written once, checked at every open
      lock                 shared by the processes that use the directory, exclusive for one that is alone
      door                 held by the one process that listens and dials for this directory
      log/turn             held for the moment in which locks are looked at or taken, so that looking disturbs nobody
      log/<log id>/lock    held by the log's process; its text is that process's id
      log/<log id>/        the log: *.log, *.snap
      log/<log id>.gone/   a log that was adopted, on its way out
      sock/where           which directory outside this one holds the Unix sockets of its processes; see `sockets`

Opening a directory of another room is refused before anything is made, so that two rooms can never merge on disk. Locks
are the kernel's: a killed process leaves none behind, and a forked child has none of its parent's.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from propagul import _system
from propagul.errors import ClosedError, LocalProtocolError, StoreLocked
from propagul.log import formats
from propagul.log.lock_file import LockFile, pid_in
from propagul.log.refusal import refusals_of
from propagul.log.sockets import SocketPlaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

TURN_WAIT_S = 30.0

_LOG_ID = re.compile(r"[0-9a-f]{16}")
_GONE = ".gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherLog:
    """A log of another process of the same directory.

    Attributes:
        path: Its directory.
        log_id: Its name.
        pid: Its process; None if that is gone, 0 if it lives but did not leave its id.
    """

    path: Path
    log_id: str
    pid: int | None


class StateDirectory:
    """An open directory and this process's log in it. Close it to leave the log to the next process.

    The log of a process that is gone is taken over, the one with the most bytes first; else a new one is made. Methods
    may be called from any thread, but not while or after `close` runs in another.

    Args:
        path: Made with its parents, private to the user, if it is not there.
        room: The room's name; must be the one the directory was made for.
        alone: Refuse other processes: those that have it open, and those that come later.

    Raises:
        StoreLocked: Others are here and `alone` was asked for, or one is here that is alone; the message names it.
        StoreError: It belongs to another room or a newer format, or cannot be used.
        StoreCorrupt: Its label is damaged.
    """

    def __init__(self, path: Path, room: str, *, alone: bool = False) -> None:
        self.path = path = path.absolute()
        self._pid = os.getpid()
        self._logs = path / "log"
        self._door: LockFile | None = None
        self._closed = False
        self._sockets, self._has_listened = SocketPlaces(path / "sock", self._is_alone), False
        with contextlib.ExitStack() as undo, self._refusals():
            self._lock = self._enter(room, alone=alone)
            undo.callback(self._lock.close)
            for folder in (self._logs, path / "sock"):
                folder.mkdir(mode=0o700, exist_ok=True)
            formats.claim(path, room)
            with self._turn():
                self.log_path, self._log_lock = self._take_over_log() or self._make_log()
                self._sockets.tidy()
            undo.callback(self._log_lock.close)
            self._sweep()
            undo.pop_all()

    @property
    def log_id(self) -> str:
        """The name of this process's log: 16 hexadecimal digits."""
        return self.log_path.name

    def check_process(self) -> None:
        """Refuse a forked child: log, locks and origins are its parent's. Call before every write; 0.1 us.

        Raises:
            LocalProtocolError: This process was forked from the one that opened the directory.
        """
        if os.getpid() != self._pid:
            raise LocalProtocolError(
                f"{self.path} was opened by process {self._pid}, and this is a child of it; open it again in the child"
            )

    def close(self) -> None:
        """Let go of log, door and directory. Idempotent; does nothing in a forked child."""
        if self._has_listened and not self._closed and os.getpid() == self._pid:
            with contextlib.suppress(OSError, StoreLocked), self._turn():
                self._sockets.leave([path.name for path in self._log_paths()])
        self._closed = True
        for lock in (self._door, self._log_lock, self._lock):
            if lock is not None:
                lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- the logs of others --------------------------------------------------------------------------------------

    def others(self) -> list[OtherLog]:
        """Every other log of the directory, with the process that holds it.

        Raises:
            StoreError: The directory cannot be read.
        """
        with self._use(), self._turn():
            paths = [path for path in self._log_paths() if path != self.log_path]
            return [OtherLog(path=path, log_id=path.name, pid=_holder(path / "lock")) for path in paths]

    def adopt(self, other: OtherLog) -> Orphan | None:
        """Lock a log whose process is gone; None if another process was faster, or it is no longer there.

        Raises:
            StoreError: The system refused.
        """
        with self._use(), self._turn():
            with contextlib.suppress(FileNotFoundError):
                lock = LockFile.take(other.path / "lock")
                return None if lock is None else Orphan(other.path, lock, self._remove_log)
            return None

    # --- the door ------------------------------------------------------------------------------------------------

    def try_door(self) -> bool:
        """Take the door if it is free, or hold it already; it is held until `close`.

        Raises:
            StoreError: The system refused.
        """
        with self._use():
            if self._door is None:
                with self._turn():
                    self._door = self._door or LockFile.take(self.path / "door")
            return self._door is not None

    def leave_door(self) -> None:
        """Let go of the door, so that another process can take it. Idempotent; also after `close`."""
        door, self._door = self._door, None
        if door is not None:
            door.close()

    def door_pid(self) -> int | None:
        """The process that holds the door; None if nobody does, 0 if it did not leave its id.

        Raises:
            StoreError: The system refused.
        """
        with self._use(), self._turn():
            return _holder(self.path / "door")

    # --- sockets -------------------------------------------------------------------------------------------------

    def socket_path(self) -> Path:
        """Where this process listens. It may change: ask again.

        Raises:
            StoreError: No path is short enough for a socket, or the system refused.
        """
        with self._use(), self._turn():
            self._has_listened = True
            return self._sockets.mine() / self.log_id

    def find_socket(self, log_id: str) -> Path | None:
        """Where the process of another log listens; None if it does not, or where this process cannot see it.

        Raises:
            StoreError: The system refused.
        """
        with self._use(), self._turn():
            return self._sockets.find(log_id)

    # -------------------------------------------------------------------------------------------------------------

    def _enter(self, room: str, *, alone: bool) -> LockFile:
        while True:
            formats.find_or_make(self.path)
            if formats.is_older(self.path, room):
                formats.migrate(self.path)
                continue
            try:
                lock = LockFile.take(self.path / formats.LOCK, shared=not alone)
            except FileNotFoundError:
                if self.path.is_dir():
                    raise
                continue  # it is just being migrated
            if lock is None:
                raise self._occupied()
            return lock

    def _occupied(self) -> StoreLocked:
        with self._turn() if self._logs.is_dir() else contextlib.nullcontext():
            pids = {_holder(path / "lock") for path in self._log_paths()} - {None, 0}
        names = ", ".join(sorted(map(str, pids))) or pid_in(self.path / formats.LOCK) or "?"
        return StoreLocked(f"{self.path} is in use by process {names}; stop it or choose another directory")

    def _take_over_log(self) -> tuple[Path, LockFile] | None:
        for path in sorted(self._log_paths(), key=_log_bytes, reverse=True):
            if lock := LockFile.take(path / "lock"):
                return path, lock
        return None

    def _make_log(self) -> tuple[Path, LockFile]:
        path = self._logs / secrets.token_hex(8)
        path.mkdir(mode=0o700)
        lock = LockFile.take(path / "lock")
        assert lock is not None, "made in our turn under a random name"
        _system.sync_directory(path)
        _system.sync_directory(self._logs)
        _system.sync_directory(self.path)
        return path, lock

    def _log_paths(self) -> list[Path]:
        entries = sorted(self._logs.iterdir()) if self._logs.is_dir() else []
        return [path for path in entries if _LOG_ID.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]

    def _is_alone(self) -> bool:
        """Whether no other process holds a log here. In our turn only."""
        return all(_holder(path / "lock") is None for path in self._log_paths() if path != self.log_path)

    def _remove_log(self, path: Path, lock: LockFile) -> None:
        gone = path.with_name(path.name + _GONE)
        with self._use():
            with self._turn():
                lock.close()  # nobody takes it in our turn, and Windows renames nothing with an open file in it
                _system.move(path, gone)
                _system.sync_directory(self._logs)
                self._sockets.remove(path.name)
            shutil.rmtree(gone, ignore_errors=True)  # what is left is swept at the next open

    def _sweep(self) -> None:
        """Remove adopted logs that a crash left. Several processes may do so at once."""
        for path in self._logs.glob("*" + _GONE):
            shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the moment in which this process alone looks at locks. Never held over anything slow."""
        path = self._logs / "turn"
        lock = LockFile.wait(path, TURN_WAIT_S)
        if lock is None:
            raise StoreLocked(
                f"{path} has been held for {TURN_WAIT_S:g} s by process {pid_in(path) or '?'}; is it stopped?"
            )
        with lock:
            yield

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        self.check_process()
        if self._closed:
            raise ClosedError(f"the state directory {self.path} is closed")
        with self._refusals():
            yield

    def _refusals(self) -> contextlib.AbstractContextManager[None]:
        return refusals_of(f"the state directory {self.path} cannot be used")


class Orphan:
    """A log whose process is gone, locked by this one so that no other adopts it. Close it, or remove the log."""

    def __init__(self, path: Path, lock: LockFile, remove: Callable[[Path, LockFile], None]) -> None:
        self.path, self.log_id = path, path.name
        self._lock, self._remove = lock, remove

    def remove(self) -> None:
        """Remove the log. Its content must have been logged elsewhere and synced: this is for good.

        A crash in the middle leaves the log as it was or under a name that the next open removes.

        Raises:
            StoreError: The system refused; the log is still there, and no longer locked.
        """
        self._remove(self.path, self._lock)

    def close(self) -> None:
        """Let go of the log, if it is still there. Idempotent."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _holder(path: Path) -> int | None:
    """Who holds a lock: None for nobody, 0 for somebody. In our turn only: looking is taking for a moment."""
    lock = LockFile.take(path, shared=True)
    if lock is None:
        return pid_in(path) or 0
    lock.close()
    return None


def _log_bytes(path: Path) -> int:
    """How long the files of a log are, whose process may remove some meanwhile."""
    size = 0
    for file in path.iterdir():
        if file.suffix in (".log", ".snap"):
            with contextlib.suppress(FileNotFoundError):
                size += file.stat().st_size
    return size
