from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet_app.telemetry.cgroup import Cgroup, MemoryLimit

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30


def tree(root: Path, membership: str, files: dict[str, str]) -> Cgroup:
    """A control group tree under `root` with these files, and a process in it."""
    for name, content in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    (root / "membership").write_text(membership + "\n")
    return Cgroup(mount=root / "cgroup", membership=root / "membership")


def test_version_2_limits_are_read(tmp_path: Path) -> None:
    files = {
        "box/cpu.max": "150000 100000",
        "box/memory.max": str(8 * GIB),
        "box/memory.current": str(3 * GIB),
        "box/memory.stat": f"anon 5\ninactive_file {GIB}\nslab 7",
    }
    group = tree(tmp_path, "0::/box", files)
    assert group.cpu_limit() == 1.5
    assert group.memory() == MemoryLimit(limit_bytes=8 * GIB, used_bytes=2 * GIB)


def test_the_tightest_limit_on_the_way_up_holds(tmp_path: Path) -> None:
    files = {
        "outer/cpu.max": "200000 100000",
        "outer/memory.max": str(4 * GIB),
        "outer/memory.current": str(GIB),
        "outer/inner/cpu.max": "400000 100000",
        "outer/inner/memory.max": str(16 * GIB),
        "outer/inner/memory.current": str(GIB),
    }
    group = tree(tmp_path, "0::/outer/inner", files)
    assert group.cpu_limit() == 2.0
    assert group.memory() == MemoryLimit(limit_bytes=4 * GIB, used_bytes=GIB)


def test_version_1_limits_are_read_from_each_controllers_tree(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/box/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/box/cpu.cfs_period_us": "100000",
        "memory/box/memory.limit_in_bytes": str(2 * GIB),
        "memory/box/memory.usage_in_bytes": str(GIB),
        "memory/box/memory.stat": f"cache 1\ntotal_inactive_file {GIB // 2}",
    }
    group = tree(tmp_path, "5:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/", files)
    assert group.cpu_limit() == 0.5
    assert group.memory() == MemoryLimit(limit_bytes=2 * GIB, used_bytes=GIB // 2)


def test_a_path_of_the_host_falls_back_to_the_mounted_root(tmp_path: Path) -> None:
    files = {"cpu.max": "300000 100000", "memory.max": str(GIB), "memory.current": "0"}
    group = tree(tmp_path, "0::/docker/4f2a", files)
    assert group.cpu_limit() == 3.0
    assert group.memory() == MemoryLimit(limit_bytes=GIB, used_bytes=0)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000", "memory.max": "max", "memory.current": "5"},
        {"cpu.max": "", "memory.max": "many", "memory.current": "5"},
        {"cpu.max": "100 0", "memory.max": "100"},
        {"cpu.max": "-1 100000", "memory.limit_in_bytes": str(2**63 - 4096), "memory.usage_in_bytes": "1"},
    ],
)
def test_no_limit_and_nonsense_are_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    group = tree(tmp_path, "0::/", files)
    assert group.cpu_limit() is None
    assert group.memory() is None


def test_a_system_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    group = Cgroup(mount=tmp_path / "none", membership=tmp_path / "none")
    assert group.cpu_limit() is None
    assert group.memory() is None
