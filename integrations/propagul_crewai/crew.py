"""`PersistentCrew`: a crew that is killed and goes on, here or on another machine, where it was.

It is a `Crew` in every respect. What it adds: the output of each finished task and each answer of a model are in a
replicated store before the crew goes on. A kickoff that finds a run which did not come to its end takes the outputs
from there, begins with the first task that has none, and asks no model again what was answered already. The program
makes the crew itself, with its models and tools, as it always does: nothing of a program is restored from the store.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

from crewai import Crew
from crewai.llms.base_llm import BaseLLM
from crewai.utilities.llm_utils import create_llm
from pydantic import Field, PrivateAttr

from propagul_crewai import _runs
from propagul_crewai._answers import remembering
from propagul_crewai._runs import Run
from propagul_crewai._stores import OnNamedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from crewai.agents.agent_builder.base_agent import BaseAgent
    from crewai.crews.crew_output import CrewOutput
    from crewai.state.checkpoint_config import CheckpointConfig
    from crewai.tasks.task_output import TaskOutput
    from crewai.types.streaming import CrewStreamingOutput

    from propagul import AgentStateStore

MODELS = ("llm", "function_calling_llm", "manager_llm", "planning_llm")
"""Where agents and crews have their models."""

RESUMED = "propagul"
"""What stands where CrewAI notes which kickoff it resumes: that it resumes one."""


class PersistentCrew(OnNamedStore, Crew):
    """A crew whose runs survive crashes and machines.

    Attributes:
        run_id: The name of the run. A kickoff of a run that has ended gives its result again and asks no model. Without
            a name, the run is known by the crew and the inputs, and one that has ended begins anew.
    """

    run_id: str | None = Field(default=None, min_length=1)
    _branch: int | None = PrivateAttr(default=None)
    _copies: int = PrivateAttr(default=0)

    if TYPE_CHECKING:  # fields of Crew, for where CrewAI is not installed
        task_callback: Callable[[TaskOutput], object] | None
        checkpoint_kickoff_event_id: str | None
        _kickoff_event_id: str | None
        manager_llm: object
        planning_llm: object

    @classmethod
    def of(cls, crew: Crew, conn_string: str | AgentStateStore, **fields: object) -> Self:
        """A persistent crew of the parts of another one; `fields` are the attributes."""
        given = {name: vars(crew)[name] for name in crew.model_fields_set & Crew.model_fields.keys() - {"id"}}
        if (memory := getattr(crew, "_memory", None)) is not None:  # the one that it made, rather than a second one
            given["memory"] = memory
        return cls(conn_string, **given | fields)

    def forget(self) -> None:
        """Remove what is known of the named run.

        Raises:
            ValueError: The crew has no `run_id`.
        """
        if self.run_id is None:
            raise ValueError("only a run with a `run_id` can be forgotten: any other is, when it ends")
        _runs.forget(self.store, self.run_id)

    # --- as a Crew -----------------------------------------------------------------------------------------------

    def kickoff(
        self,
        inputs: dict[str, Any] | None = None,
        input_files: dict[str, Any] | None = None,
        from_checkpoint: CheckpointConfig | None = None,
    ) -> CrewOutput | CrewStreamingOutput:
        """See `Crew.kickoff`; goes on with a run that did not come to its end."""
        if self.stream:  # comes back here, from the thread that it streams from
            return super().kickoff(inputs, input_files, from_checkpoint)
        with self._in_run(inputs, from_checkpoint):
            return super().kickoff(inputs, input_files, from_checkpoint)

    async def akickoff(
        self,
        inputs: dict[str, Any] | None = None,
        input_files: dict[str, Any] | None = None,
        from_checkpoint: CheckpointConfig | None = None,
    ) -> CrewOutput | CrewStreamingOutput:
        """See `Crew.akickoff`; goes on with a run that did not come to its end."""
        if self.stream:
            return await super().akickoff(inputs, input_files, from_checkpoint)
        with self._in_run(inputs, from_checkpoint):
            return await super().akickoff(inputs, input_files, from_checkpoint)

    def kickoff_for_each(
        self, inputs: list[dict[str, Any]], input_files: dict[str, Any] | None = None
    ) -> list[CrewOutput | CrewStreamingOutput]:
        """See `Crew.kickoff_for_each`. Each of the inputs is a run of its own, known by its place in the list."""
        self._copies = 0
        outputs: list[CrewOutput | CrewStreamingOutput] = super().kickoff_for_each(inputs, input_files)
        return outputs

    async def kickoff_for_each_async(
        self, inputs: list[dict[str, Any]], input_files: dict[str, Any] | None = None
    ) -> list[CrewOutput | CrewStreamingOutput] | CrewStreamingOutput:
        """See `Crew.kickoff_for_each_async` and `kickoff_for_each`."""
        self._copies = 0
        return await super().kickoff_for_each_async(inputs, input_files)

    async def akickoff_for_each(
        self, inputs: list[dict[str, Any]], input_files: dict[str, Any] | None = None
    ) -> list[CrewOutput | CrewStreamingOutput] | CrewStreamingOutput:
        """See `Crew.akickoff_for_each` and `kickoff_for_each`."""
        self._copies = 0
        return await super().akickoff_for_each(inputs, input_files)

    def copy(self) -> Self:
        """See `Crew.copy`. The copies of a crew are numbered, and the runs of each are its own."""
        copied = self.of(super().copy(), self.conn_string, room=self.room, durability=self.durability)
        copied.run_id, copied._branch = self.run_id, self._copies  # noqa: SLF001 - our own
        self._copies += 1
        return copied

    # --- the run -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _in_run(self, inputs: Mapping[str, Any] | None, checkpoint: CheckpointConfig | None) -> Iterator[None]:
        """Begin or go on with the run of these inputs, and end it if all goes well."""
        if checkpoint is not None and checkpoint.restore_from is not None:
            raise ValueError("a PersistentCrew goes on by itself: a crew of a checkpoint is `Crew.from_checkpoint`'s")
        run = Run(self.store, self, inputs, self.run_id, self._branch)
        self._take(run.outputs())
        run.then = then = self.task_callback
        self.task_callback = _runs.note_output
        token = _runs.current.set(run)
        try:
            with remembering(self._models()):
                yield
            run.end()
        finally:
            _runs.current.reset(token)
            self.task_callback, self.checkpoint_kickoff_event_id = then, None
            for task in self.tasks:
                task.callback = None if task.callback is _runs.note_output else task.callback

    def _take(self, outputs: list[TaskOutput | None]) -> None:
        """Have CrewAI begin with the first task that has no output. It looks for one only if it resumes a kickoff."""
        for task, output in zip(self.tasks, outputs, strict=True):
            task.output = output
        self.checkpoint_kickoff_event_id, self._kickoff_event_id = RESUMED if any(outputs) else None, None

    def _models(self) -> list[BaseLLM]:
        """The models that the run may ask. Those that CrewAI would make of a name while it runs are made now."""
        self.manager_llm = None if self.manager_llm is None else create_llm(self.manager_llm)
        self.planning_llm = None if self.planning_llm is None else create_llm(self.planning_llm)
        agents: list[BaseAgent | None] = [*self.agents, *(task.agent for task in self.tasks), self.manager_agent]
        holders = [
            vars(holder) for holder in (*agents, self) if holder is not None
        ]  # getattr warns of deprecated fields
        held = [holder.get(name) for holder in holders for name in MODELS]
        return [model for model in held if isinstance(model, BaseLLM)]
