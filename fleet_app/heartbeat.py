"""This node's heartbeat: what it measures, what runs beside it and what it is doing, put together."""

from __future__ import annotations

import asyncio
import platform
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fleet_app.presence import NodePresence
from fleet_app.telemetry import Sample, Telemetry
from propagul import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fleet_app.exposure import Exposure
    from fleet_app.gateway import ServingSide
    from fleet_app.presence import BackendPresence, Condition, Pull

SAMPLE_S: Final = 1.0
"""Seconds between measurements."""

SAMPLE_S_MAX: Final = 10.0
"""A measurement older than this is none: the driver that should have made the next one hangs."""

_NOTHING: Final = Sample(cpu=None, ram=None, disk=None, gpus=())


class Heartbeat:
    """Composes what this node says out of the newest measurement.

    Measuring runs in a thread and in a task of its own: a driver that hangs stops the figures, not the heart.

    Args:
        name: What people call this node.
        data_dir: Which disk counts.
        engines: What runs beside it.
        serving: Counts what it works on.
        pulls: Models on their way.
        conditions: How what was declared stands here.
        exposures: What others can reach here without a key.
        monotonic: Seconds.

    Attributes:
        draining: Whether this node takes nothing new.
        name: What this box is called.
        on_sample: Called in the loop after each measurement.
    """

    def __init__(
        self,
        *,
        name: str,
        data_dir: Path,
        engines: Callable[[], Sequence[BackendPresence]],
        serving: ServingSide,
        pulls: Callable[[], Sequence[Pull]] = tuple,
        conditions: Callable[[], Sequence[Condition]] = tuple,
        exposures: Callable[[], Sequence[Exposure]] = tuple,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.draining = False
        self.on_sample: Callable[[], None] = lambda: None
        self.name, self._data_dir = name, data_dir
        self._engines, self._serving = engines, serving
        self._pulls, self._conditions, self._exposures = pulls, conditions, exposures
        self._monotonic = monotonic
        self._started_s = time.time()
        self._platform = f"{platform.system().lower()}/{platform.machine().lower()}"
        self._telemetry: Telemetry | None = None
        self._sample, self._sampled_at = _NOTHING, monotonic()

    async def run(self) -> None:
        """Measure again and again until cancelled; what cannot be told stays None."""
        try:
            while True:
                self._sample = await asyncio.to_thread(self._measure)
                self._sampled_at = self._monotonic()
                self.on_sample()
                await asyncio.sleep(SAMPLE_S)
        finally:
            if self._telemetry is not None:
                self._telemetry.close()

    def presence(self) -> NodePresence:
        """All that this node has to say now."""
        in_flight = self._serving.in_flight()
        engines = tuple(
            engine.model_copy(update={"in_flight": in_flight.get(engine.url, 0)}) for engine in self._engines()
        )
        sample = self._sample if self._monotonic() - self._sampled_at <= SAMPLE_S_MAX else _NOTHING
        return NodePresence(
            name=self.name,
            version=__version__,
            platform=self._platform,
            at_s=time.time(),
            started_s=self._started_s,
            state="draining" if self.draining else "up",
            cpu=sample.cpu,
            ram=sample.ram,
            disk=sample.disk,
            gpus=sample.gpus,
            backends=engines,
            in_flight=sum(in_flight.values()),
            pulls=tuple(self._pulls()),
            conditions=tuple(self._conditions()),
            exposures=tuple(self._exposures()),
        )

    def _measure(self) -> Sample:
        if self._telemetry is None:
            self._telemetry = Telemetry(self._data_dir)
            # The processor's load is a difference between two samples: the first one cannot tell.
            return replace(self._telemetry.sample(), cpu=None)
        return self._telemetry.sample()
