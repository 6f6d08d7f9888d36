"""The event log on disk: what was appended comes back, or what is missing is said; never anything else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul import _system
from propagul.errors import ClosedError, LimitExceeded, LocalProtocolError, StoreCorrupt, StoreError
from propagul.log import records, segment
from propagul.log.event_log import EventLog
from propagul.log.place import number_of, offset_of, place_of
from propagul.log.recovery import scan_directory
from propagul.log.writer import FIRST_WINDOW_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.log.place import Place

LONG = os.environ.get("LONG_TESTS") == "1"
BOOT, OTHER_BOOT = "this boot", "another boot"
PAYLOADS = [b"first", b"x" * 70, bytes(9), b"", records.encode(b"a record inside a payload", 0, 1)[:-1], b"last"]
SEALED = 2
"""How many of the payloads stand below the first seal in `unclosed`."""


@pytest.fixture(autouse=True)
def instant_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests tear bytes and not the disk, thousands of times; `test_disk_faults` and `test_sync` sync."""
    for sync in ("sync_contents", "sync_file", "sync_directory"):
        monkeypatch.setattr(_system, sync, lambda _: None)


def opened(directory: Path, *, boot: str | None = BOOT, segment_bytes: int = 2**20) -> tuple[EventLog, list[bytes]]:
    log = EventLog(directory, boot_id=boot, segment_bytes=segment_bytes, window_bytes=8192)
    return log, [payload for _, payload in log.recover()]


def written(directory: Path, payloads: list[bytes], *, segment_bytes: int = 2**20) -> list[Place]:
    log, _ = opened(directory, segment_bytes=segment_bytes)
    places = [log.append(payload) for payload in payloads]
    log.close()
    return places


def recovered(directory: Path, *, boot: str | None = BOOT) -> list[bytes]:
    log, payloads = opened(directory, boot=boot)
    log.close()
    return payloads


def unclosed(directory: Path) -> tuple[bytes, list[int]]:
    """What a process that was killed leaves of `PAYLOADS`, without the zeros, and where each record ends.

    Two were synced, and the seal that says so stands before the third.
    """
    log, _ = opened(directory)
    places = [log.append(payload) for payload in PAYLOADS[:SEALED]]
    log.sync()
    places += [log.append(payload) for payload in PAYLOADS[SEALED:]]
    left = (directory / "00000001.log").read_bytes()
    ends = [offset_of(place) + 12 + len(payload) for place, payload in zip(places, PAYLOADS, strict=True)]
    log.close()
    return left[: ends[-1]], ends


def placed(directory: Path, content: bytes) -> Path:
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    path = directory / "00000001.log"
    path.write_bytes(content)
    return path


def test_what_was_appended_comes_back_in_order_with_its_places(tmp_path: Path) -> None:
    places = written(tmp_path, PAYLOADS)
    log = EventLog(tmp_path)
    assert list(log.recover()) == list(zip(places, PAYLOADS, strict=True))
    assert places == sorted(set(places))
    log.close()


def test_a_recovered_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for payload in PAYLOADS:
        written(tmp_path, [payload])
    log, payloads = opened(tmp_path)
    assert payloads == PAYLOADS
    assert (log.recovery.records, log.recovery.torn_bytes, log.recovery.torn_copy) == (len(PAYLOADS), 0, None)
    log.close()


