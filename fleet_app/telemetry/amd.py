"""AMD GPUs through the files of their kernel driver (amdgpu), which need no library and no privilege.

    card*/device/   vendor, product_name, unique_id, gpu_busy_percent, mem_info_vram_used, mem_info_vram_total,
                    pp_dpm_sclk, ras/umc_err_count
    .../hwmon/hwmon*/   temp1_input (thousandths of a degree), power1_average or power1_input and power1_cap
                        (millionths of a watt), freq1_input and freq2_input (hertz)

Every file may be missing, or refuse to be read while a card sleeps.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet_app.presence import Gpu
from fleet_app.telemetry.host import usage
from fleet_app.telemetry.reading import clip, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet_app.presence import Usage

DRM: Final = Path("/sys/class/drm")
VENDORS: Final = {"0x1002": "amd", "0x8086": "intel"}
_CARDS_MAX: Final = 64


def cards(drm: Path, vendor: str) -> list[Path]:
    """The devices of one vendor, `amd` or `intel`, by the number of their card."""
    found = [path for path in _listed(drm) if re.fullmatch(r"card[0-9]{1,3}", path.name)]
    named = [path / "device" for path in sorted(found, key=lambda path: int(path.name[4:]))]
    return [device for device in named if VENDORS.get(_text(device / "vendor") or "") == vendor][:_CARDS_MAX]


class Amd:
    """The GPUs of this machine.

    Args:
        drm: Where the kernel lists cards.
    """

    def __init__(self, drm: Path = DRM) -> None:
        self._devices = cards(drm, "amd")

    def gpus(self) -> tuple[Gpu, ...]:
        """Every GPU that was there at the start."""
        return tuple(_gpu(index, device) for index, device in enumerate(self._devices))


def _gpu(index: int, device: Path) -> Gpu:
    sensors = next(iter(sorted(_listed(device / "hwmon"))), device / "none")
    power = _number(sensors / "power1_average", 10**-6)
    clocks = re.findall(r":\s*([0-9]{1,5})Mhz", _text(device / "pp_dpm_sclk") or "")
    return Gpu(
        index=index,
        name=_text(device / "product_name") or f"AMD GPU {_text(device / 'device') or index}",
        vendor="amd",
        uuid=(_text(device / "unique_id") or "")[:64],
        percent=_within(_number(device / "gpu_busy_percent"), 0, 100),
        vram=_vram(device),
        temperature_c=_within(_number(sensors / "temp1_input", 10**-3), -50, 250),
        power_w=_within(_number(sensors / "power1_input", 10**-6) if power is None else power, 0, 5000),
        power_limit_w=_within(_number(sensors / "power1_cap", 10**-6), 0, 5000),
        clock_mhz=_mhz(sensors / "freq1_input"),
        clock_max_mhz=int(clocks[-1]) if clocks else None,
        memory_clock_mhz=_mhz(sensors / "freq2_input"),
        ecc_errors=_ecc_errors(device),
    )


def _vram(device: Path) -> Usage | None:
    used, total = _number(device / "mem_info_vram_used"), _number(device / "mem_info_vram_total")
    return None if used is None or total is None else usage(int(used), int(total))


def _ecc_errors(device: Path) -> int | None:
    found = re.search(r"ue:\s*([0-9]{1,18})", _text(device / "ras" / "umc_err_count") or "")
    return None if found is None else int(found[1])


def _mhz(path: Path) -> int | None:
    value = _within(_number(path, 10**-6), 0, 100_000)
    return None if value is None else round(value)


def _within(value: float | None, low: float, high: float) -> float | None:
    return None if value is None else round(clip(value, low, high), 1)


def _number(path: Path, unit: float = 1.0) -> float | None:
    """A number in a file, in our unit; None for no file and for nonsense."""
    text = _text(path)
    return float(text) * unit if text is not None and re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _text(path: Path) -> str | None:
    return reading(path.name, lambda: path.read_text(errors="replace")[:4096].strip()[:256]) or None


def _listed(folder: Path) -> Iterator[Path]:
    yield from reading(folder.name, lambda: list(folder.iterdir())) or ()
