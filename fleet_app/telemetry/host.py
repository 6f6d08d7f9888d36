"""Processor, memory and disk, within the limits this process has.

Memory in use is what cannot be had at once (total minus available), so a file cache does not look like pressure. The
disk is the one that holds the data directory, and counts as used what this user cannot write.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import psutil

from fleet_app.presence import Cpu, Usage
from fleet_app.telemetry.reading import clip

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.telemetry.cgroup import Cgroup

CORES_MAX = 4096
BYTES_MAX = 2**60

_this_process = functools.cache(psutil.Process)  # making one reads when it began, half of what a sample costs


def prime_cpu() -> None:
    """Start the interval whose load the next `cpu` reports."""
    psutil.cpu_percent(interval=None)


def cpu(cgroup: Cgroup) -> Cpu:
    """Load of the whole machine since the last call, and the cores this process may use."""
    return Cpu(percent=clip(psutil.cpu_percent(interval=None), 0, 100), cores=cores(cgroup))


def cores(cgroup: Cgroup) -> float:
    """The smaller of the processors we may run on and the group's share of time; 1.5 is one and a half."""
    process = _this_process()
    allowed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else (psutil.cpu_count() or 1)
    limit = cgroup.cpu_limit()
    return clip(allowed if limit is None else min(allowed, limit), 0, CORES_MAX)


def ram(cgroup: Cgroup) -> Usage:
    """Memory of the group when it is limited below the machine's, else the machine's."""
    memory = psutil.virtual_memory()
    group = cgroup.memory()
    if group is not None and group.limit_bytes < memory.total:
        return usage(group.used_bytes, group.limit_bytes)
    return usage(memory.total - memory.available, memory.total)


def disk(folder: Path) -> Usage:
    """The disk that holds `folder`, or will hold it once it is made."""
    path = folder.absolute()
    existing = next(place for place in (path, *path.parents) if place.exists())
    space = psutil.disk_usage(str(existing))
    return usage(space.total - space.free, space.total)


def usage(used_bytes: int, total_bytes: int) -> Usage:
    """Both amounts within what a heartbeat can carry."""
    total = max(0, min(total_bytes, BYTES_MAX))
    return Usage(used_bytes=max(0, min(used_bytes, total)), total_bytes=total)
