"""A crew whose machine is lost in the middle of its work, and another machine that goes on where it was.

The model stands for any: it says something and counts what it is asked. The two machines are two stores in one
process, each with nothing in common with the other but the room's secret.
"""

from __future__ import annotations

import os
import tempfile
import warnings

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TRACING_ENABLED": "false"}
warnings.simplefilter("ignore")

from crewai import Agent, Task  # noqa: E402 - what it reads from the environment stands above
from crewai.llms.base_llm import BaseLLM  # noqa: E402 - after what makes it silent
from propagul_crewai import PersistentCrew  # noqa: E402 - after what makes it silent

from propagul import AgentStateStore  # noqa: E402 - after what makes it silent

SECRET = "a secret of thirty-two characters"
TOPICS = ["moss", "ferns", "lichens"]


class Model(BaseLLM):
    """Answers until the power is cut."""

    calls: int = 0
    calls_until_power_cut: int = 1_000

    def call(self, messages: object, *_: object, **__: object) -> str:
        """An answer about the topic that the last message names."""
        if self.calls == self.calls_until_power_cut:
            raise SystemExit("the power is cut")
        self.calls += 1
        topic = next(topic for topic in reversed(TOPICS) if f"about {topic}" in str(messages))
        return f"Thought: I know.\nFinal Answer: All about {topic}."

    def supports_function_calling(self) -> bool:
        """It only talks."""
        return False


def crew(store: AgentStateStore, model: Model) -> PersistentCrew:
    """The program, the same on every machine."""
    writer = Agent(role="writer", goal="write", backstory="You write.", llm=model)
    tasks = [Task(description=f"Write about {topic}", expected_output="a text", agent=writer) for topic in TOPICS]
    return PersistentCrew(agents=[writer], tasks=tasks, conn_string=store, run_id="report")


def main() -> None:
    """Two machines."""
    box1 = AgentStateStore("agents", "box1", 0, "127.0.0.1", secret=SECRET)
    box2 = AgentStateStore("agents", "box2", 0, "127.0.0.1", secret=SECRET)
    box1.start_background()
    box2.start_background([box1.addresses[0]])

    first = Model(model="any", calls_until_power_cut=2)
    try:
        crew(box1, first).kickoff()
    except SystemExit as cut:
        print(f"box1: {cut} after {first.calls} answers")
    box1.close()

    second = Model(model="any")
    result = crew(box2, second).kickoff()
    print(f"box2: goes on and asks for {second.calls} more")
    print("      " + " ".join(output.raw for output in result.tasks_output))
    box2.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own:
        os.environ["CREWAI_STORAGE_DIR"] = own  # what CrewAI writes by itself
        main()
