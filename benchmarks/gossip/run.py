"""The whole benchmark: every group of figures, in turn, into one report."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import benchmarks.crew
from benchmarks.form import Options, Report, publish
from benchmarks.gossip import real, virtual
from benchmarks.gossip.crew import FULL, QUICK, Crew
from benchmarks.gossip.goals import GOALS, NAMES, NEEDS, VERSIONS
from benchmarks.peers import BENCH, PeerEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.form import Figure

GROUPS: dict[tuple[str, ...], Callable[[Crew], Iterator[Figure]]] = {
    (
        *("des10k_p99_ms", "des10k_last_ms", "des10k_lossy_last_ms"),
        *("coverage_pct", "payload_copies"),
    ): virtual.spreading,
    ("idle_bytes_per_exchange", "idle_bytes_per_s"): real.idling,
    ("one_change_bytes", "one_change_vs_v090"): real.changing,
    ("cold_join_100k_s", "cold_join_stall_ms"): real.joining,
    ("stalled_peer_mb",): virtual.stalling,
    ("linked_vs_plain_cpu",): real.writing,
    ("signed_1_vs_plain_cpu", "signed_256_vs_plain_cpu"): real.signing,
    ("flush_peer_p50_ms",): real.flushing,
    ("stores200_p99_ms",): real.crowding,
}
"""Each group measures together the figures that stand before it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if a workload broke, 0 whatever the figures are."""
    options = Options.parse("gossip", arguments)
    BENCH.mkdir(exist_ok=True)
    environment = PeerEnvironment(BENCH / "gossip", VERSIONS)
    environment.prepare()
    report = Report(benchmark="gossip", names=NAMES, goals=GOALS, quick=options.quick)
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
