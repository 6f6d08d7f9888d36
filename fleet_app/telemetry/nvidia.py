"""NVIDIA GPUs through NVML, the library under `nvidia-smi`, by its own Python binding.

Without a driver there are no GPUs. Each field fails on its own, with `NotSupported` on one card and a missing symbol
under an old driver; `NVMLLibraryMismatchError` is not even an `NVMLError`. A GPU that fell off the bus keeps its name
and place, with nothing known of it, so that people see which card is gone. Where GPU and processor share their memory
the driver does not tell of any: then it is the machine's.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

import psutil
import pynvml

from fleet_app.presence import Gpu, GpuProcess, Throttle, Usage
from fleet_app.telemetry.host import usage
from fleet_app.telemetry.reading import clip, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GPUS_MAX = 64
PROCESSES_MAX = 32
RETRY_SAMPLES = 30
"""A driver may come up after us: NVML is tried again this rarely."""

SLOW_SAMPLES = 10
"""What hardly changes, and who uses a GPU, is read this rarely."""

_THROTTLES: Final[dict[int, Throttle]] = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x10: "sync with another card",
    0x20: "temperature",
    0x40: "temperature",
    0x80: "power supply",
}
"""`nvmlClocksEventReason...`; idle (0x1), chosen clocks (0x2) and a display's (0x100) are no trouble."""


class _Slow(NamedTuple):
    """What is read rarely."""

    uuid: str
    power_limit_w: float | None
    clock_max_mhz: int | None
    ecc_errors: int | None
    processes: tuple[GpuProcess, ...]


class Nvidia:
    """The GPUs of this machine. NVML is initialised once, here, which can take a second a card.

    Args:
        ram: The machine's memory, for GPUs that share it.
    """

    def __init__(self, ram: Callable[[], Usage | None] = lambda: None) -> None:
        self._ram = ram
        self._names: dict[int, str] = {}
        self._slow: dict[int, _Slow] = {}
        self._samples = 0
        self._samples_to_retry = RETRY_SAMPLES
        self._ready = _initialise()

    def gpus(self) -> tuple[Gpu, ...]:
        """Every GPU seen since the start, by index."""
        if not self._ready and not self._retry():
            return ()
        if self._samples % SLOW_SAMPLES == 0:
            self._slow.clear()
        self._samples += 1
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
            self._slow.pop(index, None)
            return Gpu(index=index, name=self._names.setdefault(index, f"GPU {index}"), vendor="nvidia")
        name = reading("gpu name", lambda: _text(pynvml.nvmlDeviceGetName(handle)))
        self._names[index] = name or self._names.get(index, f"GPU {index}")
        vram, unified = _vram(handle)
        slow = self._slow[index] if index in self._slow else self._slow.setdefault(index, _slow(handle))
        return Gpu(
            index=index,
            name=self._names[index],
            vendor="nvidia",
            percent=_field("gpu load", lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu, 0, 100),
            vram=self._ram() if unified else vram,
            temperature_c=_temperature(handle),
            power_w=_field("gpu power", lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000, 0, 5000),
            clock_mhz=_clock(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
            memory_clock_mhz=_clock(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)),
            throttled=tuple(_throttled(handle)),
            unified=unified,
            **slow._asdict(),
        )


def _initialise() -> bool:
    return reading("nvml", lambda: (pynvml.nvmlInit(), True)) is not None


def _field(name: str, read: Callable[[], float], low: float, high: float) -> float | None:
    value = reading(name, read)
    return None if value is None else clip(float(value), low, high)


def _clock(read: Callable[[], int]) -> int | None:
    value = _field("gpu clock", read, 0, 100_000)
    return None if value is None else int(value)


def _text(text: str | bytes) -> str:
    return (text.decode(errors="replace") if isinstance(text, bytes) else text)[:256]


def _vram(handle: object) -> tuple[Usage | None, bool]:
    """The GPU's memory, and whether it has none of its own."""
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return usage(int(memory.used), int(memory.total)), False
    except pynvml.NVMLError as error:
        return None, getattr(error, "value", None) == pynvml.NVML_ERROR_NOT_SUPPORTED
    except Exception:  # noqa: BLE001 # supervisor: as in `reading`, where other classes of this library end
        return None, False


def _temperature(handle: object) -> float | None:
    """The newer call where the older one is gone."""
    sensor = pynvml.NVML_TEMPERATURE_GPU
    old = _field("gpu temperature", lambda: pynvml.nvmlDeviceGetTemperature(handle, sensor), -50, 250)
    if old is not None:
        return old
    return _field("gpu temperature v", lambda: pynvml.nvmlDeviceGetTemperatureV(handle, sensor), -50, 250)


def _throttled(handle: object) -> Iterator[Throttle]:
    """The newer call where the older one is gone."""
    bits = reading("gpu clock reasons", lambda: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)))
    if bits is None:
        bits = reading("gpu throttle reasons", lambda: int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)))
    yield from dict.fromkeys(reason for bit, reason in _THROTTLES.items() if (bits or 0) & bit)


def _slow(handle: object) -> _Slow:
    return _Slow(
        uuid=reading("gpu uuid", lambda: _text(pynvml.nvmlDeviceGetUUID(handle))[:64]) or "",
        power_limit_w=_field("gpu limit", lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000, 0, 5000),
        clock_max_mhz=_clock(lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)),
        ecc_errors=reading("gpu ecc", lambda: _ecc_errors(handle)),
        processes=reading("gpu processes", lambda: _processes(handle)) or (),
    )


def _ecc_errors(handle: object) -> int:
    kind, counter = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    return int(clip(pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, counter), 0, 2**63 - 1))


def _processes(handle: object) -> tuple[GpuProcess, ...]:
    """Who computes on it, largest first. A process that the system does not show us has no name."""
    found = [
        (int(one.pid), None if one.usedGpuMemory is None else min(int(one.usedGpuMemory), 2**60))
        for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    ]
    found.sort(key=lambda one: (-(one[1] or 0), one[0]))
    return tuple(
        GpuProcess(pid=pid, name=reading("process", functools.partial(_name_of, pid)) or "", vram_bytes=vram_bytes)
        for pid, vram_bytes in found[:PROCESSES_MAX]
    )


def _name_of(pid: int) -> str:
    return psutil.Process(pid).name()[:64]
