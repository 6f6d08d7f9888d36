"""A baton is taken by one process, once, in the same run of the kernel, and is believed only if it is whole."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from propagul import _system
from propagul.log import baton
from tests.log.processes import Nursery, at_once

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="batons are Linux's only")

STAMPS = {"": (1, 2), "plans": ((1 << 64) - 1, 1 << 63), "ü": (0, 0)}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def log_id() -> Iterator[str]:
    """A log of this test's own; nothing of it is left in the shared memory."""
    log_id = secrets.token_hex(8)
    yield log_id
    where = _system.kernel_lifetime_directory()
    assert where is not None
    left = [path for path in where.iterdir() if log_id in path.name]
    for path in left:
        path.unlink()
    assert not left


def path_of(log_id: str) -> Path:
    where = _system.kernel_lifetime_directory()
    assert where is not None
    return where / log_id


def test_a_baton_is_taken_once_and_says_what_was_left(log_id: str) -> None:
    assert baton.take(log_id) is None
    assert baton.leave(log_id, STAMPS)
    taken = baton.take(log_id)
    assert taken is not None
    assert (taken.log_id, taken.boot_id, taken.stamps) == (log_id, _system.boot_id(), STAMPS)
    assert baton.take(log_id) is None


TAKING = """
from propagul.log import baton
say("ready")
for log_id in map(str.strip, lines):
    say(baton.take(log_id) is not None)
"""


def test_of_many_processes_that_take_a_baton_one_gets_it(nursery: Nursery) -> None:
    with nursery.processes(4, TAKING) as takers:
        for taker in takers:
            assert taker.hear() == "ready"
        for _ in range(200):
            log_id = secrets.token_hex(8)
            assert baton.leave(log_id, STAMPS)
            answers = at_once(takers, log_id)
            assert sorted(answers) == ["False"] * 3 + ["True"]


LEAVING = """
import os
from propagul import _system
from propagul.log import baton
log_id, step = arguments
if step != "whole":
    setattr(os if step == "link" else _system, step, lambda *_: os._exit(9))
baton.leave(log_id, {"": (3, 4)}) if step != "move" else baton.take(log_id)
os._exit(9)
"""


@pytest.mark.parametrize(("step", "found"), [("whole", True), ("link", False), ("sync_contents", False)])
def test_a_process_killed_while_it_leaves_one_leaves_a_whole_one_or_none(
    nursery: Nursery, log_id: str, step: str, found: object
) -> None:
    with nursery.processes(1, LEAVING, log_id, step) as (process,):
        assert process.wait() == 9
    assert (baton.take(log_id) is not None) == found
    assert baton.leave(log_id, STAMPS)
    assert baton.take(log_id) is not None
    assert [path for path in path_of(log_id).parent.iterdir() if log_id in path.name] == []


def test_a_baton_outlives_the_process_that_left_it_and_not_one_that_took_it_and_died(
    nursery: Nursery, log_id: str
) -> None:
    assert baton.leave(log_id, STAMPS)
    source = TAKING.replace('say("ready")', "import os\nfrom propagul import _system\n_system.read_private = os._exit")
    with nursery.processes(1, source) as (process,):
        process.tell(log_id)
        process.wait()
    assert baton.take(log_id) is None
    assert baton.leave(log_id, STAMPS)
    assert baton.take(log_id) is not None


def test_where_one_lies_already_both_rights_lapse(log_id: str) -> None:
    assert baton.leave(log_id, STAMPS)
    assert not baton.leave(log_id, {"": (1, 3)})
    assert baton.take(log_id) is None
    assert baton.leave(log_id, STAMPS)
    assert baton.take(log_id) is not None


def test_no_damaged_baton_is_believed_and_all_are_taken(log_id: str) -> None:
    assert baton.leave(log_id, STAMPS)
    sound = path_of(log_id).read_bytes()
    damaged = [
        bytes([*sound[:at], sound[at] ^ 1 << bit, *sound[at + 1 :]]) for at in range(len(sound)) for bit in range(8)
    ]
    damaged += [sound[:size] for size in range(len(sound))]
    for content in damaged:
        path_of(log_id).write_bytes(content)
        path_of(log_id).chmod(0o600)
        assert baton.take(log_id) is None
        assert not path_of(log_id).exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b"\xff",
        b'{"log": "%s", "boot": "%s"}',
        b'{"log": "%s", "boot": "%s", "stamps": []}',
        b'{"log": "%s", "boot": "%s", "stamps": {"": 1}}',
        b'{"log": "%s", "boot": "%s", "stamps": {"": [1]}}',
        b'{"log": "%s", "boot": "%s", "stamps": {"": [1, true]}}',
        b'{"log": "%s", "boot": "%s", "stamps": {"": [1, -1]}}',
        b'{"log": "%s", "boot": "%s", "stamps": {"": [1, 18446744073709551616]}}',
        b'{"log": "%s", "boot": "another boot", "stamps": {}}',
        b'{"log": "another log", "boot": "%s", "stamps": {}}',
    ],
)
def test_no_foreign_baton_is_believed_even_with_a_right_sum(log_id: str, content: bytes) -> None:
    filled = content.replace(b'"log": "%s"', b'"log": "%s"' % log_id.encode())
    filled = filled.replace(b'"boot": "%s"', b'"boot": "%s"' % (_system.boot_id() or "").encode())
    _system.create_private(path_of(log_id), baton._digest(filled) + filled)
    assert baton.take(log_id) is None


