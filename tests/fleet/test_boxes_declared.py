"""What is declared of a box itself: its name, its labels, drained, forgotten."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from fleet_app import Fleet
from fleet_app.desired import NOTHING
from tests.backends.replays.ollama import ollama_replay
from tests.backends.replays.replay import Weights
from tests.fleet.boxes import node, wait_for

if TYPE_CHECKING:
    from pathlib import Path


def test_a_box_is_renamed_drained_brought_back_and_forgotten_from_another_one(tmp_path: Path) -> None:
    with ExitStack() as stack:
        engines = [stack.enter_context(ollama_replay({"m:latest": Weights()})) for _ in range(2)]
        a = stack.enter_context(node("a", tmp_path / "a", "--backend", engines[0].url))
        b = stack.enter_context(node("b", tmp_path / "b", "--backend", engines[1].url, join=a.token))
        wait_for(lambda: a.models() == {"m:latest": ["a", "b"]}, 20)
        with Fleet.open(a.data_dir) as fleet:
            fleet.apply([*fleet.on_node("b", "name", "attic"), *fleet.on_node("b", "labels", "up", "floor")])
            wait_for(lambda: b.models() == {"m:latest": ["a", "attic"]}, 20)
            assert {place.name: place.labels.get("floor") for place in fleet.nodes()} == {"a": None, "attic": "up"}
            fleet.apply(fleet.on_node("attic", "drain", True))
            wait_for(lambda: a.models() == b.models() == {"m:latest": ["a"]}, 20)
            fleet.apply(fleet.on_node("attic", "drain", NOTHING))
            wait_for(lambda: a.models() == {"m:latest": ["a", "attic"]}, 20)
            b.kill()
            wait_for(lambda: a.node("attic").get("state") == "down", 20)
            fleet.apply(fleet.on_node("attic", "forgotten", True))
            wait_for(lambda: not a.node("attic"), 20)
            assert [found["name"] for found in a.status()["nodes"]] == ["a"]
        with node("b", tmp_path / "b", "--backend", engines[1].url):
            wait_for(lambda: a.node("attic").get("state") == "up", 20)
