"""The figures of this benchmark in their fixed order, what each should reach, and whom it is measured against."""

from __future__ import annotations

from benchmarks.form import at_least, at_most

GOALS = {
    "put_p50_os_vs_sqlite": at_most(1 / 15),
    "put_p50_group_vs_sqlite": at_most(1 / 1.5),
    "steps_vs_inmemory": at_least(0.7),
    "steps_vs_sqlite": at_least(3),
    "bytes_vs_sqlite": at_most(1 / 60),
    "bytes_vs_payload": at_most(1.8),
    "resume_vs_sqlite": at_most(1),
    "resume_5000_vs_50": at_most(2),
    "four_writers_vs_sqlite": at_least(3),
    "crew_save_vs_sqlite": at_most(1 / 5),
}

NAMES = (*list(GOALS)[:2], "put_p50_replicated_ms", *list(GOALS)[2:])

PACKAGES = {"memory": "langgraph", "sqlite": "langgraph-checkpoint-sqlite", "aiosqlite": "langgraph-checkpoint-sqlite"}
"""Which package brings each peer."""

VERSIONS = {"langgraph": "1.2.24", "langgraph-checkpoint-sqlite": "3.1.2"}
"""The versions measured, pinned so that runs compare over time."""

CREW_VERSIONS = {"crewai": "1.15.30"}
"""CrewAI pins other versions of what LangGraph uses, so it has an environment of its own."""
