"""Workloads of LangGraph: a thread that grows step by step, the same for every saver."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.agents.savers import Timed, asked, bytes_under, graph_of, opened

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESUMED = 5

_WRITER = """
import json, sys, types
from pathlib import Path

package = types.ModuleType("benchmarks")
package.__path__ = [sys.argv[1]]
sys.modules["benchmarks"] = package
from benchmarks.agents.loops import write_beside_others

write_beside_others(*sys.argv[2:4], int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), int(sys.argv[7]))
"""


def grow(*, contender: str, seed: int, size: int, steps: int, scratch: str) -> Mapping[str, float]:  # noqa: ARG001 - every round writes the same
    """One thread of so many steps, with durability="sync": rates, the time of a put, bytes in files, and a resume."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        took = _grow(contender, Path(directory), size, steps)
        return {**took, "bytes": bytes_under(Path(directory)), "payload": float(size * steps)}


def _grow(contender: str, directory: Path, size: int, steps: int) -> dict[str, float]:
    if contender == "aiosqlite":
        return asyncio.run(_grow_in_a_loop(directory, size, steps))
    with opened(contender, directory) as saver:
        graph_of(saver, size, 2).invoke(*asked("warm", 2), durability="sync")
        timed = Timed(saver, "put", "put_writes")
        graph, question = graph_of(saver, size, steps), asked("thread", steps)
        begin = time.perf_counter()
        graph.invoke(*question, durability="sync")
        wall_s = time.perf_counter() - begin
        found = saver.get_tuple(question[1])
        assert len(found.checkpoint["channel_values"]["messages"]) == steps + 1
        return {
            "steps_per_s": steps / wall_s,
            "put_p50_ms": timed.median_ms("put"),
            "put_writes_p50_ms": timed.median_ms("put_writes"),
        }


async def _grow_in_a_loop(directory: Path, size: int, steps: int) -> dict[str, float]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(str(directory / "threads.sqlite")) as saver:
        await graph_of(saver, size, 2).ainvoke(*asked("warm", 2), durability="sync")
        timed = Timed(saver, "aput", "aput_writes")
        graph, question = graph_of(saver, size, steps), asked("thread", steps)
        begin = time.perf_counter()
        await graph.ainvoke(*question, durability="sync")
        wall_s = time.perf_counter() - begin
        return {
            "steps_per_s": steps / wall_s,
            "put_p50_ms": timed.median_ms("aput"),
            "put_writes_p50_ms": timed.median_ms("aput_writes"),
        }


def write_threads(*, contender: str, directory: str, size: int, steps: int) -> Mapping[str, float]:
    """Some threads alike, for `read_threads` in another process."""
    with opened(contender, Path(directory)) as saver:
        for number in range(_RESUMED + 1):
            graph_of(saver, size, steps).invoke(*asked(str(number), steps), durability="exit")
    return {}


def read_threads(*, contender: str, directory: str) -> Mapping[str, float]:
    """How long the first `get_tuple` of a thread takes in a process that has just opened it."""
    took = []
    with opened(contender, Path(directory)) as saver:
        for number in range(_RESUMED + 1):
            begin = time.perf_counter()
            found = saver.get_tuple({"configurable": {"thread_id": str(number)}})
            took.append(time.perf_counter() - begin)
            assert found is not None
    return {"get_ms": 1000 * statistics.median(took[1:])}  # the first pays for what is imported late


def put_turns(*, directory: str, turns: int, window: int, size: int) -> Mapping[str, float]:
    """Threads with one message a turn, of which the last `window` are kept; all if that is 0."""
    from langchain_core.messages import AIMessage
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph.checkpoint.base.id import uuid6

    with opened("propagul", Path(directory)) as saver:
        for number in range(_RESUMED + 1):
            messages: list[Any] = []
            config: Any = {"configurable": {"thread_id": str(number), "checkpoint_ns": ""}}
            for turn in range(turns):
                messages = [*messages, AIMessage(f"{turn:>8}" + "x" * (size - 8), id=str(turn))][-window or None :]
                versions = {"messages": turn + 1}
                checkpoint: Any = {**empty_checkpoint(), "id": str(uuid6()), "channel_values": {"messages": messages}}
                checkpoint["channel_versions"] = versions
                config = saver.put(config, checkpoint, {"source": "loop", "step": turn, "parents": {}}, versions)
    return {}


def write_beside_others(  # noqa: PLR0917 - one command line
    contender: str, directory: str, number: int, writers: int, size: int, steps: int
) -> None:
    """One of several processes: write a thread of its own, then wait until all threads are there whole."""
    with opened(contender, Path(directory)) as saver:
        graph_of(saver, size, 2).invoke(*asked(f"warm {number}", 2), durability="sync")
        print("ready", flush=True)
        sys.stdin.readline()
        graph_of(saver, size, steps).invoke(*asked(str(number), steps), durability="sync")
        missing = [str(other) for other in range(writers)]
        while missing := [other for other in missing if not _is_whole(saver, other, steps)]:
            time.sleep(0.005)  # to look costs time that the others need
        print("done", flush=True)
        sys.stdin.readline()  # and stays until the others have all, too


def _is_whole(saver: Any, thread: str, steps: int) -> bool:
    found = saver.get_tuple({"configurable": {"thread_id": thread}})
    return found is not None and found.checkpoint["channel_values"].get("step") == steps


def beside_each_other(
    *,
    contender: str,
    seed: int,  # noqa: ARG001 - every round writes the same
    writers: int,
    size: int,
    steps: int,
    scratch: str,
) -> Mapping[str, float]:
    """Steps a second of several processes on one directory or file, until each holds the threads of all."""
    home = Path(sys.modules["benchmarks"].__path__[0])
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        command = [sys.executable, "-P", "-c", _WRITER, str(home), contender, directory]
        running = [
            subprocess.Popen(
                [*command, *map(str, (number, writers, size, steps))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(writers)
        ]
        _told(running, "ready")
        begin = time.perf_counter()
        _tell(running)
        _told(running, "done")
        wall_s = time.perf_counter() - begin
        _tell(running)
        for process in running:
            process.communicate(timeout=60)
            assert process.returncode == 0
    return {"steps_per_s": writers * steps / wall_s}


def _told(running: list[subprocess.Popen[str]], word: str) -> None:
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == word


def _tell(running: list[subprocess.Popen[str]]) -> None:
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
