"""Scenarios in memory and in virtual time: a run is a function of its seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import types
from typing import TYPE_CHECKING
from unittest import mock

from propagul import GossipConfig
from propagul.testing import MemoryNetwork, VirtualClock
from tests.scenarios.world import World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator
    from pathlib import Path


class SimulatedWorld(World):
    """Stores on a `MemoryNetwork` with a `VirtualClock`."""

    pace = 1.0
    is_exact = True

    def __init__(self, nodes: Iterable[str], where: Path, seed: int) -> None:
        clock = VirtualClock()
        super().__init__(nodes, where, MemoryNetwork(clock, seed=seed), clock, GossipConfig.lan())
        self._clock = clock

    async def let_pass(self, seconds: float) -> None:
        await self._clock.advance(seconds)

    async def finish(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        await self._clock.settle()
        while not task.done():
            await self._clock.advance(0.1)
        await task


@contextlib.contextmanager
def no_chance(seed: int) -> Iterator[None]:
    """Whatever the library draws follows from the seed: origins, and how timers are spread."""
    luck, before = random.Random(seed), random.getstate()
    timers = types.SimpleNamespace(Random=lambda: random.Random(luck.random()))
    random.seed(seed)
    try:
        with (
            mock.patch("secrets.randbits", luck.getrandbits),
            mock.patch("propagul.store._network.random", timers),
        ):
            yield
    finally:
        random.setstate(before)
