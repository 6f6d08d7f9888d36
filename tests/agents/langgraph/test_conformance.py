"""LangGraph's own conformance suite: every capability is there, and every test of each passes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from propagul_langgraph import PropagulSaver

from tests.store.world import pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple

    Opened = Callable[[Path], AbstractAsyncContextManager[BaseCheckpointSaver[Any]]]

TESTS = {
    "put": 17,
    "put_writes": 10,
    "get_tuple": 10,
    "list": 16,
    "delete_thread": 5,
    "delete_for_runs": 7,
    "copy_thread": 8,
    "prune": 8,
}
"""What each capability had in version 0.0.2 of the suite; later ones may have more."""


class Across(BaseCheckpointSaver[int]):
    """What is written is written on one machine, and what is read is read on the other."""

    def __init__(self, here: PropagulSaver, there: PropagulSaver) -> None:
        super().__init__(serde=here.serde)
        self.here, self.there = here, there

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        stored = await self.here.aput(config, checkpoint, metadata, new_versions)
        await self.here.store.flush(peers=1)
        return stored

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self.here.aput_writes(config, writes, task_id, task_path)
        await self.here.store.flush(peers=1)

    async def adelete_thread(self, thread_id: str) -> None:
        await self.here.adelete_thread(thread_id)
        await self.here.store.flush(peers=1)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self.here.adelete_for_runs(run_ids)
        await self.here.store.flush(peers=1)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self.here.acopy_thread(source_thread_id, target_thread_id)
        await self.here.store.flush(peers=1)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await self.here.aprune(thread_ids, strategy=strategy)
        await self.here.store.flush(peers=1)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self.there.aget_tuple(config)

    async def alist(self, config: RunnableConfig | None, **chosen: Any) -> AsyncIterator[CheckpointTuple]:
        async for found in self.there.alist(config, **chosen):
            yield found


@asynccontextmanager
async def in_memory(_: Path) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    async with PropagulSaver.from_conn_string("memory://") as saver:
        yield saver


@asynccontextmanager
async def on_disk(directory: Path) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    async with PropagulSaver.from_conn_string(str(directory / "threads")) as saver:
        yield saver


@asynccontextmanager
async def across_two_machines(_: Path) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    async with pair() as (a, b):
        yield Across(PropagulSaver(a), PropagulSaver(b))


@pytest.mark.parametrize("opened", [in_memory, on_disk, across_two_machines])
def test_all_eight_capabilities_conform(opened: Opened, tmp_path: Path) -> None:
    @checkpointer_test(name="PropagulSaver", lifespan=None)
    async def factory() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        async with opened(tmp_path) as saver:
            yield saver

    results = asyncio.run(validate(factory)).results
    assert {name: found.failures for name, found in results.items() if found.failures} == {}
    assert all(found.detected for found in results.values())
    assert {name: results[name].tests_passed >= count for name, count in TESTS.items()} == dict.fromkeys(TESTS, True)
    assert sum(found.tests_passed for found in results.values()) >= 81
