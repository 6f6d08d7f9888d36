"""Workloads: a store that writes, and one peer in another process that takes everything in over TLS.

The writer is a program without an event loop of its own: it calls `set` in its main thread, and the store's loop runs
in a thread beside it. CPU time is the process's, all threads, from the first write until the peer has said that it
holds the last one; of the peer, while that goes on.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from benchmarks import material, workers
from benchmarks.gossip.company import DEADLINE_S, store, until
from benchmarks.gossip.relay import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul import AgentStateStore

BATCH = 256

_DONE = "done"


def written(contender: str, events: int, batch: int, seed: int) -> dict[str, float]:
    """CPU seconds of so many events, each key once, at a store that is `linked`, `signed` or `plain`.

    Args:
        contender: `linked` has one peer, `signed` too and a room of proven rows; `plain` has no peer and no network.
        events: How many keys are written.
        batch: So many in a transaction; 1 for none.
        seed: Of the values.
    """
    rows = material.rows(events, seed)
    if contender == "plain":
        return _plain(rows, batch)
    return _linked(rows, batch, seed, verify="origin" if contender == "signed" else "member")


def flushed(count: int, scratch: str, seed: int) -> dict[str, float]:
    """Milliseconds of `await store.flush(peers=1)` after a set; both processes have a directory."""
    return asyncio.run(_flushed(count, scratch, seed))


def receiver(port: int, rows: int, seed: int, scratch: str, verify: str) -> dict[str, float]:
    """The peer's process: take everything in until the last write is here, and compare."""
    return asyncio.run(_receive(port, rows, seed, scratch, verify))


def _plain(rows: Mapping[str, str], batch: int) -> dict[str, float]:
    one = store("plain", None)
    began = time.process_time()
    _write(one, rows, batch)
    cpu_s = time.process_time() - began
    if one.get_all() != {**rows, _DONE: 0}:
        raise AssertionError("a write is missing")
    one.close()
    return {"cpu_s": cpu_s}


def _linked(rows: Mapping[str, str], batch: int, seed: int, verify: str) -> dict[str, float]:
    port = free_port()
    one = store("linked", port, verify=verify)
    one.start_background()
    with ThreadPoolExecutor(1) as pool:
        try:
            work = {"port": port, "rows": len(rows), "seed": seed, "scratch": "", "verify": verify}
            peer = pool.submit(workers.ours().run, receiver, **work)
            asyncio.run(until(lambda: bool(one.linked()), "the peer is linked", pause_s=0.01))
            time.sleep(0.5)  # what two stores say when they link is not the writes' cost
            began, began_wall = time.process_time(), time.perf_counter()
            _write(one, rows, batch)
            asyncio.run(one.flush(peers=1, timeout_s=DEADLINE_S))
            cpu_s, wall_s = time.process_time() - began, time.perf_counter() - began_wall
            received = peer.result()
        finally:
            one.close()
    return {"cpu_s": cpu_s, "wall_s": wall_s, "receiver_cpu_s": received["cpu_s"]}


def _write(one: AgentStateStore, rows: Mapping[str, str], batch: int) -> None:
    if batch == 1:
        for key, value in rows.items():
            one.set(key, value)
    else:
        items = list(rows.items())
        for first in range(0, len(items), batch):
            with one.transaction():
                for key, value in items[first : first + batch]:
                    one.set(key, value)
    one.set(_DONE, 0)


async def _flushed(count: int, scratch: str, seed: int) -> dict[str, float]:
    rows, port = material.rows(count, seed), free_port()
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        async with store("flushing", port, path=directory) as one:
            work = {"port": port, "rows": count, "seed": seed, "scratch": scratch, "verify": "member"}
            peer = asyncio.create_task(asyncio.to_thread(workers.ours().run, receiver, **work))
            await until(lambda: bool(one.linked()), "the peer is linked", pause_s=0.01)
            taken = []
            for key, value in rows.items():
                one.set(key, value)
                began = time.perf_counter()
                await one.flush(peers=1)
                taken.append(time.perf_counter() - began)
            one.set(_DONE, 0)
            await peer
    taken.sort()
    return {
        "p50_ms": 1000 * statistics.median(taken),
        "p99_ms": 1000 * taken[int(0.99 * count)],
        "max_ms": 1000 * taken[-1],
    }


async def _receive(port: int, rows: int, seed: int, scratch: str, verify: str) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)) if scratch else None
        where = {"path": directory, "peers": [(LOOPBACK, port)], "verify": verify}
        one = await stack.enter_async_context(store("receiving", None, **where))
        began = time.process_time()
        await until(lambda: _DONE in one, "the last write is here", pause_s=0.02)
        cpu_s = time.process_time() - began
        if one.get_all() != {**material.rows(rows, seed), _DONE: 0}:
            raise AssertionError("what was received is not what was written")
    return {"cpu_s": cpu_s}