def test_what_others_could_have_written_is_not_believed(log_id: str, tmp_path: Path) -> None:
    assert baton.leave(log_id, STAMPS)
    path_of(log_id).chmod(0o644)
    assert baton.take(log_id) is None
    path_of(log_id).mkdir()
    assert baton.take(log_id) is None
    for path in path_of(log_id).parent.glob(f".{log_id}.*"):
        path.rmdir() if path.is_dir() else path.unlink()
    for wrong in ("", "..", "../" + log_id, log_id.upper() + "g", str(tmp_path)):
        assert not baton.leave(wrong, STAMPS)
        assert baton.take(wrong) is None


def test_a_baton_of_another_boot_is_taken_and_not_believed(log_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert baton.leave(log_id, STAMPS)
    with monkeypatch.context() as rebooted:
        rebooted.setattr(_system, "boot_id", lambda: "another")
        assert baton.take(log_id) is None
    assert baton.take(log_id) is None


def test_there_is_no_baton_where_memory_may_be_a_disk(
    log_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = _system._SHARED_MEMORY

    def none_there() -> None:
        assert _system.kernel_lifetime_directory() is None
        assert not baton.leave(log_id, STAMPS)
        assert baton.take(log_id) is None

    monkeypatch.setattr(_system, "_SHARED_MEMORY", tmp_path)
    none_there()
    monkeypatch.setattr(_system, "_SHARED_MEMORY", tmp_path / "missing")
    none_there()
    device = real.stat().st_dev
    line = f"26 24 {os.major(device)}:{os.minor(device)} / {real} rw - ext4 tmpfs rw\ntmpfs\n"
    (tmp_path / "mountinfo").write_text(line)
    monkeypatch.setattr(_system, "_SHARED_MEMORY", real)
    monkeypatch.setattr(_system, "_MOUNTS", tmp_path / "mountinfo")
    none_there()
    monkeypatch.setattr(_system, "_MOUNTS", tmp_path / "missing")
    none_there()


def test_there_is_no_baton_without_a_boot_id_or_off_linux(log_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(_system, "_BOOT_ID", Path("missing"))
        assert not baton.leave(log_id, STAMPS)
        assert baton.take(log_id) is None
    monkeypatch.setattr("sys.platform", "darwin")
    assert _system.kernel_lifetime_directory() is None
    monkeypatch.undo()
    assert _system.kernel_lifetime_directory() is not None


def test_batons_whose_logs_never_come_back_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    place = _system._SHARED_MEMORY / f"propagul-test-{secrets.token_hex(8)}"
    place.mkdir(0o700)
    monkeypatch.setattr(_system, "_SHARED_MEMORY", place)
    monkeypatch.setattr(baton, "BATONS_MAX", 5)
    try:
        logs = [f"{number:016x}" for number in range(20)]
        for at, log_id in enumerate(logs):
            assert baton.leave(log_id, STAMPS)
            os.utime(path_of(log_id), (at, at))
            assert len(list(path_of(log_id).parent.iterdir())) <= 5
        assert [baton.take(log_id) is not None for log_id in logs] == [False] * 15 + [True] * 5
    finally:
        shutil.rmtree(place)


def test_a_directory_that_others_can_enter_holds_no_baton(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory of shared memory of this test's own: the real one may be in use."""
    place = _system._SHARED_MEMORY / f"propagul-test-{secrets.token_hex(8)}"
    place.mkdir(0o700)
    monkeypatch.setattr(_system, "_SHARED_MEMORY", place)
    try:
        found = _system.kernel_lifetime_directory()
        assert found == place / f"propagul-{os.geteuid()}"
        found.chmod(0o750)
        assert _system.kernel_lifetime_directory() is None
        found.chmod(0o700)
        assert _system.kernel_lifetime_directory() == found
        stranger = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: stranger)
        other = found.rename(place / f"propagul-{os.geteuid()}")
        assert _system.kernel_lifetime_directory() is None
        monkeypatch.undo()
        monkeypatch.setattr(_system, "_SHARED_MEMORY", place)
        found.symlink_to(other)
        assert _system.kernel_lifetime_directory() is None
        found.unlink()
        found.touch()
        assert _system.kernel_lifetime_directory() is None
    finally:
        shutil.rmtree(place)
