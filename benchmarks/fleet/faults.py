"""Runs of the fleet's simulator with random faults: how many do not end as all others do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

from benchmarks.peers import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

_FAILED = re.compile(r"^seed (\d+): ", re.MULTILINE)


def diverge(*, seeds: int) -> Mapping[str, float]:
    """Run the seeds from 0 on, beside each other as far as there are processors; how many diverged, and the first."""
    workers = os.cpu_count() or 1
    bounds = [seeds * part // workers for part in range(workers + 1)]
    with ThreadPoolExecutor(workers) as pool:
        failed = [seed for part in pool.map(_failed, pairwise(bounds)) for seed in part]
    return {"runs": seeds, "diverged": len(failed)} | ({"first_diverged": min(failed)} if failed else {})


def _failed(bounds: tuple[int, int]) -> list[int]:
    """The seeds that did not end as they should; the simulator stops at each and is started anew after it."""
    first, end = bounds
    failed = []
    while first < end:
        command = [sys.executable, "-m", "tests.reconcile.simulator", str(first), str(end - first)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found = _FAILED.search(done.stdout)
        assert found or done.returncode == 0, (done.stderr.splitlines() or ["it said nothing"])[-1]
        if not found:
            break
        failed.append(int(found[1]))
        first = failed[-1] + 1
    return failed
