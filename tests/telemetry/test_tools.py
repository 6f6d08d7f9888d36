"""GPUs that only a tool tells of. What the tools print here is derived from their documentation, not recorded."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from fleet_app._system import LineTool
from fleet_app.presence import Usage
from fleet_app.telemetry.apple import Apple
from fleet_app.telemetry.intel import Intel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIB = 2**30

MACMON = (
    '{"timestamp":"2025-02-24T20:38:15.427569+00:00","temp":{"cpu_temp_avg":43.73614,"gpu_temp_avg":36.95167},'
    '"memory":{"ram_total":25769803776,"ram_usage":20985479168,"swap_total":4294967296,"swap_usage":2602434560},'
    '"ecpu_usage":[1181,0.082656614],"pcpu_usage":[1974,0.015181795],"gpu_usage":[461,0.021497859],'
    '"cpu_power":0.20486385,"gpu_power":0.017451683,"ane_power":0.0,"all_power":0.22231553,"sys_power":5.876533}'
)

XPU = """\
Timestamp, DeviceId, GPU Utilization (%), GPU Power (W), GPU Frequency (MHz), GPU Core Temperature (Celsius Degree), \
GPU Memory Utilization (%), GPU Memory Used (MiB)
06:14:46.000,    0, 12.50, 14.61,    0,  N/A, 25.00, 3456.50
06:14:46.000,    1, 99.00, 119.80, 2050, 61.00, 50.00, 7000.00
06:14:51.000,    0, 80.25, 44.00, 1950, 55.00, 50.00, 6913.00"""

DISCOVERED = (
    '{"device_list":[{"device_function_type":"physical","device_id":0,"device_name":"Intel(R) Arc(TM) A770 Graphics",'
    '"device_type":"GPU","pci_bdf_address":"0000:03:00.0","uuid":"00000000-0000-0003-0000-000856a08086",'
    '"vendor_name":"Intel(R) Corporation"}]}'
)


class Printed(LineTool):
    """A tool that has printed these lines."""

    def __init__(self, text: str) -> None:
        super().__init__("none")
        self.text = text

    def lines(self) -> list[str]:
        return self.text.splitlines()


def test_an_apple_chip_is_read() -> None:
    (gpu,) = Apple(Printed(MACMON), "Apple M3").gpus()
    assert (gpu.name, gpu.vendor, gpu.unified) == ("Apple M3", "apple", True)
    assert (gpu.percent, gpu.clock_mhz, gpu.temperature_c, gpu.power_w) == (2.1, 461, 37.0, 0.0)
    assert gpu.vram == Usage(used_bytes=20985479168, total_bytes=24 * GIB)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("{}", True),
        ('{"gpu_usage":[461]}', True),
        ('{"gpu_usage":"full"}', False),
        ('{"temp":{"gpu_temp_avg":1e300}}', False),
        ("[1, 2]", False),
        ("Error: no such device", False),
        ("", False),
    ],
)
def test_whatever_an_apple_tool_prints_nothing_is_raised(text: str, known: bool) -> None:  # noqa: FBT001
    assert len(Apple(Printed(text)).gpus()) == known


def test_intel_cards_are_read_by_their_newest_rows() -> None:
    first, second = Intel(Printed(XPU), lambda: DISCOVERED).gpus()
    assert (first.index, first.name, first.vendor) == (0, "Intel(R) Arc(TM) A770 Graphics", "intel")
    assert (first.percent, first.power_w, first.clock_mhz, first.temperature_c) == (80.25, 44.0, 1950, 55.0)
    assert first.vram == Usage(used_bytes=6913 * 2**20, total_bytes=2 * 6913 * 2**20)
    assert (second.name, second.percent) == ("Intel GPU 1", 99.0)


def test_what_intels_tool_cannot_tell_is_unknown() -> None:
    head, row, *_ = XPU.splitlines()
    (gpu,) = Intel(Printed(f"{head}\n{row}"), lambda: "").gpus()
    assert gpu.temperature_c is None
    assert gpu.percent == 12.5


@pytest.mark.parametrize("text", ["", "Error", "a,b\n1,2", "DeviceId\nx", "DeviceId, GPU Utilization (%)\n0, high"])
def test_whatever_intels_tool_prints_nothing_is_raised(text: str) -> None:
    assert all(gpu.percent is None for gpu in Intel(Printed(text), lambda: "{}").gpus())


def test_without_tool_or_chip_there_are_no_gpus() -> None:
    assert Apple(None).gpus() == ()
    assert Intel(None, str).gpus() == ()


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="tools are shell scripts here")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], LineTool]:
    """A tool that is this shell script."""

    def make(script: str) -> LineTool:
        path = tmp_path / "sometool"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        return LineTool("sometool", keep=2, stale_s=0.5)

    return make


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_tool_that_goes_on_printing_is_run_once_and_read_at_its_newest(tool: Callable[[str], LineTool]) -> None:
    one = tool('echo head; i=0; while sleep 0.02; do i=$((i+1)); echo "row $i"; done')
    until(lambda: len(one.lines()) == 3)
    before = one.lines()
    until(lambda: one.lines()[1:] != before[1:])
    assert one.lines()[0] == "head"
    child = one._child
    assert child
    one.close()
    assert child.returncode is not None
    one.close()


def test_a_tool_that_hangs_has_said_nothing_and_nobody_waits(tool: Callable[[str], LineTool]) -> None:
    one = tool("echo once; exec sleep 600")
    until(one.lines)
    until(lambda: not one.lines())
    one.close()


def test_a_tool_that_ends_is_not_started_again_at_once(tool: Callable[[str], LineTool], tmp_path: Path) -> None:
    one = tool(f"echo run >> {tmp_path / 'runs'}; echo said")
    until(one.lines)
    for _ in range(20):
        one.lines()
    assert (tmp_path / "runs").read_text() == "run\n"
    one._tried_at -= LineTool.RESTART_S
    one.lines()
    until(lambda: (tmp_path / "runs").read_text() == "run\nrun\n")
    one.close()


def test_a_tool_that_is_not_there_costs_a_look_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr("fleet_app._system._program", looks.append)
    one = LineTool("nothing of that name")
    for _ in range(100):
        assert one.lines() == []
    assert len(looks) == 1
