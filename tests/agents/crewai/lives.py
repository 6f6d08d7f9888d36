"""Programs that a test ends by force, and the flow that it goes on with.

Each has a directory of its own, which nobody else opens, and a link to the store of whoever goes on after it. What it
has acknowledged is there: it writes with `durability="peers:1"`.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import time
import traceback
from pathlib import Path
from typing import Any

from crewai.flow.flow import Flow, listen, start
from crewai.flow.persistence import persist
from crewai.memory.storage.factory import set_memory_storage_factory
from propagul_crewai import PersistentCrew, PropagulFlowPersistence, PropagulMemoryStorage

from propagul import AgentStateStore
from tests.agents.crewai.models import CountedModel, parts

set_memory_storage_factory(lambda _: PropagulMemoryStorage("memory://"))  # each flow has one; CrewAI's takes seconds

CALL_S = 0.01
"""How long a model thinks, and a step of the flow works."""


def opened(path: str, heir: int, secret: str) -> AgentStateStore:
    """A store with a directory of its own, linked with the heir at that port."""
    store = AgentStateStore("agents", "mortal", None, "127.0.0.1", path=path, secret=secret, durability="peers:1")
    store.start_background([("127.0.0.1", heir)], require_peers=1)
    return store


def crew(path: str, heir: int, secret: str, calls: str, done: str) -> None:
    """A crew that writes down which tasks are done."""
    store = opened(path, heir, secret)
    model = CountedModel(model="counted", calls=calls, thinks_s=CALL_S)

    def note(output: Any) -> None:
        with Path(done).open("a") as file:
            file.write(output.raw.split()[-1] + "\n")

    made = PersistentCrew(**parts(model), conn_string=store, run_id="report", task_callback=note)
    Path(path, "begun").touch()
    made.kickoff(inputs={"whom": "Ann"})
    Path(path, "ended").touch()


def flow(path: str, heir: int, secret: str, steps: str) -> None:
    """A flow that writes down which steps it takes."""
    store = opened(path, heir, secret)
    made = FiveSteps(persistence=PropagulFlowPersistence(store))
    Path(path, "begun").touch()
    made.kickoff(inputs={"id": "five", "steps": steps})
    Path(path, "ended").touch()


def example(path: str, place: str, printed: str) -> None:
    """An example, as if it were run alone, in a directory."""
    os.chdir(place)
    with Path(printed).open("w") as file, contextlib.redirect_stdout(file):
        try:
            runpy.run_path(path, run_name="__main__")
        except BaseException:  # what went wrong is in what was printed
            traceback.print_exc(file=file)
            raise


@persist(PropagulFlowPersistence("memory://"))  # each method; where to, the flow is told when it is made
class FiveSteps(Flow[dict]):  # CrewAI looks for the bare type
    """Five steps, each of which is taken once, whoever takes it."""

    def take(self, step: int) -> None:
        """Take a step, unless the state says that somebody has."""
        if step in self.state.setdefault("done", []):
            return
        with Path(self.state["steps"]).open("a") as file:
            file.write(f"{step}\n")
        time.sleep(CALL_S)
        self.state["done"].append(step)

    @start()
    def first(self) -> None:
        """Step 1."""
        self.take(1)

    @listen(first)
    def second(self) -> None:
        """Step 2."""
        self.take(2)

    @listen(second)
    def third(self) -> None:
        """Step 3."""
        self.take(3)

    @listen(third)
    def fourth(self) -> None:
        """Step 4."""
        self.take(4)

    @listen(fourth)
    def fifth(self) -> None:
        """Step 5."""
        self.take(5)
