"""The figures of this benchmark in their fixed order, what each should reach, and whom it is measured against."""

from __future__ import annotations

from benchmarks.form import at_least, at_most

GOALS = {
    "set_vs_dict": at_least(0.15),
    "set_vs_pycrdt": at_least(4),
    "set_vs_loro": at_least(4),
    "get_vs_dict_100k": at_least(0.6),
    "get_vs_pycrdt": at_least(5),
    "mem_per_key_b": at_most(140),
    "mem_vs_pycrdt": at_most(0.3),
    "one_change_overhead_b": at_most(40),
    "delta1000_vs_pycrdt": at_most(0.8),
    "merge10_vs_pycrdt": at_most(2),
    "full_state_vs_theory": at_most(1.03),
    "churn_growth_pct": at_most(1),
    "vv_memory_kb_after_10k_restarts": at_most(200),
    "vv_wire_equal_b": at_most(64),
    "origins_after_1k_clean_restarts": at_most(10),
    "durable_set_vs_sqlite_normal": at_least(15),
    "durable_set_vs_sqlite_full": at_least(300),
    "recovery_events_per_s": at_least(400_000),
}

NAMES = tuple(GOALS)

NEEDS = {
    "set_vs_pycrdt": "pycrdt",
    "set_vs_loro": "loro",
    "get_vs_pycrdt": "pycrdt",
    "mem_vs_pycrdt": "pycrdt",
    "delta1000_vs_pycrdt": "pycrdt",
    "merge10_vs_pycrdt": "pycrdt",
}
"""The peer without which a figure has no value."""

PACKAGES = {"pycrdt": "pycrdt", "loro": "loro", "v090": "propagul"}
"""What each peer is called on the package index."""

VERSIONS = {"pycrdt": "0.14.13", "loro": "1.17.1", "propagul": "0.9.0"}
"""The versions measured, pinned so that runs compare over time."""
