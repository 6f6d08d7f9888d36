"""A disk that fails at any step: nothing acknowledged is lost, nothing refused appears, nothing wrong is ever read.

The calls of `_system` are wrapped: the n-th of them fails, stops half way, or the process "dies" in it (the log is
abandoned and opened from a copy of its bytes). Power cuts are simulated page by page: each page of a file is as some
moment between the last sync and now left it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from propagul import _system
from propagul.errors import StoreError
from propagul.log.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONG = os.environ.get("LONG_TESTS") == "1"
CALLS = (
    "allocate",
    "map_shared",
    "move",
    "open_new",
    "open_private",
    "read_at",
    "sync_contents",
    "sync_directory",
    "sync_file",
    "truncate",
    "write_at",
)
PAGE = 512
"""A disk's unit of writing; smaller than a page of memory, so that more can go wrong."""


class Dies(BaseException):
    """The process ends here. Nothing may catch it and go on."""


class FaultyDisk:
    """Lets every call through but the n-th, which goes wrong in one way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.goes_wrong_at = 0
        self.way = ""
        self.real = {name: getattr(_system, name) for name in CALLS}
        for name in CALLS:
            monkeypatch.setattr(_system, name, self._wrapped(name))

    def arm(self, call: int, way: str) -> None:
        self.calls, self.goes_wrong_at, self.way = 0, call, way

    def _wrapped(self, name: str) -> Callable[..., object]:
        real = self.real[name]

        def call(*arguments: object) -> object:
            self.calls += 1
            if self.calls != self.goes_wrong_at:
                return real(*arguments)
            return self._wrong(name, real, *arguments)

        return call

    def _wrong(self, name: str, real: Callable[..., object], *arguments: object) -> object:
        if name == "write_at":
            descriptor, content, offset = arguments
            assert isinstance(content, bytes | memoryview)
            taken = real(descriptor, content[: max(1, len(content) // 2)], offset)
            if self.way == "short":
                return taken
        elif self.way == "late":
            real(*arguments)
        if self.way == "dies":
            raise Dies
        if self.way == "short":
            return real(*arguments)
        raise OSError(errno.ENOSPC if self.way == "full" else errno.EIO, f"injected into {name}")


def payload_of(number: int) -> bytes:
    size = (3, 200, 0, 5000, 90, 40_000)[number % 6] if number % 7 else number
    return b"%d:" % number + bytes([number % 251]) * size


class Life:
    """One use of a log: a fixed course of appends, syncs, rotations and a close, and what came of it."""

    def __init__(self, directory: Path, *, boot: str = "a boot") -> None:
        self.log = EventLog(directory, boot_id=boot, segment_bytes=60_000, window_bytes=8192)
        self.found: list[bytes] = []
        self.acknowledged: list[bytes] = []
        self.refused = 0
        self.in_flight: bytes | None = None

    def run(self, count: int) -> None:
        self.found = [payload for _, payload in self.log.recover()]
        self.acknowledged = list(self.found)
        start = len(self.found)
        for number in range(start, start + count):
            self._append(payload_of(number))
            if number % 5 == 4:
                self._try(self.log.sync)
            if number % 13 == 12:
                self._try(self.log.rotate)
        self._try(self.log.close)

    def _append(self, payload: bytes) -> None:
        self.in_flight = payload
        try:
            place = self.log.append(payload)
        except StoreError:
            self.refused += 1
        else:
            self.acknowledged.append(payload)
            if self.log.read(place) != payload:
                raise AssertionError("a wrong payload was read back")
        self.in_flight = None

    def _try(self, use: Callable[[], object]) -> None:
        try:
            use()
        except StoreError:
            self.refused += 1


def live(life: Life, count: int) -> bool:
    """Run a life; whether it died early."""
    try:
        life.run(count)
    except Dies:
        return True
    except StoreError:  # while it was opened, or when a record was read back
        life.log.close()
    return False


def recovered(directory: Path, *, boot: str = "a boot") -> list[bytes]:
    log = EventLog(directory, boot_id=boot)
    payloads = [payload for _, payload in log.recover()]
    log.close()
    return payloads


@pytest.mark.parametrize("way", ["io", "full", "late", "short", "dies"])
@pytest.mark.parametrize("mode", ["mapped", "written"])
def test_whatever_call_goes_wrong_the_acknowledged_is_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, mode: str
) -> None:
    """Every call of a whole life, and of the life after a crash, in turn."""
    if mode == "written":
        monkeypatch.setattr(_system, "writes_in_place", lambda _: False)
    for name in ("sync_contents", "sync_file", "sync_directory"):
        monkeypatch.setattr(_system, name, lambda _: None)
    disk = FaultyDisk(monkeypatch)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    before = Life(crashed)
    disk.arm(0, way)
    before.run(7)
    torn = max(crashed.glob("*.log"))
    torn.write_bytes(torn.read_bytes()[:-50])
    call = 0
    while True:
        call += 1 if LONG or way in {"io", "dies"} else 3
        directory = tmp_path / f"{way}{call}"
        shutil.copytree(crashed, directory)
        life = Life(directory)
        disk.arm(call, way)
        died = live(life, 20)
        over = disk.calls < call
        disk.arm(0, way)
        after = tmp_path / "after"
        shutil.copytree(directory, after)
        found = recovered(after)
        if life.acknowledged:
            possible = [life.acknowledged]
            if died and life.in_flight is not None:
                possible.append([*life.acknowledged, life.in_flight])
            assert found in possible, (call, disk.way)
        else:
            assert found == before.acknowledged[: len(found)]
        again = Life(after)
        again.run(9)
        assert recovered(after) == again.acknowledged
        assert again.acknowledged[: len(found)] == found
        assert len(again.acknowledged) == len(found) + 9
        life.log.abandon()
        shutil.rmtree(after)
        shutil.rmtree(directory)
        if over:
            break
    assert call > 20


@pytest.mark.parametrize("name", ["move", "sync_directory", "open_private"])
def test_a_segment_that_was_begun_in_vain_does_not_make_the_old_one_look_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The process goes on in the old segment and is then killed, before it could try again."""
    log = EventLog(tmp_path, boot_id="a boot")
    assert list(log.recover()) == []
    log.append(b"first")
    real = getattr(_system, name)
    failed: list[str] = []

    def fail_once(*arguments: object) -> object:
        done = real(*arguments)
        if not failed:
            failed.append(name)
            if isinstance(done, int):
                os.close(done)
            raise OSError(errno.EIO, "injected")
        return done

    monkeypatch.setattr(_system, name, fail_once)
    with pytest.raises(StoreError, match="injected"):
        log.rotate()
    log.append(b"second")
    log.abandon()
    assert recovered(tmp_path) == [b"first", b"second"]