@pytest.mark.parametrize("way", ["mapped", "written"])
@given(payloads=st.lists(st.binary(max_size=300), max_size=12), segment_bytes=st.integers(8, 900))
def test_segments_of_any_size_hold_the_same_log(
    tmp_path_factory: pytest.TempPathFactory, way: str, payloads: list[bytes], segment_bytes: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    with pytest.MonkeyPatch.context() as patch:
        if way == "written":
            patch.setattr(_system, "writes_in_place", lambda _: False)
        places = written(directory, payloads, segment_bytes=segment_bytes)
    log, found = opened(directory)
    assert found == payloads
    assert [log.read(place) for place in places] == payloads
    log.close()
    for path in directory.glob("*.log"):
        ends = path.stat().st_size - records.SEAL_BYTES <= max(segment_bytes, records.HEADER_BYTES)
        assert ends or sum(number_of(place) == int(path.stem) for place in places) == 1


@pytest.mark.parametrize("way", ["mapped", "written"])
def test_records_of_every_size_around_a_window_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    rng = random.Random(7)
    if way == "written":
        monkeypatch.setattr(_system, "writes_in_place", lambda _: False)
    elif not _system.writes_in_place(tmp_path):
        pytest.skip("this file system is not mapped")
    sizes = [0, 1, 4096, 8179, 8180, 8181, FIRST_WINDOW_BYTES, 3_000_000, *(rng.randrange(9000) for _ in range(400))]
    payloads = [rng.randbytes(size) for size in sizes]
    log, _ = opened(tmp_path, segment_bytes=2**26)
    places = [log.append(payload) for payload in payloads]
    log.sync()
    order = list(range(len(payloads)))
    rng.shuffle(order)
    assert all(log.read(places[index]) == payloads[index] for index in order)
    log.close()
    assert recovered(tmp_path) == payloads


def test_a_tiny_log_stays_tiny(tmp_path: Path) -> None:
    log, _ = opened(tmp_path)
    log.append(b"x")
    path = tmp_path / "00000001.log"
    assert path.stat().st_size <= FIRST_WINDOW_BYTES
    log.close()
    assert path.stat().st_size == records.HEADER_BYTES + 13 + records.SEAL_BYTES


def test_opening_and_closing_writes_nothing(tmp_path: Path) -> None:
    recovered(tmp_path)
    assert list(tmp_path.iterdir()) == []
    written(tmp_path, PAYLOADS)
    before = (tmp_path / "00000001.log").read_bytes()
    recovered(tmp_path)
    assert (tmp_path / "00000001.log").read_bytes() == before


# --- damage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boot", [BOOT, OTHER_BOOT, None])
def test_a_log_cut_at_any_byte_gives_back_a_prefix_and_keeps_the_cut_bytes(tmp_path: Path, boot: str | None) -> None:
    whole, ends = unclosed(tmp_path)
    for cut in range(records.HEADER_BYTES, len(whole)):
        placed(tmp_path / "cut", whole[:cut])
        log, payloads = opened(tmp_path / "cut", boot=boot)
        complete = sum(end <= cut for end in ends)
        assert payloads == PAYLOADS[:complete]
        kept_from = ends[complete - 1] if complete else records.HEADER_BYTES
        if complete == SEALED and cut >= kept_from + records.SEAL_BYTES:
            kept_from += records.SEAL_BYTES
        torn = whole[kept_from:cut].rstrip(b"\0")
        assert log.recovery.torn_bytes == len(torn)
        if torn:
            assert log.recovery.torn_copy is not None
            assert log.recovery.torn_copy.read_bytes() == torn
        log.append(b"after the crash")
        log.close()
        assert recovered(tmp_path / "cut", boot=boot) == [*PAYLOADS[:complete], b"after the crash"]


def test_a_log_cut_in_its_first_bytes_is_damaged(tmp_path: Path) -> None:
    """A segment appears with its header or not at all, so no crash explains this."""
    whole, _ = unclosed(tmp_path)
    for cut in range(records.HEADER_BYTES):
        placed(tmp_path / "cut", whole[:cut])
        with pytest.raises(StoreCorrupt, match="first 64 bytes"):
            recovered(tmp_path / "cut")


def flips(whole: bytes) -> list[tuple[int, bytes]]:
    return [
        (at, whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        for at in range(len(whole))
        for bit in range(8)
    ]


def test_no_bit_flipped_in_this_boot_is_ever_read(tmp_path: Path) -> None:
    """In the last record it looks like a torn tail and is cut; anywhere else the log refuses to open."""
    whole, ends = unclosed(tmp_path)
    for at, damaged in flips(whole):
        placed(tmp_path / "flip", damaged + bytes(100))
        if at < ends[-2]:
            with pytest.raises(StoreCorrupt, match=r"00000001\.log"):
                recovered(tmp_path / "flip")
        else:
            assert recovered(tmp_path / "flip") == PAYLOADS[:-1]


def test_a_bit_flipped_below_a_seal_is_found_in_any_boot_and_above_it_a_prefix_is_left(tmp_path: Path) -> None:
    whole, ends = unclosed(tmp_path)
    for at, damaged in flips(whole):
        placed(tmp_path / "flip", damaged)
        if at < ends[SEALED - 1]:
            with pytest.raises(StoreCorrupt, match=r"00000001\.log"):
                recovered(tmp_path / "flip", boot=OTHER_BOOT)
        else:
            assert recovered(tmp_path / "flip", boot=OTHER_BOOT) == PAYLOADS[: sum(end <= at for end in ends)]


def test_every_bit_of_a_closed_log_counts(tmp_path: Path) -> None:
    """A clean close seals all of it. Only the seal itself can go unnoticed, and it is no payload."""
    written(tmp_path, PAYLOADS)
    whole = (tmp_path / "00000001.log").read_bytes()
    for at, damaged in flips(whole):
        placed(tmp_path / "flip", damaged)
        if at < len(whole) - records.SEAL_BYTES:
            with pytest.raises(StoreCorrupt, match=r"00000001\.log"):
                recovered(tmp_path / "flip", boot=OTHER_BOOT)
        else:
            assert recovered(tmp_path / "flip", boot=OTHER_BOOT) == PAYLOADS


def test_a_hole_is_damage_in_the_same_boot_and_a_torn_tail_after_another(tmp_path: Path) -> None:
    """A page that a power cut lost: zeros, with sound records behind them."""
    whole, ends = unclosed(tmp_path)
    hole = whole[: ends[3] + 3] + bytes(20) + whole[ends[3] + 23 :]
    placed(tmp_path / "hole", hole)
    with pytest.raises(StoreCorrupt, match="records behind it were not trusted"):
        recovered(tmp_path / "hole")
    log, payloads = opened(tmp_path / "hole", boot=OTHER_BOOT)
    assert payloads == PAYLOADS[:4]
    assert log.recovery.torn_copy is not None
    assert log.recovery.torn_copy.read_bytes() == hole[ends[3] :]
    log.append(b"goes on")
    log.close()
    assert recovered(tmp_path / "hole") == [*PAYLOADS[:4], b"goes on"]


@pytest.mark.parametrize("chunk", [12, 13, 14, 15, 16, 36, 100])
def test_damage_is_judged_the_same_however_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Marks of sound records may lie across what two reads bring."""
    whole, ends = unclosed(tmp_path)
    monkeypatch.setattr(segment, "CHUNK_BYTES", chunk)
    begins = ends[SEALED - 1] + records.SEAL_BYTES
    for end in range(begins + 1, ends[-2] + 1):
        placed(tmp_path / "hole", whole[:begins] + bytes(end - begins) + whole[end:])
        with pytest.raises(StoreCorrupt, match="records behind it were not trusted"):
            recovered(tmp_path / "hole")
    placed(tmp_path / "hole", whole[: ends[0] - 9] + bytes(9) + whole[ends[0] :])
    with pytest.raises(StoreCorrupt, match="records behind it were not trusted"):
        recovered(tmp_path / "hole", boot=OTHER_BOOT)
    placed(tmp_path / "hole", whole)
    assert recovered(tmp_path / "hole") == PAYLOADS


def test_what_a_second_boot_appended_is_guarded_by_that_boot(tmp_path: Path) -> None:
    """The segment was begun in another boot; a hole in what this one appended is damage, though nothing was synced."""
    written(tmp_path, PAYLOADS)
    log, _ = opened(tmp_path, boot=OTHER_BOOT)
    places = [log.append(b"number %d" % number) for number in range(3)]
    left = (tmp_path / "00000001.log").read_bytes()
    log.close()
    damaged = bytearray(left)
    damaged[offset_of(places[1]) + 14] ^= 1
    placed(tmp_path / "hole", bytes(damaged))
    with pytest.raises(StoreCorrupt, match=f"byte {offset_of(places[1])}"):
        recovered(tmp_path / "hole", boot=OTHER_BOOT)
    assert recovered(tmp_path / "hole", boot="a third one") == [*PAYLOADS, b"number 0"]


def test_a_torn_tail_of_many_megabytes_is_cut_in_no_time(tmp_path: Path) -> None:
    """A stream cut off by a crash is large and may look like lengths throughout."""
    whole, _ = unclosed(tmp_path)
    header = records.decode_header(whole[: records.HEADER_BYTES])
    assert header is not None
    huge = records.encode(b"\x00\x00\x10\x00" * 4_000_000, len(whole), header.seed)[:-1]
    placed(tmp_path / "torn", whole + huge)
    began = time.process_time()
    log, payloads = opened(tmp_path / "torn")
    assert time.process_time() - began < 2.0
    assert payloads == PAYLOADS
    assert log.recovery.torn_bytes == len(huge)
    log.close()


def test_a_value_that_quotes_the_log_cannot_pass_for_a_record(tmp_path: Path) -> None:
    """A torn record whose payload holds this very segment, sound records and all, is a torn tail."""
    whole, _ = unclosed(tmp_path)
    header = records.decode_header(whole[: records.HEADER_BYTES])
    assert header is not None
    placed(tmp_path / "torn", whole + records.encode(whole * 20, len(whole), header.seed)[:-1])
    log, payloads = opened(tmp_path / "torn")
    assert payloads == PAYLOADS
    assert log.recovery.torn_bytes > len(whole) * 20
    log.close()


def test_a_tail_torn_off_an_earlier_segment_is_damage_wherever_it_is_cut(tmp_path: Path) -> None:
    written(tmp_path, [b"x" * 50] * 3, segment_bytes=40)
    first = min(tmp_path.glob("*.log"))
    whole = first.read_bytes()
    for cut in range(len(whole)):
        first.write_bytes(whole[:cut])
        with pytest.raises(StoreCorrupt, match=r"00000001\.log"):
            recovered(tmp_path, boot=OTHER_BOOT)


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    written(tmp_path, [b"x" * 50] * 4, segment_bytes=40)
    (tmp_path / "00000002.log").rename(tmp_path / "aside")
    with pytest.raises(StoreCorrupt, match=r"00000002\.log is gone"):
        recovered(tmp_path)
    (tmp_path / "aside").rename(tmp_path / "00000002.log")
    (tmp_path / "00000001.log").unlink()
    with pytest.raises(StoreCorrupt, match=r"00000001\.log is gone"):
        recovered(tmp_path)


def test_a_segment_of_another_log_or_another_number_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    written(tmp_path / "a", [b"a" * 50] * 2, segment_bytes=40)
    written(tmp_path / "b", [b"b" * 50] * 2, segment_bytes=40)
    second = tmp_path / "a" / "00000002.log"
    second.write_bytes((tmp_path / "b" / "00000002.log").read_bytes())
    with pytest.raises(StoreCorrupt, match="belongs to another log"):
        recovered(tmp_path / "a")
    second.write_bytes((tmp_path / "a" / "00000001.log").read_bytes())
    with pytest.raises(StoreCorrupt, match="is segment 1 under another name"):
        recovered(tmp_path / "a")


def test_a_newer_format_is_named_and_left_alone(tmp_path: Path) -> None:
    written(tmp_path, PAYLOADS)
    path = tmp_path / "00000001.log"
    newer = path.read_bytes()[:7] + b"\x03 and something else, " + bytes(64)
    path.write_bytes(newer)
    with pytest.raises(StoreError, match=f"has format 3; this version reads format {records.FORMAT}") as caught:
        recovered(tmp_path)
    assert not isinstance(caught.value, StoreCorrupt)
    assert path.read_bytes() == newer


def test_files_of_others_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.log").write_text("mine")
    written(tmp_path, PAYLOADS)
    assert recovered(tmp_path) == PAYLOADS


# --- reading by place --------------------------------------------------------------------------------------------


def test_a_place_gives_its_payload_back_from_every_segment_also_while_it_is_written(tmp_path: Path) -> None:
    log, _ = opened(tmp_path, segment_bytes=600)
    places: dict[Place, bytes] = {}
    for number in range(200):
        payload = str(number).encode() * (number % 20)
        places[log.append(payload)] = payload
        assert all(log.read(place) == places[place] for place in list(places)[:: number + 1])
    assert len({number_of(place) for place in places}) > 10
    assert all(log.read(place) == payload for place, payload in places.items())
    log.close()
    with pytest.raises(ClosedError):
        log.read(next(iter(places)))


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_reads_keep_few_files_open(tmp_path: Path) -> None:
    places = written(tmp_path, [b"x" * 50] * 40, segment_bytes=40)
    log, _ = opened(tmp_path)
    before = descriptors()
    assert {log.read(place) for place in places} == {b"x" * 50}
    assert descriptors() - before <= 8
    log.close()


def test_a_damaged_or_wrong_place_is_never_read(tmp_path: Path) -> None:
    places = written(tmp_path, PAYLOADS)
    path = tmp_path / "00000001.log"
    whole = path.read_bytes()
    log, _ = opened(tmp_path)
    for offset in set(range(len(whole) + 20)) - {offset_of(place) for place in places}:
        with pytest.raises(StoreCorrupt, match="no sound record"):
            log.read(place_of(1, offset))
    with pytest.raises(StoreError, match=r"00000009\.log was dropped"):
        log.read(place_of(9, 64))
    with pytest.raises(StoreError, match="in a snapshot"):
        log.read(place_of(1, 64, snapshot=True))
    for at in range(offset_of(places[1]), offset_of(places[2])):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(StoreCorrupt, match=f"00000001.log holds no sound record at byte {offset_of(places[1])}"):
            log.read(places[1])
    path.write_bytes(whole)
    log.close()


# --- rotating, dropping, following -------------------------------------------------------------------------------


def test_what_was_appended_before_a_rotation_stands_in_lower_segments(tmp_path: Path) -> None:
    log, _ = opened(tmp_path)
    before = [log.append(payload) for payload in PAYLOADS]
    number = log.rotate()
    assert log.rotate() == number
    assert log.pending_bytes == 0
    after = log.append(b"after")
    assert {number_of(place) for place in before} == {number - 1}
    assert number_of(after) == number
    log.drop_before(number)
    assert log.read(after) == b"after"
    with pytest.raises(StoreError, match=r"00000001\.log was dropped; a snapshot took its place"):
        log.read(before[0])
    log.drop_before(99)
    log.close()
    again = EventLog(tmp_path)
    assert [payload for _, payload in again.recover(first=number)] == [b"after"]
    again.close()
    with pytest.raises(StoreCorrupt, match=r"00000001\.log is gone"):
        recovered(tmp_path)


def test_recovery_begins_where_the_snapshot_ends_and_removes_what_is_older(tmp_path: Path) -> None:
    written(tmp_path, [b"%d" % number * 50 for number in range(5)], segment_bytes=40)
    log = EventLog(tmp_path, segment_bytes=40)
    assert [payload[:1] for _, payload in log.recover(first=3)] == [b"2", b"3", b"4"]
    assert sorted(path.name for path in tmp_path.glob("*.log")) == [f"0000000{n}.log" for n in (3, 4, 5)]
    assert number_of(log.append(b"y" * 50)) == 6
    log.close()


def test_an_empty_segment_after_a_rotation_is_found_again(tmp_path: Path) -> None:
    log, _ = opened(tmp_path)
    log.append(b"x")
    number = log.rotate()
    log.close()
    again = EventLog(tmp_path, boot_id=BOOT)
    assert list(again.recover(first=number)) == []
    assert number_of(again.append(b"y")) == number
    again.close()
    (tmp_path / f"{number:08}.log").unlink()
    with pytest.raises(StoreCorrupt, match="is gone"):
        list(EventLog(tmp_path).recover(first=number))


FOLLOWED = """
import sys
from pathlib import Path
from propagul.log.event_log import EventLog
log = EventLog(Path(sys.argv[1]), segment_bytes=100_000, window_bytes=8192)
list(log.recover())
for number in range(int(sys.argv[2])):
    log.append(b"%d " % number + b"x" * (number * 37 % 900))
print("done", flush=True)
sys.stdin.read()
"""


def test_a_reader_beside_the_writer_sees_a_prefix_that_grows(tmp_path: Path) -> None:
    total, seen = 20_000, 0
    command = [sys.executable, "-c", FOLLOWED, str(tmp_path), str(total)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            scans = 0
            while seen < total:
                assert time.monotonic() < deadline
                numbers = [int(payload.split()[0]) for _, payload in scan_directory(tmp_path)]
                assert numbers == list(range(len(numbers)))
                assert len(numbers) >= seen
                seen, scans = len(numbers), scans + 1
        finally:
            process.kill()
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    list(scan_directory(tmp_path))
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_a_reader_of_dropped_segments_is_sent_to_the_snapshot(tmp_path: Path) -> None:
    assert list(scan_directory(tmp_path)) == []
    places = written(tmp_path, [b"x" * 50] * 3, segment_bytes=40)
    assert [place for place, _ in scan_directory(tmp_path, first=2)] == places[1:]
    (tmp_path / "00000001.log").unlink()
    with pytest.raises(StoreError, match="begin again with the newer snapshot"):
        list(scan_directory(tmp_path))


# --- use and misuse ----------------------------------------------------------------------------------------------


def test_a_log_that_was_not_recovered_or_is_closed_takes_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    with pytest.raises(LocalProtocolError, match="recover"):
        log.append(b"early")
    list(log.recover())
    log.append(b"kept")
    log.close()
    log.close()
    log.sync()
    uses: list[Callable[[], object]] = [lambda: log.append(b"late"), log.rotate]
    for late in uses:
        with pytest.raises(ClosedError):
            late()
    assert recovered(tmp_path) == [b"kept"]


def test_a_record_over_the_limit_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RECORD_BYTES_MAX", 10)
    log, _ = opened(tmp_path)
    with pytest.raises(LimitExceeded, match="one log record has 11 bytes, the limit is 10"):
        log.append(b"x" * 11)
    log.close()
    assert recovered(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_segment_that_cannot_be_begun_leaves_the_old_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor is left for the new segment (a map would give one back); later there is."""
    import resource

    monkeypatch.setattr(_system, "writes_in_place", lambda _: False)
    log, _ = opened(tmp_path, segment_bytes=40)
    log.append(b"x" * 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            log.append(b"lost, and said so")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    log.append(b"y" * 50)
    log.close()
    assert recovered(tmp_path) == [b"x" * 50, b"y" * 50]


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="nothing forks here")
def test_a_forked_child_cannot_write_its_parents_log(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from propagul.errors import ClosedError
from propagul.log.event_log import EventLog
log = EventLog(Path(sys.argv[1]))
list(log.recover())
log.append(b"parent")
if os.fork() == 0:
    for use in (lambda: log.append(b"child"), log.rotate, lambda: log.read(1 << 40 | 64)):
        try:
            use()
        except ClosedError as error:
            print("refused:", error, flush=True)
    log.close()
    os._exit(0)
os.wait()
log.append(b"parent again")
log.close()
"""
    child = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert child.stdout.count("refused: the event log was opened before a fork") == 3
    assert recovered(tmp_path) == [b"parent", b"parent again"]


# --- kill -9 -----------------------------------------------------------------------------------------------------

KILLED = """
import os, sys, threading
from pathlib import Path
from propagul import _system
from propagul.log.event_log import EventLog
log = EventLog(Path(sys.argv[1]), boot_id=_system.boot_id(), segment_bytes=100_000, window_bytes=8192)
number = sum(1 for _ in log.recover())
acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def syncing():
    while True:
        log.sync()
threading.Thread(target=syncing, daemon=True).start()
while True:
    log.append(b"%d " % number + b"x" * (number * 7919 % 3000))
    os.write(acknowledged, b"%d\\n" % number)
    number += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
def test_every_acknowledged_append_survives_kill_9(tmp_path: Path) -> None:
    directory, acknowledged = tmp_path / "log", tmp_path / "acknowledged"
    directory.mkdir()
    acknowledged.touch()
    rng = random.Random(3)
    for _ in range(200 if LONG else 10):
        size = acknowledged.stat().st_size
        with subprocess.Popen([sys.executable, "-c", KILLED, str(directory), str(acknowledged)]) as process:
            deadline = time.monotonic() + 30
            wanted = size + rng.randrange(1, 1500)
            while acknowledged.stat().st_size < wanted:
                assert process.poll() is None
                assert time.monotonic() < deadline
            process.kill()
        last = int(acknowledged.read_bytes().split()[-1])
        log = EventLog(directory, boot_id=_system.boot_id())
        payloads = [payload for _, payload in log.recover()]
        assert [int(payload.split()[0]) for payload in payloads] == list(range(len(payloads)))
        assert len(payloads) in {last + 1, last + 2}
        log.close()
        with acknowledged.open("a") as file:  # what was appended and not yet noted
            file.writelines(f"{number}\n" for number in range(last + 1, len(payloads)))
