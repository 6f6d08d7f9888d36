"""Who can be measured here, how much work a run is, and rounds over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchmarks import workers
from benchmarks.form import ROUNDS, ROUNDS_QUICK, interleave
from benchmarks.store.goals import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.form import Measure
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
        small: Keys where a state is small, or part of it changes.
        large: Keys where a state is large.
        changed: Keys that change, out of `small`.
        churned: Deletes, re-adds and overwrites of `small` keys.
        incarnations: Restarts of which each takes a fresh origin.
        restarts: Clean restarts of a store with a directory.
        visitors: Origins that two stores both know.
        synced: Sets of which each waits for the disk.
    """

    rounds: int = ROUNDS
    small: int = 10_000
    large: int = 100_000
    changed: int = 1000
    churned: int = 1_000_000
    incarnations: int = 10_000
    restarts: int = 1000
    visitors: int = 200
    synced: int = 1000


FULL = Scale()
QUICK = Scale(rounds=ROUNDS_QUICK, large=20_000, churned=50_000, restarts=50, visitors=20, synced=200)


class Crew:
    """Runs workloads, each contender's in its own interpreter.

    Args:
        scale: How much work.
        environment: Where the peers are, prepared; None if nobody looked for them.
        scratch: Where logs and databases are written: all on one file system.
        ours: Who runs what is not a peer's; a fresh process each time if not given.
    """

    def __init__(
        self, scale: Scale, environment: PeerEnvironment | None, scratch: Path, ours: Runner | None = None
    ) -> None:
        self.scale = scale
        self.scratch = str(scratch)
        self._ours = ours or workers.ours()
        self._environment = environment

    def absence(self, contender: str) -> str:
        """Why a contender cannot be measured; empty if it can."""
        package = PACKAGES.get(contender)
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
        if contender not in PACKAGES or self._environment is None:
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
