"""A snapshot is read back exactly as it was written, or not at all; and it is there whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from propagul import _system
from propagul.errors import ClosedError, LimitExceeded, LocalProtocolError, StoreCorrupt, StoreError, StoreFull
from propagul.log import blocks
from propagul.log import snapshot as snapshots
from propagul.log.place import NUMBER_MAX, OFFSET_MAX, SNAPSHOT_BIT, in_snapshot, number_of, offset_of, place_of
from propagul.log.snapshot import SnapshotWriter, drop_snapshots_before, newest_snapshot, verify
from propagul.log.snapshot_reader import SnapshotReader, read_snapshot, snapshot_path
from tests.log.processes import Nursery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.log.place import Place

SMALL = (b"first", b"", b"third block")


def write(directory: Path, number: int, payloads: tuple[bytes, ...] = SMALL) -> list[Place]:
    with SnapshotWriter(directory, number) as writer:
        places = [writer.write(payload) for payload in payloads]
        writer.commit()
    return places


def content(directory: Path, number: int) -> tuple[bytes, ...]:
    return tuple(payload for _, payload in read_snapshot(snapshot_path(directory, number)))


def segments(directory: Path, *numbers: int) -> None:
    for number in numbers:
        (directory / f"{number:08}.log").touch()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


# --- places ------------------------------------------------------------------------------------------------------


def test_a_place_tells_its_file_and_its_offset() -> None:
    for number, offset, snapshot in itertools.product((0, 1, NUMBER_MAX), (0, 1, OFFSET_MAX), (False, True)):
        place = place_of(number, offset, snapshot=snapshot)
        assert (number_of(place), offset_of(place), in_snapshot(place)) == (number, offset, snapshot)
        assert 0 <= place < 1 << 64
        assert (place >= SNAPSHOT_BIT) == snapshot


# --- round trip --------------------------------------------------------------------------------------------------


def test_what_was_written_is_read_back_whole_and_block_by_block(tmp_path: Path) -> None:
    payloads = (b"small", b"", os.urandom(64 * 1024), os.urandom(3_000_001), b"\0" * 65_536, b"last")
    places = write(tmp_path, 7, payloads)
    assert newest_snapshot(tmp_path) == 7
    assert list(read_snapshot(snapshot_path(tmp_path, 7))) == list(zip(places, payloads, strict=True))
    assert {number_of(place) for place in places} == {7}
    reader = SnapshotReader(tmp_path)
    for place, payload in reversed(list(zip(places, payloads, strict=True))):
        assert reader.read_block(place) == payload
    reader.close()
    assert verify(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["00000007.snap"]


def test_a_snapshot_of_nothing_is_a_snapshot(tmp_path: Path) -> None:
    write(tmp_path, 2, ())
    assert newest_snapshot(tmp_path) == 2
    assert content(tmp_path, 2) == ()


def test_the_format_is_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes these bytes makes every snapshot out there unreadable: a new version number, then."""
    monkeypatch.setattr("secrets.token_bytes", lambda count: bytes(range(count)))
    write(tmp_path, 258, (b"abc",))
    assert snapshot_path(tmp_path, 258).read_bytes().hex(" ", 8) == FROZEN


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_snapshot_is_private_from_its_first_byte(tmp_path: Path) -> None:
    with SnapshotWriter(tmp_path, 2) as writer:
        assert [path.stat().st_mode & 0o077 for path in tmp_path.iterdir()] == [0]
        writer.commit()
    assert snapshot_path(tmp_path, 2).stat().st_mode & 0o077 == 0


# --- damage ------------------------------------------------------------------------------------------------------


