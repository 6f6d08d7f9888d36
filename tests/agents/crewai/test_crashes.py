"""A crew and a flow that are killed at any instant go on in another process, which never saw the first one's disk.

Nothing that was acknowledged is done again: counted in a file to which each call and each step appends before it does
anything. What was under way when the process died, and only that, may be done twice.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest
from propagul_crewai import PersistentCrew, PropagulFlowPersistence

from propagul import AgentStateStore
from tests.agents.crewai.conftest import SECRET
from tests.agents.crewai.lives import FiveSteps
from tests.agents.crewai.models import CountedModel, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KILLS = 100 if os.environ.get("LONG_TESTS") == "1" else 10
LIFE_S = 0.35
"""About how long a life takes from its beginning to its end; some are killed later, when they have ended."""

DEADLINE_S = 30.0


@pytest.fixture
def heir() -> Iterator[AgentStateStore]:
    """The store of the machine that goes on, in memory."""
    made = AgentStateStore("agents", "heir", 0, "127.0.0.1", secret=SECRET)
    made.start_background()
    yield made
    made.close()


def killed(place: Path, pid: int, after_s: float) -> None:
    """Kill a life some time after it began, and wait until it is gone."""
    deadline = time.monotonic() + DEADLINE_S
    while not (place / "begun").exists():
        assert psutil.pid_exists(pid), "it ended before it began"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(after_s)
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.002)


def lines(path: Path) -> list[str]:
    """What was appended to a file so far."""
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_crew_goes_on_elsewhere_and_asks_nothing_again(
    seed: int, heir: AgentStateStore, tmp_path: Path, born: Callable[..., int]
) -> None:
    calls, done, place = tmp_path / "calls", tmp_path / "done", tmp_path / "state"
    place.mkdir()
    port = heir.addresses[0].port
    pid = born("crew", path=str(place), heir=port, secret=SECRET, calls=str(calls), done=str(done))
    killed(place, pid, random.Random(seed).uniform(0, LIFE_S))
    asked, answered = lines(calls), len(heir.keys("crewai/crew/answer/report/"))
    finished = len(heir.keys("crewai/crew/task/report/"))

    model = CountedModel(model="counted", calls=str(calls))
    crew = PersistentCrew(**parts(model), conn_string=heir, run_id="report")
    result = crew.kickoff(inputs={"whom": "Ann"})

    assert [output.raw for output in result.tasks_output] == [f"all about topic-{number}" for number in range(3)]
    again = Counter(lines(calls))
    assert sorted(again) == ["topic-0", "topic-1", "topic-2"]
    assert all(again[topic] == 1 for topic in lines(done)), "a task whose output was acknowledged"
    assert len(lines(calls)) - len(asked) <= 3 - max(answered, finished), "a call whose answer was acknowledged"
    assert sum(again.values()) <= 4, "only what was under way"
    assert not heir.keys("crewai/crew/answer/")


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_flow_goes_on_elsewhere_and_repeats_no_step(
    seed: int, heir: AgentStateStore, tmp_path: Path, born: Callable[..., int]
) -> None:
    steps, place = tmp_path / "steps", tmp_path / "state"
    place.mkdir()
    pid = born("flow", path=str(place), heir=heir.addresses[0].port, secret=SECRET, steps=str(steps))
    killed(place, pid, random.Random(seed).uniform(0, LIFE_S))
    begun = lines(steps)
    persistence = PropagulFlowPersistence(heir)
    saved = (persistence.load_state("five") or {}).get("done", [])
    assert [str(step) for step in saved] in (begun, begun[:-1]), "each step was saved before the next one began"

    FiveSteps(persistence=persistence).kickoff(inputs={"id": "five", "steps": str(steps)})

    taken = Counter(lines(steps))
    assert sorted(taken) == ["1", "2", "3", "4", "5"]
    assert all(taken[str(step)] == 1 for step in saved)
    assert sum(taken.values()) <= 6, "only what was under way"
    state = persistence.load_state("five")
    assert state is not None
    assert state["done"] == [1, 2, 3, 4, 5]
