"""What differs between operating systems, in one place: locks, syncs, private files, whether a process lives.

A lint test forbids these calls elsewhere in the library. POSIX is what the project is run on; the Windows branches use
only documented equivalents and are marked where nobody has run them.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WINDOWS = sys.platform == "win32"

if WINDOWS:  # not run by the project yet
    import msvcrt
else:
    import fcntl


def try_lock(descriptor: int) -> bool:
    """Take an exclusive lock on an open file for this process; False if another process holds it.

    The lock goes with the descriptor, so a killed process never leaves one behind.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sync_contents(descriptor: int) -> None:
    """Force a file's bytes to the disk."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_directory(directory: Path) -> None:
    """Force a directory's entries to the disk, so that a new file survives power loss."""
    if WINDOWS:
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_private(path: Path) -> int:
    """Create a file that only its owner can read, failing if it exists; return its descriptor.

    Raises:
        FileExistsError: The path is taken.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)


def open_private(path: Path) -> int:
    """Open a file for reading and writing, creating it with mode 0600 if it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)


def readable_by_others(path: Path) -> bool:
    """Whether the file's mode lets its group or the world read or write it. Always False on Windows."""
    return not WINDOWS and bool(path.stat().st_mode & 0o077)


def process_lives(pid: int) -> bool:
    """Whether a process with this id runs now. It may be another one than you remember: ids are reused."""
    if pid <= 0:
        return False
    if WINDOWS:
        return True  # os.kill would end it there; callers treat True as "cannot tell"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
