"""A workflow goes on after a kill, on another machine; and replicas that had not heard of each other agree."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from agent_framework import WorkflowCheckpointException
from propagul_agent_framework import PropagulCheckpointStorage

from tests.agents.agent_framework.world import CLASSES, Countdown, Counter, checkpoint, workflow
from tests.agents.killed import killed
from tests.store.world import Island, apart, on_island

if TYPE_CHECKING:
    from pathlib import Path

    from propagul import AgentStateStore


async def asking(store: AgentStateStore) -> str:
    """Run until a person is asked; what the request is called."""
    storage = PropagulCheckpointStorage(store, classes=CLASSES)
    result = await workflow(Counter(asks_at=3), storage).run(Countdown(5))
    return str(result.get_request_info_events()[0].request_id)


def go_on(store: AgentStateStore, request_id: str) -> list[object]:
    """Answer what was asked, and let the workflow end."""

    async def scenario() -> list[object]:
        storage = PropagulCheckpointStorage(store, classes=CLASSES)
        latest = await storage.get_latest(workflow_name="wf")
        assert latest is not None
        counter = Counter(asks_at=3)
        resumed = workflow(counter, storage)
        result = await resumed.run(responses={request_id: "yes"}, checkpoint_id=latest.checkpoint_id)
        return [*result.get_outputs(), *[said.text[:8] for said in counter.said]]

    return asyncio.run(scenario())


def test_a_workflow_that_waits_for_an_answer_goes_on_after_kill_9_at_a_peer_and_from_its_directory(
    tmp_path: Path,
) -> None:
    with killed(asking, tmp_path) as (request_id, stores):
        for store in stores:
            assert go_on(store, request_id) == [
                7,
                "5: xxxxx",
                "4: xxxxx",
                "3: xxxxx",
                "go on? y",
                *("2: xxxxx", "1: xxxxx", "0: xxxxx"),
            ]


async def both(island: Island) -> tuple[PropagulCheckpointStorage, PropagulCheckpointStorage]:
    """A storage at each of two linked replicas."""
    here, there = await island.start("a"), await island.start("b", "a")
    return PropagulCheckpointStorage(here), PropagulCheckpointStorage(there)


def test_two_that_went_on_from_the_same_checkpoint_are_two_heads_everywhere() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        shared = ["x" * 1000] * 40
        await here.save(checkpoint("first", shared=shared))
        async with apart(island):
            await here.save(checkpoint("here", at=1, previous="first", shared=[*shared, "here"]))
            await there.save(checkpoint("there", at=2, previous="first", shared=[*shared, "there"]))
        for storage in (here, there):
            heads = await storage.heads(workflow_name="wf")
            assert [(head.checkpoint_id, head.state["shared"][-1]) for head in heads] == [("here",) * 2, ("there",) * 2]
            assert len(await storage.list_checkpoints(workflow_name="wf")) == 3

    on_island(scenario)


def test_a_run_that_was_deleted_stays_deleted_under_late_checkpoints_and_the_next_begins_whole() -> None:
    async def scenario(island: Island) -> None:
        here, there = await both(island)
        shared = ["x" * 1000] * 40
        await here.save(checkpoint("first", shared=shared))
        async with apart(island):
            assert await here.delete("first")
            await there.save(checkpoint("late", at=1, previous="first", shared=shared))
        for storage in (here, there):
            assert await storage.list_checkpoint_ids(workflow_name="wf") == []
            with pytest.raises(WorkflowCheckpointException, match="No checkpoint found"):
                await storage.load("late")
        await there.save(checkpoint("next", at=2, previous="late", shared=shared))
        await island.clock.advance(30)
        assert (await here.load("next")).state == {"shared": shared}
        assert await here.delete("next")
        await island.clock.advance(30)
        assert {key.split("/")[1] for key in there.store.keys("agent-framework/")} == {"ended"}

    on_island(scenario)
