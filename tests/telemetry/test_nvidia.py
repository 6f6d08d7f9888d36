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


def test_two_gpus_are_read_field_by_field(driver: Path) -> None:
    [gpus] = play(driver, "show()")
    assert gpus == [
        {
            "index": 0,
            "name": "Fake GPU 0",
            "percent": 40.0,
            "vram": {"used_bytes": 4 * GIB, "total_bytes": 24 * GIB},
            "temperature_c": 60.0,
            "power_w": 150.0,
        },
        {
            "index": 1,
            "name": "Fake GPU 1",
            "percent": 41.0,
            "vram": {"used_bytes": 5 * GIB, "total_bytes": 24 * GIB},
            "temperature_c": 61.0,
            "power_w": None,
        },
    ]


@pytest.mark.parametrize("how", ["FAKE_NVML_LOST", "FAKE_NVML_MUTE"])
def test_a_gpu_that_falls_off_the_bus_keeps_its_name_and_the_other_its_readings(
    driver: Path, tmp_path: Path, how: str
) -> None:
    lost = tmp_path / "lost"
    scene = f"show(); lost = pathlib.Path({str(lost)!r}); lost.touch(); show(); lost.unlink(); show()"
    before, during, after = play(driver, scene, **{how: str(lost)})
    assert before == after
    assert during[0] == before[0]
    nothing = {"percent": None, "vram": None, "temperature_c": None, "power_w": None}
    assert during[1] == {"index": 1, "name": "Fake GPU 1", **nothing}


def test_a_driver_that_comes_up_later_is_found(driver: Path, tmp_path: Path) -> None:
    unloaded = tmp_path / "unloaded"
    unloaded.touch()
    scene = f"show(); pathlib.Path({str(unloaded)!r}).unlink()\nfor _ in range(RETRY_SAMPLES): show()"
    shown = play(driver, scene, FAKE_NVML_UNLOADED=str(unloaded))
    assert shown[0] == []
    assert len(shown[-1]) == 2
    assert len(shown) == RETRY_SAMPLES + 1


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a driver")
def test_without_a_driver_there_are_no_gpus() -> None:
    assert Nvidia().gpus() == ()
