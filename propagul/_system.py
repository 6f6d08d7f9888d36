"""What differs between operating systems, in one place: locks, syncs, private files, memory that has a path.

A lint test forbids these calls elsewhere in the library. POSIX is what the project is run on; the Windows branches use
documented equivalents and have not been run. A private file is private from its first byte and appears whole: it is
written under another name with mode 0600, synced, and then linked or renamed into place.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOWS = sys.platform == "win32"

if WINDOWS:
    import msvcrt
else:
    import fcntl

_BINARY = getattr(os, "O_BINARY", 0)


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


def open_new(path: Path) -> int:
    """Create a file that only its owner can read and return its descriptor.

    Raises:
        FileExistsError: The path is taken.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)


def open_private(path: Path) -> int:
    """Open a file for reading and writing, creating it with mode 0600 if it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o600)


def create_private(path: Path, content: bytes) -> None:
    """Create a private file whole. Of two processes that try together one succeeds.

    Raises:
        FileExistsError: It exists already; it was not touched.
    """
    draft = _draft(path, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        _write_new(path, content)
    finally:
        draft.unlink()


def write_private(path: Path, content: bytes) -> None:
    """Write a private file in one step: a reader finds the old one, the new one or none."""
    draft = _draft(path, content)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def move(source: Path, target: Path) -> None:
    """Move a file or directory within one file system."""
    source.rename(target)


def read_private(path: Path, *, bytes_max: int = 1 << 20) -> bytes:
    """The content of a private file, cut off after `bytes_max`.

    Raises:
        PermissionError: Others may read or write it; its `strerror` says how to mend that. Never on Windows.
    """
    with path.open("rb") as file:
        if not WINDOWS and os.fstat(file.fileno()).st_mode & 0o077:
            raise PermissionError(0, f"other users may read it; run: chmod 600 {path}", str(path))
        return file.read(bytes_max)


@contextlib.contextmanager
def lend(content: bytes) -> Iterator[str]:
    """Give bytes a path for as long as the block runs, for libraries that read keys from paths only.

    On Linux the path is anonymous memory; elsewhere, or without /proc, a private file in a private directory.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("propagul")
        with os.fdopen(descriptor, "wb") as memory:
            memory.write(content)
            memory.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.TemporaryDirectory(prefix="propagul-") as directory:
        path = Path(directory) / "key"
        _write_new(path, content)
        yield str(path)


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write_new(draft, content)
    return draft


def _write_new(path: Path, content: bytes) -> None:
    with os.fdopen(open_new(path), "wb") as file:
        file.write(content)
        file.flush()
        sync_contents(file.fileno())
