"""A watched file: what it says is declared when it changes, and it is the only one that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet_app import desired_file
from fleet_app.desired import By, Desired, Edit, Place, commit
from fleet_app.desired_file import DesiredFile
from propagul import AgentStateStore
from tests.desired.facts import node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    with_store = AgentStateStore("fleet", port=None)
    yield with_store
    with_store.close()


def watched(store: AgentStateStore, path: Path, box: str = "attic", *, once: bool = False) -> DesiredFile:
    return DesiredFile(store, path, box, lambda _: [node("attic"), node("cellar")], watched=not once)


def test_what_the_file_says_is_declared_and_what_it_drops_is_dropped(store: AgentStateStore, tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("models: {a: {replicas: 2}, b: {}}\n")
    file = watched(store, path)
    file.look()
    desired = Desired.read(store)
    assert {name: spec.managed_by for name, spec in desired.models.items()} == dict.fromkeys("ab", "fleet.yaml@attic")
    before = store.revision
    file.look()
    assert store.revision == before
    path.write_text("models: {b: {loaded: true}}\n")
    file.look()
    assert {name: spec.loaded for name, spec in Desired.read(store).models.items()} == {"b": True}


def test_a_wrong_or_missing_file_changes_nothing_and_is_said_until_it_is_mended(
    store: AgentStateStore, tmp_path: Path
) -> None:
    path = tmp_path / "fleet.yaml"
    file = watched(store, path)
    file.look()
    assert file.trouble == f"{path}: cannot be read: No such file or directory"
    path.write_text("models: {a: {}}\n")
    file.look()
    assert file.trouble == ""
    path.write_text("models: {a: {replcas: 2}}\n")
    file.look()
    assert file.trouble == f"{path}:1: models.a: 'replcas' is no word here; did you mean replicas?"
    assert [*Desired.read(store).models] == ["a"]


def test_a_second_file_that_is_watched_for_a_model_is_refused_and_named(store: AgentStateStore, tmp_path: Path) -> None:
    for box in ("attic", "cellar"):
        (tmp_path / box).mkdir()
        (tmp_path / box / "fleet.yaml").write_text(f"models: {{a: {{}}, {box}: {{}}}}\n")
    watched(store, tmp_path / "attic" / "fleet.yaml").look()
    second = watched(store, tmp_path / "cellar" / "fleet.yaml", "cellar")
    second.look()
    assert "models.a is managed by fleet.yaml@attic" in second.trouble
    assert sorted(Desired.read(store).models) == ["a", "attic"]


def test_a_file_that_is_not_watched_declares_once_and_owns_nothing(store: AgentStateStore, tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("models: {a: {}}\n")
    watched(store, path, once=True).look()
    spec = Desired.read(store).models["a"]
    assert (spec.source, spec.managed_by) == ("fleet.yaml@attic", None)
    path.write_text("models: {b: {}}\n")
    watched(store, path, once=True).look()
    assert [*Desired.read(store).models] == ["a", "b"]


def test_what_somebody_changed_elsewhere_is_declared_again_after_a_while(
    store: AgentStateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("models: {a: {replicas: 2}}\n")
    file = watched(store, path)
    file.look()
    commit(store, [Edit(Place("models", "a", "replicas"), 3)], By("bob@cellar", 1.0, "cli"))
    file.look()
    assert Desired.read(store).models["a"].replicas == 3
    monkeypatch.setattr(desired_file, "AGAIN_S", 0.0)
    file.look()
    assert Desired.read(store).models["a"].replicas == 2
