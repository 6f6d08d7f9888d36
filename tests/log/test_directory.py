"""A state directory belongs to one room and lets in as many processes as come, each with a log of its own."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from propagul import _system
from propagul.errors import ClosedError, StoreCorrupt, StoreError, StoreLocked
from propagul.log import formats
from propagul.log.directory import OtherLog, StateDirectory, _log_bytes
from propagul.log.lock_file import LockFile
from tests.log.processes import Nursery, at_once

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESS = """
import os, signal
from pathlib import Path
from propagul.errors import StoreLocked
from propagul.log.directory import StateDirectory

path, alone = arguments
next(lines)
try:
    directory = StateDirectory(Path(path), "room", alone=alone == "alone")
except StoreLocked as error:
    say(f"locked {error}")
    os._exit(0)
say(directory.log_id)
for line in lines:
    match line.split():
        case ["door"]:
            say(directory.try_door())
        case ["adopt", log_id]:
            (other,) = [other for other in directory.others() if other.log_id == log_id]
            orphan = directory.adopt(other)
            say(orphan is not None)
        case ["fork"]:
            if not os.fork():
                say(os.getpid())
                signal.pause()
        case ["close"]:
            directory.close()
            say("closed")
"""

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="every process is alone on Windows")


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def dead_log(directory: StateDirectory, log_id: str) -> OtherLog:
    (other,) = [other for other in directory.others() if other.log_id == log_id]
    assert other.pid is None
    return other


# --- one log a process -------------------------------------------------------------------------------------------


@posix_only
def test_processes_that_open_at_once_get_a_log_each(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(4, PROCESS, str(tmp_path / "state"), "") as started:
        logs = at_once(started)
        assert len(set(logs)) == 4
        with StateDirectory(tmp_path / "state", "room") as directory:
            assert {other.log_id: other.pid for other in directory.others()} == {
                log: process.pid for log, process in zip(logs, started, strict=True)
            }
            started[2].kill()
            assert [other.log_id for other in directory.others() if other.pid is None] == [logs[2]]
        assert {path.name for path in (tmp_path / "state" / "log").iterdir()} == {"turn", directory.log_id, *logs}


@posix_only
def test_a_killed_processes_log_is_taken_over_by_the_next_open_and_by_one_only(
    nursery: Nursery, tmp_path: Path
) -> None:
    with nursery.processes(2, PROCESS, str(tmp_path), "") as first:
        logs = at_once(first)
        first[0].kill()
        with nursery.processes(3, PROCESS, str(tmp_path), "") as second:
            taken = at_once(second)
            assert taken.count(logs[0]) == 1
            assert logs[1] not in taken
            assert len(set(taken)) == 3


def test_of_the_logs_left_behind_the_largest_is_taken_first(tmp_path: Path) -> None:
    directories = [StateDirectory(tmp_path, "room") for _ in range(3)]
    for directory, size in zip(directories, (10, 1000, 100), strict=True):
        (directory.log_path / "00000001.log").write_bytes(bytes(size))
        (directory.log_path / "other").write_bytes(bytes(5000 // size))
    wanted = [directory.log_id for directory in directories]
    for directory in directories:
        directory.close()
    again = [StateDirectory(tmp_path, "room") for _ in range(3)]
    assert [directory.log_id for directory in again] == [wanted[1], wanted[2], wanted[0]]
    for directory in again:
        directory.close()


def test_a_closed_directory_leaves_its_log_to_the_next_open(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path, "room")
    first.close()
    first.close()
    with StateDirectory(tmp_path, "room") as second:
        assert second.log_id == first.log_id
        assert re.fullmatch("[0-9a-f]{16}", second.log_id)
        assert second.others() == []
    with pytest.raises(ClosedError):
        first.others()


def test_a_log_without_a_lock_file_is_taken_over_and_what_is_no_log_is_let_be(tmp_path: Path) -> None:
    StateDirectory(tmp_path, "room").close()
    (known,) = tmp_path.glob("log/*/lock")
    known.unlink()
    (tmp_path / "log" / "notes").mkdir()
    (tmp_path / "log" / ("0" * 16)).symlink_to(tmp_path)
    with StateDirectory(tmp_path, "room") as directory:
        assert directory.log_path == known.parent
        assert directory.others() == []


def test_opening_waits_for_its_turn_and_names_who_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    StateDirectory(tmp_path, "room").close()
    turn = LockFile.take(tmp_path / "log" / "turn")
    assert turn is not None
    opened: list[StateDirectory] = []
    opener = threading.Thread(target=lambda: opened.append(StateDirectory(tmp_path, "room")))
    opener.start()
    turn.close()
    opener.join()
    opened[0].close()
    monkeypatch.setattr("propagul.log.directory.TURN_WAIT_S", 0.02)
    turn = LockFile.take(tmp_path / "log" / "turn")
    assert turn is not None
    with pytest.raises(StoreLocked, match=rf"held for 0.02 s by process {os.getpid()}"):
        StateDirectory(tmp_path, "room")
    turn.close()
    StateDirectory(tmp_path, "room", alone=True).close()


# --- alone -------------------------------------------------------------------------------------------------------


@posix_only
def test_who_wants_to_be_alone_is_refused_while_others_are_there_and_told_who(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(3, PROCESS, str(tmp_path), "") as started:
        at_once(started)
        started[0].kill()
        pids = ", ".join(sorted(str(process.pid) for process in started[1:]))
        with pytest.raises(StoreLocked, match=rf"in use by process {pids};"):
            StateDirectory(tmp_path, "room", alone=True)
        started[1].kill()
        started[2].kill()
        StateDirectory(tmp_path, "room", alone=True).close()


@pytest.mark.parametrize("second", ["", "alone"])
def test_who_is_alone_stays_alone_until_it_is_killed(nursery: Nursery, tmp_path: Path, second: str) -> None:
    with nursery.processes(1, PROCESS, str(tmp_path), "alone") as (holder,):
        log_id = holder.ask()
        with pytest.raises(StoreLocked, match=rf"in use by process {holder.pid};"):
            StateDirectory(tmp_path, "room", alone=second == "alone")
        with nursery.processes(2, PROCESS, str(tmp_path), second) as refused:
            assert all(line.startswith("locked") and f"process {holder.pid};" in line for line in at_once(refused))
        holder.kill()
        with StateDirectory(tmp_path, "room", alone=second == "alone") as directory:
            assert directory.log_id == log_id


def test_of_many_that_want_to_be_alone_one_is(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(3, PROCESS, str(tmp_path / "new"), "alone") as started:
        answers = at_once(started)
        assert sum(not answer.startswith("locked") for answer in answers) == 1


# --- adoption ----------------------------------------------------------------------------------------------------


@posix_only
def test_of_many_that_adopt_a_log_one_gets_it(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(4, PROCESS, str(tmp_path), "") as started:
        logs = at_once(started)
        started[0].kill()
        assert sorted(at_once(started[1:], f"adopt {logs[0]}")) == ["False", "False", "True"]


@posix_only
def test_a_living_processes_log_is_not_adopted(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(1, PROCESS, str(tmp_path), "") as (living,), StateDirectory(tmp_path, "room") as directory:
        log_id = living.ask()
        (other,) = directory.others()
        assert (other.log_id, other.pid) == (log_id, living.pid)
        assert directory.adopt(other) is None
        living.kill()
        orphan = directory.adopt(dead_log(directory, log_id))
        assert orphan is not None
        assert orphan.path == tmp_path / "log" / log_id
        assert directory.adopt(other) is None
        with StateDirectory(tmp_path, "room") as third:
            assert third.log_id not in (log_id, directory.log_id)
        orphan.close()
        assert directory.adopt(other) is not None


def test_a_removed_log_is_gone_with_its_socket_and_cannot_be_adopted_again(tmp_path: Path) -> None:
    other, directory = StateDirectory(tmp_path, "room"), StateDirectory(tmp_path, "room")
    (other.log_path / "00000001.log").write_bytes(b"content")
    other.socket_path().touch()
    (tmp_path / "sock" / other.log_id).touch()
    listened = directory.find_socket(other.log_id)
    other.close()
    found = dead_log(directory, other.log_id)
    orphan = directory.adopt(found)
    assert orphan is not None
    with orphan:
        orphan.remove()
    assert directory.adopt(found) is None
    assert directory.others() == []
    assert not list(tmp_path.glob(f"*/{other.log_id}*"))
    assert listened is not None
    assert not listened.exists()
    directory.close()


CRASH_IN_REMOVAL = """
import os
from pathlib import Path
from propagul.log import directory as room

