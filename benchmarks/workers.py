"""The parent's side of `worker.py`: run a workload in a fresh process and take what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WORKLOAD_TIMEOUT_S = 3600

_WORKER = Path(__file__).resolve().parent / "worker.py"


class WorkloadFailed(Exception):  # noqa: N818 - reads as a statement
    """A workload raised, ran out of time, or did not find what it had written."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Who runs a contender's workloads.

    Attributes:
        python: The interpreter.
        isolated: Whether it is a peer's, which sees its own environment and nothing of ours.
    """

    python: Path
    isolated: bool = False

    def run(self, workload: Callable[..., Mapping[str, float]], **parameters: object) -> Mapping[str, float]:
        """Run a module-level function by its name in a fresh process.

        Raises:
            WorkloadFailed: It did not end with a result.
        """
        command = [
            *(str(self.python), "-I" if self.isolated else "-P", str(_WORKER)),
            *(workload.__module__, workload.__name__, json.dumps(parameters)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WORKLOAD_TIMEOUT_S, check=False)
        lines = done.stdout.splitlines()
        measured = cast("dict[str, float]", json.loads(lines[-1])) if lines else {}
        if done.returncode and not measured.get("killed"):
            raise WorkloadFailed(f"{workload.__name__}: {(done.stderr.splitlines() or ['no reason'])[-1]}")
        return measured


def ours() -> Interpreter:
    """The interpreter that runs this benchmark, with the Propagul that is installed in it."""
    return Interpreter(Path(sys.executable))
