"""What differs between operating systems, in one place: locks, syncs, private files, memory that has a path.

A lint test forbids these calls elsewhere in the library. POSIX is what the project is run on; the Windows branches use
documented equivalents and have not been run. A private file is private from its first byte and appears whole: it is
written under another name with mode 0600, synced, and then linked or renamed into place.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import socket
import stat
import struct
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

WINDOWS = sys.platform == "win32"

if WINDOWS:
    import msvcrt
else:
    import fcntl

_BINARY = getattr(os, "O_BINARY", 0)
_NO_ACCESS_TIME = getattr(os, "O_NOATIME", 0)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS = Path("/proc/self/mountinfo")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there is private, and checked to be
_POSITION = threading.Lock()
_PEER = struct.Struct("3i")  # struct ucred: process, user, group
_BACKLOG = 100
_IN_PLACE = frozenset({"ext2", "ext3", "ext4", "tmpfs", "xfs"})


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take a lock on an open file for this process; False if another process holds one that does not go with it.

    The lock goes with the descriptor and its copies, so a killed process never leaves one behind.

    Args:
        descriptor: The open file; its content and position do not matter to others.
        shared: Goes with other shared locks. Windows has none of these here: every lock is exclusive there.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        if sys.platform == "win32":
            # A lock of Windows forbids reading what it covers: take it far behind the text that names the pid.
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(descriptor: int) -> None:
    """Let go of a lock even if a child holds a copy of the descriptor."""
    if sys.platform != "win32":  # where closing does it, and no child has copies
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def in_forked_child(call: Callable[[], None]) -> None:
    """Have every child that is forked from now on call something before it goes on; for ever, so register once."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Up to `length` bytes from `offset` on, fewer only at the end of the file. From any thread."""
    pieces = []
    while length > 0 and (piece := _read_once(descriptor, length, offset)):
        pieces.append(piece)
        length, offset = length - len(piece), offset + len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_once(descriptor: int, length: int, offset: int) -> bytes:
    if sys.platform != "win32":
        return os.pread(descriptor, length, offset)
    with _POSITION:  # a descriptor and its copies share one position
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> int:
    """Write at `offset`, growing the file if need be; return how many bytes it took, which may be fewer."""
    if sys.platform != "win32":
        return os.pwrite(descriptor, content, offset)
    with _POSITION:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, content)


def truncate(descriptor: int, length: int) -> None:
    """Give a file this length."""
    os.ftruncate(descriptor, length)


def allocate(descriptor: int, offset: int, length: int) -> None:
    """Reserve space on the disk, so that writing there later cannot lack any.

    Raises:
        OSError: ENOSPC if there is not as much; ENOTSUP where files cannot be allocated ahead.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, "files are allocated ahead on Linux only")
    os.posix_fallocate(descriptor, offset, length)


def map_shared(descriptor: int, offset: int, length: int) -> mmap.mmap:
    """Map a stretch of a file for writing: what is copied there is in the kernel at once.

    Map only what was allocated, in a directory that `writes_in_place`: a page for which the disk has no space, or that
    is cut off while mapped, kills the process that touches it. `offset` is a multiple of `mmap.ALLOCATIONGRANULARITY`.
    """
    return mmap.mmap(descriptor, length, offset=offset)


def writes_in_place(directory: Path) -> bool:
    """Whether a mapped file there can be written on a full disk, once allocated, and syncs take what a map wrote.

    True on the Linux file systems that are known to write allocated blocks in place. Those that copy on write (btrfs,
    zfs), networks and layers over an unknown file system (overlay) can lack space at any write.
    """
    if sys.platform != "linux":
        return False
    try:
        device = directory.stat().st_dev
        return _mounted_devices().get(f"{os.major(device)}:{os.minor(device)}") in _IN_PLACE
    except OSError:
        return False


def sync_contents(descriptor: int) -> None:
    """Force a file's bytes to the disk."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        sync_file(descriptor)


