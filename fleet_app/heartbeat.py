"""This node's heartbeat: what it measures, what runs beside it and what it is doing, as one presence row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from fleet_app.presence import NodePresence
from propagul import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleet_app.gateway import ServingSide
    from fleet_app.presence import BackendPresence
    from fleet_app.telemetry import Sample, Telemetry


class Heartbeat:
    """Composes the row. Measuring is done by `beat`; `latest` only repeats it.

    Attributes:
        INTERVAL_S: Seconds between heartbeats.
        draining: Whether this node takes nothing new.
    """

    INTERVAL_S: ClassVar[float] = 2.0
    _SAMPLE_S_MIN: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        name: str,
        telemetry: Telemetry,
        engines: Callable[[], Sequence[BackendPresence]],
        serving: ServingSide,
    ) -> None:
        self.draining = False
        self._name = name
        self._telemetry = telemetry
        self._engines = engines
        self._serving = serving
        self._started_s = time.time()
        self._sample: Sample = telemetry.sample()
        self._sampled_at = time.monotonic()
        self._latest = self._compose()

    def beat(self) -> NodePresence:
        """Measure, at most once a second, and return the row."""
        if time.monotonic() - self._sampled_at >= self._SAMPLE_S_MIN:
            self._sample, self._sampled_at = self._telemetry.sample(), time.monotonic()
        self._latest = self._compose()
        return self._latest

    def latest(self) -> NodePresence:
        """The row as it was last sent."""
        return self._latest

    def _compose(self) -> NodePresence:
        in_flight = self._serving.in_flight()
        engines = tuple(
            engine.model_copy(update={"in_flight": in_flight.get(engine.url, 0)}) for engine in self._engines()
        )
        return NodePresence(
            name=self._name,
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
        )
