"""The one object that measures this box: constructed once, sampled with every heartbeat.

`sample` reads files and calls the GPU driver, so it belongs into a thread when the event loop must not wait for a
driver that hangs; one thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet_app.telemetry import host
from fleet_app.telemetry.cgroup import Cgroup
from fleet_app.telemetry.nvidia import Nvidia
from fleet_app.telemetry.reading import reading

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.presence import Cpu, Gpu, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement, in the types of a heartbeat. None is "cannot tell"."""

    cpu: Cpu | None
    ram: Usage | None
    disk: Usage | None
    gpus: tuple[Gpu, ...]


class Telemetry:
    """Measures this box. `data_dir` says which disk counts; it need not exist yet."""

    def __init__(self, data_dir: Path, *, cgroup: Cgroup | None = None) -> None:
        self._data_dir = data_dir
        self._cgroup = cgroup or Cgroup()
        self._nvidia = Nvidia()
        reading("cpu", host.prime_cpu)

    def close(self) -> None:
        """End what reading needs, such as a tool that was started for it. Idempotent."""

    def sample(self) -> Sample:
        """Measure now. Never raises; the processor's load is that since the last sample."""
        return Sample(
            cpu=reading("cpu", lambda: host.cpu(self._cgroup)),
            ram=reading("ram", lambda: host.ram(self._cgroup)),
            disk=reading("disk", lambda: host.disk(self._data_dir)),
            gpus=reading("gpus", self._nvidia.gpus) or (),
        )
