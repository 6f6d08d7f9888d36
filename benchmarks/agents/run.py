"""The whole benchmark: every group of figures, in turn, into one report."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import benchmarks.crew
from benchmarks.agents import figures
from benchmarks.agents.crew import FULL, QUICK, Crew
from benchmarks.agents.goals import CREW_VERSIONS, GOALS, NAMES, VERSIONS
from benchmarks.form import Options, Report, publish
from benchmarks.peers import BENCH, PeerEnvironment
from benchmarks.workers import Interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.form import Figure

GROUPS: dict[tuple[str, ...], Callable[[Crew], Iterator[Figure]]] = {
    (
        *("put_p50_os_vs_sqlite", "put_p50_group_vs_sqlite", "put_p50_replicated_ms"),
        *("steps_vs_inmemory", "steps_vs_sqlite", "bytes_vs_sqlite", "bytes_vs_payload"),
    ): figures.growing,
    ("resume_vs_sqlite", "resume_5000_vs_50"): figures.resuming,
    ("four_writers_vs_sqlite",): figures.writing_together,
    ("crew_save_vs_sqlite",): figures.saving_flows,
}
"""Each group measures together the figures that stand before it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if a workload broke, 0 whatever the figures are."""
    options = Options.parse("agents", arguments)
    BENCH.mkdir(exist_ok=True)
    environment = PeerEnvironment(BENCH / "agents", VERSIONS, ours="langgraph")
    flows = PeerEnvironment(BENCH / "agents-crewai", CREW_VERSIONS, ours="crewai")
    environment.prepare()
    flows.prepare()
    report = Report(benchmark="agents", names=NAMES, goals=GOALS, quick=options.quick)
    with tempfile.TemporaryDirectory(dir=BENCH) as scratch:
        crew = Crew(
            QUICK if options.quick else FULL,
            environment,
            Path(scratch),
            Interpreter(environment.python),
            None if flows.missing else Interpreter(flows.python),
        )
        broken = measure(report, crew, flows.missing)
    publish(report, options)
    return 1 if broken else 0


def measure(report: Report, crew: Crew, flows_missing: dict[str, str]) -> int:
    """Fill the report with every group's figures, or with why they are not there; return how many groups broke."""

    def absence(name: str) -> str:
        if name == "crew_save_vs_sqlite":
            return "; ".join(f"{package} is missing: {why}" for package, why in flows_missing.items())
        return crew.absence("sqlite") or f"it cannot be measured on {sys.platform}"

    return benchmarks.crew.measure(report, crew, GROUPS, absence)
