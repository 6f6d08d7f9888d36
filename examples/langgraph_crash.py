"""A graph is killed in the middle of its work, and goes on on a machine that never saw its disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, MessagesState, StateGraph
from propagul_langgraph import PropagulSaver

from propagul import AgentStateStore

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

STEPS = ("research", "outline", "draft", "review")
ROOM, SECRET = "newsroom", "an example, so anybody may know this secret"
CONFIG: RunnableConfig = {"configurable": {"thread_id": "article"}}


def work(state: MessagesState) -> dict[str, Any]:
    """One step of the article. The first life does not survive the third."""
    step = STEPS[len(state["messages"]) - 1]
    if step == "draft" and sys.argv[-1] == "first":
        print(f"  {step}: killed", flush=True)
        os.kill(os.getpid(), 9)
    print(f"  {step}: done", flush=True)
    return {"messages": [("ai", f"{step} is done")]}


def is_finished(state: MessagesState) -> str:
    """Where to go after a step."""
    return "work" if len(state["messages"]) <= len(STEPS) else END


def live(port: int, directory: str) -> None:
    """Open a store with a disk of its own, hear from the colleague what there is, and go on."""
    store = AgentStateStore(ROOM, "worker", 0, "127.0.0.1", path=directory, secret=SECRET)
    store.start_background(peers=[("127.0.0.1", port)], require_peers=1)
    builder = StateGraph(MessagesState)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    builder.add_conditional_edges("work", is_finished)
    graph = builder.compile(checkpointer=PropagulSaver(store, replicas=1))  # a step is done when a colleague has it
    messages = graph.get_state(CONFIG).values.get("messages", [])
    print(f"  finds {len(messages)} messages")
    begin: Any = None if messages else {"messages": [("user", "Write!")]}
    graph.invoke(begin, CONFIG, durability="sync")
    store.close()


def main() -> None:
    """Two lives, each with a disk of its own; between them only a colleague's memory."""
    colleague = AgentStateStore(ROOM, "colleague", 0, "127.0.0.1", secret=SECRET)
    colleague.start_background()
    port = colleague.addresses[0].port
    with tempfile.TemporaryDirectory() as directory:
        print("first life:", flush=True)
        subprocess.run([sys.executable, __file__, str(port), f"{directory}/first", "first"], check=False)
        print("second life:", flush=True)
        live(port, f"{directory}/second")
    colleague.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        live(int(sys.argv[1]), sys.argv[2])
    else:
        main()
