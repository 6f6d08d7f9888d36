"""How long an event loop kept everybody waiting."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TICK_S = 0.001


@dataclass(slots=True)
class Stalls:
    """What a timer of a millisecond found.

    Attributes:
        longest_s: By how much it was late at worst, in wall time.
        busiest_s: How much CPU time the loop's thread used at most between two of its turns: what of the delay was
            this process's doing, and not that of others on the same machine.
        over_5ms: How often it was late by more than 5 ms.
    """

    longest_s: float = 0.0
    busiest_s: float = 0.0
    over_5ms: int = 0

    def as_numbers(self) -> dict[str, float]:
        """For a worker's result."""
        return {
            "stall_ms": 1000 * self.longest_s,
            "stall_cpu_ms": 1000 * self.busiest_s,
            "stalls_over_5ms": self.over_5ms,
        }


@asynccontextmanager
async def stalls() -> AsyncIterator[Stalls]:
    """Watch the running loop meanwhile."""
    found = Stalls()
    task = asyncio.create_task(_watch(found))
    try:
        await asyncio.sleep(0)
        yield found
    finally:
        task.cancel()


async def _watch(found: Stalls) -> None:
    while True:
        began, began_cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_TICK_S)
        late_s, busy_s = time.perf_counter() - began - _TICK_S, time.thread_time() - began_cpu
        found.longest_s = max(found.longest_s, late_s)
        found.busiest_s = max(found.busiest_s, busy_s)
        found.over_5ms += late_s > 0.005
