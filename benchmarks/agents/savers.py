"""Each contender's saver, opened on files of its own, and the loop that all of them are measured with.

Runs in the environment of the frameworks; imports nothing of theirs before a workload is called.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PEER = """
import sys
from propagul import AgentStateStore

store = AgentStateStore("bench", "peer", 0, "127.0.0.1", path=sys.argv[1], secret=sys.argv[2])
store.start_background()
print(store.addresses[0].port, flush=True)
sys.stdin.readline()
store.close()
"""

SECRET = "a-secret-for-the-loopback-only-1"


@contextmanager
def opened(contender: str, directory: Path) -> Iterator[Any]:
    """A contender's saver."""
    if contender == "memory":
        from langgraph.checkpoint.memory import InMemorySaver

        yield InMemorySaver()
    elif contender == "sqlite":
        from langgraph.checkpoint.sqlite import SqliteSaver

        with SqliteSaver.from_conn_string(str(directory / "threads.sqlite")) as saver:
            saver.setup()
            yield saver
    elif contender == "propagul_replicated":
        with _peer(directory) as port, _propagul(directory, replicas=1, port=port) as saver:
            yield saver
    else:
        durability = {"propagul": "os", "propagul_group": "group"}[contender]
        with _propagul(directory, durability=durability) as saver:
            yield saver


@contextmanager
def _propagul(directory: Path, *, durability: str = "os", replicas: int = 0, port: int = 0) -> Iterator[Any]:
    from propagul_langgraph import PropagulSaver

    where = str(directory / "threads")
    if port:
        secret = directory / "secret"
        secret.write_text(SECRET)
        where = f"propagul://bench@127.0.0.1:{port}?secret_file={secret}&path={where}"
    with PropagulSaver.from_conn_string(where, durability=durability, replicas=replicas) as saver:
        yield saver


@contextmanager
def _peer(directory: Path) -> Iterator[int]:
    """A store of another process on loopback, with a log of its own; its port."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PEER, str(directory / "peer"), SECRET],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
        process.stdin.write("\n")
        process.stdin.flush()
    finally:
        process.communicate(timeout=30)


def graph_of(saver: Any, size: int, steps: int) -> Any:
    """One node that answers with a message of so many characters, so many times."""
    from langchain_core.messages import AIMessage
    from langgraph.graph import END, START, StateGraph
    from langgraph.graph.message import add_messages

    state_of: Any = {"messages": Annotated[list[Any], add_messages], "step": int}

    def answer(state: dict[str, Any]) -> dict[str, object]:
        step = state.get("step", 0) + 1
        text = f"{step:>8}" + "".join(chr(97 + (step * 7 + at * 13) % 26) for at in range(size - 8))
        return {"messages": [AIMessage(text)], "step": step}

    builder: Any = StateGraph(TypedDict("State", state_of))  # type: ignore[operator]  # made here, where its types are
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_conditional_edges("answer", lambda state: "answer" if state["step"] < steps else END)
    return builder.compile(checkpointer=saver)


def asked(thread: str, steps: int) -> tuple[dict[str, object], Any]:
    """What starts a thread, and its config."""
    return {"messages": [("user", "hello")], "step": 0}, {
        "configurable": {"thread_id": thread},
        "recursion_limit": steps + 10,
    }


class Timed:
    """Times every call of some methods of a saver."""

    def __init__(self, saver: Any, *names: str) -> None:
        self.took: dict[str, list[float]] = {name: [] for name in names}
        for name in names:
            setattr(saver, name, self._timed(getattr(saver, name), self.took[name]))

    @staticmethod
    def _timed(call: Callable[..., Any], took: list[float]) -> Callable[..., Any]:
        def timed(config: Any, *arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(config, *arguments, **named)
            finally:
                took.append(time.perf_counter() - begin)

        async def timed_async(config: Any, *arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return await call(config, *arguments, **named)
            finally:
                took.append(time.perf_counter() - begin)

        return timed_async if asyncio.iscoroutinefunction(call) else timed

    def median_ms(self, name: str) -> float:
        """The median of one method's calls."""
        return 1000 * statistics.median(self.took[name])


def bytes_under(directory: Path) -> int:
    """What lies in files under a directory."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
