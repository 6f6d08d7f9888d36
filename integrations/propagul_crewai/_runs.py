"""What is known of a crew's runs: which tasks are finished, with what output, and what the models answered so far.

A run has a name: what the user gives, or what follows from the crew and its inputs. Under it stand one row that says
where the run is, one for each finished task and one for each answer of a model. The answers are only for the task that
a crash interrupts: they go when the run has ended. A named run that has ended keeps its outputs, so that its result can
be asked for again. One without a name keeps nothing; the next kickoff with the same inputs is the next *generation*.

Two machines that work on the same run at the same time both write, and either one's rows are good: nothing here is a
lock.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crewai.tasks.conditional_task import ConditionalTask
from crewai.tasks.task_output import TaskOutput
from pydantic import BaseModel, ValidationError

from propagul_crewai._stores import texts_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crewai import Crew, Task

    from propagul import AgentStateStore

RUNS = "crewai/crew/run/"
OUTPUTS = "crewai/crew/task/"
ANSWERS = "crewai/crew/answer/"

current: ContextVar[Run | None] = ContextVar("propagul_crewai_run", default=None)
"""The run that what happens here and now belongs to."""


class Run:
    """One run of a crew, from its first life to its last.

    Args:
        store: Where it is remembered.
        crew: Whose run it is.
        inputs: What it is about.
        run_id: Its name, if the user gave one.
        branch: Which of several runs that were begun at once it is, if it is one of several.
    """

    def __init__(
        self,
        store: AgentStateStore,
        crew: Crew,
        inputs: Mapping[str, object] | None,
        run_id: str | None,
        branch: int | None = None,
    ) -> None:
        self._store, self._texts, self._tasks = store, texts_in(store), list(crew.tasks)
        self._is_named = run_id is not None
        self._keys = [task.key for task in self._tasks]
        self._answers: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.then: Callable[[TaskOutput], object] | None = None
        """What else is to hear of a task's output."""
        known_by = _digest(crew.key, inputs) if run_id is None else run_id
        name = quote(known_by if branch is None else f"{known_by}#{branch}", safe="")
        self._row = RUNS + name
        before = json.loads(self._texts.get(self._row) or "{}")
        self._generation = int(before.get("generation", 0)) + (bool(before.get("is_finished")) and not self._is_named)
        self._place = f"{name}/{self._generation}/"
        if before.get("generation") != self._generation:
            self._write_row(is_finished=False)

    # --- tasks ---------------------------------------------------------------------------------------------------

    def outputs(self) -> list[TaskOutput | None]:
        """What each task gave in an earlier life; None where it did not come to its end, or is another task now."""
        found = [self._output(index) for index in range(len(self._tasks))]
        last = max((index for index, output in enumerate(found) if output is not None), default=-1)
        for index, task in enumerate(self._tasks[:last]):
            if found[index] is None and isinstance(task, ConditionalTask):
                found[index] = task.get_skipped_task_output()  # decided before a later one ran
        return found

    def note(self, output: TaskOutput) -> None:
        """Remember what a task gave. On return it survives what the store's durability says."""
        index = next((index for index, task in enumerate(self._tasks) if task.output is output), None)
        if index is not None:
            row = {"key": self._keys[index], "output": output.model_dump(mode="json", exclude={"pydantic"})}
            if output.pydantic is not None:
                row["pydantic"] = output.pydantic.model_dump(mode="json")
            self._texts.put(f"{OUTPUTS}{self._place}{index}", json.dumps(row))

    def end(self) -> None:
        """The run came to its end."""
        self._write_row(is_finished=True)
        for prefix in (ANSWERS,) if self._is_named else (ANSWERS, OUTPUTS):
            for key in self._store.keys(prefix + self._place):
                self._texts.remove(key)

    def _output(self, index: int) -> TaskOutput | None:
        text = self._texts.get(f"{OUTPUTS}{self._place}{index}")
        row = json.loads(text) if text is not None else {}
        if row.get("key") != self._keys[index]:
            return None
        try:
            output = TaskOutput.model_validate(row["output"])
            if "pydantic" in row:
                output.pydantic = _model_of(self._tasks[index]).model_validate(row["pydantic"])
        except ValidationError:  # the program changed: the task is another one now
            return None
        return output

    def _write_row(self, *, is_finished: bool) -> None:
        row = {"generation": self._generation, "is_finished": is_finished, "at": time.time()}
        self._texts.put(self._row, json.dumps(row))

    # --- what models answered ------------------------------------------------------------------------------------

    def question(self, asked: Sequence[object], task: Task | None) -> str:
        """What is asked, and for which task, as a text of fixed length."""
        return _digest(next((index for index, ours in enumerate(self._tasks) if ours is task), -1), *asked)

    def answer(self, question: str) -> dict[str, Any] | None:
        """What was answered to it in an earlier life, after as many answers as in this one; None if nothing was."""
        text = self._texts.get(self._answer_key(question))
        return None if text is None else json.loads(text)

    def note_answer(self, question: str, answer: dict[str, Any]) -> None:
        """Remember an answer. On return it survives what the store's durability says."""
        self._texts.put(self._answer_key(question), json.dumps(answer))

    def count_answer(self, question: str) -> None:
        """The crew has an answer. A call that failed gave none, and what is asked then is the same question."""
        with self._lock:
            self._answers[question] += 1

    def _answer_key(self, question: str) -> str:
        return f"{ANSWERS}{self._place}{question}-{self._answers[question]}"


def forget(store: AgentStateStore, run_id: str) -> None:
    """Remove everything of a named run."""
    name = quote(run_id, safe="")
    for key in (RUNS + name, *store.keys(f"{OUTPUTS}{name}/"), *store.keys(f"{ANSWERS}{name}/")):
        texts_in(store).remove(key)


def _callback() -> Callable[[TaskOutput], object]:
    def note_output(output: TaskOutput) -> object:
        if (run := current.get()) is None:
            return None
        run.note(output)
        return None if run.then is None else run.then(output)

    return note_output


note_output = _callback()
"""CrewAI's `task_callback` while a run goes on. A function in a function, as a checkpoint leaves these out: one that it
names could not be restored."""


def _model_of(task: Task) -> type[BaseModel]:
    model = task.output_pydantic or task.response_model
    return model if isinstance(model, type) else BaseModel


def _digest(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
