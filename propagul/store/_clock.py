"""Time as the store sees it; tests bring their own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic time for patience."""

    def time_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that only rise."""

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Wait until the event is set, at most `timeout_s`; return whether it is."""


class SystemClock:
    """The machine's clocks."""

    time_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """See `Clock`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # wait_for may swallow a cancellation in Python 3.11
                await event.wait()
        return event.is_set()