path, step = arguments
directory = room.StateDirectory(Path(path), "room")
(other,) = directory.others()
if step == "move":
    room._system.move = lambda *_: os._exit(9)
elif step == "sync":
    room._system.sync_directory = lambda *_: os._exit(9)
else:
    room.shutil.rmtree = lambda *_, **__: os._exit(9)
directory.adopt(other).remove()
"""


@pytest.mark.parametrize(("step", "remains"), [("move", 1), ("sync", 0), ("rmtree", 0)])
def test_a_crash_in_a_removal_leaves_the_log_whole_or_swept_at_the_next_open(
    nursery: Nursery, tmp_path: Path, step: str, remains: int
) -> None:
    small, large = StateDirectory(tmp_path, "room"), StateDirectory(tmp_path, "room")
    (small.log_path / "00000001.log").write_bytes(b"content")
    (large.log_path / "00000001.log").write_bytes(b"more content")
    for directory in (small, large):
        directory.close()
    with nursery.processes(1, CRASH_IN_REMOVAL, str(tmp_path), step) as (process,):
        assert process.wait() == 9
    with StateDirectory(tmp_path, "room") as directory:
        assert directory.log_id == large.log_id
        assert [other.log_id for other in directory.others()] == [small.log_id] * remains
        assert len(list(tmp_path.glob(f"log/{small.log_id}*/00000001.log"))) == remains
        assert not list(tmp_path.glob("log/*.gone"))


# --- the door ----------------------------------------------------------------------------------------------------


@posix_only
def test_one_process_holds_the_door_until_it_is_gone(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(3, PROCESS, str(tmp_path), "") as started, StateDirectory(tmp_path, "room") as directory:
        at_once(started)
        assert directory.door_pid() is None
        answers = at_once(started, "door")
        assert sorted(answers) == ["False", "False", "True"]
        holder = started[answers.index("True")]
        assert holder.ask("door") == "True"
        assert directory.door_pid() == holder.pid
        assert not directory.try_door()
        holder.kill()
        assert directory.door_pid() is None
        assert directory.try_door()
        assert directory.try_door()
        assert directory.door_pid() == os.getpid()
        others = [process for process in started if process is not holder]
        assert at_once(others, "door") == ["False", "False"]
        directory.close()
        assert others[0].ask("door") == "True"
        assert others[0].ask("close") == "closed"
        assert others[1].ask("door") == "True"


# --- locks that are none -----------------------------------------------------------------------------------------


def test_a_lock_on_a_file_that_was_moved_away_meanwhile_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tried = _system.try_lock, 0

    def moved_first(descriptor: int, *, shared: bool = False) -> bool:
        nonlocal tried
        tried += 1
        if tried == 1:
            (tmp_path / "lock").rename(tmp_path / "moved")
        return real(descriptor, shared=shared)

    monkeypatch.setattr(_system, "try_lock", moved_first)
    lock = LockFile.take(tmp_path / "lock")
    assert lock is not None
    assert tried == 2
    assert LockFile.take(tmp_path / "lock") is None
    lock.close()


@posix_only
def test_a_child_made_behind_pythons_back_cannot_unlock_either(tmp_path: Path) -> None:
    lock = LockFile.take(tmp_path / "lock")
    assert lock is not None
    assert lock._descriptor is not None
    parents = os.dup(lock._descriptor)
    lock._pid = -1  # what a child sees that no hook told that it is one
    lock.close()
    assert LockFile.take(tmp_path / "lock") is None
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    os.close(parents)


# --- forks -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_parents_lock_does_not_outlive_it_in_a_forked_child(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(1, PROCESS, str(tmp_path), "") as (parent,):
        log_id = parent.ask()
        assert parent.ask("door") == "True"
        child = int(parent.ask("fork"))
        try:
            with StateDirectory(tmp_path, "room") as directory:
                assert directory.log_id != log_id
                assert directory.door_pid() == parent.pid
                parent.kill()
                os.kill(child, 0)
                dead_log(directory, log_id)
                assert directory.try_door()
        finally:
            os.kill(child, signal.SIGKILL)


FORKING = """
import os
from pathlib import Path
from propagul.errors import LocalProtocolError
from propagul.log.directory import StateDirectory