def assert_exact_or_corrupt(directory: Path, damaged: bytes, places: list[Place]) -> None:
    """Every way of reading gives what was written or says that it cannot."""
    path = snapshot_path(directory, 2)
    with path.open("r+b") as file:  # in place, which costs a file system far less than anew
        file.write(damaged)
        file.truncate()
    got: list[bytes] = []
    with pytest.raises(StoreCorrupt, match=r"00000002\.snap"):
        got.extend(payload for _, payload in read_snapshot(path))
    assert tuple(got) == SMALL[: len(got)]
    assert len(verify(directory)) == 1
    reader = SnapshotReader(directory)
    for place, payload in zip(places, SMALL, strict=True):
        with contextlib.suppress(StoreCorrupt):
            assert reader.read_block(place) == payload
    reader.close()


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    places = write(tmp_path, 2)
    sound = snapshot_path(tmp_path, 2).read_bytes()
    for bit in range(len(sound) * 8):
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        assert_exact_or_corrupt(tmp_path, bytes(flipped), places)


def test_every_cut_and_everything_added_is_found(tmp_path: Path) -> None:
    places = write(tmp_path, 2)
    sound = snapshot_path(tmp_path, 2).read_bytes()
    for size in range(len(sound)):
        assert_exact_or_corrupt(tmp_path, sound[:size], places)
        assert_exact_or_corrupt(tmp_path, sound[:size].ljust(len(sound), b"\0"), places)
        assert_exact_or_corrupt(tmp_path, sound + sound[size:], places)
        with pytest.raises(StoreCorrupt, match="older state is not there"):
            newest_snapshot(tmp_path)


def test_blocks_that_change_places_or_come_from_elsewhere_are_found(tmp_path: Path) -> None:
    payloads = (b"one", b"two", b"six")
    write(tmp_path, 2, payloads)
    sound = snapshot_path(tmp_path, 2).read_bytes()
    size = blocks.HEAD_BYTES + 3
    head, rest = sound[: blocks.HEADER_BYTES], sound[blocks.HEADER_BYTES :]
    first, second, others = rest[:size], rest[size : 2 * size], rest[2 * size :]
    write(tmp_path, 3, payloads)
    foreign = snapshot_path(tmp_path, 3).read_bytes()
    stranger = foreign[blocks.HEADER_BYTES : blocks.HEADER_BYTES + size]
    forged = blocks.encode_head(b"ONE", 0, sound[16:32])[0] + b"ONE"
    for damaged, sound_blocks in (
        (head + second + first + others, 0),
        (head + first + first + others, 1),
        (head + second + others, 0),
        (head + stranger + second + others, 0),
        (head + first + second + foreign[blocks.HEADER_BYTES + 2 * size :], 0),
        (foreign, 0),
        (head + forged + second + others, 3),  # right in itself: only the hash of all hashes knows
    ):
        snapshot_path(tmp_path, 2).write_bytes(damaged)
        got: list[bytes] = []
        with pytest.raises(StoreCorrupt):
            got.extend(payload for _, payload in read_snapshot(snapshot_path(tmp_path, 2)))
        assert len(got) == sound_blocks


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory")
def test_a_damaged_length_makes_nobody_allocate(tmp_path: Path, nursery: Nursery) -> None:
    """A sparse file of 8 GiB whose first block claims 4 GiB, read by a process that may have 1 GiB more."""
    path = snapshot_path(tmp_path, 2)
    (place,) = write(tmp_path, 2, (b"x",))
    sound = path.read_bytes()
    snapshot_id = sound[16:32]
    end = blocks.Chain(snapshot_id).end_at(8 << 30)
    with path.open("r+b") as file:
        file.seek(blocks.HEADER_BYTES + 8)
        file.write(b"\xff\xff\xff\xf0")
        file.seek(end.offset)
        file.write(blocks.encode_end(end, snapshot_id))
    source = """
import resource
from pathlib import Path
from propagul.errors import StoreCorrupt
from propagul.log.snapshot_reader import SnapshotReader
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
try:
    SnapshotReader(Path(arguments[0])).read_block(int(arguments[1]))
except StoreCorrupt as error:
    say(error)
"""
    with nursery.processes(1, source, str(tmp_path), str(place)) as (process,):
        assert "is damaged at byte" in process.hear()


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    (first, *_) = write(tmp_path, 2)
    reader = SnapshotReader(tmp_path)
    for wrong in (first + 1, first - 1, place_of(2, 0, snapshot=True), place_of(2, 1 << 30, snapshot=True)):
        with pytest.raises(StoreCorrupt, match="damaged at byte"):
            reader.read_block(wrong)
    with pytest.raises(StoreCorrupt, match=r"00000009\.snap is gone"):
        reader.read_block(place_of(9, 48, snapshot=True))
    with pytest.raises(LocalProtocolError, match="in a segment"):
        reader.read_block(place_of(2, 48))
    reader.close()
    with pytest.raises(ClosedError):
        reader.read_block(first)


