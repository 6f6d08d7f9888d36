"""How long an event loop kept everybody waiting."""

from __future__ import annotations

import asyncio
import gc
import selectors
import statistics
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

_TICK_S = 0.001


class Turns(selectors.DefaultSelector):
    """What a loop waits with: it notes how long each turn took from one wait to the next.

    Attributes:
        lengths_s: Wall time and CPU time of the loop's thread, of each turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lengths_s: list[tuple[float, float]] = []
        self._began: tuple[float, float] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """A turn ends; wait, and begin another."""
        if self._began is not None:
            wall, cpu = self._began
            self.lengths_s.append((time.perf_counter() - wall, time.thread_time() - cpu))
        found = super().select(timeout)
        self._began = time.perf_counter(), time.thread_time()
        return found


def run(work: Callable[[Turns], Coroutine[None, None, Mapping[str, float]]]) -> Mapping[str, float]:
    """`asyncio.run` in a loop whose turns are noted."""
    turns = Turns()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        return runner.run(work(turns))


@dataclass(slots=True)
class Stalls:
    """What a timer of a millisecond found, and what the turns were between.

    Attributes:
        longest_s: By how much it was late at worst, in wall time. It must wait for up to three turns.
        busiest_s: How much CPU time the loop's thread used at most between two of its turns: what of the delay was
            this process's doing, and not that of others on the same machine.
        over_5ms: How often it was late by more than 5 ms.
        turns: How long each turn of the loop took, in wall time and in CPU time of its thread.
        full_passes: How often the collector of cycles went through all objects of the process.
    """

    longest_s: float = 0.0
    busiest_s: float = 0.0
    over_5ms: int = 0
    turns: list[tuple[float, float]] = field(default_factory=list)
    full_passes: int = 0

    def as_numbers(self) -> dict[str, float]:
        """For a worker's result."""
        wall, cpu = zip(*self.turns, strict=True)
        return {
            "stall_ms": 1000 * self.longest_s,
            "stall_cpu_ms": 1000 * self.busiest_s,
            "stalls_over_5ms": self.over_5ms,
            "turn_max_ms": 1000 * max(wall),
            "turn_max_cpu_ms": 1000 * max(cpu),
            "turn_p99_ms": 1000 * statistics.quantiles(wall, n=100)[-1],
            "turn_p99_cpu_ms": 1000 * statistics.quantiles(cpu, n=100)[-1],
            "turns": len(wall),
            "turns_over_5ms": sum(turn > 0.005 for turn in wall),
            "turns_over_20ms": sum(turn > 0.020 for turn in wall),
            "full_passes": self.full_passes,
        }


PARTS = tuple(Stalls(turns=[(0.0, 0.0)] * 2).as_numbers())
"""What `Stalls.as_numbers` names."""


@asynccontextmanager
async def stalls(turns: Turns) -> AsyncIterator[Stalls]:
    """Watch the running loop meanwhile."""
    found = Stalls()
    task = asyncio.create_task(_watch(found))
    try:
        await asyncio.sleep(0)
        begun, passes = len(turns.lengths_s), _full_passes()
        yield found
    finally:
        task.cancel()
    found.turns, found.full_passes = turns.lengths_s[begun:], _full_passes() - passes


def _full_passes() -> int:
    return int(gc.get_stats()[-1]["collections"])


async def _watch(found: Stalls) -> None:
    while True:
        began, began_cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_TICK_S)
        late_s, busy_s = time.perf_counter() - began - _TICK_S, time.thread_time() - began_cpu
        found.longest_s = max(found.longest_s, late_s)
        found.busiest_s = max(found.busiest_s, busy_s)
        found.over_5ms += late_s > 0.005
