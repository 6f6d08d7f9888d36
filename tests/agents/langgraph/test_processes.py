"""Several processes on one directory: each sees the threads of all, none waits for another, nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from propagul_langgraph import PropagulSaver

from propagul import AgentStateStore, LocalProtocolError
from tests.agents.langgraph.values import put, thread, values_at

if TYPE_CHECKING:
    from pathlib import Path

WORKERS, PUTS = 4, 30

WORKER = """
import sys, time
from propagul_langgraph import PropagulSaver
from tests.agents.langgraph.values import put, thread

directory, own, workers, puts = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with PropagulSaver.from_conn_string(directory) as saver:
    at = thread(own)
    for n in range(puts):
        at = put(saver, at, {"text": "x" * 200, "n": n}, n + 1)
    deadline = time.monotonic() + 60
    while True:
        found = [saver.get_tuple(thread(str(one))) for one in range(workers)]
        if all(one is not None and one.checkpoint["channel_values"]["n"] == puts - 1 for one in found):
            break
        assert time.monotonic() < deadline, "a process does not see the threads of all"
        time.sleep(0.01)
"""


def test_four_processes_share_their_threads(tmp_path: Path) -> None:
    directory = str(tmp_path / "threads")
    command = [sys.executable, "-c", WORKER, directory]
    running = [
        subprocess.Popen([*command, str(number), str(WORKERS), str(PUTS)], stderr=subprocess.PIPE, text=True)
        for number in range(WORKERS)
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    with PropagulSaver.from_conn_string(directory) as saver:  # and they left their logs to whoever comes
        for number in range(WORKERS):
            assert values_at(saver, thread(str(number)))["n"] == PUTS - 1
            assert len(list(saver.list(thread(str(number))))) == PUTS


def test_a_process_sees_what_another_one_put_just_now(tmp_path: Path) -> None:
    directory = str(tmp_path / "threads")
    with PropagulSaver.from_conn_string(directory) as first, PropagulSaver.from_conn_string(directory) as second:
        at = put(first, thread(), {"n": 1})
        deadline = time.monotonic() + 20
        while second.get_tuple(thread()) is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        put(second, at, {"n": 2}, 2)
        while values_at(first, thread()) != {"n": 2}:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert first.heads("1") == second.heads("1")


def test_a_forked_child_does_not_write_into_its_parents_log(tmp_path: Path) -> None:
    saver = PropagulSaver(AgentStateStore(room="t", port=None, path=tmp_path))
    at = put(saver, thread(), {"n": 1})
    if not (child := os.fork()):
        try:
            put(saver, at, {"n": 2}, 2)
        except LocalProtocolError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert values_at(saver, thread()) == {"n": 1}
    saver.store.close()
