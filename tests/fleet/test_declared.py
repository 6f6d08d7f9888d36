"""What is declared comes true on real nodes with engines that keep state, whatever is killed on the way."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from fleet_app import Fleet
from tests.backends.replays.ollama import OllamaReplay, ollama_replay
from tests.backends.replays.replay import Weights
from tests.fleet.boxes import Box, node, propagul, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIBRARY = {"llama3.2:latest": Weights(), "qwen2.5:0.5b": Weights()}


@contextmanager
def boxes(folder: Path, *names: str) -> Iterator[list[tuple[Box, OllamaReplay]]]:
    """A fleet, each box with an Ollama of its own."""
    with ExitStack() as stack:
        found: list[tuple[Box, OllamaReplay]] = []
        for name in names:
            engine = stack.enter_context(ollama_replay({"mine:latest": Weights()}, LIBRARY))
            join = invited(found[0][0]) if found else None
            box = stack.enter_context(node(name, folder / name, "--backend", engine.url, join=join))
            found.append((box, engine))
        wait_for(lambda: all(node["state"] == "up" for node in found[0][0].status()["nodes"]), 10)
        wait_for(lambda: len(found[0][0].status()["nodes"]) == len(names), 10)
        yield found


def invited(box: Box) -> str:
    """A token for one more box."""
    done = propagul("fleet", "invite", "--data-dir", str(box.data_dir))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def conditions(box: Box, model: str) -> dict[str, str]:
    """How a model stands, by node."""
    return {
        node["name"]: condition["kind"]
        for node in box.status()["nodes"]
        for condition in (node["presence"] or {}).get("conditions", ())
        if condition["model"] == model
    }


def test_a_model_declared_on_three_nodes_arrives_on_all_and_declared_absent_it_goes(tmp_path: Path) -> None:
    with boxes(tmp_path, "a", "b", "c") as fleet:
        (a, first), (b, _), _ = fleet
        first.pulls.hold()
        with Fleet.open(b.data_dir) as there:
            there.pull("llama3.2")
        wait_for(lambda: conditions(a, "llama3.2").get("a") == "Progressing", 10)
        first.pulls.allow(1)
        wait_for(lambda: any(pull["completed_bytes"] for pull in b.node("a")["presence"]["pulls"]), 10)
        first.pulls.open()
        wait_for(lambda: conditions(b, "llama3.2") == dict.fromkeys("abc", "Ready"), 20)
        assert all({"llama3.2:latest", "mine:latest"} == {*engine.models} for _, engine in fleet)
        with Fleet.open(a.data_dir) as here:
            here.delete("llama3.2")
        wait_for(lambda: all({*engine.models} == {"mine:latest"} for _, engine in fleet), 20)


def test_a_node_that_is_offline_for_the_edit_follows_on_return(tmp_path: Path) -> None:
    with boxes(tmp_path, "a", "b") as fleet:
        (a, _), (b, engine) = fleet
        b.kill()
        with Fleet.open(a.data_dir) as here:
            here.pull("qwen2.5:0.5b")
        wait_for(lambda: conditions(a, "qwen2.5:0.5b").get("a") == "Ready", 20)
        with node("b", b.data_dir, "--backend", engine.url) as again:
            wait_for(lambda: "qwen2.5:0.5b" in engine.models, 20)
            assert again.stop() == 0


def test_an_edit_made_while_no_node_runs_is_followed_when_it_does(tmp_path: Path) -> None:
    with boxes(tmp_path, "a") as fleet:
        [(a, engine)] = fleet
        assert a.stop() == 0
        with Fleet.open(a.data_dir) as offline:
            assert not offline.is_live
            offline.pull("llama3.2")
        with node("a", a.data_dir, "--backend", engine.url):
            wait_for(lambda: "llama3.2:latest" in engine.models, 20)


@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_node_that_is_killed_in_mid_pull_goes_on_with_it(tmp_path: Path, step: int) -> None:
    with boxes(tmp_path, "a") as fleet:
        [(a, engine)] = fleet
        engine.pulls.hold()
        with Fleet.open(a.data_dir) as here:
            here.pull("llama3.2")
        engine.pulls.allow(step)
        wait_for(lambda: engine.asked("/api/pull"), 10)
        a.kill()
        engine.pulls.open()
        with node("a", a.data_dir, "--backend", engine.url) as again:
            wait_for(lambda: conditions(again, "llama3.2") == {"a": "Ready"}, 20)
        assert "llama3.2:latest" in engine.models