path = Path(arguments[0])
directory = StateDirectory(path, "room")
directory.try_door()
directory.check_process()
child = os.fork()
if not child:
    for call in (directory.check_process, directory.others, directory.try_door, directory.door_pid):
        try:
            call()
        except LocalProtocolError as error:
            assert str(os.getppid()) in str(error)
        else:
            os._exit(1)
    directory.close()
    with StateDirectory(path, "room") as own:
        pids = {other.log_id: other.pid for other in own.others()}
        os._exit(0 if pids == {directory.log_id: os.getppid()} and own.door_pid() == os.getppid() else 2)
say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
directory.check_process()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_refused_its_parents_log_and_cannot_let_go_of_it(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(1, FORKING, str(tmp_path)) as (parent,):
        assert parent.hear() == "0"
        assert parent.wait() == 0


# --- sockets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's temporary directory for one test; pytest's own has too long a path for a socket."""
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr("tempfile.tempdir", short)
        yield Path(short)


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such sockets, and no such modes")


@posix
@pytest.mark.parametrize("folder", ["s", "s" * 150, "ü" * 80])
def test_sockets_stand_outside_the_directory_in_one_that_goes_with_the_last_process(
    tmp_path: Path, temporary: Path, folder: str
) -> None:
    path = tmp_path / folder
    with StateDirectory(path, "room") as first, StateDirectory(path, "room") as second:
        assert first.find_socket(second.log_id) is None
        where = second.socket_path()
        assert where.parent == first.socket_path().parent
        assert where.parent.parent == temporary
        assert where.parent.stat().st_mode & 0o077 == 0
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(where))
        assert first.find_socket(second.log_id) == where
        second.close()
        with StateDirectory(path, "room") as third:
            assert third.socket_path().parent == where.parent
    assert list(temporary.iterdir()) == []
    assert list((path / "sock").iterdir()) == []