def sync_file(descriptor: int) -> None:
    """Force a file's bytes and its length to the disk. On macOS also through the disk's own cache."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
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


def open_to_read(path: Path) -> int:
    """Open a file that is there, for reading only; where that can be had, reading it writes nothing to the disk."""
    try:
        return os.open(path, os.O_RDONLY | _BINARY | _NO_ACCESS_TIME)
    except PermissionError:  # not our own file, or none that we may read at all
        return os.open(path, os.O_RDONLY | _BINARY)


def create_private(path: Path, content: bytes) -> None:
    """Create a private file whole. Of two processes that try together one succeeds.

    Raises:
        FileExistsError: It exists already; it was not touched.
    """
    draft = _draft(path)
    _write_new(draft, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        _write_new(path, content)
    finally:
        draft.unlink()


def write_private(path: Path, content: bytes) -> None:
    """Write a private file in one step; see `writing_private`."""
    with writing_private(path) as file:
        file.write(content)


@contextlib.contextmanager
def writing_private(path: Path) -> Iterator[IO[bytes]]:
    """Give a private file to write in, which takes its name in one step when the block ends and all is on the disk.

    A reader finds the old one, the new one or none. Nothing is left of a block that raises.
    """
    draft = _draft(path)
    try:
        with os.fdopen(open_new(draft), "wb") as file:
            yield file
            file.flush()
            sync_contents(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.absolute().parent)


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


def is_private_directory(path: Path) -> bool:
    """Whether a path is a directory (no link to one) that only this user can enter. On Windows: a directory."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if WINDOWS:
        return stat.S_ISDIR(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def private_socket(path: Path) -> socket.socket:
    """A listening Unix socket that only this user can reach, in place of whatever socket stands at the path.

    Raises:
        OSError: Its directory is not private, or the system refused.
    """
    if not is_private_directory(path.parent):
        raise OSError(errno.EPERM, f"{path.parent} is not private to this user")
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def is_same_user(connection: socket.socket, directory: Path) -> bool:
    """Whether the process at the other end of a Unix socket is ours, root's, or of a directory's owner.

    True where the system does not say (Linux does): the modes of socket and directory stand for it there.
    """
    if sys.platform != "linux":
        return True
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return user in (0, os.geteuid(), directory.stat().st_uid)


def boot_id() -> str | None:
    """What names this run of the kernel; None where the system does not say."""
    try:
        return _BOOT_ID.read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None


def kernel_lifetime_directory() -> Path | None:
    """A private directory of this user in memory that dies with the kernel; None where there surely is none.

    A path proves nothing (a container may have /dev/shm on its disk), so the device that the directory stands on must
    be one that the kernel lists as a tmpfs. Linux only.
    """
    if sys.platform != "linux":
        return None
    path = _SHARED_MEMORY / f"propagul-{os.geteuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        device = path.lstat().st_dev
        sound = is_private_directory(path) and f"{os.major(device)}:{os.minor(device)}" in _tmpfs_devices()
    except OSError:
        return None
    return path if sound else None


def _tmpfs_devices() -> set[str]:
    """Device numbers of all tmpfs, as `major:minor`. A line: id, parent, device, root, mount point, ... - type, ..."""
    lines = [line.split() for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()]
    return {fields[2] for fields in lines if "-" in fields and fields[fields.index("-") + 1] == "tmpfs"}


def _mounted_devices() -> dict[str, str]:
    """The kind of file system of each mounted device, by `major:minor`; see `_tmpfs_devices` for the lines."""
    lines = [line.split() for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()]
    return {fields[2]: fields[fields.index("-") + 1] for fields in lines if "-" in fields}


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


def _draft(path: Path) -> Path:
    """Where a file is written before it takes its name."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def _write_new(path: Path, content: bytes) -> None:
    with os.fdopen(open_new(path), "wb") as file:
        file.write(content)
        file.flush()
        sync_contents(file.fileno())
