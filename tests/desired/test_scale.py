"""Fifty nodes and twenty models: a plan and a step of one node touch each pair a bounded number of times."""

from __future__ import annotations

from fleet_app.desired import Holds
from fleet_app.desired.plan import plan
from tests.desired.facts import declared, node


def test_a_plan_of_fifty_nodes_and_twenty_models_is_whole() -> None:
    nodes = [node(f"box{number:02d}", *(f"own{number}-{index}:latest" for index in range(10))) for number in range(50)]
    models = {f"m{index}": {"where": "all", "replicas": 5} if index % 2 else {"where": "all"} for index in range(20)}
    found = plan(declared(**models), nodes)
    pulls = {(step.node, step.model) for step in found.steps}
    assert len(pulls) == len(found.steps) == 10 * 50 + 10 * 5
    assert found.stuck == []
    assert all(facts.holds == Holds() for facts in nodes)
