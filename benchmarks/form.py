"""The one form of all benchmarks: figures, goals, the table, the JSON file, the machine.

A benchmark measures and does not judge: a goal that is missed is a line of the table, never an exit code. A figure
whose peer is missing is named with the reason and has no value. Ratios are paired: both sides are measured in the same
round, the ratio is taken in that round, and the figure is the median of the rounds with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Measure = Callable[[int], Mapping[str, float]]
    """One contender's measurement: takes the number of the round, returns what it measured."""

ROUNDS = 5
ROUNDS_QUICK = 2

_TABLE_WIDTH = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for on the command line.

    Attributes:
        json: Where the figures go besides the table; None for nowhere.
        quick: Fewer rounds and less work; the table and the file say so.
    """

    json: Path | None = None
    quick: bool = False

    @property
    def rounds(self) -> int:
        """How often each pair is measured."""
        return ROUNDS_QUICK if self.quick else ROUNDS

    @classmethod
    def parse(cls, name: str, arguments: Sequence[str] | None = None) -> Self:
        """Read the command line of `python -m benchmarks.<name>`, or of all of them if the name is empty."""
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}".rstrip("."))
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
        parser.add_argument("--quick", action="store_true", help="fewer rounds and less work")
        given = parser.parse_args(arguments)
        return cls(json=given.json, quick=given.quick)


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a figure should keep, in the figure's unit."""

    bound: float
    at_least: bool

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {_number(self.bound)}"

    def verdict(self, value: float) -> str:
        """`holds`, or by how much the value falls short."""
        missing = self.bound - value if self.at_least else value - self.bound
        if missing <= 0:
            return "holds"
        share = missing / abs(self.bound) if self.bound else 1.0
        return f"short by {_number(missing)} ({share:{'.0%' if share >= 0.01 else '.1%'}})"


def at_least(bound: float) -> Goal:
    """Higher is better."""
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    """Lower is better."""
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
        name: Its name on the fixed list.
        unit: `ratio`, `B`, `kB`, `events/s`, ...
        samples: One value a round; a figure that cannot differ between rounds has one.
        peers: What the others did, for people; empty where a figure has no peer.
        detail: What the value was made of. For a `_vs_` figure it states the baseline.
    """

    name: str
    unit: str
    samples: Sequence[float]
    peers: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.samples)

    def as_json(self) -> dict[str, object]:
        """The figure as it stands in the file."""
        return {
            "value": _rounded(self.value),
            "unit": self.unit,
            "rounds": len(self.samples),
            "min": _rounded(min(self.samples)),
            "max": _rounded(max(self.samples)),
            "detail": {name: _rounded(part) for name, part in self.detail.items()},
        }


@dataclass(slots=True, kw_only=True)
class Report:
    """What one benchmark found.

    Attributes:
        benchmark: Its name.
        names: The figures it must give, in the order of the table.
        goals: The goal of each figure that has one.
        quick: Whether less was done than a full run does.
        figures: What was measured, by name.
        left_out: Why a figure was not measured, by name.
    """

    benchmark: str
    names: Sequence[str]
    goals: Mapping[str, Goal]
    quick: bool = False
    figures: dict[str, Figure] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, figures: Iterable[Figure]) -> None:
        """Take figures in.

        Raises:
            KeyError: A name is not on the list.
        """
        for figure in figures:
            self._expect(figure.name)
            self.figures[figure.name] = figure
            self.left_out.pop(figure.name, None)

    def leave_out(self, names: Iterable[str], reason: str) -> None:
        """Say why figures have no value. The first reason stands, and none beside a value.

        Raises:
            KeyError: A name is not on the list.
        """
        for name in names:
            self._expect(name)
            if name not in self.figures:
                self.left_out.setdefault(name, reason)

    def as_json(self) -> dict[str, object]:
        """The file's content: measured figures only, in the order of the list."""
        figures = {name: self.figures[name].as_json() for name in self.names if name in self.figures}
        return {"benchmark": self.benchmark, "quick": self.quick, "machine": machine(), "figures": figures}

    def table(self) -> Table:
        """One row a figure, in the order of the list."""
        title = f"{self.benchmark}, {'QUICK: fewer rounds, less work' if self.quick else 'full run'}; {_machine_line()}"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("figure", "value", "min .. max", "peers in the same run", "goal", "outcome"):
            table.add_column(column, justify="right" if column == "value" else "left", overflow="fold")
        for name in self.names:
            table.add_row(name, *self._cells(name))
        return table

    def _cells(self, name: str) -> tuple[str, ...]:
        goal = self.goals.get(name)
        bound = str(goal or "")
        if name not in self.figures:
            return "-", "", "", bound, f"not measured: {self.left_out.get(name, 'no reason was given')}"
        figure = self.figures[name]
        low, high = min(figure.samples), max(figure.samples)
        spread = f"{_number(low)} .. {_number(high)}" if len(figure.samples) > 1 else ""
        value = f"{_number(figure.value)} {figure.unit}" if figure.unit != "ratio" else _number(figure.value)
        return value, spread, figure.peers, bound, goal.verdict(figure.value) if goal else ""

    def _expect(self, name: str) -> None:
        if name not in self.names:
            raise KeyError(f"{name} is not a figure of the benchmark {self.benchmark}")


def publish(report: Report, options: Options) -> None:
    """Print the table; write the file that was asked for."""
    console = Console()
    wide = console if console.is_terminal else Console(width=_TABLE_WIDTH)
    wide.print(report.table())
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")


def interleave(contenders: Mapping[str, Measure], rounds: int) -> dict[str, list[Mapping[str, float]]]:
    """Measure every contender once a round, one after another, and return what each measured in each round."""
    measured: dict[str, list[Mapping[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, measure in contenders.items():
            measured[name].append(measure(number))
    return measured


def paired(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, round by round."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def machine() -> dict[str, object]:
    """What this ran on."""
    return {"cpu": _cpu(), "cores": os.cpu_count() or 1, "python": platform.python_version()}


def _cpu() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, model = line.partition(":")
            if name.strip() == "model name":
                return model.strip()
    return platform.processor() or platform.machine()


def _machine_line() -> str:
    described = machine()
    return f"{described['cpu']}, {described['cores']} cores, Python {described['python']}"


def _number(value: float) -> str:
    """Four digits that say something, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _rounded(value: object) -> object:
    """Five significant digits: more would be noise, and would differ in every file."""
    return float(f"{value:.5g}") if isinstance(value, float) else value
