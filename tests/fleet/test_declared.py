"""What is declared comes true on real nodes with engines that keep state, whatever is killed on the way."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from fleet_app import Fleet
from fleet_app.desired import dropping
from tests.backends.replays.ollama import OllamaReplay, ollama_replay
from tests.backends.replays.replay import Weights
from tests.fleet.boxes import Box, node, propagul, wait_for
from tests.workshop.documents import blocks
from tests.workshop.programs import run_as_one_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

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
        wait_for(lambda: [node["state"] for node in found[0][0].nodes()] == ["up"] * len(names), 20)
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
        for node in box.nodes()
        for condition in (node["presence"] or {}).get("conditions", ())
        if condition["model"] == model
    }


def what_the_page_shows(box: Box, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the program of docs/desired.md, on this box; it names one more that this fleet has not."""
    [document] = blocks("docs/desired.md", "yaml")
    kept = [line for line in document.code.splitlines() if "laptop" not in line]
    (folder / "fleet.yaml").write_text("\n".join(kept))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PROPAGUL_DATA_DIR", str(box.data_dir))
    run_as_one_program(blocks("docs/desired.md", "python"), {}, {})
    monkeypatch.delenv("PROPAGUL_DATA_DIR")
    with Fleet.open(box.data_dir) as fleet:
        assert [*fleet.desired().models] == ["llama3.2:3b"]


def test_what_is_declared_arrives_on_three_boxes_also_on_one_that_was_away_and_goes_again(tmp_path: Path) -> None:
    with boxes(tmp_path, "a", "b", "c") as fleet:
        (a, first), (b, second), _ = fleet
        first.pulls.hold()
        with Fleet.open(b.data_dir) as there:
            there.pull("llama3.2")
        wait_for(lambda: conditions(a, "llama3.2").get("a") == "Progressing", 20)
        first.pulls.allow(1)
        wait_for(lambda: any(pull["completed_bytes"] for pull in b.node("a")["presence"]["pulls"]), 20)
        first.pulls.open()
        wait_for(lambda: conditions(b, "llama3.2") == dict.fromkeys("abc", "Ready"), 20)
        b.kill()
        with Fleet.open(a.data_dir) as here:
            here.pull("qwen2.5:0.5b")
            here.delete("llama3.2")
        wait_for(lambda: conditions(a, "qwen2.5:0.5b").get("a") == "Ready", 20)
        assert {*second.models} == {"llama3.2:latest", "mine:latest"}
        with node("b", b.data_dir, "--backend", second.url) as again:
            wait_for(lambda: all({*engine.models} == {"mine:latest", "qwen2.5:0.5b"} for _, engine in fleet), 20)
            assert again.stop() == 0


def test_a_box_follows_an_edit_made_while_its_node_was_off_and_a_pull_through_a_kill_at_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a pull's first byte, in its middle and at its last one; the engine drops it each time, and keeps parts."""
    with boxes(tmp_path, "attic") as fleet, ExitStack() as stack:
        [(box, engine)] = fleet
        engine.pulls.hold()
        assert box.stop() == 0
        what_the_page_shows(box, tmp_path, monkeypatch)
        with Fleet.open(box.data_dir) as offline:
            assert not offline.is_live
            for name in offline.desired().models:
                offline.apply(dropping(offline.spec(name)))
            offline.pull("llama3.2")
        for asked, steps in enumerate((0, 1, 2)):
            box = stack.enter_context(node("attic", box.data_dir, "--backend", engine.url))
            wait_for(partial(lambda count: len(engine.asked("/api/pull")) == count, asked + 1), 20)
            engine.pulls.allow(steps)
            box.kill()
        engine.pulls.open()
        box = stack.enter_context(node("attic", box.data_dir, "--backend", engine.url))
        wait_for(lambda: conditions(box, "llama3.2") == {"attic": "Ready"}, 20)
        assert sorted(engine.models) == ["llama3.2:latest", "mine:latest"]
