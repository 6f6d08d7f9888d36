"""AMD's files, in a tree of the test's own: the form is that of the amdgpu driver's documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.presence import Usage
from fleet_app.telemetry.amd import Amd

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30
WHOLE = {
    "vendor": "0x1002\n",
    "device": "0x744c\n",
    "product_name": "Radeon RX 7900 XTX\n",
    "unique_id": "a1b2c3d4e5f60718\n",
    "gpu_busy_percent": "37\n",
    "mem_info_vram_used": f"{5 * GIB}\n",
    "mem_info_vram_total": f"{24 * GIB}\n",
    "pp_dpm_sclk": "0: 500Mhz\n1: 1400Mhz *\n2: 2482Mhz\n",
    "ras/umc_err_count": "ue: 2\nce: 17\n",
    "hwmon/hwmon3/temp1_input": "54000\n",
    "hwmon/hwmon3/power1_average": "187000000\n",
    "hwmon/hwmon3/power1_cap": "303000000\n",
    "hwmon/hwmon3/freq1_input": "1400000000\n",
    "hwmon/hwmon3/freq2_input": "1249000000\n",
}


def tree(root: Path, **cards: dict[str, str]) -> Path:
    for card, files in cards.items():
        for name, content in files.items():
            path = root / card / "device" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return root


def test_a_card_is_read_file_by_file(tmp_path: Path) -> None:
    (gpu,) = Amd(tree(tmp_path, card1=WHOLE)).gpus()
    assert (gpu.index, gpu.name, gpu.vendor, gpu.uuid) == (0, "Radeon RX 7900 XTX", "amd", "a1b2c3d4e5f60718")
    assert (gpu.percent, gpu.temperature_c, gpu.power_w, gpu.power_limit_w) == (37.0, 54.0, 187.0, 303.0)
    assert (gpu.clock_mhz, gpu.clock_max_mhz, gpu.memory_clock_mhz, gpu.ecc_errors) == (1400, 2482, 1249, 2)
    assert gpu.vram == Usage(used_bytes=5 * GIB, total_bytes=24 * GIB)


def test_each_file_may_be_missing_or_hold_nonsense_by_itself(tmp_path: Path) -> None:
    for name in set(WHOLE) - {"vendor"}:
        without = {other: text for other, text in WHOLE.items() if other != name}
        (whole,) = Amd(tree(tmp_path / "without" / name.replace("/", "-"), card0=without)).gpus()
        assert whole.vendor == "amd"
        (broken,) = Amd(
            tree(tmp_path / "broken" / name.replace("/", "-"), card0={**WHOLE, name: "no\x00\xff 7e9 \n"})
        ).gpus()
        told = broken.model_dump()
        assert sum(told[field] is None for field in told) <= 1


def test_newer_drivers_tell_power_by_another_name(tmp_path: Path) -> None:
    files = {**WHOLE, "hwmon/hwmon3/power1_input": "99500000"}
    del files["hwmon/hwmon3/power1_average"]
    (gpu,) = Amd(tree(tmp_path, card0=files)).gpus()
    assert gpu.power_w == 99.5


def test_connectors_and_cards_of_others_are_none_of_ours(tmp_path: Path) -> None:
    other = {**WHOLE, "vendor": "0x10de\n"}
    root = tree(tmp_path, card0=other, card10=WHOLE, card2=WHOLE, renderD128=WHOLE, **{"card2-HDMI-A-1": WHOLE})
    assert [gpu.index for gpu in Amd(root).gpus()] == [0, 1]
    assert Amd(tmp_path / "none").gpus() == ()


def test_a_card_without_a_name_is_called_by_its_number(tmp_path: Path) -> None:
    (gpu,) = Amd(tree(tmp_path, card0={"vendor": "0x1002", "device": "0x744c"})).gpus()
    assert gpu.name == "AMD GPU 0x744c"
    assert gpu.vram is None
