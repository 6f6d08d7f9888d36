"""A graph in a process that may be killed at any instant, and what it did by the files that it left.

Each node appends its step to a file before it does anything else, and the saver appends what was acknowledged when a
put has returned. One write with O_APPEND each: a kill leaves whole lines.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from propagul_langgraph import PropagulSaver

from propagul import AgentStateStore

if TYPE_CHECKING:
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

    builder: Any = StateGraph(State)
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
    while (state := graph.get_state(CONFIG)).values.get("step", 0) < STEPS:
        begin = None if state.values else {"step": 0}
        graph.invoke(Command(resume="yes") if state.interrupts else begin, CONFIG, durability="sync")
    store.close()


def lives(files: Path, port: int, kills: int, chance: random.Random) -> None:
    """Work on a thread in one process after the other, each killed at some instant, until it comes to its end."""
    for life in range(10 * kills):
        begin = len(noted(files / "ran"))
        process = os.fork()
        if not process:
            live(port, files / f"disk {life}", files)
            os._exit(0)
        if life < kills:
            steps, deadline = chance.randint(1, STEPS // kills), time.monotonic() + 60
            while len(noted(files / "ran")) < begin + steps and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.01)  # the instant
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if status == 0:
            return
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "a life ended in an error"
    raise AssertionError("the thread did not come to its end")


def serve(pipe: int, files: Path) -> None:
    """The peer, in a process of its own: what it says at the end is all that anybody has of the thread."""
    peer = AgentStateStore(ROOM, "peer", 0, "127.0.0.1", secret=SECRET)
    peer.start_background()
    os.write(pipe, f"{peer.addresses[0].port}\n".encode())
    sys.stdin.readline()
    state = graph_of(PropagulSaver(peer), files).get_state(CONFIG)
    told = {"messages": [message.id for message in state.values["messages"]], "answer": state.values["answer"]}
    print(json.dumps({**told, "next": state.next}), flush=True)
    peer.close()


def main(files: Path, kills: int, seed: int) -> None:
    """Fork the peer and one life after the other, before this process has any thread."""
    read, write = os.pipe()
    told, tell = os.pipe()
    peer = os.fork()
    if not peer:
        os.dup2(told, 0)
        os.close(tell)
        serve(write, files)
        os._exit(0)
    try:
        lives(files, int(os.read(read, 16)), kills, random.Random(seed))
        os.write(tell, b"done\n")
    finally:
        os.close(tell)
        os.waitpid(peer, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
