"""The figures of this benchmark in their fixed order, what each should reach, and whom it is measured against."""

from __future__ import annotations

from benchmarks.form import at_least, at_most

_FIGURES = {
    "des10k_p99_ms": at_most(200),
    "des10k_last_ms": at_most(250),
    "des10k_lossy_last_ms": at_most(3000),
    "coverage_pct": at_least(100),
    "payload_copies": at_most(2.5),
    "idle_bytes_per_exchange": at_most(96),
    "idle_bytes_per_s": at_most(12),
    "one_change_bytes": at_most(600),
    "one_change_vs_v090": at_most(1 / 1000),
    "cold_join_100k_s": at_most(2),
    "cold_join_stall_ms": at_most(20),
    "stalled_peer_mb": at_most(1),
    "linked_vs_plain_cpu": at_most(2),
    "signed_1_vs_plain_cpu": None,
    "signed_256_vs_plain_cpu": None,
    "flush_peer_p50_ms": at_most(5),
    "stores200_p99_ms": at_most(300),
}

NAMES = tuple(_FIGURES)

GOALS = {name: goal for name, goal in _FIGURES.items() if goal is not None}

NEEDS = {"one_change_vs_v090": "v090"}
"""The peer without which a figure has no value."""

PACKAGES = {"v090": "propagul"}
"""What each peer is called on the package index."""

VERSIONS = {"propagul": "0.9.0"}
"""The versions measured, pinned so that runs compare over time."""
