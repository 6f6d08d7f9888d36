"""The figures of this benchmark in their fixed order, and what each should reach. It has no peers."""

from __future__ import annotations

from benchmarks.form import at_most

GOALS = {
    "idle_cpu_pct": at_most(1.5),
    "idle_rss_mb": at_most(110),
    "gossip_bytes_per_s_watched": at_most(6000),
    "gossip_bytes_per_s_unwatched": at_most(1000),
    "detect_s": at_most(5),
    "edit_to_action_s": at_most(1),
    "plan_50x20_s": at_most(1),
    "fault_runs_diverged": at_most(0),
}

NAMES = tuple(GOALS)
