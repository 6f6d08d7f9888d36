"""A state directory lets in one process, one room and one format."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from propagul.errors import StoreCorrupt, StoreError, StoreLocked
from propagul.log import StateDirectory

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from propagul.log import StateDirectory
StateDirectory(Path(sys.argv[1]), "room")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_the_first_ones_id(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=rf"in use by process {holder.pid};"):
            StateDirectory(tmp_path, "room")
        holder.kill()
    StateDirectory(tmp_path, "room").close()


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path, "room")
    with pytest.raises(StoreLocked, match=str(os.getpid())):
        StateDirectory(tmp_path, "room")
    directory.close()
    directory.close()
    StateDirectory(tmp_path, "room").close()


def test_a_directory_of_another_room_is_refused_and_let_go(tmp_path: Path) -> None:
    StateDirectory(tmp_path, "one").close()
    with pytest.raises(StoreError, match=r"holds the room 'one', not 'two'"):
        StateDirectory(tmp_path, "two")
    StateDirectory(tmp_path, "one").close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    StateDirectory(tmp_path, "room").close()
    (tmp_path / "room.json").write_text(json.dumps({"room": "room", "format": 2}))
    with pytest.raises(StoreError, match="has format 2; this version reads format 1"):
        StateDirectory(tmp_path, "room")


@pytest.mark.parametrize("label", ["", "{", "[]", '{"room": "room"}', "7"])
def test_a_damaged_label_is_named(tmp_path: Path, label: str) -> None:
    (tmp_path / "room.json").write_text(label)
    with pytest.raises(StoreCorrupt, match=re.escape("room.json")):
        StateDirectory(tmp_path, "room")


def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        StateDirectory(tmp_path / "file", "room")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_nobody_else_can_read_what_is_in_it(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "new" / "state", "room")
    list(directory.log.recover())
    directory.close()
    for path in [directory.path, *directory.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
