"""Changes through the ledger and `Fleet`: who made them, what they leave declared, and which of them is taken back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import pytest

from fleet_app import Fleet
from fleet_app.desired import NOTHING, Edit, Place
from fleet_app.errors import ConfigError, FleetError
from fleet_app.ledger import Author, Snapshot, _Live, _Stored, edits_in, rows_of
from propagul import AgentStateStore
from tests.desired.facts import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleet_app.admin import AdminClient, ChangeOrder

ANN, BOB = Author("ann@attic", "cli"), Author("bob@cellar", "page")
LOADED, REPLICAS = Place("models", "m", "loaded"), Place("models", "m", "replicas")


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    """The store of a box whose node does not run, in a fleet of two."""
    store = AgentStateStore("fleet", port=None)
    for name in ("attic", "cellar"):
        store.set(f"nodes/{name.ljust(52, '0')}", {"name": name})
    yield store
    store.close()


@pytest.fixture
def fleet(store: AgentStateStore) -> Fleet:
    return Fleet(_Stored(store), ANN)


def fields(fleet: Fleet) -> Mapping[str, object]:
    """What is declared of a model."""
    return {".".join(path): found.value for path, found in fleet.spec("m").values.items()}


def test_every_change_says_who_made_it_when_and_how(store: AgentStateStore, fleet: Fleet) -> None:
    before = time.time()
    fleet.pull("m")
    Fleet(_Stored(store), BOB).apply([Edit(REPLICAS, 1)])
    assert [(change.by.author, change.by.via) for change in fleet.changes()] == [BOB, ANN]
    assert fleet.spec("m").values["replicas",].by == fleet.changes()[0].by
    assert all(before <= change.by.at_s <= time.time() for change in fleet.changes())


def test_the_change_that_is_named_is_taken_back_and_no_other(fleet: Fleet) -> None:
    fleet.pull("m")
    named = fleet.apply([Edit(REPLICAS, 1)], note="one")
    fleet.apply([Edit(LOADED, True)], note="loaded")
    assert named is not None
    undone, overtaken = fleet.undo(named)
    assert (undone.id, undone.note, overtaken) == (named, "one", [])
    assert fields(fleet) == {"where": "all", "state": "present", "loaded": True}
    with pytest.raises(FleetError, match=f"nothing of {named} is left to undo"):
        fleet.undo(named)
    with pytest.raises(FleetError, match="there is no change nonsense"):
        fleet.undo("nonsense")
    assert fleet.undo()[0].note == "loaded"
    assert fleet.changes()[0].note == "undo loaded"


def test_a_pull_adds_a_node_and_a_delete_leaves_nothing_else_declared(fleet: Fleet) -> None:
    fleet.pull("m", on=["attic"], engine="ollama")
    fleet.apply([Edit(REPLICAS, 1), Edit(Place("models", "m", "settings", "num_ctx"), 4096)])
    fleet.pull("m", on=["cellar"])
    assert fields(fleet)["where"] == {"nodes": ["attic", "cellar"]}
    fleet.delete("m", on=["cellar"])
    assert fields(fleet) == {"where": {"nodes": ["cellar"]}, "state": "absent"}
    with pytest.raises(ConfigError, match="no node is called 'nowhere'"):
        fleet.pull("m", on=["nowhere"])


def test_what_would_be_changed_is_no_change_yet(fleet: Fleet) -> None:
    fleet.pull("m")
    edits = [Edit(LOADED, True), Edit(Place("models", "m", "where"), NOTHING)]
    assert [(edited.place.field, edited.after) for edited in fleet.difference(edits)] == [
        ("loaded", True),
        ("where", NOTHING),
    ]
    assert (len(fleet.plan().later), len(fleet.plan(edits).later)) == (2, 0)
    assert fields(fleet) == {"where": "all", "state": "present"}


def test_a_running_node_is_told_the_edits_as_they_are() -> None:
    told = list["ChangeOrder"]()

    class Client:
        def change(self, order: ChangeOrder) -> str:
            told.append(order)
            return "id"

    edits = [Edit(LOADED, False), Edit(REPLICAS, NOTHING), Edit(Place("nodes", "x", "labels", "room"), "attic")]
    assert _Live(cast("AdminClient", Client())).change(edits, ANN, note="why", undoes="what") == "id"
    [order] = told
    assert edits_in(order) == edits
    assert (order.author, order.via, order.note, order.undoes) == (*ANN, "why", "what")


def test_a_snapshot_shows_every_value_of_a_row() -> None:
    rows = Rows()
    rows.values = {"desired/a": [1, 2], "desired/b": [3], "changes/a": [4]}
    snapshot = Snapshot(rows_of(cast("AgentStateStore", rows), "desired/"))
    assert dict(snapshot.items("")) == {"desired/a": 1, "desired/b": 3}
    assert snapshot.siblings("desired/a") == [1, 2]