# --- which one is taken ------------------------------------------------------------------------------------------


def test_the_newest_snapshot_is_taken_and_older_ones_are_dropped_on_request(tmp_path: Path) -> None:
    assert newest_snapshot(tmp_path) is None
    for number in (2, 9, 10):
        write(tmp_path, number)
    assert newest_snapshot(tmp_path) == 10
    drop_snapshots_before(tmp_path, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["00000010.snap"]


@pytest.mark.parametrize(
    ("sound", "damaged", "logs", "taken"),
    [
        ([], [3], [1, 2, 3], None),
        ([2], [3], [2, 3], 2),
        ([2], [3, 4], [2, 3, 4], 2),
        ([4], [3], [4], 4),
    ],
)
@pytest.mark.parametrize("at", [-1, blocks.HEADER_BYTES + blocks.HEAD_BYTES], ids=["end", "middle"])
def test_a_damaged_snapshot_is_passed_over_for_an_older_state_that_is_whole(  # noqa: PLR0917 - a table of cases
    tmp_path: Path, sound: list[int], damaged: list[int], logs: list[int], taken: int | None, at: int
) -> None:
    lay_out(tmp_path, sound, damaged, logs, at)
    aside = [number for number in damaged if number > (taken or 0)]
    with heard() as errors:
        assert newest_snapshot(tmp_path) == taken
        assert newest_snapshot(tmp_path) == taken
    assert len(errors) == len(aside)
    assert all("damaged snapshot set aside as" in error for error in errors)
    assert len(list(tmp_path.glob("*.snap-damaged-*"))) == len(aside)
    assert sum("set aside" in fault for fault in verify(tmp_path)) == len(aside)


@pytest.mark.parametrize(
    ("sound", "damaged", "logs"),
    [([], [3], [2, 3]), ([2], [4], [2, 4]), ([], [2, 3], [2, 3]), ([2], [5], [3, 4, 5])],
)
@pytest.mark.parametrize("at", [-1, blocks.HEADER_BYTES + blocks.HEAD_BYTES], ids=["end", "middle"])
def test_a_damaged_snapshot_is_corruption_where_no_older_state_is_whole(
    tmp_path: Path, sound: list[int], damaged: list[int], logs: list[int], at: int
) -> None:
    lay_out(tmp_path, sound, damaged, logs, at)
    before = sorted(tmp_path.iterdir())
    newest = max(damaged)
    with pytest.raises(StoreCorrupt, match=rf"{newest:08}\.snap"):
        content(tmp_path, newest_snapshot(tmp_path) or 0)
    assert sorted(tmp_path.iterdir()) == before
    assert len(verify(tmp_path)) == len(damaged)


def lay_out(directory: Path, sound: list[int], damaged: list[int], logs: list[int], at: int) -> None:
    """Snapshots, sound and with one flipped bit, and segments."""
    for number in sound + damaged:
        write(directory, number)
    segments(directory, *logs)
    for number in damaged:
        spoilt = bytearray(snapshot_path(directory, number).read_bytes())
        spoilt[at] ^= 1
        snapshot_path(directory, number).write_bytes(spoilt)


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """What is logged as an error meanwhile."""
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]  # an ear
    logging.getLogger("propagul.log.snapshot").addHandler(handler)
    yield errors
    logging.getLogger("propagul.log.snapshot").removeHandler(handler)


