"""A graph that is killed at any instant goes on in a process that never saw its disk, and repeats nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.agents.langgraph.crashing import STEPS, noted

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 10


def check(files: Path, seed: int) -> None:
    command = [sys.executable, "-m", "tests.agents.langgraph.crashing", str(files), str(KILLS), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    steps, acknowledged = list(range(1, STEPS + 1)), set(noted(files / "acknowledged")) - {0}
    assert noted(files / "repeated") == []
    assert sorted(set(noted(files / "ran"))) == steps
    assert STEPS - KILLS <= len(acknowledged) <= STEPS  # a kill may come between a put and its note
    assert len(noted(files / "ran")) <= STEPS + KILLS  # a kill costs at most the step that it hit
    assert json.loads(done.stdout) == {"messages": [f"m{step}" for step in steps], "answer": "yes", "next": []}


def test_no_acknowledged_step_is_repeated_after_ten_kills(tmp_path: Path) -> None:
    check(tmp_path, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_nor_after_two_hundred(seed: int, tmp_path: Path) -> None:
    check(tmp_path, seed=100 + seed)