class Power:
    """What a disk holds of a directory, and what it may hold after a power cut.

    Of each file (by inode) it keeps what the page cache held at moments since the last sync, which made the first of
    them sure; a new file's first is empty. A sync of the directory makes its names sure.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
        self.directory = directory
        self.rng = rng
        self.names = {path.name: path.stat().st_ino for path in directory.iterdir()}
        self.moments = {path.stat().st_ino: [path.read_bytes()] for path in directory.iterdir()}
        self._open_new = _system.open_new
        monkeypatch.setattr(_system, "open_new", self._begun)
        for name in ("sync_contents", "sync_file"):
            monkeypatch.setattr(_system, name, self._synced)
        monkeypatch.setattr(_system, "sync_directory", self._names_synced)

    def look(self) -> None:
        """Note what the page cache holds now: the disk may have written any page of it."""
        for path in self.directory.iterdir():
            self.moments[path.stat().st_ino].append(path.read_bytes())

    def cut(self, target: Path) -> None:
        """What is left in `target`: files with pages of any moment since their sync, names synced or, perhaps, not."""
        self.look()
        target.mkdir()
        names = {path.name: path.stat().st_ino for path in self.directory.iterdir() if self.rng.random() < 0.5}
        for name, inode in (self.names | names).items():
            (target / name).write_bytes(b"".join(self._pages(self.moments[inode])))

    def _pages(self, moments: list[bytes]) -> Iterator[bytes]:
        length = len(self.rng.choice(moments))
        for at in range(0, length, PAGE):
            yield self.rng.choice(moments)[at : at + PAGE].ljust(PAGE, b"\0")[: length - at]

    def _begun(self, path: Path) -> int:
        descriptor = self._open_new(path)
        self.moments[path.stat().st_ino] = [b""]
        return descriptor

    def _synced(self, descriptor: int) -> None:
        self._perhaps_fails()
        inode, length = os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size
        self.moments[inode] = [os.pread(descriptor, length, 0)]

    def _perhaps_fails(self) -> None:
        """The power may go while a disk is syncing, too."""
        if self.rng.random() < 0.1:
            self.look()
            raise Dies

    def _names_synced(self, _: Path) -> None:
        self._perhaps_fails()
        self.names = {path.name: path.stat().st_ino for path in self.directory.iterdir()}


@pytest.mark.parametrize("mode", ["mapped", "written"])
def test_after_a_power_cut_a_prefix_is_left_that_holds_everything_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Cut after cut on the same log, now and then a killed process or a clean close between them."""
    if mode == "written":
        monkeypatch.setattr(_system, "writes_in_place", lambda _: False)
    torn = 0
    for seed in range(1000 if LONG else 30):
        rng = random.Random(seed)
        directory = tmp_path / f"{seed}"
        directory.mkdir()
        sure: list[bytes] = []
        for boot in range(4):
            with pytest.MonkeyPatch.context() as patch:
                power = Power(directory, patch, rng)
                day = Day(directory, f"boot {boot}", sure, power)
                day.run()
                after = tmp_path / f"{seed}.{boot}"
                power.cut(after)
            day.life.log.abandon()
            log = EventLog(after, boot_id=f"boot {boot + 1}")
            left = [payload for _, payload in log.recover()]
            torn += log.recovery.torn_bytes > 0
            log.abandon()
            assert left == day.appended[: len(left)], (seed, boot)
            assert len(left) >= len(day.sure), (seed, boot)
            sure, directory = left, after
    assert torn > 10


