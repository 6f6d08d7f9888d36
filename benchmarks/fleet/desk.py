"""What somebody does at a desk with `fleet_app.Fleet`, in a process of their own: declare a model, plan a document."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from fleet_app import Fleet

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENT = Path(__file__).with_name("fleet.yaml")


def declare(*, data_dir: str, model: str, node: str) -> Mapping[str, float]:
    """Declare a model on one box; the moment just before, by the clock that all processes share."""
    with Fleet.open(data_dir) as fleet:
        edits = fleet.pulling(model, on=[node])
        begun_s = time.monotonic()
        assert fleet.apply(edits)
    return {"begun_s": begun_s}


def plan(*, data_dir: str, boxes: int, rounds: int) -> Mapping[str, float]:
    """Seconds that the plan of `fleet.yaml` takes, from asking the node for the fleet on."""
    found: dict[str, float] = {}
    with Fleet.open(data_dir) as fleet:
        for number in range(rounds):
            begin = time.perf_counter()
            edits = fleet.from_file(DOCUMENT)
            steps = fleet.plan(edits).steps
            found[f"plan_s_{number}"] = time.perf_counter() - begin
            assert len(fleet.nodes()) == boxes
            assert len(steps) > boxes, "a plan for fifty boxes has many steps"
    return found | {"steps": len(steps)}
