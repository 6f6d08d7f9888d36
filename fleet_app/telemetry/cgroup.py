"""The limits of the container or service this process runs in, which psutil does not see.

Control groups nest: the tightest limit on the way up to the root holds. Version 2 has one tree with `cpu.max` and
`memory.max`; version 1 has a tree for each controller. In a container the path in `/proc/self/cgroup` may be the
host's, and the mounted root is then our own group. The two paths are arguments, so that a test brings its own tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UNLIMITED_BYTES_MIN = 2**60
"""Version 1 writes a number near 2**63 for "no limit"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """What the group may use, and uses without the file pages it could give back at once; bytes."""

    limit_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """The group of this process.

    Attributes:
        mount: Where the trees are mounted.
        membership: The file that names our group in each.
    """

    mount: Path = Path("/sys/fs/cgroup")
    membership: Path = Path("/proc/self/cgroup")

    def cpu_limit(self) -> float | None:
        """How many cores' worth of time the group may use; None without a limit."""
        limits = [limit for folder in self._folders("cpu") if (limit := _cpu_limit(folder)) is not None]
        return min(limits, default=None)

    def memory(self) -> MemoryLimit | None:
        """The tightest memory limit and what is used of it; None without a limit."""
        found = [memory for folder in self._folders("memory") if (memory := _memory(folder)) is not None]
        return min(found, key=lambda memory: memory.limit_bytes, default=None)

    def _folders(self, controller: str) -> Iterator[Path]:
        """Our group's folder and those above it, in the trees that hold `controller`."""
        for root, group in self._groups(controller):
            inner = root.joinpath(*PurePosixPath(group).parts[1:])
            while inner != root and root in inner.parents:
                yield inner
                inner = inner.parent
            yield root

    def _groups(self, controller: str) -> Iterator[tuple[Path, str]]:
        """Each line of the membership file is `id:controllers:group`; version 2 has no controllers."""
        for line in (_text(self.membership) or "").splitlines():
            _, names, group = (*line.split(":", 2), "", "")[:3]
            if names == "":
                yield self.mount, group
            elif controller in names.split(","):
                yield from ((self.mount / name, group) for name in dict.fromkeys((names, controller)))


def _cpu_limit(folder: Path) -> float | None:
    """Quota over period, from either version's files."""
    quota, period = [*(_text(folder / "cpu.max") or "").split(), "", ""][:2]
    if not quota:
        quota = _text(folder / "cpu.cfs_quota_us") or ""
        period = _text(folder / "cpu.cfs_period_us") or ""
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _memory(folder: Path) -> MemoryLimit | None:
    """Limit, use and reclaimable file pages, from either version's files."""
    for limit_name, used_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and used is not None and limit < UNLIMITED_BYTES_MIN:
            used -= _statistic(folder / "memory.stat", cache_name)
            return MemoryLimit(limit_bytes=limit, used_bytes=max(0, min(used, limit)))
    return None


def _statistic(path: Path, name: str) -> int:
    for line in (_text(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _text(path) or ""
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
