"""Agents in processes of one directory: a worker is killed, and another one has its task."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from propagul import connect
from propagul.room import Phase, Room
from tests.log.processes import Nursery
from tests.store.world import FAST

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

WORKER = """
from propagul import connect
from propagul.room import Room
from tests.store.world import FAST

with connect(arguments[0], config=FAST) as store, Room(store, "r", agent="worker") as room:
    claim = room.queue("q").claim(wait_s=20)
    say(claim.payload)
    for line in lines:
        if line.strip() == "finish":
            say(claim.complete("worker's"))
"""


def test_a_task_of_a_killed_worker_is_done_by_another_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    with (
        connect(tmp_path, config=FAST) as store,
        Room(store, "r", agent="boss", missed_s=2.0) as room,
        Nursery() as nursery,
    ):
        queue = room.queue("q")
        queue.put("first", task_id="first")
        with nursery.processes(1, WORKER, str(tmp_path)) as (doomed,):
            assert doomed.hear() == "first"
            queue.put("second", task_id="second")
            with nursery.processes(1, WORKER, str(tmp_path)) as (steady,):
                assert steady.hear() == "second"
                doomed.kill()
                claim = queue.claim(wait_s=20)
                assert claim is not None
                assert (claim.id, claim.attempt) == ("first", 2)
                assert claim.complete("boss's")
                assert queue.claim(wait_s=1) is None  # the other one lives
                assert steady.ask("finish") == "True"
        deadline = time.monotonic() + 20
        while queue.word("second").phase is not Phase.DONE:
            assert time.monotonic() < deadline
        assert {task.id: task.word.result for task in queue.done()} == {"first": "boss's", "second": "worker's"}
