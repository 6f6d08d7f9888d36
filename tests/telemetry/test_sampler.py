from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pynvml
import pytest

from fleet_app.presence import Gpu, Usage
from fleet_app.telemetry import Sample, Telemetry, host
from fleet_app.telemetry.cgroup import Cgroup
from fleet_app.telemetry.nvidia import Nvidia
from fleet_app.telemetry.reading import reading

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30


def test_what_is_measured_here_is_plausible(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path, cgroup=Cgroup(mount=tmp_path, membership=tmp_path / "none"))
    sample = telemetry.sample()
    assert sample.cpu
    assert sample.ram
    assert sample.disk
    assert 0 <= sample.cpu.percent <= 100
    assert 0 < sample.cpu.cores <= (psutil.cpu_count() or 1)
    assert sample.ram.total_bytes == psutil.virtual_memory().total
    assert 10_000_000 < sample.ram.used_bytes < sample.ram.total_bytes
    assert 0 < sample.disk.used_bytes < sample.disk.total_bytes


def test_a_busy_processor_shows(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path)
    telemetry.sample()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    busy = telemetry.sample().cpu
    assert busy
    assert busy.percent >= 50 / (psutil.cpu_count() or 1)


def test_a_sample_takes_milliseconds(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path)
    durations = []
    for _ in range(5):
        started = time.perf_counter()
        telemetry.sample()
        durations.append(time.perf_counter() - started)
    assert min(durations) < 0.05


def test_a_containers_limits_count_instead_of_the_machines(tmp_path: Path) -> None:
    files = {"cpu.max": "50000 100000", "memory.max": str(GIB), "memory.current": str(GIB // 4)}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "membership").write_text("0::/\n")
    telemetry = Telemetry(tmp_path, cgroup=Cgroup(mount=tmp_path, membership=tmp_path / "membership"))
    sample = telemetry.sample()
    assert sample.cpu
    assert sample.cpu.cores == 0.5
    assert sample.ram == Usage(used_bytes=GIB // 4, total_bytes=GIB)


def test_a_limit_above_the_machines_memory_is_none(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(str(2**50))
    (tmp_path / "memory.current").write_text("0")
    (tmp_path / "membership").write_text("0::/\n")
    ram = host.ram(Cgroup(mount=tmp_path, membership=tmp_path / "membership"))
    assert ram.total_bytes == psutil.virtual_memory().total


def test_the_disk_of_a_directory_that_is_not_made_yet_is_known(tmp_path: Path) -> None:
    assert host.disk(tmp_path / "not" / "yet").total_bytes == psutil.disk_usage(str(tmp_path)).total


def test_amounts_stay_within_what_a_heartbeat_carries() -> None:
    assert host.usage(-5, 2**70) == Usage(used_bytes=0, total_bytes=2**60)
    assert host.usage(9, 4) == Usage(used_bytes=4, total_bytes=4)


def test_when_every_reading_fails_the_sample_is_empty_and_nothing_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the sensor is on fire")

    for name in ("cpu_percent", "virtual_memory", "disk_usage"):
        monkeypatch.setattr(psutil, name, fail)
    assert Telemetry(tmp_path).sample() == Sample(cpu=None, ram=None, disk=None, gpus=())


def test_an_error_outside_nvmls_own_tree_costs_one_reading_only() -> None:
    def mismatch() -> int:
        raise pynvml.NVMLLibraryMismatchError("driver and library differ")

    assert not issubclass(pynvml.NVMLLibraryMismatchError, pynvml.NVMLError)
    assert reading("gpu load", mismatch) is None


def test_leaving_the_program_is_not_swallowed_as_a_failed_reading() -> None:
    def leave() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reading("cpu", leave)


def test_cards_of_several_vendors_have_one_row_of_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nvidia, "gpus", lambda _: (Gpu(index=0, name="n"), Gpu(index=2, name="n")))
    for card in ("card0", "card1"):
        (tmp_path / card / "device").mkdir(parents=True)
        (tmp_path / card / "device" / "vendor").write_text("0x1002\n")
    found = Telemetry(tmp_path, drm=tmp_path).sample().gpus
    assert [(gpu.index, gpu.vendor) for gpu in found] == [(0, ""), (2, ""), (3, "amd"), (4, "amd")]