@posix
def test_a_socket_directory_that_others_could_have_made_is_not_used(tmp_path: Path, temporary: Path) -> None:
    note = tmp_path / "state" / "sock" / "where"
    with StateDirectory(tmp_path / "state", "room") as directory:
        used = [directory.socket_path().parent]

        def swept() -> None:
            used[-1].rmdir()

        def open_to_all() -> None:
            used[-1].chmod(0o755)

        def a_link() -> None:
            target = used[-1].rename(tmp_path / "elsewhere")
            used[-1].symlink_to(target)

        for meanwhile in (swept, open_to_all, a_link):
            meanwhile()
            used.append(directory.socket_path().parent)
            assert used[-1] not in used[:-1]
        (tmp_path / "file").touch(0o600)
        whose = note.read_bytes().rpartition(b"\n")[0]
        nowhere = (whose + b"\n" + place for place in (b"relative", b"/\0", bytes(tmp_path / "missing"), b""))
        for damaged in (b"", b"relative", b"\xff\xfe", bytes(used[-1]), whose, *nowhere, b"x" + note.read_bytes()):
            note.write_bytes(damaged)
            made = directory.socket_path().parent
            assert made.is_dir()
            assert made not in used
            assert made.parent == temporary


@posix
@pytest.mark.usefixtures("temporary")
def test_a_copy_does_not_lead_to_the_processes_of_the_original(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "original", "room") as original:
        socket_of_original = original.socket_path()
        shutil.copytree(tmp_path / "original", tmp_path / "copy")
        with StateDirectory(tmp_path / "copy", "room") as copy:
            assert copy.log_id == original.log_id
            assert copy.socket_path().parent != socket_of_original.parent
        assert original.socket_path() == socket_of_original
        assert socket_of_original.parent.is_dir()


