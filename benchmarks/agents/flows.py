"""The workload of CrewAI: a flow saves its state after each method."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE_BYTES = 27_000


def save(*, contender: str, seed: int, saves: int, scratch: str) -> Mapping[str, float]:
    """The median of so many saves of a state of 27 KB, and of loading it."""
    os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TRACING_ENABLED": "false"}
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        os.environ["CREWAI_STORAGE_DIR"] = directory
        persistence = _persistence(contender, Path(directory))
        took, notes = [], [f"{n:>8}" + "x" * 92 for n in range(STATE_BYTES // 103)]
        for number in range(saves):
            state = {"id": "flow", "number": number + seed, "notes": notes}
            begin = time.perf_counter()
            persistence.save_state("flow", "method", state)
            took.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        assert persistence.load_state("flow")["number"] == saves - 1 + seed
        load_s = time.perf_counter() - begin
        if contender == "propagul":
            persistence.close()
    return {"save_p50_ms": 1000 * statistics.median(took), "load_ms": 1000 * load_s}


def _persistence(contender: str, directory: Path) -> Any:
    if contender == "sqlite":
        from crewai.flow.persistence import SQLiteFlowPersistence

        return SQLiteFlowPersistence(str(directory / "flows.sqlite"))
    from propagul_crewai import PropagulFlowPersistence

    return PropagulFlowPersistence(str(directory / "flows"))
