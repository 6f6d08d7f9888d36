"""Directories of every format that was released open, and say what they said when they were written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from propagul import AgentStateStore
from propagul.testing import MemoryNetwork
from tests.compat.make import VALUES, write

HERE = Path(__file__).parent
FORMATS = sorted(path.name for path in HERE.glob("format-*"))


def check(path: Path) -> None:
    store = AgentStateStore("compat", transport=MemoryNetwork().transport("here"), path=path)
    expected = {
        **{key: value for key, value in VALUES.items() if key != "removed afterwards"},
        "together 1": 1,
        "together 2": 2,
        "after the snapshot": True,
        "from a long stream": "x" * 2000,
    }
    conflict = store.get_conflicts("conflict")
    assert sorted(map(str, conflict)) == ["ours", "theirs"]
    assert {**store.get_all(), "conflict": "ours"} == expected
    assert store.counter("tokens").value == 812
    assert set(store.set_of("done")) == {"outline", 7, b"\x00"}
    assert [entry.value for entry in store.log_of("events")] == ["started", {"step": 1}]
    assert store.map_of("config").to_dict() == {"model": {"name": "tiny"}}
    store.set("written by a later version", 1)
    store.close()
    again = AgentStateStore("compat", transport=MemoryNetwork().transport("here"), path=path)
    assert again.get("written by a later version") == 1
    assert len(again) == len(expected) + 1
    again.close()


def test_there_is_a_directory_of_the_present_format() -> None:
    assert FORMATS
    assert f'"format": {FORMATS[-1].removeprefix("format-")}' in (HERE / FORMATS[-1] / "room.json").read_text()


@pytest.mark.parametrize("name", FORMATS)
def test_a_directory_of_this_format_opens_and_says_what_it_said(name: str, tmp_path: Path) -> None:
    shutil.copytree(HERE / name, tmp_path / "state")
    check(tmp_path / "state")


def test_what_is_written_now_says_the_same(tmp_path: Path) -> None:
    write(tmp_path / "state")
    check(tmp_path / "state")
