"""Workload: a store joins with nothing and gets everything, in a process of its own."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from benchmarks import material, workers
from benchmarks.gossip.company import DEADLINE_S, fill, store, until
from benchmarks.gossip.relay import LOOPBACK, Relay, free_port
from benchmarks.gossip.stalls import run, stalls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.gossip.stalls import Turns
    from propagul import AgentStateStore

_AFTERWARDS_S = 1.0
"""So long after the join stalls still count: rows are joined in slices then."""


def cold_join(size: int, seed: int, scratch: str = "") -> Mapping[str, float]:
    """Seconds until a store that joined holds `size` keys, and the longest stall of either loop.

    Args:
        size: How many keys.
        seed: Of the values.
        scratch: Where both keep a log; in memory alone if empty.
    """
    return run(lambda turns: _cold_join(turns, size, seed, scratch))


def cut_join(size: int, seed: int) -> dict[str, float]:
    """The same through a relay, once whole and once cut in the middle: what was sent again."""
    return asyncio.run(_cut_join(size, seed))


def joiner(port: int, size: int, seed: int, scratch: str) -> Mapping[str, float]:
    """The joining process."""
    return run(lambda turns: _join(turns, port, size, seed, scratch))


async def _cold_join(turns: Turns, size: int, seed: int, scratch: str) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        full = await stack.enter_async_context(_full(stack, size, seed, scratch))
        async with stalls(turns) as found:
            joined = await _joined(full.addresses[0].port, size, seed, scratch)
        mine = found.as_numbers()
    return {**joined, **{f"sender_{name}": number for name, number in mine.items()}}


async def _cut_join(size: int, seed: int) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        full = await stack.enter_async_context(_full(stack, size, seed, ""))
        relay = await stack.enter_async_context(Relay((LOOPBACK, full.addresses[0].port)))
        whole = await _joined(relay.port, size, seed, "")
        whole_bytes, relay.cut_at = relay.carried, relay.carried + relay.carried // 2
        cut = await _joined(relay.port, size, seed, "")
        if relay.cut_at is not None:
            raise AssertionError("the relay was not cut")
        cut_bytes = relay.carried - whole_bytes
    return {
        "cut_s": cut["s"],
        "whole_s": whole["s"],
        "cut_rows_over_rows": cut["rows"] / size,
        "cut_bytes_over_whole": cut_bytes / whole_bytes,
        "cut_links": cut["links_opened"],
    }


def _full(stack: AsyncExitStack, size: int, seed: int, scratch: str) -> AgentStateStore:
    full = store("full", free_port(), path=_directory(stack, scratch))
    fill(full, material.rows(size, seed))
    return full


def _directory(stack: AsyncExitStack, scratch: str) -> str | None:
    return stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)) if scratch else None


async def _joined(port: int, size: int, seed: int, scratch: str) -> dict[str, float]:
    work = {"port": port, "size": size, "seed": seed, "scratch": scratch}
    return dict(await asyncio.to_thread(workers.ours().run, joiner, **work))


async def _join(turns: Turns, port: int, size: int, seed: int, scratch: str) -> dict[str, float]:
    expected = material.rows(size, seed)
    async with AsyncExitStack() as stack:
        joining = store("joining", None, path=_directory(stack, scratch))
        async with stalls(turns) as found:
            began = time.perf_counter()
            report = await joining.start(peers=[(LOOPBACK, port)], sync_timeout_s=DEADLINE_S)
            stack.push_async_callback(joining.stop)
            if not report.complete:  # the link was cut
                await until(lambda: len(joining) == size, "everything is here again", pause_s=0.05)
            taken_s = time.perf_counter() - began
            await asyncio.sleep(_AFTERWARDS_S)
        if joining.get_all() != expected:
            raise AssertionError("what was joined is not what the other one holds")
        counted = joining.stats
    return {"s": taken_s, "rows": counted.remote_rows, "links_opened": counted.links_opened, **found.as_numbers()}
