"""A clock that stands still until it is told to advance. Implements `propagul.store.Clock`.

Deterministic: waiters wake in the order of their deadlines, then of their arrival, and between two of them every task
of the loop runs as far as it can without time passing. What waits for threads, sockets or real time is not seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools

SETTLE_TURNS = 64
"""Turns of the event loop that all tasks get before time moves on: the longest chain of hand-overs between tasks."""

_EPOCH_NS = 1_800_000_000 * 10**9


class VirtualClock:
    """Time under the test's control. For one event loop.

    Args:
        time_ns: Where the wall clock begins, nanoseconds since the epoch.
    """

    def __init__(self, time_ns: int = _EPOCH_NS) -> None:
        self._epoch_ns = time_ns
        self._now_s = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Timeout]] = []

    def time_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch."""
        return self._epoch_ns + round(self._now_s * 1e9)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._now_s

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Wait until the event is set, at most `timeout_s` of this clock; return whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as scope:
                entry = (self._now_s + timeout_s, next(self._order), scope)
                heapq.heappush(self._waiting, entry)
                try:
                    await event.wait()
                finally:
                    if entry in self._waiting:
                        self._waiting.remove(entry)
                        heapq.heapify(self._waiting)
        return event.is_set()

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking whoever waits for a moment in it, in order; return when nothing is left to do."""
        until_s = self._now_s + seconds
        await self.settle()
        while self._waiting and self._waiting[0][0] <= until_s:
            due_s, _, scope = heapq.heappop(self._waiting)
            self._now_s = max(self._now_s, due_s)
            scope.reschedule(asyncio.get_running_loop().time())
            await self.settle()
        self._now_s = until_s

    async def settle(self) -> None:
        """Let every task run as far as it can without time passing."""
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)
