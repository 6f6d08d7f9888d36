"""The event log on disk: what was appended comes back, or what is missing is said; never anything else."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.errors import ClosedError, LimitExceeded, StoreCorrupt, StoreError
from propagul.log import EventLog, records

if TYPE_CHECKING:
    from pathlib import Path

PAYLOADS = [b"first", b"x" * 70, bytes(9), records.encode(b"a record inside a payload", 0)[:-1], b"last"]


def opened(directory: Path, *, segment_bytes: int = 2**20) -> tuple[EventLog, list[bytes]]:
    log = EventLog(directory, segment_bytes=segment_bytes)
    return log, list(log.recover())


def written(directory: Path, payloads: list[bytes], *, segment_bytes: int = 2**20) -> None:
    log, _ = opened(directory, segment_bytes=segment_bytes)
    for payload in payloads:
        log.append(payload)
    log.close()


def recovered(directory: Path) -> list[bytes]:
    log, payloads = opened(directory)
    log.close()
    return payloads


def test_what_was_appended_comes_back_in_order(tmp_path: Path) -> None:
    written(tmp_path, PAYLOADS)
    assert recovered(tmp_path) == PAYLOADS


def test_a_recovered_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for payload in PAYLOADS:
        written(tmp_path, [payload])
    log, payloads = opened(tmp_path)
    assert payloads == PAYLOADS
    assert (log.recovery.records, log.recovery.torn_bytes, log.recovery.torn_copy) == (len(PAYLOADS), 0, None)
    log.close()


@given(payloads=st.lists(st.binary(min_size=1, max_size=200), max_size=12), segment_bytes=st.integers(8, 600))
def test_segments_of_any_size_hold_the_same_log(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], segment_bytes: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    written(directory, payloads, segment_bytes=segment_bytes)
    assert recovered(directory) == payloads
    assert all(path.stat().st_size < segment_bytes + 220 for path in directory.glob("*.log"))


def test_a_log_cut_at_any_byte_gives_back_a_prefix_and_keeps_the_cut_bytes(tmp_path: Path) -> None:
    written(tmp_path, PAYLOADS)
    whole = (tmp_path / "00000001.log").read_bytes()
    ends = [records.HEADER_BYTES]
    for payload in PAYLOADS:
        ends.append(ends[-1] + len(records.encode(payload, 0)))
    for cut in range(len(whole)):
        directory = tmp_path / f"cut{cut}"
        directory.mkdir()
        (directory / "00000001.log").write_bytes(whole[:cut])
        log, payloads = opened(directory)
        complete = max(sum(end <= cut for end in ends) - 1, 0)
        assert payloads == PAYLOADS[:complete]
        kept_from = ends[complete] if cut >= ends[0] else 0
        assert log.recovery.torn_bytes == cut - kept_from
        if cut > kept_from:
            assert log.recovery.torn_copy is not None
            assert log.recovery.torn_copy.read_bytes() == whole[kept_from:cut]
        log.append(b"after the crash")
        log.close()
        assert recovered(directory) == [*PAYLOADS[:complete], b"after the crash"]


def test_no_flipped_bit_is_ever_read(tmp_path: Path) -> None:
    """Damage in the last record looks like a torn tail and is cut; anywhere else the log refuses to open."""
    written(tmp_path, PAYLOADS)
    path = tmp_path / "00000001.log"
    whole = path.read_bytes()
    last_begins = len(whole) - len(records.encode(PAYLOADS[-1], 0))
    for at in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            log = EventLog(tmp_path)
            if at < last_begins:
                with pytest.raises(StoreCorrupt, match=r"00000001\.log"):
                    list(log.recover())
            else:
                assert list(log.recover()) == PAYLOADS[:-1]
                assert log.recovery.torn_bytes == len(whole) - last_begins
                log.close()


def test_a_torn_tail_of_many_megabytes_is_cut_in_no_time(tmp_path: Path) -> None:
    """A stream cut off by a crash is large and may look like lengths throughout."""
    written(tmp_path, PAYLOADS)
    path = tmp_path / "00000001.log"
    huge = records.encode(b"\x00\x00\x10\x00" * 4_000_000, 0)[:-1]
    with path.open("ab") as file:
        file.write(huge)
    began = time.process_time()
    log, payloads = opened(tmp_path)
    assert time.process_time() - began < 2.0
    assert payloads == PAYLOADS
    assert log.recovery.torn_bytes == len(huge)
    log.close()


def test_damage_is_found_though_a_torn_tail_follows_it(tmp_path: Path) -> None:
    written(tmp_path, PAYLOADS)
    path = tmp_path / "00000001.log"
    whole = bytearray(path.read_bytes())
    whole[records.HEADER_BYTES + 14] ^= 1
    path.write_bytes(whole[:-2])
    with pytest.raises(StoreCorrupt, match="byte 16"):
        list(EventLog(tmp_path).recover())


def test_a_tail_torn_off_an_earlier_segment_is_damage(tmp_path: Path) -> None:
    written(tmp_path, PAYLOADS, segment_bytes=40)
    first = min(tmp_path.glob("*.log"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match=r"00000001\.log"):
        list(EventLog(tmp_path).recover())


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    written(tmp_path, [b"x" * 50] * 4, segment_bytes=40)
    (tmp_path / "00000002.log").unlink()
    with pytest.raises(StoreCorrupt, match=r"between 00000001\.log and 00000003\.log"):
        list(EventLog(tmp_path).recover())


def test_an_empty_segment_with_others_behind_it_is_damage(tmp_path: Path) -> None:
    written(tmp_path, [b"x" * 50] * 4, segment_bytes=40)
    (tmp_path / "00000002.log").write_bytes(b"")
    with pytest.raises(StoreCorrupt, match="empty"):
        list(EventLog(tmp_path).recover())


def test_files_of_others_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.log").write_text("mine")
    written(tmp_path, PAYLOADS)
    assert recovered(tmp_path) == PAYLOADS


def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    log, _ = opened(tmp_path)
    log.close()
    log.close()
    with pytest.raises(ClosedError):
        log.append(b"late")


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
def test_a_segment_that_cannot_be_begun_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    """No descriptor is left for the new segment; later there is."""
    import resource

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


def test_a_value_that_looks_like_a_record_cannot_pass_for_one(tmp_path: Path) -> None:
    """A torn record whose payload holds records for every simple seed is a torn tail, not damage in the middle."""
    written(tmp_path, PAYLOADS)
    path = tmp_path / "00000001.log"
    decoys = b"".join(records.encode(b"decoy", seed) for seed in range(1000))
    seed = records.seed_of(path.read_bytes()[: records.HEADER_BYTES])
    assert seed is not None
    with path.open("ab") as file:
        file.write(records.encode(decoys, seed)[:-1])
    log, payloads = opened(tmp_path)
    assert payloads == PAYLOADS
    assert log.recovery.torn_bytes > len(decoys)
    log.close()
