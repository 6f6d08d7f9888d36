"""This node's heartbeat: what it measures, what runs beside it and what it is doing, as one presence row."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet_app.presence import NodePresence
from fleet_app.telemetry import Sample, Telemetry
from propagul import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fleet_app.gateway import ServingSide
    from fleet_app.presence import BackendPresence, Condition, Pull

INTERVAL_S = 2.0
"""Seconds between heartbeats."""


class Heartbeat:
    """Composes the row out of the newest measurement.

    Measuring runs in a thread and in a task of its own: a driver that hangs stops the figures, not the heart.

    Attributes:
        draining: Whether this node takes nothing new.
        doing: How what is declared stands here, and what is being pulled.
        name: What this box is called.
    """

    def __init__(
        self, *, name: str, data_dir: Path, engines: Callable[[], Sequence[BackendPresence]], serving: ServingSide
    ) -> None:
        self.draining = False
        self.doing: Callable[[], tuple[tuple[Condition, ...], tuple[Pull, ...]]] = lambda: ((), ())
        self.name = name
        self._data_dir = data_dir
        self._engines = engines
        self._serving = serving
        self._started_s = time.time()
        self._telemetry: Telemetry | None = None
        self._sample = Sample(cpu=None, ram=None, disk=None, gpus=())

    async def run(self) -> None:
        """Measure again and again until cancelled; what cannot be told stays None."""
        while True:
            self._sample = await asyncio.to_thread(self._measure)
            await asyncio.sleep(INTERVAL_S)

    def row(self) -> NodePresence:
        """The row as it is now."""
        in_flight = self._serving.in_flight()
        conditions, pulls = self.doing()
        engines = tuple(
            engine.model_copy(update={"in_flight": in_flight.get(engine.url, 0)}) for engine in self._engines()
        )
        return NodePresence(
            name=self.name,
            version=__version__,
            at_s=time.time(),
            started_s=self._started_s,
            state="draining" if self.draining else "up",
            cpu=self._sample.cpu,
            ram=self._sample.ram,
            disk=self._sample.disk,
            gpus=self._sample.gpus,
            backends=engines,
            in_flight=sum(in_flight.values()),
            conditions=conditions,
            pulls=pulls,
        )

    def _measure(self) -> Sample:
        if self._telemetry is None:
            self._telemetry = Telemetry(self._data_dir)
            # The processor's load is a difference between two samples: the first one cannot tell.
            return replace(self._telemetry.sample(), cpu=None)
        return self._telemetry.sample()