class Day:
    """A boot of the machine, with one process after the other using the log, until the power goes.

    Attributes:
        sure: What was surely on the disk at some time.
    """

    def __init__(self, directory: Path, boot: str, left: list[bytes], power: Power) -> None:
        self.sure = left
        self._directory, self._boot, self._power, self._rng = directory, boot, power, power.rng
        self.life = Life(directory, boot=boot)
        self.life.acknowledged = list(left)

    @property
    def appended(self) -> list[bytes]:
        """What the log may hold: the acknowledged, and what was being appended when the power went."""
        in_flight = self.life.in_flight
        return [*self.life.acknowledged] if in_flight is None else [*self.life.acknowledged, in_flight]

    def run(self) -> None:
        with contextlib.suppress(Dies):
            self._open()
            for step in range(self._rng.randrange(1, 60)):
                size = self._rng.choice([5, 80, 700, 9000])
                self.life._append(b"%s %d " % (self._boot.encode(), step) + self._rng.randbytes(size))
                if self._rng.random() < 0.5:
                    self._power.look()
                self._perhaps_more()

    def _open(self) -> None:
        found = [payload for _, payload in self.life.log.recover()]
        assert found == self.life.acknowledged

    def _perhaps_more(self) -> None:
        log, chance = self.life.log, self._rng.random()
        if chance < 0.12:
            log.sync()
        elif chance < 0.16:
            log.rotate()
        elif chance < 0.18:
            log.close()
        else:
            if chance < 0.22:
                self._kill()
            return
        self.sure = list(self.life.acknowledged)
        if chance >= 0.16:
            self._next_process()

    def _kill(self) -> None:
        """Half of the time in the middle of a copy."""
        writer = self.life.log._writer
        self.life.log.abandon()
        if writer is not None and self._rng.random() < 0.5:
            with writer.path.open("r+b") as file:
                file.seek(writer.end)
                file.write(self._rng.randbytes(self._rng.choice([7, 3000])))
        self._next_process()

    def _next_process(self) -> None:
        acknowledged, self.life = self.life.acknowledged, Life(self._directory, boot=self._boot)
        self.life.acknowledged = acknowledged
        self._open()
