"""The commands that declare, plan and undo, on a box whose node does not run: they open its store themselves."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from fleet_app.config import load
from fleet_app.membership import obtain
from fleet_app.replica import introduce, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

FILE = """
models:
  llama3.2: {where: all, engine: ollama, settings: {num_ctx: 8192}, loaded: true}
  old: {state: absent}
nodes:
  attic: {labels: {room: attic}}
settings: {disruptions_per_hour: 2}
"""


@pytest.fixture
def box(shell: Shell, tmp_path: Path) -> Path:
    """A fleet of one box called attic."""
    directory = tmp_path / "attic"
    settings = load({"data_dir": str(directory), "name": "attic", "listen": "127.0.0.1:0"}, environ={})
    store = open_store(settings, asyncio.run(obtain(settings)))
    introduce(store, "attic")
    store.close()
    (shell.home / "fleet.yaml").write_text(FILE)
    return directory


def said(shell: Shell, box: Path, *words: str) -> str:
    done = shell("fleet", *words, PROPAGUL_DATA_DIR=str(box))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(shell: Shell, box: Path, *words: str) -> str:
    done = shell("fleet", *words, PROPAGUL_DATA_DIR=str(box))
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def got(shell: Shell, box: Path, *words: str) -> Any:
    return json.loads(said(shell, box, *words, "--json"))


def test_a_file_is_planned_compared_applied_exported_and_undone(shell: Shell, box: Path) -> None:
    plan = got(shell, box, "plan", "fleet.yaml")
    old = {change["place"] for change in plan["changes"] if change["place"].startswith("models.old")}
    assert old == {"models.old.source", "models.old.state", "models.old.where"}
    assert plan["later"] == [{"node": "attic", "model": "llama3.2"}]
    assert got(shell, box, "get") == {"models": {}, "nodes": {}, "unreadable": []}
    assert shell("fleet", "diff", "fleet.yaml", PROPAGUL_DATA_DIR=str(box)).returncode == 1
    assert "say --yes" in refused(shell, box, "apply", "fleet.yaml")
    applied = said(shell, box, "apply", "fleet.yaml", "--yes")
    assert "+ models.llama3.2.settings.num_ctx: 8192" in applied
    assert "attic is away and follows when it returns: llama3.2" in applied
    assert "The other boxes hear of it when this box's node runs." in applied
    assert shell("fleet", "diff", "fleet.yaml", PROPAGUL_DATA_DIR=str(box)).returncode == 0
    fields = got(shell, box, "get", "llama3.2")["models"]["llama3.2"]["fields"]
    assert (fields["loaded"]["value"], fields["loaded"]["via"]) == (True, "cli")
    assert fields["loaded"]["author"].endswith("@attic") or "@" in fields["loaded"]["author"]
    (shell.home / "again.yaml").write_text(said(shell, box, "export"))
    assert {c["place"].rpartition(".")[2] for c in got(shell, box, "plan", "again.yaml")["changes"]} == {"source"}
    assert "Took back" in said(shell, box, "undo")
    assert got(shell, box, "get")["models"] == {}
    assert [change["note"] for change in got(shell, box, "history")] == ["undo apply fleet.yaml", "apply fleet.yaml"]


def test_pruning_drops_only_what_the_same_file_declared(shell: Shell, box: Path) -> None:
    said(shell, box, "apply", "fleet.yaml", "--yes")
    said(shell, box, "pull", "mine", "--yes")
    (shell.home / "fleet.yaml").write_text("models: {old: {state: absent}}\n")
    assert "Nothing to change" in said(shell, box, "apply", "fleet.yaml", "--yes")
    said(shell, box, "apply", "fleet.yaml", "--prune", "--yes")
    assert sorted(got(shell, box, "get")["models"]) == ["mine", "old"]


def test_a_model_is_pulled_edited_loaded_deleted_and_dropped(shell: Shell, box: Path) -> None:
    said(shell, box, "pull", "m", "--on", "attic", "--engine", "ollama", "--yes")
    said(shell, box, "edit", "m", "--set", "replicas=1", "--set", "settings.num_ctx=4096", "--unset", "engine", "--yes")
    said(shell, box, "load", "m", "--yes")
    fields = {name: field["value"] for name, field in got(shell, box, "get", "m")["models"]["m"]["fields"].items()}
    assert fields == {
        "where": {"nodes": ["attic"]},
        "state": "present",
        "replicas": 1,
        "settings.num_ctx": 4096,
        "loaded": True,
    }
    said(shell, box, "unload", "m", "--yes")
    said(shell, box, "delete", "m", "--on", "attic", "--yes")
    fields = {name: field["value"] for name, field in got(shell, box, "get", "m")["models"]["m"]["fields"].items()}
    assert fields == {"where": {"nodes": ["attic"]}, "state": "absent"}
    said(shell, box, "drop", "m", "--yes")
    assert got(shell, box, "get")["models"] == {}


def test_what_is_said_wrongly_changes_nothing_and_is_named(shell: Shell, box: Path) -> None:
    said(shell, box, "pull", "m", "--yes")
    before = got(shell, box, "history")
    for words, complaint in (
        (("pull", "m", "--on", "attik", "--yes"), "no node is called 'attik'; did you mean attic?"),
        (("edit", "m", "--set", "replicaz=2", "--yes"), "'replicaz' is no field of a model; did you mean replicas?"),
        (("edit", "m", "--set", "replicas=0", "--yes"), "models.m.replicas: is a whole number from 1 to 1000, not 0"),
        (("edit", "m", "--set", "where=[1]", "--yes"), "models.m.where: is `all`, the name of a node"),
        (("edit", "m", "--set", "settings=1", "--yes"), "'settings': write settings.KEY"),
        (("edit", "n", "--set", "replicas=2", "--yes"), "n is not declared"),
        (("load", "n", "--yes"), "n is not declared"),
        (("label", "attic", "room", "--yes"), "'room': write LABEL=TEXT, or LABEL- to take it away"),
        (("apply", "nowhere.yaml"), "nowhere.yaml: cannot be read: No such file or directory"),
        (("up", "--watch"), "--watch: say which file with --desired FILE"),
    ):
        assert complaint in refused(shell, box, *words), words
    assert got(shell, box, "history") == before


def test_a_box_is_labelled_drained_renamed_and_forgotten(shell: Shell, box: Path) -> None:
    said(shell, box, "label", "attic", "room=attic", "floor=2", "--yes")
    said(shell, box, "label", "attic", "floor-", "--yes")
    said(shell, box, "drain", "attic", "--yes")
    said(shell, box, "cordon", "attic", "--yes")
    said(shell, box, "cordon", "attic", "--off", "--yes")
    said(shell, box, "rename", "attic", "roof", "--yes")
    [node] = got(shell, box, "nodes")
    assert (node["name"], node["labels"], node["drained"], node["cordoned"]) == ("roof", {"room": "attic"}, True, True)
    assert "takes" in said(shell, box, "nodes")
    said(shell, box, "forget", "roof", "--yes")
    assert got(shell, box, "nodes") == []


def test_models_are_listed_and_the_live_screen_is_drawn_once(shell: Shell, box: Path) -> None:
    said(shell, box, "pull", "m", "--yes")
    assert got(shell, box, "models") == [
        {"name": "m", "declared": True, "size_bytes": None, "capabilities": [], "places": []}
    ]
    assert "nowhere" in said(shell, box, "models")
    assert "attic" in said(shell, box, "top", "--times", "1")


def test_a_box_of_no_fleet_is_told_how_to_begin(shell: Shell, tmp_path: Path) -> None:
    done = shell("fleet", "get", PROPAGUL_DATA_DIR=str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "is in no fleet" in done.stderr
    assert "propagul fleet up" in done.stderr
