"""Compiled graphs with this memory and this cache."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy
from propagul_langgraph.cache import PropagulCache
from propagul_langgraph.store import PropagulStore

from tests.agents.langgraph_store.world import by_words

if TYPE_CHECKING:
    from pathlib import Path

    from langgraph.graph.state import CompiledStateGraph
    from langgraph.store.base import BaseStore

OTHER_PROCESS = """
import sys
from propagul_langgraph.store import PropagulStore

with PropagulStore.from_conn_string(sys.argv[1]) as store:
    item = store.get(("users", "7"), "likes")
    print(item.value["text"], flush=True)
    store.put(("users", "7"), "other", {"text": "from another process"})
    sys.stdin.read()
"""


class State(TypedDict, total=False):
    user: str
    said: str
    recalled: list[str]


def remembering(store: PropagulStore, *, is_async: bool) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A graph that remembers what a user said, and recalls what is near to it."""

    def remember(state: State, *, store: BaseStore) -> State:
        store.put(("users", state["user"]), "likes", {"text": state["said"]})
        return {}

    def recall(state: State, *, store: BaseStore) -> State:
        found = store.search(("users",), query=state["said"])
        return {"recalled": [item.value["text"] for item in found]}

    async def aremember(state: State, *, store: BaseStore) -> State:
        await store.aput(("users", state["user"]), "likes", {"text": state["said"]})
        return {}

    async def arecall(state: State, *, store: BaseStore) -> State:
        found = await store.asearch(("users",), query=state["said"])
        return {"recalled": [item.value["text"] for item in found]}

    builder = StateGraph(State)
    builder.add_node("remember", aremember if is_async else remember)
    builder.add_node("recall", arecall if is_async else recall)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", "recall")
    builder.add_edge("recall", END)
    return builder.compile(store=store)


def test_a_graph_remembers_and_recalls() -> None:
    with PropagulStore.from_conn_string("memory://", index=by_words()) as store:
        graph = remembering(store, is_async=False)
        graph.invoke({"user": "1", "said": "green dog"})
        assert graph.invoke({"user": "2", "said": "red cat"})["recalled"] == ["red cat", "green dog"]


def test_a_graph_in_an_event_loop_remembers_over_a_restart(tmp_path: Path) -> None:
    async def once(said: str) -> list[str]:
        async with PropagulStore.from_conn_string(str(tmp_path), index=by_words()) as store:
            graph = remembering(store, is_async=True)
            state = await graph.ainvoke({"user": said, "said": said})
            sync = remembering(store, is_async=False)  # sync nodes of an async run go through a thread
            assert (await sync.ainvoke({"user": said, "said": said}))["recalled"] == state["recalled"]
            return list(state["recalled"])

    assert asyncio.run(once("green dog")) == ["green dog"]
    assert asyncio.run(once("red cat")) == ["red cat", "green dog"]


class Counted:
    """A graph whose only node is cached, and how often it ran."""

    def __init__(self, cache: PropagulCache[Any], ttl: int | None = None) -> None:
        self.runs = 0
        builder = StateGraph(State)
        builder.add_node("work", self._work, cache_policy=CachePolicy(ttl=ttl))
        builder.add_edge(START, "work")
        builder.add_edge("work", END)
        self.graph: CompiledStateGraph[Any, Any, Any, Any] = builder.compile(cache=cache)

    def _work(self, state: State) -> State:
        self.runs += 1
        return {"recalled": [state["said"], "done"]}


def test_a_cached_node_runs_once_for_an_input_also_after_a_restart(tmp_path: Path) -> None:
    for runs in ([1, 2], [0, 0]):
        with PropagulCache[Any].from_conn_string(str(tmp_path)) as cache:
            counted = Counted(cache, ttl=1000)
            for said, ran in zip(("a", "b"), runs, strict=True):
                for _ in range(2):
                    assert counted.graph.invoke({"said": said})["recalled"] == [said, "done"]
                    assert counted.runs == ran
            if runs == [0, 0]:
                counted.graph.clear_cache()
                counted.graph.invoke({"said": "a"})
                assert counted.runs == 1


def test_a_cached_node_runs_once_in_an_event_loop() -> None:
    async def main() -> None:
        async with PropagulCache[Any].from_conn_string("memory://") as cache:
            counted = Counted(cache)
            for _ in range(3):
                assert (await counted.graph.ainvoke({"said": "a"}))["recalled"] == ["a", "done"]
            assert counted.runs == 1
            await counted.graph.aclear_cache()
            await counted.graph.ainvoke({"said": "a"})
            assert counted.runs == 2

    asyncio.run(main())


def test_two_processes_share_the_memory_in_a_directory(tmp_path: Path) -> None:
    with PropagulStore.from_conn_string(str(tmp_path)) as store:
        store.put(("users", "7"), "likes", {"text": "tea"})
        command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
        paths = {"PYTHONPATH": ":".join(path or "." for path in sys.path)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=paths) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "tea\n"

            async def arrived() -> None:
                async with asyncio.timeout(20):
                    while await store.aget(("users", "7"), "other") is None:
                        await asyncio.sleep(0.01)

            asyncio.run(arrived())
            process.communicate()
        assert process.returncode == 0
