"""Which figures of a node are kept, and their names; and their means over a slot of time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet_app.presence import NodePresence, Usage

Figures: TypeAlias = "dict[str, float]"
"""By name: `cpu`, `ram` and `disk` in percent, `in_flight`, `queued`; of GPU i `gpu<i>` and `vram<i>` in percent,
`temp<i>` in degrees Celsius, `power<i>` in watts. What was not known is not there."""

GPUS_MAX = 16
"""GPUs of one node whose figures are kept."""


def figures_of(said: NodePresence) -> Figures:
    """What is kept of what a node says."""
    found = {
        "cpu": None if said.cpu is None else said.cpu.percent,
        "ram": _share(said.ram),
        "disk": _share(said.disk),
        "in_flight": float(said.in_flight),
        "queued": _queued(said),
    }
    for gpu in said.gpus[:GPUS_MAX]:
        found |= {
            f"gpu{gpu.index}": gpu.percent,
            f"vram{gpu.index}": _share(gpu.vram),
            f"temp{gpu.index}": gpu.temperature_c,
            f"power{gpu.index}": gpu.power_w,
        }
    return {name: round(value, 1) for name, value in found.items() if value is not None}


class Slot:
    """The means of figures over one slot of time.

    Args:
        step_s: How long a slot is.
    """

    def __init__(self, step_s: int) -> None:
        self._step_s = step_s
        self._at: int | None = None
        self._sums: dict[str, tuple[float, int]] = {}

    def take(self, now_s: float, figures: Figures) -> Iterator[tuple[int, Figures]]:
        """Count figures of an instant; yield the slot before, its beginning and means, if this one begins another."""
        at = int(now_s) // self._step_s * self._step_s
        if at != self._at:
            yield from self.close()
            self._at = at
        for name, value in figures.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)

    def close(self) -> Iterator[tuple[int, Figures]]:
        """The slot so far, if anything was counted."""
        if self._at is not None and self._sums:
            yield self._at, {name: round(total / count, 1) for name, (total, count) in self._sums.items()}
        self._at, self._sums = None, {}


def _share(usage: Usage | None) -> float | None:
    if usage is None or usage.total_bytes == 0:
        return None
    return 100 * min(1.0, usage.used_bytes / usage.total_bytes)


def _queued(said: NodePresence) -> float | None:
    waiting = [engine.queued for engine in said.backends if engine.queued is not None]
    return float(sum(waiting)) if waiting else None
