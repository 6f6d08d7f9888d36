"""A model that answers from a list and writes down that it was asked, and crews that ask it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from crewai import Agent, Task
from crewai.llms.base_llm import BaseLLM


class CountedModel(BaseLLM):
    """Answers at once; each call appends a line to a file first.

    Attributes:
        calls: The file.
        thinks_s: How long it takes.
        dies_at: The number of the first call that does not return, as the machine it is made on is gone.
    """

    llm_type: str = "counted"
    calls: str
    dies_at: int = 0
    thinks_s: float = 0.0

    def call(self, messages: str | list[Any], *_: Any, **__: Any) -> str:
        """The answer to what the task asks, which names the task."""
        asked = str(messages[-1]["content"]) if isinstance(messages, list) else messages
        topic = next(word for word in asked.split() if word.startswith("topic-"))
        with Path(self.calls).open("a") as file:
            file.write(f"{topic}\n")
        time.sleep(self.thinks_s)
        if 0 < self.dies_at <= len(self.made()):
            raise PowerCutError
        return f"Thought: I know it\nFinal Answer: all about {topic}"

    def supports_function_calling(self) -> bool:
        """It has no tools of its own."""
        return False

    def made(self) -> list[str]:
        """The calls so far, of every life."""
        return Path(self.calls).read_text().split() if Path(self.calls).exists() else []


class PowerCutError(Exception):
    """The machine is gone."""


def parts(model: BaseLLM, topics: int = 3) -> dict[str, Any]:
    """The agents and tasks of a crew of one agent."""
    agent = Agent(role="writer", goal="write", backstory="writes", llm=model, verbose=False)
    tasks = [
        Task(description=f"Write about topic-{number} for {{whom}}", expected_output="a text", agent=agent)
        for number in range(topics)
    ]
    return {"agents": [agent], "tasks": tasks, "verbose": False}
