"""Checkpoints come back as they were, take no room twice, and are deleted for good."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import math
import uuid
from typing import TYPE_CHECKING, cast

import pytest
from agent_framework import (
    AgentResponse,
    Content,
    InMemoryCheckpointStorage,
    Message,
    WorkflowCheckpoint,
    WorkflowCheckpointException,
)
from hypothesis import given
from hypothesis import strategies as st
from propagul_agent_framework import PropagulCheckpointStorage
from pydantic import BaseModel

from propagul import AgentStateStore
from tests.agents.agent_framework.world import (
    CLASSES,
    Bare,
    Colour,
    Countdown,
    Counter,
    Model,
    Question,
    checkpoint,
    workflow,
)
from tests.store.world import often_switching, run, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from agent_framework import CheckpointStorage


NOW = dt.datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=dt.timezone(dt.timedelta(hours=2)))
VALUES: list[object] = [
    {"a": [1, 2.5, None, True, "é🙂\ud83d"], "$b": {1: 2, "1": 3, (1, 2): b"\xff\x00"}},
    [math.inf, -math.inf, (1, (2,)), {1, "a"}, frozenset({b"x"}), NOW, NOW.date(), NOW.time(), dt.timedelta(-1, 2, 3)],
    [uuid.UUID(int=5), decimal.Decimal("1.10"), Colour.RED, str, list[int], dict[str, Question], str | None, Countdown],
    [Model(name="m", when=NOW), Countdown(3), Question("?", ("t",), [Model(name="n", when=NOW)]), Bare(1, [Bare()])],
    {"~=x": "~*y", "~": ["~~"]},
    {"long": "é" * 300_000},
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a_value_comes_back_as_it_was(store: AgentStateStore, value: object) -> None:
    async def scenario() -> None:
        storage = PropagulCheckpointStorage(store, classes=CLASSES)
        made = checkpoint(value=value)
        assert await storage.save(made) == made.checkpoint_id
        loaded = await storage.load(made.checkpoint_id)
        assert loaded == made
        assert repr(loaded) == repr(made) or isinstance(value, list)

    run(scenario)


def test_messages_of_the_framework_come_back_whole(store: AgentStateStore) -> None:
    async def scenario() -> None:
        storage = PropagulCheckpointStorage(store)
        call = Content.from_function_call("call 1", "tool", arguments={"a": [1, "b"]})
        said = Message(
            "assistant", [call, Content.from_data(b"\xff\x00", "image/png")], author_name="me", message_id="m"
        )
        await storage.save(checkpoint("c", said=said, answer=AgentResponse(messages=[said], response_id="r")))
        state = (await storage.load("c")).state
        assert state["said"].to_dict() == said.to_dict()
        assert state["answer"].to_dict() == AgentResponse(messages=[said], response_id="r").to_dict()

    run(scenario)


class Unlisted:
    pass


class Holder(BaseModel):
    held: object


class Reduced:
    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return (Reduced, ())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [Unlisted()]}, r"checkpoint\.state\.value\.a\[0\] is a .*:Unlisted, which is not listed: pass"),
        (Unlisted, "is the class .*:Unlisted, which is not listed"),
        (print, "checkpoint.state.value is a builtins:builtin_function_or_method, which is not listed"),
        (Holder(held=Model(name="m", when=NOW)), "Holder, which its own `model_dump` does not bring back"),
        (Reduced(), "Reduced, which is more than its attributes"),
        ({"k" * 5000: Unlisted()}, r"checkpoint\.state\.value\.k{150,200}\.\.\. is a .*:Unlisted"),
    ],
)
def test_what_is_not_listed_is_refused_when_it_is_saved_and_nothing_is_stored(
    store: AgentStateStore, value: object, told: str
) -> None:
    async def scenario() -> None:
        with pytest.raises(WorkflowCheckpointException, match=told):
            await PropagulCheckpointStorage(store, classes=[Holder, Model, Reduced]).save(checkpoint(value=value))
        assert len(store) == 0

    run(scenario)


def test_a_value_inside_itself_is_refused(store: AgentStateStore) -> None:
    async def scenario() -> None:
        inside: list[object] = []
        inside.append(inside)
        with pytest.raises(WorkflowCheckpointException, match="inside itself"):
            await PropagulCheckpointStorage(store).save(checkpoint(value=inside))

    run(scenario)


@pytest.mark.parametrize(
    ("hostile", "told"),
    [
        ('{"$object":["os:environ",{}]}', "os:environ, which is not listed"),
        ('{"$object":["subprocess:Popen",{"args":"true"}]}', "Popen, which is not listed"),
        ('{"$object":["agent_framework._agents:Agent",{"x":1}]}', "Agent, which is not listed"),
        ('{"$object":["agent_framework._clients:os.environ",{}]}', "which is not listed"),
        ('{"$said":["agent_framework._clients:BaseChatClient",{}]}', "BaseChatClient, which is not listed"),
        ('{"$model":["tests.agents.agent_framework.world:Model",{}]}', "Model, which is not listed"),
        ('{"$model":["tests.agents.agent_framework.world:Countdown",{}]}', "Countdown, which is not listed"),
        ('{"$enum":["tests.agents.agent_framework.world:Colour","RED"]}', "Colour, which is not listed"),
        ('{"$class":"os:PathLike"}', "PathLike, which is not listed"),
        ('{"$object":["tests.agents.agent_framework.world:Countdown",5]}', r"a \$object that is none"),
        ('{"$class":["|","str",5]}', ":5, which is not listed|5, which is not listed"),
        ('{"$datetime":5}', r"a \$datetime that is none"),
        ('{"$unknown":1}', r"a \$unknown that is none"),
        ('"~=0"', "has not arrived whole yet"),
        ('"~?"', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[" * 900 + "]" * 900, "cannot be read"),
    ],
)
def test_what_a_hostile_member_stores_makes_no_object_that_is_not_listed(
    store: AgentStateStore, hostile: str, told: str
) -> None:
    async def scenario() -> None:
        storage = PropagulCheckpointStorage(store, classes=[Countdown])
        await storage.save(checkpoint("c", value="hostile"))
        (key,) = store.keys("agent-framework/rows/")
        timestamp, previous, text = cast("list[str | None]", store.get(key))
        assert text is not None
        assert '"hostile"' in text
        store.set(key, [timestamp, previous, text.replace('"hostile"', hostile)])
        with pytest.raises(WorkflowCheckpointException, match=told):
            await storage.load("c")

    run(scenario)


async def taken(storage: CheckpointStorage, step: tuple[str, int, int]) -> object:
    """What a storage says to a step."""
    what, number, other = step
    match what:
        case "save":
            previous = f"at {float(other)}" if other < number else None
            return await storage.save(checkpoint(at=float(number), previous=previous, said=list(range(number)) * 50))
        case "load":
            try:
                return await storage.load(f"at {float(number)}")
            except WorkflowCheckpointException as error:
                return str(error)
        case "delete":
            return await storage.delete(f"at {float(number)}")
        case "latest":
            return await storage.get_latest(workflow_name="wf")
    ids = await storage.list_checkpoint_ids(workflow_name="wf")
    assert [one.checkpoint_id for one in await storage.list_checkpoints(workflow_name="wf")] == ids
    return sorted(ids), await storage.list_checkpoint_ids(workflow_name="other")


STEPS = st.tuples(
    st.sampled_from(["save", "save", "load", "delete", "latest", "list"]), st.integers(0, 8), st.integers(0, 8)
)


@given(st.lists(STEPS, min_size=8, max_size=25))
def test_over_the_same_history_it_says_what_the_frameworks_own_says(history: list[tuple[str, int, int]]) -> None:
    async def scenario() -> None:
        for step in history:
            assert await taken(ours, step) == await taken(theirs, step)
        for number in range(9):
            await taken(ours, ("delete", number, 0))
        assert {key.split("/")[1] for key in held.get_all()} <= {"ended"}

    held = AgentStateStore("room", port=None)
    ours, theirs = PropagulCheckpointStorage(held), InMemoryCheckpointStorage()
    try:
        asyncio.run(scenario())
    finally:
        held.close()


async def stored_by(steps: int, size: int) -> int:
    """How many characters a countdown leaves, when each step adds a message to a list."""
    store = AgentStateStore("room", port=None)
    storage = PropagulCheckpointStorage(store, classes=CLASSES)
    await workflow(Counter(size=size), storage).run(Countdown(steps))
    stored = sum(len(key) + len(str(value)) for key, value in store.items())
    store.close()
    return stored


def test_a_list_that_grows_is_stored_once() -> None:
    async def scenario() -> None:
        once, twice = await stored_by(50, 2000), await stored_by(100, 2000)
        assert twice < 2.2 * once  # whole, it would be 4 times
        assert twice < 3 * 100 * 2000  # whole, it would be 50 times

    run(scenario)


def test_the_latest_is_what_nothing_follows_whatever_the_clocks_say(store: AgentStateStore) -> None:
    async def scenario() -> None:
        storage = PropagulCheckpointStorage(store)
        await storage.save(checkpoint("first", at=100))
        await storage.save(checkpoint("second", at=50, previous="first"))
        assert (await storage.get_latest(workflow_name="wf")) == await storage.load("second")
        await storage.save(checkpoint("other", at=60, previous="first"))
        heads = await storage.heads(workflow_name="wf")
        assert [head.checkpoint_id for head in heads] == ["second", "other"]

    run(scenario)


def test_one_that_cannot_be_loaded_hides_no_other_and_is_never_passed_over_for_an_older_one(
    store: AgentStateStore, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await PropagulCheckpointStorage(store, classes=CLASSES).save(checkpoint("old", at=1))
        await PropagulCheckpointStorage(store, classes=CLASSES).save(checkpoint("new", at=2, value=Countdown(1)))
        storage = PropagulCheckpointStorage(store)
        assert [one.checkpoint_id for one in await storage.list_checkpoints(workflow_name="wf")] == ["old"]
        assert "checkpoint_left_out id=new" in caplog.text
        assert await storage.list_checkpoint_ids(workflow_name="wf") == ["old", "new"]
        with pytest.raises(WorkflowCheckpointException, match="Countdown, which is not listed"):
            await storage.get_latest(workflow_name="wf")

    run(scenario)


def test_what_consecutive_checkpoints_share_stays_while_one_of_them_does(store: AgentStateStore) -> None:
    async def scenario() -> None:
        storage = PropagulCheckpointStorage(store)
        shared = ["x" * 1000, "y" * 300_000]
        await storage.save(checkpoint("1", shared=shared))
        await storage.save(checkpoint("2", previous="1", shared=shared))
        assert await storage.delete("1")
        assert (await storage.load("2")).state == {"shared": shared}
        assert await storage.delete("2")
        assert not await storage.delete("2")
        assert [key.split("/")[1] for key in store.get_all()] == ["ended"]

    run(scenario)


def test_a_checkpoint_that_is_saved_while_the_one_before_is_deleted_is_kept(store: AgentStateStore) -> None:
    async def scenario() -> None:
        storage = PropagulCheckpointStorage(store)
        for number in range(60):
            await storage.save(checkpoint(f"{number}", shared=["x" * 1000]))
            after = checkpoint(f"{number}+", previous=f"{number}", shared=["x" * 1000])
            await asyncio.gather(storage.save(after), storage.delete(f"{number}"))
            assert (await storage.load(f"{number}+")).state == {"shared": ["x" * 1000]}

    with often_switching():
        run(scenario)


@pytest.mark.parametrize("durability", ["group", "each", "peers:1"])
def test_a_store_that_waits_for_disk_or_peers_does_not_stop_its_loop(durability: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting(durability, tmp_path) as store:
            storage = PropagulCheckpointStorage(store, classes=CLASSES)
            assert (await workflow(Counter(), storage).run(Countdown(2))).get_outputs() == [3]
            ids = await storage.list_checkpoint_ids(workflow_name="wf")
            assert [await storage.delete(one) for one in ids] == [True] * len(ids)

    run(scenario)


def test_a_connection_string_opens_a_storage(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PropagulCheckpointStorage.from_conn_string(str(tmp_path), classes=CLASSES) as storage:
            await storage.save(checkpoint("c", value=Countdown(1)))
        async with PropagulCheckpointStorage.from_conn_string(str(tmp_path)) as storage:
            with pytest.raises(WorkflowCheckpointException, match="Countdown, which is not listed"):
                await storage.load("c")

    run(scenario)


def test_a_checkpoint_that_is_no_checkpoint_is_said_to_be_unreadable(store: AgentStateStore) -> None:
    async def scenario() -> None:
        storage = PropagulCheckpointStorage(store)
        await storage.save(checkpoint("c"))
        (key,) = store.keys("agent-framework/rows/")
        store.set(key, ["", None, "[]"])
        with pytest.raises(WorkflowCheckpointException, match="Checkpoint c cannot be read"):
            await storage.load("c")
        store.set(key, 5)
        with pytest.raises(WorkflowCheckpointException, match="No checkpoint found with ID c"):
            await storage.load("c")

    run(scenario)


def test_it_is_a_storage_for_the_framework() -> None:
    wanted = {"save", "load", "list_checkpoints", "delete", "get_latest", "list_checkpoint_ids"}
    assert wanted <= vars(PropagulCheckpointStorage).keys()
    assert WorkflowCheckpoint("wf", "g").version == "1.0"
