"""Who can be measured here, and how much work a run is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import crew
from benchmarks.agents.goals import PACKAGES
from benchmarks.form import ROUNDS_QUICK

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers import PeerEnvironment
    from benchmarks.workers import Interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(crew.Scale):
    """How much work a run is.

    Attributes:
        short: Steps of 500 bytes.
        long: Steps of 2 KB.
        turns: Of a thread that is long.
        saves: Of a flow's state.
    """

    short: int = 50
    long: int = 200
    turns: int = 5000
    saves: int = 200


FULL = Scale()
QUICK = Scale(rounds=ROUNDS_QUICK, turns=500, saves=50)


class Crew(crew.Crew[Scale]):
    """Runs workloads, all contenders of a framework in the environment that holds it and the package of this checkout.

    Attributes:
        flows: Who runs what needs CrewAI; None if that is missing.
    """

    packages = PACKAGES

    def __init__(
        self,
        scale: Scale,
        environment: PeerEnvironment,
        scratch: Path,
        ours: Interpreter,
        flows: Interpreter | None,
    ) -> None:
        super().__init__(scale, environment, scratch, ours)
        self.flows = flows
