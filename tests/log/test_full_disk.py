"""A disk that takes no more: loud, nothing half-written, and over when there is space again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from propagul import _system
from propagul.errors import StoreFull
from propagul.log.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITED = """
import resource, signal, sys
from pathlib import Path
from propagul.errors import StoreFull
from propagul.log.event_log import EventLog

log = EventLog(Path(sys.argv[1]))
list(log.recover())
log.append(b"a" * 100)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
try:
    log.append(b"b" * 100_000)
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
        subprocess.run(["umount", "-l", str(where)], check=True)  # lazily: a test that failed may still hold a file


def fill(log: EventLog, taken: list[bytes]) -> None:
    """Append until the log refuses; note what it took."""
    while True:
        payload = b"%4d" % len(taken) * 100
        log.append(payload)
        taken.append(payload)


def recovered(directory: Path) -> list[bytes]:
    log = EventLog(directory)
    payloads = [payload for _, payload in log.recover()]
    assert log.recovery.torn_bytes == 0
    log.close()
    return payloads


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_write_past_a_file_size_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    """What was allocated ahead still takes what fits it."""
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert child.stdout.startswith(f"full: the event log in {tmp_path} cannot be written: no space left")
    assert recovered(tmp_path) == [b"a" * 100, b"c" * 50, b"d" * 1000]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("way", ["mapped", "written"])
@pytest.mark.parametrize("kilobytes", [64, 256, 3000])
def test_a_full_disk_refuses_writes_and_takes_them_again_when_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, kilobytes: int
) -> None:
    """Whether the last byte stands in a window or had to be written because no window was to be had."""
    if way == "written":
        monkeypatch.setattr(_system, "writes_in_place", lambda _: False)
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        assert _system.writes_in_place(disk) is (way == "mapped")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(40 * 1024))
        log = EventLog(disk)
        places = list(log.recover())
        taken: list[bytes] = []
        with pytest.raises(StoreFull, match="no space left"):
            fill(log, taken)
        assert sum(map(len, taken)) > (kilobytes - 40) * 1024 * 0.8
        for _ in range(3):
            with pytest.raises(StoreFull):
                log.append(bytes(80_000))
        ballast.unlink()
        log.append(b"there is space again")
        more: list[bytes] = []
        with pytest.raises(StoreFull):
            fill(log, more)
        log.close()
        assert recovered(disk) == [*taken, b"there is space again", *more]
        assert places == []


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


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_log_on_a_full_disk_opens_reads_and_closes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 300) as disk:
        log = EventLog(disk)
        list(log.recover())
        taken: list[bytes] = []
        with pytest.raises(StoreFull):
            fill(log, taken)
        log.close()
        again = EventLog(disk)
        found = list(again.recover())
        assert [payload for _, payload in found] == taken
        assert all(again.read(place) == payload for place, payload in found)
        with contextlib.suppress(StoreFull):
            fill(again, taken)
        again.close()
        assert recovered(disk) == taken
