"""What the tests of checkpoints share: a workflow that counts down, and asks a person half way."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from agent_framework import (
    Executor,
    Message,
    Workflow,
    WorkflowBuilder,
    WorkflowCheckpoint,
    WorkflowContext,
    handler,
    response_handler,
)
from pydantic import BaseModel

if TYPE_CHECKING:
    from agent_framework import CheckpointStorage


class Colour(enum.Enum):
    RED = 1


class Model(BaseModel):
    name: str
    when: dt.datetime


@dataclass
class Countdown:
    left: int
    colour: Colour = Colour.RED


@dataclass(frozen=True, slots=True)
class Question:
    about: str
    tags: tuple[str, ...] = ()
    models: list[Model] = field(default_factory=list)


class Bare:
    """A class whose instances are nothing but their attributes."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bare) and self.values == other.values

    __hash__ = None  # type: ignore[assignment]  # as a class without a hash has it


CLASSES: Final = (Colour, Model, Countdown, Question, Bare)


class Counter(Executor):  # type: ignore[misc,unused-ignore]  # a class of no known type where the framework is not
    """Counts down and remembers a message each time; at `asks_at` it asks."""

    def __init__(self, asks_at: int = -1, size: int = 10) -> None:
        super().__init__("counter")
        self.asks_at, self.size = asks_at, size
        self.said: list[Message] = []

    @handler  # type: ignore[untyped-decorator,unused-ignore]  # typed only where the framework is
    async def count(self, countdown: Countdown, ctx: WorkflowContext[Countdown, int]) -> None:
        """One step."""
        self.said.append(Message("user", [f"{countdown.left}: " + "x" * self.size]))
        if countdown.left == self.asks_at:
            await ctx.request_info(Question("go on?", ("a", "b")), str)
        elif countdown.left:
            await ctx.send_message(Countdown(countdown.left - 1))
        else:
            await ctx.yield_output(len(self.said))

    @response_handler  # type: ignore[untyped-decorator,unused-ignore]  # typed only where the framework is
    async def answered(self, asked: Question, answer: str, ctx: WorkflowContext[Countdown, int]) -> None:
        """Go on."""
        self.said.append(Message("user", [f"{asked.about} {answer}"]))
        await ctx.send_message(Countdown(self.asks_at - 1))

    async def on_checkpoint_save(self) -> dict[str, Any]:
        """What it remembers."""
        return {"said": self.said}

    async def on_checkpoint_restore(self, state: dict[str, Any]) -> None:
        """The inverse."""
        self.said = state["said"]


def workflow(counter: Counter, storage: CheckpointStorage) -> Workflow:
    """A workflow of one executor that talks to itself."""
    builder = WorkflowBuilder(start_executor=counter, checkpoint_storage=storage, name="wf", max_iterations=1000)
    return builder.add_edge(counter, counter).build()


def checkpoint(text: str = "", *, at: float = 0.0, previous: str | None = None, **state: object) -> WorkflowCheckpoint:
    """A checkpoint made by hand; `at` is in seconds."""
    time = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=at)
    return WorkflowCheckpoint(
        "wf", "graph", text or f"at {at}", previous_checkpoint_id=previous, timestamp=time.isoformat(), state=state
    )
