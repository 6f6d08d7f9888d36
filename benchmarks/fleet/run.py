"""The whole benchmark: every group of figures, in turn, into one report."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import benchmarks.crew
from benchmarks.fleet import figures
from benchmarks.fleet.crew import FULL, QUICK, Crew
from benchmarks.fleet.goals import GOALS, NAMES
from benchmarks.form import Options, Report, publish
from benchmarks.peers import BENCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.form import Figure

GROUPS: dict[tuple[str, ...], Callable[[Crew], Iterator[Figure]]] = {
    (
        *("idle_cpu_pct", "idle_rss_mb"),
        *("gossip_bytes_per_s_watched", "gossip_bytes_per_s_unwatched"),
    ): figures.resting,
    ("detect_s", "edit_to_action_s", "plan_50x20_s"): figures.acting_soon,
    ("fault_runs_diverged",): figures.ending_alike,
}
"""Each group measures together the figures that stand before it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if a workload broke, 0 whatever the figures are."""
    options = Options.parse("fleet", arguments)
    BENCH.mkdir(exist_ok=True)
    report = Report(benchmark="fleet", names=NAMES, goals=GOALS, quick=options.quick)
    with tempfile.TemporaryDirectory(dir=BENCH) as scratch:
        broken = measure(report, Crew(QUICK if options.quick else FULL, None, Path(scratch)))
    publish(report, options)
    return 1 if broken else 0


def measure(report: Report, crew: Crew) -> int:
    """Fill the report with every group's figures, or with why they are not there; return how many groups broke."""
    return benchmarks.crew.measure(report, crew, GROUPS, _absence)


def _absence(name: str) -> str:
    if name == "detect_s":
        return "none of the ports where nodes look for engines is free here"
    return f"it cannot be measured on {sys.platform}"