# --- faults while it is written ----------------------------------------------------------------------------------


class Faults:
    """Counts what a writer asks of the system, and refuses the n-th."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
        self.done: list[str] = []
        self._refused = refused
        for owner, name in (
            (_system, "open_new"),
            (os, "write"),
            (_system, "sync_contents"),
            (_system, "move"),
            (_system, "sync_directory"),
        ):
            monkeypatch.setattr(owner, name, self._wrap(name, getattr(owner, name)))

    def _wrap(self, name: str, call):  # type: ignore[no-untyped-def]  # stands for five functions  # noqa: ANN001, ANN202
        def run(*arguments: object) -> object:
            self.done.append(name)
            if len(self.done) == self._refused:
                raise OSError(errno.ENOSPC if name == "write" else errno.EIO, "refused")
            return call(*arguments)

        return run


def test_a_refusal_at_any_step_leaves_the_old_state_and_no_leftover(tmp_path: Path) -> None:
    segments(tmp_path, 2, 3)
    write(tmp_path, 2, (b"old",))
    before = sorted(tmp_path.iterdir())
    for refused in itertools.count(1):
        with pytest.MonkeyPatch.context() as patched:
            faults = Faults(patched, refused)
            try:
                write(tmp_path, 3)
            except StoreError as error:
                refusal = error
            else:
                break
        assert isinstance(refusal, StoreFull) == (faults.done[-1] == "write")
        assert "00000003.snap cannot be written: " in str(refusal)
        assert sorted(tmp_path.iterdir()) == before
        assert newest_snapshot(tmp_path) == 2
    assert faults.done == ["open_new", *["write"] * 5, "sync_contents", "move", "sync_directory"]
    assert refused == len(faults.done) + 1
    assert content(tmp_path, 3) == SMALL


CRASHING = """
import os, sys
from pathlib import Path
from propagul import _system
from propagul.log.snapshot import SnapshotWriter

path, last = Path(arguments[0]), int(arguments[1])
calls = 0

