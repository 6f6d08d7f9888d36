"""Workload: hundreds of real stores in one process, over loopback TCP with TLS; each has a few links and all members.

Whoever is not linked with the author hears of a write through others, as in the virtual crowd; but here everything is
real, and one processor does the work of all of them. What is on the heap once the room has formed is left out of the
passes of Python's collector: they go through the objects of all stores at once, which no member of a room has to wait
for.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import statistics
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks import material
from benchmarks.gossip.company import ROOM, settled, store, until
from propagul import AgentStateStore
from propagul.testing import MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

_PAUSE_S = 0.5
_WAVE = 10
"""So many stores start together. More at once, and one processor is so late with all that they doubt each other."""


def many(stores: int, writes: int, warmups: int, *, quiet_s: float, over: str, seed: int) -> dict[str, float]:
    """Milliseconds until all other stores hold a write of one of them, over all writes and stores.

    Args:
        stores: How many.
        writes: That count, all of one author.
        warmups: Writes of that author before them.
        quiet_s: Seconds without a new link before the first write.
        over: `tcp`, with TLS, or `memory`.
        seed: Who is told of whom at first, and the values.
    """
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - there is none on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rows = material.rows(warmups + writes, seed)
    return asyncio.run(_many(stores, rows, warmups, quiet_s, _formed(stores, over, random.Random(seed))))


async def _many(
    size: int,
    rows: Mapping[str, str],
    warmups: int,
    quiet_s: float,
    formed: AbstractAsyncContextManager[list[AgentStateStore]],
) -> dict[str, float]:
    began = time.perf_counter()
    arrived: dict[tuple[int, str], float] = {}
    async with formed as stores:
        formed_s = time.perf_counter() - began
        for number, one in enumerate(stores):
            one.on_change(functools.partial(_note, arrived, number))
        await settled(stores, quiet_s)
        gc.freeze()
        taken: list[float] = []
        for number, (key, value) in enumerate(rows.items()):
            began = time.perf_counter()
            stores[0].set(key, value)
            await until(lambda: len(arrived) == size - 1, "all stores have a write", pause_s=0.01)
            if number >= warmups:
                taken += [at - began for at in arrived.values()]
            if any(one.get(key) != value for one in stores):
                raise AssertionError("a store holds something else than was written")
            arrived.clear()
            await asyncio.sleep(_PAUSE_S)
        links = sum(len(one.linked()) for one in stores) / 2
        gc.unfreeze()
    taken.sort()
    return {
        "p50_ms": 1000 * statistics.median(taken),
        "p99_ms": 1000 * taken[int(0.99 * len(taken))],
        "last_ms": 1000 * taken[-1],
        "formed_s": formed_s,
        "links": links,
    }


@asynccontextmanager
async def _formed(size: int, over: str, chance: random.Random) -> AsyncIterator[list[AgentStateStore]]:
    """So many stores, each told of one that was there before it; entered when each sees all others."""
    network, stores = MemoryNetwork(), list[AgentStateStore]()
    try:
        while len(stores) < size:
            before, wave = list(stores), range(len(stores), min(size, len(stores) + _WAVE) if stores else 1)
            stores += [_unstarted(number, over, network) for number in wave]
            given = [[chance.choice(before).addresses[0]] if before else [] for _ in wave]
            await asyncio.gather(*(stores[n].start(peers=peers) for n, peers in zip(wave, given, strict=True)))
            await until(functools.partial(_see_all, stores), "each sees all others", pause_s=1.0)
        yield stores
    finally:
        await asyncio.gather(*(one.stop() for one in stores))


def _see_all(stores: list[AgentStateStore]) -> bool:
    return all(len(one.members()) == len(stores) - 1 for one in stores)


def _unstarted(number: int, over: str, network: MemoryNetwork) -> AgentStateStore:
    if over == "tcp":
        return store(f"store {number}", 0)
    return AgentStateStore(ROOM, f"store {number}", 9000, transport=network.transport(f"host{number}"))


def _note(arrived: dict[tuple[int, str], float], number: int, key: str, _value: object) -> None:
    arrived.setdefault((number, key), time.perf_counter())
