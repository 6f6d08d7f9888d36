"""The GPU of an Apple chip, by `macmon pipe`: one JSON object a line, without privileges. Without the tool, nothing.

    {"temp": {"gpu_temp_avg": 36.9}, "memory": {"ram_total": ..., "ram_usage": ...}, "gpu_usage": [461, 0.025],
     "gpu_power": 0.017}

`gpu_usage` is the clock in MHz and the share of time in use. The GPU shares the machine's memory.
"""

from __future__ import annotations

import json
import platform
import sys
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from fleet_app._system import LineTool
from fleet_app.presence import Gpu, Usage
from fleet_app.telemetry.host import usage
from fleet_app.telemetry.reading import clip, reading

INTERVAL_MS: Final = 2000

_Figure = Annotated[float, Field(ge=-1e15, le=1e15)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Temp(_Row):
    gpu_temp_avg: _Figure | None = None


class _Memory(_Row):
    ram_total: _Figure
    ram_usage: _Figure


class _Printed(_Row):
    temp: _Temp = _Temp()
    memory: _Memory | None = None
    gpu_usage: Annotated[tuple[_Figure, ...], Field(max_length=8)] = ()
    gpu_power: _Figure | None = None


class Apple:
    """The GPU of this machine.

    Args:
        tool: What prints; None where there is no such chip.
        name: What to call the GPU.
    """

    def __init__(self, tool: LineTool | None, name: str = "Apple GPU") -> None:
        self._tool, self._name = tool, name

    @classmethod
    def here(cls) -> Apple:
        """Of this machine."""
        is_apple = sys.platform == "darwin" and platform.machine() == "arm64"
        return cls(LineTool("macmon", "pipe", "--interval", str(INTERVAL_MS)) if is_apple else None)

    def gpus(self) -> tuple[Gpu, ...]:
        """The GPU, if the tool tells of it."""
        lines = [] if self._tool is None else self._tool.lines()
        found = reading("macmon", lambda: _gpu(lines[-1], self._name)) if lines else None
        return () if found is None else (found,)

    def close(self) -> None:
        """End the tool. Idempotent."""
        if self._tool is not None:
            self._tool.close()


def _gpu(line: str, name: str) -> Gpu:
    said = _Printed.model_validate(json.loads(line))
    clock, share = (*said.gpu_usage, None, None)[:2]
    return Gpu(
        index=0,
        name=name,
        vendor="apple",
        percent=None if share is None else round(clip(100 * share, 0, 100), 1),
        vram=_shared(said.memory),
        temperature_c=None if said.temp.gpu_temp_avg is None else round(clip(said.temp.gpu_temp_avg, -50, 250), 1),
        power_w=None if said.gpu_power is None else round(clip(said.gpu_power, 0, 5000), 1),
        clock_mhz=None if clock is None else int(clip(clock, 0, 100_000)),
        unified=True,
    )


def _shared(memory: _Memory | None) -> Usage | None:
    return None if memory is None else usage(int(memory.ram_usage), int(memory.ram_total))
