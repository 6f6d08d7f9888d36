"""What all benchmarks share: who can be measured here, how much work a run is, groups of figures and rounds of work.

A benchmark names its groups: figures that are measured together, and the function that measures them with a crew. A
group that breaks takes its own figures with it and no others.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from benchmarks import workers
from benchmarks.form import ROUNDS, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.form import Figure, Measure, Report
    from benchmarks.peers import PeerEnvironment

    Workload = Callable[..., Mapping[str, float]]


class Runner(Protocol):
    """Runs a workload somewhere."""

    def run(self, workload: Workload, **parameters: object) -> Mapping[str, float]:
        """Run it and return what it measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much work a run is.

    Attributes:
        rounds: Of everything that differs from one time to the next.
    """

    rounds: int = ROUNDS


AnyScale = TypeVar("AnyScale", bound=Scale)


class Crew(Generic[AnyScale]):
    """Runs workloads, each contender's in its own interpreter.

    Attributes:
        packages: What each peer of this benchmark is called on the package index.

    Args:
        scale: How much work.
        environment: Where the peers are, prepared; None if nobody looked for them.
        scratch: Where logs and databases are written: all on one file system.
        ours: Who runs what is not a peer's; a fresh process each time if not given.
    """

    packages: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, scale: AnyScale, environment: PeerEnvironment | None, scratch: Path, ours: Runner | None = None
    ) -> None:
        self.scale = scale
        self.scratch = str(scratch)
        self._ours = ours or workers.ours()
        self._environment = environment

    def absence(self, contender: str) -> str:
        """Why a contender cannot be measured; empty if it can."""
        package = self.packages.get(contender)
        if package is None:
            return ""
        if self._environment is None:
            return f"{contender} is missing: peers were not looked for"
        reason = self._environment.missing.get(package)
        return "" if reason is None else f"{contender} is missing: {reason}"

    def run(self, contender: str, workload: Workload, /, **parameters: object) -> Mapping[str, float]:
        """Run one workload of one contender in a fresh process.

        Raises:
            WorkloadFailed: It broke, or did not find what it had written.
        """
        if contender not in self.packages or self._environment is None:
            return self._ours.run(workload, **parameters)
        return workers.Interpreter(self._environment.python, isolated=True).run(workload, **parameters)

    def rounds(
        self, contenders: Sequence[str], workload: Workload, **parameters: object
    ) -> dict[str, list[Mapping[str, float]]]:
        """Run a workload of every contender that is there, round by round, each round on other values.

        Raises:
            WorkloadFailed: One of them broke.
        """

        def measure(contender: str) -> Measure:
            return lambda number: self.run(contender, workload, contender=contender, seed=1000 * number, **parameters)

        there = [contender for contender in contenders if not self.absence(contender)]
        return interleave({contender: measure(contender) for contender in there}, self.scale.rounds)


AnyCrew = TypeVar("AnyCrew")


def measure(
    report: Report,
    crew: AnyCrew,
    groups: Mapping[tuple[str, ...], Callable[[AnyCrew], Iterator[Figure]]],
    absence: Callable[[str], str],
) -> int:
    """Fill the report with every group's figures, or with why they are not there; return how many groups broke.

    Args:
        report: Where they go.
        crew: Who measures.
        groups: Each measures together the figures that stand before it.
        absence: Why a figure that its group did not give is not there.
    """
    broken = 0
    for names, group in groups.items():
        print(f"measuring {', '.join(names)}", file=sys.stderr)
        try:
            report.add(group(crew))
        except workers.WorkloadFailed as failure:
            broken += 1
            report.leave_out(names, f"the workload broke: {failure}")
        for name in names:
            report.leave_out([name], absence(name))
    return broken


def column(found: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """One measure over the rounds."""
    return [each[name] for each in found]


def median(found: Sequence[Mapping[str, float]], name: str) -> float:
    """The median of one measure over the rounds."""
    return statistics.median(column(found, name))
