"""NVIDIA GPUs through NVML, the library under `nvidia-smi`, by its own Python binding.

Without a driver there are no GPUs. Each field fails on its own, with `NotSupported` on one card and a missing symbol
under an old driver; `NVMLLibraryMismatchError` is not even an `NVMLError`. A GPU that fell off the bus keeps its name
and place, with nothing known of it, so that people see which card is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pynvml

from fleet_app.presence import Gpu, Usage
from fleet_app.telemetry.host import usage
from fleet_app.telemetry.reading import clip, reading

if TYPE_CHECKING:
    from collections.abc import Callable

GPUS_MAX = 64
RETRY_SAMPLES = 30
"""A driver may come up after us: NVML is tried again this rarely."""


class Nvidia:
    """The GPUs of this machine. NVML is initialised once, here, which can take a second a card."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._samples_to_retry = RETRY_SAMPLES
        self._ready = _initialise()

    def gpus(self) -> tuple[Gpu, ...]:
        """Every GPU seen since the start, by index."""
        if not self._ready and not self._retry():
            return ()
        count = reading("gpu count", lambda: int(pynvml.nvmlDeviceGetCount())) or 0
        indexes = sorted({*range(min(count, GPUS_MAX)), *self._names})
        return tuple(self._gpu(index) for index in indexes)

    def _retry(self) -> bool:
        self._samples_to_retry -= 1
        if self._samples_to_retry <= 0:
            self._samples_to_retry = RETRY_SAMPLES
            self._ready = _initialise()
        return self._ready

    def _gpu(self, index: int) -> Gpu:
        handle: object = reading("gpu handle", lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
        if handle is None:
            return Gpu(index=index, name=self._names.setdefault(index, f"GPU {index}"))
        name = reading("gpu name", lambda: _name(handle))
        self._names[index] = name or self._names.get(index, f"GPU {index}")
        return Gpu(
            index=index,
            name=self._names[index],
            percent=_field("gpu load", lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu, 0, 100),
            vram=reading("gpu memory", lambda: _vram(handle)),
            temperature_c=_temperature(handle),
            power_w=_field("gpu power", lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000, 0, 5000),
        )


def _initialise() -> bool:
    return reading("nvml", lambda: (pynvml.nvmlInit(), True)) is not None


def _field(name: str, read: Callable[[], float], low: float, high: float) -> float | None:
    value = reading(name, read)
    return None if value is None else clip(float(value), low, high)


def _name(handle: object) -> str:
    name: str | bytes = pynvml.nvmlDeviceGetName(handle)
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    return text[:256]


def _vram(handle: object) -> Usage:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return usage(int(memory.used), int(memory.total))


def _temperature(handle: object) -> float | None:
    """The newer call where the older one is gone."""
    sensor = pynvml.NVML_TEMPERATURE_GPU
    old = _field("gpu temperature", lambda: pynvml.nvmlDeviceGetTemperature(handle, sensor), -50, 250)
    if old is not None:
        return old
    return _field("gpu temperature v", lambda: pynvml.nvmlDeviceGetTemperatureV(handle, sensor), -50, 250)