def counted(call, half):
    def run(*given):
        global calls
        calls += 1
        if calls == last and half:
            call(given[0], given[1][: len(given[1]) // 2])
        if calls == last:
            os._exit(9)
        return call(*given)
    return run

for owner, name in ((os, "write"), (_system, "open_new"), (_system, "sync_contents"), (_system, "move"),
                    (_system, "sync_directory")):
    setattr(owner, name, counted(getattr(owner, name), name == "write"))
with SnapshotWriter(path, 3) as writer:
    for payload in (b"first", b"", b"third block"):
        writer.write(payload)
    writer.commit()
"""


def test_a_crash_at_any_step_leaves_the_old_state_or_the_new_one(nursery: Nursery, tmp_path: Path) -> None:
    found = []
    for last in itertools.count(1):
        directory = tmp_path / str(last)
        directory.mkdir()
        write(directory, 2, (b"old",))
        with nursery.processes(1, CRASHING, str(directory), str(last)) as (process,):
            code = process.wait()
        number = newest_snapshot(directory)
        assert number is not None
        found.append(number)
        assert content(directory, number) == (SMALL if number == 3 else (b"old",))
        assert not list(directory.glob("*unfinished*"))
        if code == 0:
            break
        assert code == 9
    assert found == [2] * 8 + [3] * 2


def test_nothing_gets_the_name_before_all_of_it_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(monkeypatch, 0)
    with SnapshotWriter(tmp_path, 2) as writer:
        writer.write(b"block")
        writer.write(b"block")
        writer.commit()
    assert faults.done[-4:] == ["write", "sync_contents", "move", "sync_directory"]
    assert faults.done.count("sync_contents") == 1


def test_a_long_one_is_synced_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SYNC_BYTES", 1000)
    faults = Faults(monkeypatch, 0)
    with SnapshotWriter(tmp_path, 2) as writer:
        for _ in range(50):
            writer.write(bytes(100))
        writer.commit()
        assert faults.done.count("sync_contents") == writer.size // 1000 + 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_real_limit_on_the_files_size_is_a_full_disk(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = SnapshotWriter(tmp_path, 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreFull, match=r"00000002\.snap cannot be written: no space left"):
            writer.write(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for use in (writer.commit, lambda: writer.write(b"")):
        with pytest.raises(ClosedError):
            use()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_that_was_not_committed_is_none(tmp_path: Path) -> None:
    with SnapshotWriter(tmp_path, 2) as writer:
        writer.write(b"block")
    assert list(tmp_path.iterdir()) == []
    writer = SnapshotWriter(tmp_path, 2)
    writer.write(b"block")
    writer._close()  # as a crash would
    assert [path.name for path in tmp_path.iterdir()] == ["00000002.snap-unfinished"]
    assert verify(tmp_path) == []
    assert newest_snapshot(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_number_is_used_once_and_within_its_bounds(tmp_path: Path) -> None:
    write(tmp_path, 2)
    with pytest.raises(LocalProtocolError, match="begin a new segment"):
        SnapshotWriter(tmp_path, 2)
    for number in (-1, 0, 1, NUMBER_MAX + 1):
        with pytest.raises(LocalProtocolError, match="number"):
            SnapshotWriter(tmp_path, number)
    with SnapshotWriter(tmp_path, NUMBER_MAX) as writer:
        writer._end = OFFSET_MAX + 1
        with pytest.raises(LimitExceeded, match="a snapshot"):
            writer.write(b"")


# --- reading from many threads -----------------------------------------------------------------------------------


def test_blocks_are_read_from_many_threads_while_files_come_and_go(tmp_path: Path) -> None:
    places = {
        place: payload
        for number in range(2, 8)
        for payloads in [tuple(b"%d %d" % (number, at) * 1000 for at in range(20))]
        for place, payload in zip(write(tmp_path, number, payloads), payloads, strict=True)
    }
    reader = SnapshotReader(tmp_path, open_files_max=2)
    before = open_files()
    faults: list[str] = []

    def read(offset: int) -> None:
        for at in range(400):
            place = list(places)[(offset + at * 37) % len(places)]
            if reader.read_block(place) != places[place]:
                faults.append(f"{place:x}")

    threads = [threading.Thread(target=read, args=(31 * at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        reader.forget_before(NUMBER_MAX)
    for thread in threads:
        thread.join()
    assert not faults
    for place in places:
        reader.read_block(place)
    assert len(reader._files) == 2
    reader.close()
    reader.close()
    assert open_files() == before


def test_an_iterator_that_is_left_early_closes_its_file(tmp_path: Path) -> None:
    write(tmp_path, 2)
    before = open_files()
    blocks_read = read_snapshot(snapshot_path(tmp_path, 2))
    assert next(blocks_read)[1] == SMALL[0]
    assert open_files() != before or not before
    blocks_read.close()  # type: ignore[attr-defined]  # a generator
    assert open_files() == before


def open_files() -> list[str]:
    """The descriptors of this process, where the system tells."""
    descriptors = Path("/proc/self/fd")
    return sorted(path.name for path in descriptors.iterdir()) if descriptors.is_dir() else []


FROZEN = (
    "504753 4e41500001000000 0000000102000102 030405060708090a 0b0c0d0e0fd736fa 64ec904132066b41 "
    "0c49305475000000 0000000000000000 03ed3d7265caee09 a8660b5aca9804bf 0db0390e22616263 5047534e454e4401 "
    "0000000000000001 0000000000000053 1c757f200fe273b6 48a7243d582375e2 9f9e675b5024463c 178062bbbf6e135b"
)
