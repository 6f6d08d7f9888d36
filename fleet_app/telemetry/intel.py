"""Intel GPUs by `xpu-smi`, where a card of Intel's is and the tool too; without either, nothing.

`xpu-smi dump` goes on printing a table of comma-separated columns, whose head names them; a row is one device. What it
cannot tell is `N/A`. `xpu-smi discovery -j` names the devices, once.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, Final

from fleet_app._system import LineTool, printed_by
from fleet_app.presence import Gpu
from fleet_app.telemetry.amd import DRM, cards
from fleet_app.telemetry.host import usage
from fleet_app.telemetry.reading import clip, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

DEVICES_MAX: Final = 16
INTERVAL_S: Final = 5

_COLUMNS: Final = {
    "percent": ("GPU Utilization (%)", 100.0),
    "power_w": ("GPU Power (W)", 5000.0),
    "clock_mhz": ("GPU Frequency (MHz)", 100_000.0),
    "temperature_c": ("GPU Core Temperature (Celsius Degree)", 250.0),
    "memory_percent": ("GPU Memory Utilization (%)", 100.0),
    "memory_mib": ("GPU Memory Used (MiB)", 2.0**40),
}
"""The heads of its columns, and the highest that can be true."""

_METRICS: Final = "0,1,2,3,5,18"
"""The tool's numbers for those."""


class Intel:
    """The GPUs of this machine.

    Args:
        tool: What prints; None where there is no such card.
        discover: What `xpu-smi discovery -j` prints; asked once, when the tool first says something.
    """

    def __init__(self, tool: LineTool | None, discover: Callable[[], str]) -> None:
        self._tool, self._discover = tool, discover
        self._names: dict[int, tuple[str, str]] | None = None

    @classmethod
    def here(cls, drm: Path = DRM) -> Intel:
        """Of this machine. Looking for the tool costs nothing where no card is."""
        dump = ("xpu-smi", "dump", "-d", "-1", "-m", _METRICS, "-i", str(INTERVAL_S))
        return cls(LineTool(*dump, keep=2 * DEVICES_MAX) if cards(drm, "intel") else None, _discovered)

    def gpus(self) -> tuple[Gpu, ...]:
        """Every device that the tool tells of."""
        lines = [] if self._tool is None else self._tool.lines()
        return (reading("xpu-smi", lambda: self._read(lines)) or ()) if len(lines) > 1 else ()

    def close(self) -> None:
        """End the tool. Idempotent."""
        if self._tool is not None:
            self._tool.close()

    def _read(self, lines: list[str]) -> tuple[Gpu, ...]:
        if self._names is None:
            self._names = reading("xpu-smi discovery", lambda: _named(self._discover())) or {}
        newest: dict[int, Mapping[str, str]] = {}
        for row in csv.DictReader(lines, skipinitialspace=True):
            device = row.get("DeviceId") or ""
            if device.isdigit() and int(device) < DEVICES_MAX:
                newest[int(device)] = row
        return tuple(self._gpu(device, row) for device, row in sorted(newest.items()))

    def _gpu(self, device: int, row: Mapping[str, str]) -> Gpu:
        figures = {name: _figure(row.get(column), highest) for name, (column, highest) in _COLUMNS.items()}
        used, share, clock = figures["memory_mib"], figures["memory_percent"], figures["clock_mhz"]
        name, uuid = (self._names or {}).get(device, (f"Intel GPU {device}", ""))
        total = None if used is None or not share else used * 100 / share
        return Gpu(
            index=device,
            name=name,
            vendor="intel",
            uuid=uuid,
            percent=figures["percent"],
            vram=None if used is None or total is None else usage(int(used * 2**20), int(total * 2**20)),
            temperature_c=figures["temperature_c"],
            power_w=figures["power_w"],
            clock_mhz=None if clock is None else int(clock),
        )


def _figure(text: str | None, highest: float) -> float | None:
    return reading("figure", lambda: clip(float(text or ""), 0, highest)) if text and text.strip() != "N/A" else None


def _named(text: str) -> dict[int, tuple[str, str]]:
    """Name and UUID of each device."""
    listed: list[Any] = json.loads(text)["device_list"]
    return {
        int(one["device_id"]): (str(one["device_name"])[:256], str(one.get("uuid", ""))[:64])
        for one in listed[:DEVICES_MAX]
    }


def _discovered() -> str:
    printed = printed_by("xpu-smi", "discovery", "-j")
    return "" if printed is None else printed.text
