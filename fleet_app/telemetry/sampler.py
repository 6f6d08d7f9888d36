"""The one object that measures this box: constructed once, sampled every second.

`sample` reads files and calls the GPU driver, so it belongs into a thread when the event loop must not wait for a
driver that hangs; one thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet_app.telemetry import host
from fleet_app.telemetry.amd import DRM, Amd
from fleet_app.telemetry.apple import Apple
from fleet_app.telemetry.cgroup import Cgroup
from fleet_app.telemetry.intel import Intel
from fleet_app.telemetry.nvidia import Nvidia
from fleet_app.telemetry.reading import reading

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.presence import Cpu, Gpu, Usage

GPUS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement, in the types of a heartbeat. None is "cannot tell"."""

    cpu: Cpu | None
    ram: Usage | None
    disk: Usage | None
    gpus: tuple[Gpu, ...]


class Telemetry:
    """Measures this box.

    Args:
        data_dir: Which disk counts; it need not exist yet.
        cgroup: The limits of this process.
        drm: Where the kernel lists graphics cards.
    """

    def __init__(self, data_dir: Path, *, cgroup: Cgroup | None = None, drm: Path = DRM) -> None:
        self._data_dir = data_dir
        self._cgroup = cgroup or Cgroup()
        self._nvidia = Nvidia(lambda: reading("ram", lambda: host.ram(self._cgroup)))
        self._amd, self._apple, self._intel = Amd(drm), Apple.here(), Intel.here(drm)
        reading("cpu", host.prime_cpu)

    def sample(self) -> Sample:
        """Measure now. Never raises; the processor's load is that since the last sample."""
        return Sample(
            cpu=reading("cpu", lambda: host.cpu(self._cgroup)),
            ram=reading("ram", lambda: host.ram(self._cgroup)),
            disk=reading("disk", lambda: host.disk(self._data_dir)),
            gpus=self._gpus(),
        )

    def close(self) -> None:
        """End the tools that were started for measuring. Idempotent."""
        self._apple.close()
        self._intel.close()

    def _gpus(self) -> tuple[Gpu, ...]:
        """Of all vendors; NVIDIA's keep their driver's numbers, the others follow."""
        found = list(reading("gpus", self._nvidia.gpus) or ())
        for vendor in (self._amd, self._apple, self._intel):
            following = 1 + max((gpu.index for gpu in found), default=-1)
            found += [
                gpu.model_copy(update={"index": following + gpu.index}) for gpu in reading("gpus", vendor.gpus) or ()
            ]
        return tuple(found[:GPUS_MAX])
