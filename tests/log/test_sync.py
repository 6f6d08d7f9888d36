"""Syncing: one for all who wait, never while writers wait for it, and never believed after it failed."""

from __future__ import annotations

import errno
import random
import threading
import time
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from propagul import _system
from propagul.errors import ClosedError, StoreBusy, StoreError
from propagul.log import records
from propagul.log.event_log import EventLog
from propagul.log.place import offset_of
from propagul.log.segment import SegmentFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Disk:
    """The real syncs, counted, held back or failing at will."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.fails: OSError | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self._real = _system.sync_contents
        monkeypatch.setattr(_system, "sync_contents", self._sync)

    def _sync(self, descriptor: int) -> None:
        self.syncs += 1
        self.entered.release()
        assert self.gate.wait(30)
        if self.fails is not None:
            raise self.fails
        self._real(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(monkeypatch)
    yield made
    made.gate.set()


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return opened(tmp_path)


def opened(directory: Path, *, lock: threading.Lock | None = None, segment_bytes: int = 2**26) -> EventLog:
    log = EventLog(directory, boot_id="this boot", lock=lock, segment_bytes=segment_bytes)
    for _ in log.recover():
        pass
    return log


def in_threads(*targets: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_pending_bytes_are_those_appended_since_the_last_sync(log: EventLog) -> None:
    assert log.pending_bytes == 0
    log.append(b"x" * 88)
    assert log.pending_bytes == 100
    log.append(b"x" * 88)
    assert log.pending_bytes == 200
    log.sync()
    assert log.pending_bytes == 0
    log.append(b"x" * 88)
    assert log.pending_bytes == 100 + records.SEAL_BYTES
    log.close()


def test_one_sync_serves_everybody_it_covers(log: EventLog, disk: Disk) -> None:
    """While the first sync is under way fifty more come to wait: one more sync serves them all."""
    disk.gate.clear()
    first = log.append(b"first")
    leader = in_threads(lambda: log.sync(first))
    assert disk.entered.acquire(timeout=30)
    places = [log.append(b"follower") for _ in range(50)]
    followers = in_threads(*(partial(log.sync, place) for place in places))
    disk.gate.set()
    join(leader + followers)
    assert disk.syncs == 2
    assert log.pending_bytes == 0
    log.close()


def test_a_place_that_is_on_the_disk_needs_no_sync(log: EventLog, disk: Disk) -> None:
    place = log.append(b"x")
    log.sync()
    log.append(b"y")
    log.sync(place)
    assert disk.syncs == 1
    log.sync()
    log.sync()
    assert disk.syncs == 2
    log.close()


def test_appends_and_reads_go_on_during_a_sync(log: EventLog, disk: Disk) -> None:
    disk.gate.clear()
    log.append(b"before")
    waiting = in_threads(log.sync)
    assert disk.entered.acquire(timeout=30)
    places = [log.append(b"%d" % number * 1000) for number in range(3000)]
    assert log.read(places[-1]) == b"2999" * 1000
    disk.gate.set()
    join(waiting)
    assert log.pending_bytes > 3000 * 1000
    log.close()


def test_a_seal_covers_what_was_appended_before_the_sync_and_no_more(tmp_path: Path, disk: Disk) -> None:
    log = opened(tmp_path)
    disk.gate.clear()
    log.append(b"before")
    covered = log.pending_bytes + records.HEADER_BYTES
    waiting = in_threads(log.sync)
    assert disk.entered.acquire(timeout=30)
    log.append(b"during")
    disk.gate.set()
    join(waiting)
    log.append(b"after")
    file = SegmentFile(tmp_path / "00000001.log")
    assert [payload for found in file.scan() for _, payload in found] == [b"before", b"during", b"after"]
    assert file.seal is not None
    assert file.seal.covered == covered < file.seal.at
    log.close()


def test_a_failed_sync_is_never_believed_again(tmp_path: Path, disk: Disk) -> None:
    """Not by trying once more, though the kernel would now say that all is well; by opening anew, which writes anew."""
    log = opened(tmp_path)
    log.append(b"proven")
    log.sync()
    proven = log.append(b"unproven")
    disk.fails = OSError(errno.EIO, "Input/output error")
    with pytest.raises(StoreError, match=r"00000001\.log could not be synced \(Input/output error\)"):
        log.sync()
    disk.fails = None
    pending = log.pending_bytes
    assert pending > 0
    uses: list[Callable[[], object]] = [
        log.sync,
        lambda: log.append(b"x"),
        log.rotate,
        lambda: log.throttle(1),
        log.close,
    ]
    for use in uses:
        with pytest.raises(StoreError, match="another sync would prove nothing; open it anew"):
            use()
    assert disk.syncs == 2
    written: list[int] = []
    write = _system.write_at

    def note(descriptor: int, content: bytes, offset: int) -> int:
        written.append(offset)
        return write(descriptor, content, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_system, "write_at", note)
        again = opened(tmp_path)
    assert min(written) <= offset_of(proven)
    assert again.pending_bytes >= pending
    again.sync()
    assert again.pending_bytes == 0
    again.close()
    assert [payload for _, payload in EventLog(tmp_path).recover()] == [b"proven", b"unproven"]


def test_a_failed_sync_still_lets_the_log_be_read(log: EventLog, disk: Disk) -> None:
    place = log.append(b"x")
    disk.fails = OSError(errno.EIO, "Input/output error")
    with pytest.raises(StoreError):
        log.sync()
    assert log.read(place) == b"x"
    with pytest.raises(StoreError, match="unproven"):
        log.close()
    log.close()


def test_a_sync_that_fails_at_the_end_is_told_and_the_log_is_closed_all_the_same(log: EventLog, disk: Disk) -> None:
    place = log.append(b"x")
    disk.fails = OSError(errno.EIO, "Input/output error")
    with pytest.raises(StoreError, match="unproven"):
        log.close()
    log.close()
    uses: list[Callable[[], object]] = [lambda: log.append(b"y"), lambda: log.read(place), lambda: log.sync(place)]
    for use in uses:
        with pytest.raises(ClosedError):
            use()


def test_everybody_who_waited_for_a_failed_sync_is_told(log: EventLog, disk: Disk) -> None:
    disk.gate.clear()
    disk.fails = OSError(errno.EIO, "Input/output error")
    log.append(b"x")
    told: list[StoreError] = []

    def wait() -> None:
        try:
            log.sync()
        except StoreError as error:
            told.append(error)

    waiting = in_threads(*[wait] * 10)
    disk.gate.set()
    join(waiting)
    assert len(told) == 10
    assert disk.syncs == 1
    with pytest.raises(StoreError):
        log.close()


def test_above_the_limit_a_writer_waits_or_is_refused(log: EventLog, disk: Disk) -> None:
    log.throttle(100)
    log.append(b"x" * 200)
    with pytest.raises(StoreBusy, match="bytes wait for the disk, the limit is 100"):
        log.throttle(100, block=False)
    log.throttle(1000, block=False)
    assert disk.syncs == 0
    log.throttle(100)
    assert disk.syncs == 1
    log.throttle(100, block=False)
    log.close()


def test_near_the_end_of_a_segment_a_waiting_writer_syncs_earlier(tmp_path: Path, disk: Disk) -> None:
    log = opened(tmp_path, segment_bytes=2**22)
    while disk.syncs == 0:
        log.append(bytes(50_000))
        log.throttle()
    assert 2**20 < 2**22 - log.append(b"") % 2**40 < 2**21
    log.close()


def test_the_lock_given_is_taken_to_close(tmp_path: Path) -> None:
    """So that nobody is inside `append` when the map goes."""
    lock = threading.Lock()
    log = opened(tmp_path, lock=lock)
    with lock:
        log.append(b"x")
        closing = in_threads(log.close)
        time.sleep(0.05)
        assert closing[0].is_alive()
        log.append(b"y")
    join(closing)
    assert [payload for _, payload in EventLog(tmp_path).recover()] == [b"x", b"y"]


class Crowd:
    """Threads that use one log until it is closed, and what was acknowledged to them."""

    def __init__(self, directory: Path) -> None:
        self.lock = threading.Lock()
        self.log = opened(directory, lock=self.lock, segment_bytes=200_000)
        self.acknowledged: list[list[tuple[int, bytes]]] = [[(self.log.append(b"first"), b"first")], [], [], []]
        self.errors: list[BaseException] = []

    def until_closed(self, step: Callable[[], None]) -> None:
        try:
            while True:
                step()
        except ClosedError:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is fails the test in the main thread
            self.errors.append(error)

    def append(self, which: int, rng: random.Random) -> None:
        mine = self.acknowledged[which]
        payload = b"%d %d " % (which, len(mine)) + b"x" * rng.randrange(600)
        with self.lock:
            mine.append((self.log.append(payload), payload))
            if which == 0 and len(mine) % 300 == 0:
                self.log.rotate()
        if len(mine) % 50 == which:
            self.log.sync(mine[-1][0])
        if len(mine) % 10 == 0:
            for place, expected in (mine[-1], rng.choice(mine)):
                assert self.log.read(place) == expected

    def sync(self) -> None:
        self.log.throttle(5000)
        self.log.sync()
        place, payload = self.acknowledged[0][0]
        assert self.log.read(place) == payload


@pytest.mark.parametrize("way", ["mapped", "written"])
def test_threads_that_append_sync_read_rotate_and_close_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "written":
        monkeypatch.setattr(_system, "writes_in_place", lambda _: False)
    crowd = Crowd(tmp_path)
    appending = [partial(crowd.append, which, random.Random(which)) for which in range(4)]
    steps: list[Callable[[], None]] = [*appending, crowd.sync, crowd.sync]
    threads = in_threads(*(partial(crowd.until_closed, step) for step in steps))
    deadline = time.monotonic() + 30
    while min(map(len, crowd.acknowledged)) < 1500 and not crowd.errors:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    crowd.log.close()
    join(threads)
    assert crowd.errors == []
    again = EventLog(tmp_path)
    found = list(again.recover())
    assert again.recovery.torn_bytes == 0
    again.close()
    assert found == sorted(chain.from_iterable(crowd.acknowledged))
