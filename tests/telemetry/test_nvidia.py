"""The real NVML binding against a library of our own that plays a driver with two GPUs.

The loader reads LD_LIBRARY_PATH when a process starts, so each scene runs in a child process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet_app.telemetry.nvidia import RETRY_SAMPLES, Nvidia

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    command = ["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(ROOT / "tests" / "fakenvml.c")]
    subprocess.run(command, check=True, timeout=60)
    return folder


def play(driver: Path, scene: str, **environment: str) -> list[list[dict[str, Any]]]:
    """Run `scene`, which calls `show()` after each act, with the fake driver; return the GPUs it showed."""
    prologue = (
        "import json, os, pathlib\n"
        "from fleet_app.presence import Usage\n"
        "from fleet_app.telemetry.nvidia import RETRY_SAMPLES, Nvidia\n"
        "def show(): print(json.dumps([gpu.model_dump() for gpu in nvidia.gpus()]))\n"
        "nvidia = Nvidia()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prologue + scene],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def shown(gpu: dict[str, Any], *names: str) -> list[Any]:
    return [gpu[name] for name in names]


def test_two_gpus_are_read_field_by_field(driver: Path) -> None:
    [(first, second)] = play(driver, "show()")
    assert shown(first, "index", "name", "vendor", "uuid") == [0, "Fake GPU 0", "nvidia", "GPU-fake-0"]
    assert shown(first, "percent", "temperature_c", "power_w", "power_limit_w") == [40.0, 60.0, 150.0, 450.0]
    assert shown(first, "clock_mhz", "clock_max_mhz", "memory_clock_mhz") == [2520, 3105, 10501]
    assert shown(first, "ecc_errors", "unified") == [3, False]
    assert first["vram"] == {"used_bytes": 4 * GIB, "total_bytes": 24 * GIB}
    assert shown(second, "index", "name", "percent", "temperature_c") == [1, "Fake GPU 1", 41.0, 61.0]
    assert shown(second, "power_w", "power_limit_w", "ecc_errors") == [None, None, None]
    assert second["vram"] == {"used_bytes": 5 * GIB, "total_bytes": 24 * GIB}


def test_why_a_gpu_is_held_back_is_told_in_words_and_idling_is_no_trouble(driver: Path) -> None:
    [(first, second)] = play(driver, "show()")
    assert first["throttled"] == ["power limit", "temperature"]
    assert second["throttled"] == []


def test_who_uses_a_gpu_is_told_the_largest_first_and_by_name_where_there_is_one(driver: Path) -> None:
    [(first, second)] = play(driver, "show()")
    ours, unknown = first["processes"]
    assert (unknown["pid"], unknown["name"], unknown["vram_bytes"]) == (2**32 - 1, "", GIB)
    assert ours["vram_bytes"] == 3 * GIB
    assert ours["name"].startswith("python")
    assert second["processes"] == []


def test_a_gpu_that_shares_the_machines_memory_shows_that_and_says_so(driver: Path, tmp_path: Path) -> None:
    unified = tmp_path / "unified"
    unified.touch()
    scene = "nvidia = Nvidia(lambda: Usage(used_bytes=7, total_bytes=9))\nshow()"
    [(first, second)] = play(driver, scene, FAKE_NVML_UNIFIED=str(unified))
    assert not first["unified"]
    assert second["unified"]
    assert second["vram"] == {"used_bytes": 7, "total_bytes": 9}


@pytest.mark.parametrize("how", ["FAKE_NVML_LOST", "FAKE_NVML_MUTE"])
def test_a_gpu_that_falls_off_the_bus_keeps_its_name_and_the_other_its_readings(
    driver: Path, tmp_path: Path, how: str
) -> None:
    lost = tmp_path / "lost"
    scene = f"show(); lost = pathlib.Path({str(lost)!r}); lost.touch(); show(); lost.unlink(); show()"
    before, during, after = play(driver, scene, **{how: str(lost)})
    assert before == after
    assert during[0] == before[0]
    assert shown(during[1], "index", "name", "vendor") == [1, "Fake GPU 1", "nvidia"]
    assert shown(during[1], "percent", "vram", "temperature_c", "clock_mhz") == [None] * 4


def test_a_driver_that_comes_up_later_is_found(driver: Path, tmp_path: Path) -> None:
    unloaded = tmp_path / "unloaded"
    unloaded.touch()
    scene = f"show(); pathlib.Path({str(unloaded)!r}).unlink()\nfor _ in range(RETRY_SAMPLES): show()"
    found = play(driver, scene, FAKE_NVML_UNLOADED=str(unloaded))
    assert found[0] == []
    assert len(found[-1]) == 2
    assert len(found) == RETRY_SAMPLES + 1


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a driver")
def test_without_a_driver_there_are_no_gpus() -> None:
    assert Nvidia().gpus() == ()
