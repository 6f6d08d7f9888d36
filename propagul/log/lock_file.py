"""A lock with a name on the disk: it lives exactly as long as its process, and its text says which process that is.

The text is a courtesy for messages and may be a dead process's; the lock alone decides. A lock taken on a file that has
meanwhile been renamed or removed is no lock: taking one checks that the path still leads to the locked file. A forked
child closes its copies at once, so that a parent's lock never outlives the parent in a child.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from typing import TYPE_CHECKING

from propagul import _system

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_POLL_S = 0.005
_TEXT_BYTES_MAX = 32


class LockFile:
    """A lock that is held; `take` and `wait` make them. Close it to let go."""

    def __init__(self, path: Path, descriptor: int, *, shared: bool) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._shared, self._pid = shared, os.getpid()
        _HELD.add(self)
        self._write("" if shared else f"{os.getpid()}\n")

    @classmethod
    def take(cls, path: Path, *, shared: bool = False) -> LockFile | None:
        """Take the lock at a path, making the file if need be; None if another process holds it.

        An exclusive lock writes this process's id into the file; a shared one leaves the file as it is.

        Raises:
            OSError: The file cannot be opened or made, or its file system has no locks.
        """
        while True:
            descriptor = _system.open_private(path)
            try:
                if not _system.try_lock(descriptor, shared=shared):
                    os.close(descriptor)
                    return None
                leads_here = _leads_to(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if leads_here:
                return cls(path, descriptor, shared=shared)
            os.close(descriptor)

    @classmethod
    def wait(cls, path: Path, timeout_s: float) -> LockFile | None:
        """Like an exclusive `take`, waiting for others to let go; None if they did not in time."""
        deadline = time.monotonic() + timeout_s
        while (lock := cls.take(path)) is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return lock

    def close(self) -> None:
        """Let go, and take our id out of the file. Idempotent; a forked child only drops its copy."""
        if self._descriptor is not None and os.getpid() == self._pid:
            self._write("")
            _system.unlock(self._descriptor)
        self.drop()

    def drop(self) -> None:
        """Close our copy of the lock and leave its file as it is; a copy in another process goes on locking."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write(self, text: str) -> None:
        """Replace the text, where the disk lets us: the lock holds without it."""
        if self._descriptor is not None and not self._shared:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, text.encode("ascii"))


def pid_in(path: Path) -> int | None:
    """The process that a lock file names; None if it names none."""
    try:
        with path.open("rb") as file:
            text = file.read(_TEXT_BYTES_MAX)
        return int(text)
    except (OSError, ValueError):
        return None


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _drop_copies() -> None:
    for lock in list(_HELD):
        lock.drop()


_HELD: weakref.WeakSet[LockFile] = weakref.WeakSet()
_system.in_forked_child(_drop_copies)