@posix
@pytest.mark.usefixtures("temporary")
def test_who_cannot_enter_the_socket_directory_of_the_others_is_found_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container, or a service with a /tmp of its own, beside processes that have another one."""
    with StateDirectory(tmp_path, "room") as one, StateDirectory(tmp_path, "room") as other:
        socket_of_one = one.socket_path()
        socket_of_one.touch()
        note = (tmp_path / "sock" / "where").read_bytes()
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(_system, "is_private_directory", lambda path: path != socket_of_one.parent)
            socket_of_other = other.socket_path()
            socket_of_other.touch()
            assert other.find_socket(one.log_id) is None
        assert socket_of_other.parent == tmp_path / "sock"
        assert one.find_socket(other.log_id) == socket_of_other
        assert one.socket_path() == socket_of_one
        assert (tmp_path / "sock" / "where").read_bytes() == note


@posix
@pytest.mark.usefixtures("temporary")
def test_what_killed_processes_left_is_used_by_the_next_and_a_note_of_another_boot_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = StateDirectory(tmp_path, "room")
    left = killed.socket_path()
    left.touch()
    monkeypatch.setattr(killed, "_has_listened", False)
    killed.close()
    with StateDirectory(tmp_path, "room") as again:
        assert again.socket_path() == left
        monkeypatch.setattr(again, "_has_listened", False)
    monkeypatch.setattr(_system, "boot_id", lambda: "another")
    with StateDirectory(tmp_path, "room") as booted, StateDirectory(tmp_path, "room") as second:
        assert booted.socket_path().parent == second.socket_path().parent != left.parent


@posix
def test_a_socket_directory_that_cannot_be_noted_is_not_left_behind(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with StateDirectory(tmp_path, "room") as directory:
        monkeypatch.setattr(_system, "write_private", full)
        with pytest.raises(StoreError, match="no space left"):
            directory.socket_path()
    assert list(temporary.iterdir()) == []


@posix
def test_a_path_too_long_for_sockets_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ("s" * 100)).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("s" * 100)))
    with StateDirectory(tmp_path / "state", "room") as directory, pytest.raises(StoreError, match="TMPDIR"):
        directory.socket_path()


# --- room and format ---------------------------------------------------------------------------------------------


def test_a_directory_of_another_room_is_refused_and_let_go(tmp_path: Path) -> None:
    StateDirectory(tmp_path, "one").close()
    with pytest.raises(StoreError, match=r"holds the room 'one', not 'two'"):
        StateDirectory(tmp_path, "two")
    StateDirectory(tmp_path, "one", alone=True).close()


def test_a_newer_format_is_refused_naming_both(tmp_path: Path) -> None:
    StateDirectory(tmp_path, "room").close()
    (tmp_path / "room.json").write_text(json.dumps({"room": "room", "format": 3}))
    with pytest.raises(StoreError, match=r"has format 3, made by a newer version; this one reads format 2"):
        StateDirectory(tmp_path, "room")


@pytest.mark.parametrize("label", ["", "{", "[]", '{"room": "room"}', "7", '{"room": 1, "format": 2}', "\xff"])
def test_a_damaged_label_is_named(tmp_path: Path, label: str) -> None:
    (tmp_path / "room.json").write_text(label, "latin-1")
    with pytest.raises(StoreCorrupt, match=re.escape("room.json")):
        StateDirectory(tmp_path, "room")


def test_a_lost_label_is_not_made_up_where_there_are_logs(tmp_path: Path) -> None:
    StateDirectory(tmp_path, "room").close()
    (tmp_path / "room.json").unlink()
    with pytest.raises(StoreCorrupt, match=r"room.json is gone although there are logs"):
        StateDirectory(tmp_path, "room")


def test_a_process_that_labels_and_makes_its_log_meanwhile_is_no_lost_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.exists
    others: list[StateDirectory | None] = []

    def overtaken(path: Path) -> bool:
        missing = not real(path)
        if missing and path.name == "room.json" and not others:
            others.append(None)
            others[0] = StateDirectory(tmp_path, "room")
        return not missing

    monkeypatch.setattr(Path, "exists", overtaken)
    with StateDirectory(tmp_path, "room") as directory:
        assert len(directory.others()) == 1
    assert others[0] is not None
    others[0].close()


def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file cannot be used"):
        StateDirectory(tmp_path / "file", "room")


def test_a_directory_survives_a_change_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with StateDirectory(Path("state"), "room") as directory:
        monkeypatch.chdir("/")
        assert directory.try_door()
        assert directory.log_path.is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_nobody_else_can_read_what_is_in_it(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "new" / "state", "room") as directory:
        directory.try_door()
    for path in [directory.path, *directory.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


# --- migrations --------------------------------------------------------------------------------------------------


def old_directory(path: Path, number: int = 0) -> None:
    """A made-up older format: one file of words."""
    path.mkdir(parents=True)
    (path / "room.json").write_text(json.dumps({"room": "room", "format": number}))
    (path / "identity.key").write_bytes(b"key")
    (path / "words").write_text("old words")


def add_one(old: Path, new: Path) -> None:
    assert LockFile.take(old / "lock") is None, "nobody else gets in meanwhile"
    (new / "words").write_text((old / "words").read_text() + "+")
    (new / "log").mkdir(mode=0o700)


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.MIGRATIONS, 0, add_one)
    monkeypatch.setitem(formats.MIGRATIONS, 1, add_one)


@pytest.mark.usefixtures("two_steps")
def test_an_older_format_is_migrated_step_by_step_beside_itself_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "state"
    old_directory(path)
    with StateDirectory(path, "room") as directory:
        assert (path / "words").read_text() == "old words++"
        assert (path / "identity.key").read_bytes() == b"key"
        assert (path / "identity.key").stat().st_mode & 0o077 == 0
        assert json.loads((path / "room.json").read_text()) == {"room": "room", "format": 2}
        assert directory.log_path.is_dir()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["state", "state.format-0", "state.format-1"]
    assert (tmp_path / "state.format-0" / "words").read_text() == "old words"
    assert json.loads((tmp_path / "state.format-0" / "room.json").read_text())["format"] == 0
    StateDirectory(path, "room").close()
    path.rename(tmp_path / "elsewhere")
    old_directory(path)
    StateDirectory(path, "room").close()
    assert (tmp_path / "state.format-0-2").is_dir()


def test_the_development_format_is_refused_politely_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state"
    old_directory(path, 1)
    with pytest.raises(StoreError, match=r"format 1, which was a development format and never released"):
        StateDirectory(path, "room")
    old_directory(tmp_path / "older", -1)
    with pytest.raises(StoreError, match=r"has format -1; this version reads format 2 and knows no way"):
        StateDirectory(tmp_path / "older", "room")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == sorted(
        ["older", "state", *2 * ["identity.key", "room.json", "words"]]
    )


@pytest.mark.usefixtures("two_steps")
def test_a_directory_is_not_migrated_for_another_room_or_under_a_running_process(tmp_path: Path) -> None:
    path = tmp_path / "state"
    old_directory(path)
    with pytest.raises(StoreError, match="rooms never merge"):
        StateDirectory(path, "other")
    running = LockFile.take(path / "lock")
    assert running is not None
    with pytest.raises(StoreLocked, match=rf"process {os.getpid()} uses it"):
        StateDirectory(path, "room")
    running.close()
    assert (path / "words").read_text() == "old words"
    StateDirectory(path, "room").close()


MIGRATING = """
import os
from pathlib import Path
from propagul.log import formats
from propagul.log.directory import StateDirectory

