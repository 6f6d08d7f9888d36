"""How much work a run is."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import crew
from benchmarks.form import ROUNDS_QUICK


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(crew.Scale):
    """How much work a run is.

    Attributes:
        boxes: In the fleet, the measured node and the one where people sit among them.
        settle_s: Seconds from when all know all to the first look: what is said of itself once has come round by then.
        unwatched_s: Seconds of each look while nobody watches.
        watched_s: Seconds of each look while somebody does.
        faulty: Seeds of the fleet's simulator.
    """

    boxes: int = 50
    settle_s: float = 45.0
    unwatched_s: float = 60.0
    watched_s: float = 60.0
    faulty: int = 1000


FULL = Scale()
QUICK = Scale(rounds=ROUNDS_QUICK, boxes=12, settle_s=8.0, unwatched_s=20.0, watched_s=10.0, faulty=4)


class Crew(crew.Crew[Scale]):
    """Runs workloads in processes of their own."""
