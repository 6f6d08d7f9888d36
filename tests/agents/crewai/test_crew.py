"""`PersistentCrew` is a crew in every respect, and no finished task and no answered call of a run is repeated."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from crewai import Agent, Crew, Process, Task
from crewai.state.checkpoint_config import CheckpointConfig
from crewai.tasks.conditional_task import ConditionalTask
from crewai.tools import tool
from propagul_crewai import PersistentCrew, _runs
from propagul_crewai._answers import remembering
from propagul_crewai._runs import ANSWERS, OUTPUTS, RUNS
from pydantic import BaseModel, ValidationError

from tests.agents.crewai.models import CountedModel, PowerCutError, parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from propagul import AgentStateStore

ALL = ["topic-0", "topic-1", "topic-2"]
INPUTS = {"whom": "Ann"}


@pytest.fixture
def model(tmp_path: Path) -> CountedModel:
    """A model that writes down its calls."""
    return CountedModel(model="counted", calls=str(tmp_path / "calls"))


def cut(crew: Crew, model: CountedModel, at: int, kickoff: str = "kickoff") -> None:
    """Kick a crew off and have the power cut at a call, counted over all lives."""
    model.dies_at = at
    with pytest.raises(PowerCutError):
        done(getattr(crew, kickoff)(inputs=INPUTS))
    model.dies_at = 0


def done(called: Any) -> Any:
    """What a call gives, in the end."""
    return asyncio.run(called) if asyncio.iscoroutine(called) else called


def answered(model: CountedModel) -> list[str]:
    """The calls, but for those that were tried again when the power was cut already."""
    return list(dict.fromkeys(model.made()))


@pytest.mark.parametrize("kickoff", ["kickoff", "kickoff_async", "akickoff"])
def test_a_crew_goes_on_after_its_last_finished_task_on_another_machine(
    kickoff: str, pair: tuple[AgentStateStore, AgentStateStore], model: CountedModel
) -> None:
    here, there = pair
    cut(PersistentCrew(**parts(model), conn_string=here), model, at=3, kickoff=kickoff)
    before = model.made()
    assert answered(model) == ALL
    here.flush_blocking(peers=1)
    crew = PersistentCrew(**parts(model), conn_string=there)
    result = done(getattr(crew, kickoff)(inputs=INPUTS))
    assert model.made()[len(before) :] == ["topic-2"]
    assert [output.raw for output in result.tasks_output] == [f"all about {topic}" for topic in ALL]
    assert there.keys(ANSWERS) == there.keys(OUTPUTS) == [], "what only the next life needs is gone"


def test_a_finished_call_of_the_interrupted_task_is_not_made_again(store: AgentStateStore, model: CountedModel) -> None:
    cut(PersistentCrew(**parts(model), conn_string=store, run_id="r"), model, at=3)
    before = model.made()
    for key in store.keys(OUTPUTS):  # as if the power had been cut between the answers and the tasks' ends
        store.delete(key)
    PersistentCrew(**parts(model), conn_string=store, run_id="r").kickoff(inputs=INPUTS)
    assert model.made()[len(before) :] == ["topic-2"]


def test_a_call_that_failed_is_tried_again_and_the_answer_then_counts(
    store: AgentStateStore, model: CountedModel
) -> None:
    class Stumbles(CountedModel):
        def call(self, *args: Any, **kwargs: Any) -> str:
            if len(self.made()) == 1 and not stumbled:
                stumbled.append(1)
                raise ConnectionError("busy")
            return super().call(*args, **kwargs)

    stumbled: list[int] = []
    stumbling = Stumbles(model="counted", calls=model.calls)
    cut(PersistentCrew(**parts(stumbling), conn_string=store, run_id="r"), stumbling, at=3)
    assert stumbled
    before = stumbling.made()
    for key in store.keys(OUTPUTS):
        store.delete(key)
    PersistentCrew(**parts(stumbling), conn_string=store, run_id="r").kickoff(inputs=INPUTS)
    assert stumbling.made()[len(before) :] == ["topic-2"]


def test_the_same_question_asked_twice_has_two_answers_in_their_order(
    store: AgentStateStore, model: CountedModel
) -> None:
    class Counts(CountedModel):
        def call(self, *args: Any, **kwargs: Any) -> str:
            super().call(*args, **kwargs)
            return f"answer {len(self.made())}"

    def life(asked: int) -> list[str]:
        run = _runs.Run(store, Crew(**parts(model)), None, "twice")
        token = _runs.current.set(run)
        with remembering([counting, counting]):
            answers = [counting.call("what of topic-0") for _ in range(asked)]
        _runs.current.reset(token)
        return answers

    counting = Counts(model="counted", calls=model.calls)
    assert life(2) == ["answer 1", "answer 2"]
    assert life(3) == ["answer 1", "answer 2", "answer 3"]
    assert counting.call("what of topic-0") == "answer 4", "outside of a run it is as it was"
    assert type(counting) is Counts


def test_a_named_run_that_has_ended_gives_its_result_again(store: AgentStateStore, model: CountedModel) -> None:
    crew = PersistentCrew(**parts(model), conn_string=store, run_id="a/b 1")
    first = crew.kickoff(inputs=INPUTS)
    again = PersistentCrew(**parts(model), conn_string=store, run_id="a/b 1").kickoff(inputs=INPUTS)
    assert model.made() == ALL
    assert [output.raw for output in again.tasks_output] == [output.raw for output in first.tasks_output]
    assert crew.kickoff(inputs=INPUTS).raw == first.raw
    assert model.made() == ALL
    crew.forget()
    assert store.keys("crewai/crew/") == []
    crew.kickoff(inputs=INPUTS)
    assert model.made() == ALL + ALL


def test_a_run_without_a_name_is_known_by_crew_and_inputs_and_begins_anew_when_it_has_ended(
    store: AgentStateStore, model: CountedModel
) -> None:
    crew = PersistentCrew(**parts(model), conn_string=store)
    cut(crew, model, at=2)
    crew.kickoff(inputs={"whom": "somebody else"})
    assert model.made()[-3:] == ALL, "other inputs, another run"
    before = model.made()
    crew.kickoff(inputs=INPUTS)
    assert model.made()[len(before) :] == ALL[1:], "the same crew object, too"
    before = model.made()
    crew.kickoff(inputs=INPUTS)
    assert model.made()[len(before) :] == ALL, "it had ended"
    with pytest.raises(ValueError, match="run_id"):
        crew.forget()


def test_each_of_several_inputs_is_a_run_of_its_own(store: AgentStateStore, model: CountedModel) -> None:
    several = [{"whom": "Ann"}, {"whom": "Ann"}]
    crew = PersistentCrew(**parts(model), conn_string=store, run_id="each")
    model.dies_at = 5
    with pytest.raises(PowerCutError):
        crew.kickoff_for_each(several)
    model.dies_at = 0
    before = model.made()
    results = PersistentCrew(**parts(model), conn_string=store, run_id="each").kickoff_for_each(several)
    assert model.made()[len(before) :] == ALL[1:]
    assert len(results) == 2
    twice = PersistentCrew(**parts(model), conn_string=store, run_id="each")
    assert [output.raw for output in asyncio.run(twice.kickoff_for_each_async(several))] == ["all about topic-2"] * 2
    assert model.made()[len(before) :] == ALL[1:]


def test_a_crew_that_streams_goes_on_as_well(store: AgentStateStore, model: CountedModel) -> None:
    cut(PersistentCrew(**parts(model), conn_string=store), model, at=3)
    before = model.made()
    crew = PersistentCrew(**parts(model), conn_string=store, stream=True)
    streamed = crew.kickoff(inputs=INPUTS)
    assert list(streamed) is not None
    assert streamed.result.raw == "all about topic-2"
    assert model.made()[len(before) :] == ["topic-2"]
    assert store.keys(OUTPUTS) == []


def test_it_is_a_crew(store: AgentStateStore, model: CountedModel) -> None:
    plain = Crew(**parts(model), name="reporters")
    crew = PersistentCrew.of(plain, store, run_id="r")
    assert isinstance(crew, Crew)
    assert (crew.name, crew.tasks[0] is plain.tasks[0], crew.key) == ("reporters", True, plain.key)
    assert crew.kickoff(inputs=INPUTS).raw == "all about topic-2"
    copied = crew.copy()
    assert isinstance(copied, PersistentCrew)
    assert copied.conn_string == crew.conn_string
    assert plain.kickoff(inputs=INPUTS).raw == "all about topic-2"
    assert model.made() == ALL + ALL, "the parts are as they were"
    assert type(model) is CountedModel


def test_a_checkpoint_of_a_persistent_crew_names_nothing_that_cannot_be_restored(
    store: AgentStateStore, model: CountedModel
) -> None:
    class Looks(CountedModel):
        def call(self, *args: Any, **kwargs: Any) -> str:
            dumps.append(crew.model_dump(mode="json"))
            return super().call(*args, **kwargs)

    dumps: list[dict[str, Any]] = []
    crew = PersistentCrew(**parts(Looks(model="counted", calls=model.calls)), conn_string=store)
    crew.kickoff(inputs=INPUTS)
    assert len(dumps) == 3
    assert all(dump["task_callback"] is None for dump in dumps)
    assert not [task["callback"] for dump in dumps for task in dump["tasks"] if task["callback"]]
    assert not [task.callback for task in crew.tasks if task.callback], "tasks are as they were"


def test_callbacks_hear_each_output_once_and_after_it_is_kept(store: AgentStateStore, model: CountedModel) -> None:
    heard: list[tuple[str, str, int]] = []

    def note(who: str) -> Callable[[Any], None]:
        return lambda output: heard.append((who, output.raw, len(store.keys(OUTPUTS))))

    made = parts(model)
    made["tasks"][0].callback = note("task")
    crew = PersistentCrew(**made, conn_string=store, task_callback=note("crew"))
    crew.kickoff(inputs=INPUTS)
    assert [entry for entry in heard if entry[0] == "crew"] == [
        ("crew", f"all about topic-{number}", number + 1) for number in range(3)
    ]
    assert [entry[1] for entry in heard if entry[0] == "task"] == ["all about topic-0"]


@pytest.mark.parametrize("kickoff", ["kickoff", "akickoff"])
def test_tasks_that_run_beside_each_other_are_each_done_once(
    kickoff: str, store: AgentStateStore, model: CountedModel
) -> None:
    def crew() -> PersistentCrew:
        made = parts(model, topics=4)
        for task in made["tasks"][:2]:
            task.agent, task.async_execution = made["agents"][0].copy(), True  # one agent does one thing at a time
            made["agents"].append(task.agent)
        return PersistentCrew(**made, conn_string=store, run_id="beside")

    cut(crew(), model, at=4, kickoff=kickoff)
    before = model.made()
    assert sorted(answered(model)) == [f"topic-{number}" for number in range(4)]
    result = done(getattr(crew(), kickoff)(inputs=INPUTS))
    assert model.made()[len(before) :] == ["topic-3"]
    assert sorted(output.raw for output in result.tasks_output) == [f"all about topic-{number}" for number in range(4)]


def test_a_crew_with_a_manager_asks_it_nothing_again(store: AgentStateStore, model: CountedModel) -> None:
    def crew() -> PersistentCrew:
        managed = parts(model) | {"process": Process.hierarchical, "manager_llm": model}
        return PersistentCrew(**managed, conn_string=store, run_id="managed")

    cut(crew(), model, at=3)
    before = model.made()
    for key in store.keys(OUTPUTS):
        store.delete(key)
    crew().kickoff(inputs=INPUTS)
    assert model.made()[len(before) :] == ["topic-2"]


class Answer(BaseModel):
    topic: str


def test_a_models_output_comes_back_as_one(store: AgentStateStore, model: CountedModel) -> None:
    class Typed(CountedModel):
        def call(self, *args: Any, **kwargs: Any) -> str:
            text = super().call(*args, **kwargs)
            return f'{{"topic": "{text.split()[-1]}"}}'

    def crew(model: CountedModel) -> PersistentCrew:
        made = parts(model, topics=2)
        made["tasks"][0].output_pydantic = Answer
        return PersistentCrew(**made, conn_string=store, run_id="typed")

    typed = Typed(model="counted", calls=model.calls)
    cut(crew(typed), typed, at=2)
    result = crew(typed).kickoff(inputs=INPUTS)
    assert result.tasks_output[0].pydantic == Answer(topic="topic-0")


def test_what_another_task_gave_is_not_taken_for_a_changed_one(store: AgentStateStore, model: CountedModel) -> None:
    cut(PersistentCrew(**parts(model), conn_string=store, run_id="r"), model, at=3)
    changed = parts(model)
    changed["tasks"][1].description = "Write about topic-1 and moss for {whom}"
    before = model.made()
    PersistentCrew(**changed, conn_string=store, run_id="r").kickoff(inputs=INPUTS)
    assert model.made()[len(before) :] == ["topic-1", "topic-2"]


def test_a_task_that_was_skipped_is_skipped_again(store: AgentStateStore, model: CountedModel) -> None:
    def crew() -> PersistentCrew:
        made = parts(model)
        described = {"description": "Write about topic-9", "expected_output": "a text", "agent": made["agents"][0]}
        made["tasks"].insert(1, ConditionalTask(condition=lambda _: False, **described))
        return PersistentCrew(**made, conn_string=store, run_id="r")

    crew().kickoff(inputs=INPUTS)
    assert len(crew().kickoff(inputs=INPUTS).tasks_output) == 4
    assert model.made() == ALL


TOOL_CALLS = [{"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"what": "moss"}'}}]


def test_tool_calls_of_a_model_are_remembered(store: AgentStateStore, tmp_path: Path) -> None:
    looked_up: list[str] = []

    @tool
    def look_up(what: str) -> str:
        """Look something up."""
        looked_up.append(what)
        return f"{what} is green"

    class UsesTools(CountedModel):
        def call(self, messages: str | list[Any], *args: Any, **kwargs: Any) -> Any:
            assert isinstance(messages, list)
            first = not any(message["role"] == "tool" for message in messages)
            text = super().call([{"content": "topic-tool" if first else "topic-end"}], *args, **kwargs)
            return TOOL_CALLS if first else text

        def supports_function_calling(self) -> bool:
            return True

    def crew() -> PersistentCrew:
        agent = Agent(role="r", goal="g", backstory="b", llm=model, tools=[look_up], verbose=False)
        task = Task(description="Look moss up", expected_output="a text", agent=agent)
        return PersistentCrew(agents=[agent], tasks=[task], conn_string=store, run_id="tools")

    model = UsesTools(model="counted", calls=str(tmp_path / "calls"))
    cut(crew(), model, at=2)
    before = model.made()
    assert crew().kickoff(inputs=INPUTS).raw.endswith("all about topic-end")
    assert model.made()[len(before) :] == ["topic-end"]
    assert looked_up[-1] == "moss"


def test_nothing_of_prompts_and_answers_reaches_a_log(
    store: AgentStateStore, model: CountedModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    PersistentCrew(**parts(model), conn_string=store).kickoff(inputs={"whom": "canary-7731"})
    ours = [record for record in caplog.records if record.name.startswith("propagul")]
    assert not [record for record in ours if "canary" in record.getMessage() or "all about" in record.getMessage()]
    assert "canary" not in str(store.keys())


def test_what_it_cannot_do_is_said(store: AgentStateStore, model: CountedModel) -> None:
    crew = PersistentCrew(**parts(model), conn_string=store)
    with pytest.raises(ValueError, match="goes on by itself"):
        crew.kickoff(from_checkpoint=CheckpointConfig(restore_from="x.json"))
    with pytest.raises(ValidationError, match="conn_string"):
        PersistentCrew(**parts(model), conn_string=7)
    assert store.keys(RUNS) == []