path, last = Path(arguments[0]), int(arguments[1])
calls = 0

def counted(call):
    def run(*args, **more):
        global calls
        calls += 1
        if calls == last:
            os._exit(9)
        return call(*args, **more)
    return run

def add_one(old, new):
    (new / "words").write_text((old / "words").read_text() + "+")
    (new / "log").mkdir(mode=0o700)

formats.MIGRATIONS |= {0: add_one, 1: add_one}
for name in ("move", "sync_directory", "sync_contents", "create_private", "write_private"):
    setattr(formats._system, name, counted(getattr(formats._system, name)))
next(lines)
directory = StateDirectory(path, "room")
say(directory.log_id + " " + (path / "words").read_text())
next(lines)
"""


@posix_only
@pytest.mark.usefixtures("two_steps")
def test_a_crash_anywhere_in_a_migration_is_mended_by_the_next_open(nursery: Nursery, tmp_path: Path) -> None:
    for last in itertools.count(1):
        path = tmp_path / str(last) / "state"
        old_directory(path, 1)
        with nursery.processes(1, MIGRATING, str(path), str(last)) as (process,):
            if process.ask():
                break
            assert process.wait() == 9
        with StateDirectory(path, "room"):
            assert (path / "words").read_text() == "old words+"
            assert (path / "identity.key").read_bytes() == b"key"
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["state", "state.format-1"]
        assert (path.parent / "state.format-1" / "words").read_text() == "old words"
    assert last > 10


@posix_only
def test_processes_that_open_an_older_format_at_once_find_it_migrated_once(nursery: Nursery, tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / str(attempt) / "state"
        old_directory(path)
        with nursery.processes(4, MIGRATING, str(path), "0") as started:
            answers = [answer.split(maxsplit=1) for answer in at_once(started)]
            assert [words for _, words in answers] == 4 * ["old words++"]
            assert len({log for log, _ in answers}) == 4
        names = ["state", "state.format-0", "state.format-1"]
        assert sorted(entry.name for entry in path.parent.iterdir()) == names


def test_a_migration_that_fails_leaves_the_directory_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    old_directory(path, 1)

    def fails(_: Path, new: Path) -> None:
        (new / "half").write_text("half")
        raise StoreCorrupt("words are damaged")

    monkeypatch.setitem(formats.MIGRATIONS, 1, fails)
    with pytest.raises(StoreCorrupt, match="words are damaged"):
        StateDirectory(path, "room")
    assert (path / "words").read_text() == "old words"
    monkeypatch.setitem(formats.MIGRATIONS, 1, add_one)
    with StateDirectory(path, "room"):
        assert not (path / "half").exists()


def test_a_file_that_its_process_removes_while_logs_are_measured_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "00000001.log").write_bytes(bytes(100))
    (tmp_path / "00000002.log").symlink_to("removed")
    assert _log_bytes(tmp_path) == 100
