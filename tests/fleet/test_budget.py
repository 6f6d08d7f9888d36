"""A node that is started again has no fresh budget for what it takes from people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.history import History
from fleet_app.node import _disrupted_s_ago
from fleet_app.reconcile import Machine, Start
from tests.desired.facts import declared, node

if TYPE_CHECKING:
    from pathlib import Path


def test_deletes_before_a_restart_count_within_the_hour(tmp_path: Path) -> None:
    before = History(tmp_path, "a")
    for number in range(5):
        before.events.add("delete_done", f"old{number}", f"old{number} was deleted")
    before.events.add("pull_done", "m", "m was pulled")
    before.close()
    after = History(tmp_path, "a")
    spent = _disrupted_s_ago(after)
    after.close()
    assert len(spent) == 5
    assert all(0 <= ago < 600 for ago in spent)
    box = node("a", *(f"m{number}:latest" for number in range(3)))
    machine = Machine(box.id, random=lambda: 0.5, now=0.0, spent_s_ago=spent)
    gone = {f"m{number}": {"where": "all", "state": "absent"} for number in range(3)}
    effects = machine.step(declared(**gone), [box], 1.0)
    assert sum(isinstance(effect, Start) for effect in effects) == 1
    assert [c.kind for c in machine.conditions()] == ["Progressing", "Blocked", "Blocked"]
