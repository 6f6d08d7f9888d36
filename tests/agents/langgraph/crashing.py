"""A graph in a process that may be killed at any instant, and what it did by the files that it left.

Each node appends its step to a file before it does anything else, and the saver appends what was acknowledged when a
put has returned. One write with O_APPEND each: a kill leaves whole lines.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt

from propagul import AgentStateStore
from propagul_langgraph import PropagulSaver

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

STEPS = 40
QUESTION_AT = 20
ROOM, SECRET = "crash", "correct-horse-battery-staple-9"
CONFIG: RunnableConfig = {"configurable": {"thread_id": "1"}, "recursion_limit": 1000}


class State(TypedDict):
    step: int
    answer: str
    messages: Annotated[list[BaseMessage], add_messages]


def note(path: Path, line: object) -> None:
    """Append a line, whole or not at all."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def noted(path: Path) -> list[int]:
    """The lines so far, as numbers."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


class NotingSaver(PropagulSaver):
    """Notes each step when its checkpoint is acknowledged."""

    acknowledged: Path

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Put, then note."""
        stored = super().put(config, checkpoint, metadata, new_versions)
        note(self.acknowledged, checkpoint["channel_values"].get("step", 0))
        return stored


def graph_of(saver: PropagulSaver, files: Path) -> Any:
    """One node that counts up to `STEPS`, and in the middle one that asks a person."""

    def work(state: State) -> dict[str, object]:
        step = state.get("step", 0) + 1
        note(files / "ran", step)
        if step in noted(files / "acknowledged"):
            note(files / "repeated", step)
        return {"step": step, "messages": [AIMessage(f"step {step} " + "x" * 200, id=f"m{step}")]}

    def ask(_: State) -> dict[str, object]:
        return {"answer": interrupt("go on?")}

    def after(state: State) -> str:
        if state["step"] == QUESTION_AT and not state.get("answer"):
            return "ask"
        return END if state["step"] >= STEPS else "work"

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_node("ask", ask)
    builder.add_edge(START, "work")
    builder.add_edge("ask", "work")
    builder.add_conditional_edges("work", after, ["work", "ask", END])
    return builder.compile(checkpointer=saver)


def live(port: int, directory: Path, files: Path) -> None:
    """One life: open a store that has seen nothing, catch up with the peer, go on with the thread to its end."""
    store = AgentStateStore(ROOM, "worker", 0, "127.0.0.1", path=directory, secret=SECRET)
    store.start_background(peers=[("127.0.0.1", port)], require_peers=1)
    saver = NotingSaver(store, replicas=1)
    saver.acknowledged = files / "acknowledged"
    graph = graph_of(saver, files)
    while (state := graph.get_state(CONFIG)).next or not state.values:
        resumed = Command(resume="yes") if state.interrupts else None
        note(files / "asked", 1) if resumed else None
        graph.invoke(resumed or (None if state.values else {"step": 0}), CONFIG, durability="sync")
    note(files / "done", len(state.values["messages"]))
    store.close()
