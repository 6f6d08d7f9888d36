"""A graph that is killed at any instant goes on in a process that never saw its disk, and repeats nothing."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore
from propagul_langgraph import PropagulSaver
from tests.agents.langgraph.crashing import CONFIG, ROOM, SECRET, STEPS, graph_of, live, noted

if TYPE_CHECKING:
    from pathlib import Path

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.agents.langgraph.crashing"])


def lives(files: Path, port: int, kills: int, chance: random.Random) -> int:
    """Let a thread be worked on by one process after the other, each killed at some instant; how many were."""
    killed = 0
    for life in range(10 * kills):
        process = processes.Process(target=live, args=(port, files / f"disk {life}", files))
        begin = len(noted(files / "ran"))
        process.start()
        assert process.pid is not None
        if killed < kills:
            steps, deadline = chance.randint(1, max(STEPS // kills, 2)), time.monotonic() + 60
            while process.is_alive() and len(noted(files / "ran")) < begin + steps and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.01)  # the instant
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            return killed
    raise AssertionError("the thread did not come to its end")


def check(files: Path, kills: int, seed: int) -> None:
    peer = AgentStateStore(ROOM, "peer", 0, "127.0.0.1", secret=SECRET)
    peer.start_background()
    try:
        lives(files, peer.addresses[0].port, kills, random.Random(seed))
        state = graph_of(PropagulSaver(peer), files).get_state(CONFIG)
    finally:
        peer.close()
    steps = list(range(1, STEPS + 1))
    assert noted(files / "repeated") == []
    assert sorted(set(noted(files / "ran"))) == sorted(set(noted(files / "acknowledged")) - {0}) == steps
    assert len(noted(files / "ran")) <= STEPS + kills  # a kill costs at most the step that it hit
    assert [message.id for message in state.values["messages"]] == [f"m{step}" for step in steps]
    assert state.values["answer"] == "yes"
    assert state.next == ()


def test_no_acknowledged_step_is_repeated_after_ten_kills(tmp_path: Path) -> None:
    check(tmp_path, 10, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_nor_after_two_hundred(seed: int, tmp_path: Path) -> None:
    check(tmp_path, 10, seed=100 + seed)
