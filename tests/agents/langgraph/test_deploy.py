"""What a LangGraph server opens by the names in its `langgraph.json`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from langgraph.config import get_store
from langgraph.graph import END, START, MessagesState, StateGraph

from tests.store.world import run

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import pytest
    from langchain_core.runnables import RunnableConfig


def served(name: str) -> Any:
    """What the server gets from a path such as `package:name`."""
    package, _, attribute = f"propagul_langgraph:{name}".partition(":")
    return getattr(importlib.import_module(package), attribute)()


async def remember(state: MessagesState) -> dict[str, object]:
    """Count in the store, and say so in the thread."""
    store = get_store()
    held = await store.aget(("counts",), "calls")
    calls = (held.value["n"] if held else 0) + 1
    await store.aput(("counts",), "calls", {"n": calls})
    return {"messages": [("ai", f"call {calls} of {len(state['messages'])}")]}


async def serve(thread_id: str) -> list[str]:
    """Open both as a server does, run a graph once, close them."""
    builder: Any = StateGraph(MessagesState)
    builder.add_node("remember", remember)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", END)
    config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
    async with served("create_checkpointer") as checkpointer, served("create_store") as store:
        graph = builder.compile(checkpointer=checkpointer, store=store)
        found = await graph.ainvoke({"messages": [("user", "hi")]}, config)
    return [message.content for message in found["messages"]]


def test_a_server_finds_threads_and_memory_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        assert await serve("1") == ["hi", "call 1 of 1"]
        assert await serve("1") == ["hi", "call 1 of 1", "hi", "call 2 of 3"]
        assert await serve("2") == ["hi", "call 3 of 1"]

    monkeypatch.delenv("LANGGRAPH_PROPAGUL", raising=False)
    monkeypatch.chdir(tmp_path)
    run(scenario)
    assert (tmp_path / "propagul-threads").is_dir()
    monkeypatch.setenv("LANGGRAPH_PROPAGUL", str(tmp_path / "elsewhere"))
    run(scenario)
    assert (tmp_path / "elsewhere").is_dir()
