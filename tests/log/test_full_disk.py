"""A disk that takes no more: loud, nothing half-written, and over when there is space again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from propagul.errors import StoreFull
from propagul.log import EventLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITED = """
import resource, signal, sys
from pathlib import Path
from propagul.errors import StoreFull
from propagul.log import EventLog

log = EventLog(Path(sys.argv[1]))
list(log.recover())
log.append(b"a" * 100)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
try:
    log.append(b"b" * 1000)
except StoreFull as error:
    print("full:", error)
log.append(b"c" * 50)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.append(b"d" * 1000)
log.close()
"""


@contextlib.contextmanager
def small_disk(where: Path, kilobytes: int) -> Iterator[Path]:
    """A real file system of its own; skipped where mounting is not allowed."""
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(where)]
    try:
        allowed = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("mounting a small file system needs root")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def fill(log: EventLog, taken: list[bytes]) -> None:
    """Append until the log refuses; note what it took."""
    while True:
        payload = b"%4d" % len(taken) * 100
        log.append(payload)
        taken.append(payload)


def recovered(directory: Path) -> list[bytes]:
    log = EventLog(directory)
    payloads = list(log.recover())
    assert log.recovery.torn_bytes == 0
    log.close()
    return payloads


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_write_past_a_file_size_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert child.stdout.startswith("full: no space left for the event log in")
    assert recovered(tmp_path) == [b"a" * 100, b"c" * 50, b"d" * 1000]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_refuses_writes_and_takes_them_again_when_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(40 * 1024))
        log = EventLog(disk)
        list(log.recover())
        taken: list[bytes] = []
        with pytest.raises(StoreFull, match="no space left"):
            fill(log, taken)
        assert len(taken) > 10
        for _ in range(3):
            with pytest.raises(StoreFull):
                log.append(bytes(8192))
        ballast.unlink()
        log.append(b"there is space again")
        log.close()
        assert recovered(disk) == [*taken, b"there is space again"]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_that_fills_at_a_new_segment_spoils_neither_segment(tmp_path: Path) -> None:
    """The new file can be made, its first bytes cannot be written; the next append must not land in it bare."""
    with small_disk(tmp_path / "disk", 32) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"")
        log = EventLog(disk, segment_bytes=4096)
        list(log.recover())
        log.append(b"x" * 5000)
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for _ in range(2):
            with pytest.raises(StoreFull):
                log.append(b"lost, and said so")
        ballast.unlink()
        log.append(b"there is space again")
        log.close()
        assert recovered(disk) == [b"x" * 5000, b"there is space again"]
