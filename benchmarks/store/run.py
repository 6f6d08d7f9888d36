"""The whole benchmark: every group of figures, in turn, into one report."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import benchmarks.crew
from benchmarks.form import Options, Report, publish
from benchmarks.peers import BENCH, PeerEnvironment
from benchmarks.store import local, replicated
from benchmarks.store.crew import FULL, QUICK, Crew
from benchmarks.store.goals import GOALS, NAMES, NEEDS, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.form import Figure

GROUPS: dict[tuple[str, ...], Callable[[Crew], Iterator[Figure]]] = {
    ("set_vs_dict", "set_vs_pycrdt", "set_vs_loro", "get_vs_dict_100k", "get_vs_pycrdt"): local.rates,
    ("mem_per_key_b", "mem_vs_pycrdt"): local.memory,
    ("one_change_overhead_b",): replicated.one_change,
    ("delta1000_vs_pycrdt",): replicated.delta,
    ("merge10_vs_pycrdt",): replicated.merge,
    ("full_state_vs_theory",): replicated.full_state,
    ("churn_growth_pct",): replicated.churn,
    ("vv_memory_kb_after_10k_restarts",): replicated.vector_memory,
    ("vv_wire_equal_b",): replicated.vector_wire,
    ("origins_after_1k_clean_restarts",): local.restarts,
    ("durable_set_vs_sqlite_normal", "durable_set_vs_sqlite_full"): local.disk,
    ("recovery_events_per_s",): local.recovery,
}
"""Each group measures together the figures that stand before it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if a workload broke, 0 whatever the figures are."""
    options = Options.parse("store", arguments)
    BENCH.mkdir(exist_ok=True)
    environment = PeerEnvironment(BENCH / "store", VERSIONS)
    environment.prepare()
    report = Report(benchmark="store", names=NAMES, goals=GOALS, quick=options.quick)
    with tempfile.TemporaryDirectory(dir=BENCH) as scratch:
        broken = measure(report, Crew(QUICK if options.quick else FULL, environment, Path(scratch)))
    publish(report, options)
    return 1 if broken else 0


def measure(report: Report, crew: Crew) -> int:
    """Fill the report with every group's figures, or with why they are not there; return how many groups broke."""
    return benchmarks.crew.measure(report, crew, GROUPS, lambda name: _absence(name, crew))


def _absence(name: str, crew: Crew) -> str:
    """Why a figure that its group did not give is not there."""
    peer = NEEDS.get(name)
    reason = crew.absence(peer) if peer else ""
    return reason or f"it cannot be measured on {sys.platform}"
