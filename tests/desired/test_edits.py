"""Changes: written together, remembered, and taken back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_app.desired import NOTHING, By, Desired, Edit, Place, changes, commit, last, undo
from fleet_app.desired import edits as editing
from fleet_app.desired.edits import CHANGES
from fleet_app.desired.rows import place_of
from fleet_app.errors import ConfigError
from tests.desired.facts import Rows
from tests.reconcile.replica import Replica

ANN, BOB = By("ann@attic", 1000.0, "cli"), By("bob@cellar", 2000.0, "page")
WHERE, REPLICAS, LOADED = (Place("models", "llama3.2:1b", field) for field in ("where", "replicas", "loaded"))


def test_a_change_is_made_whole_and_remembers_what_was_before() -> None:
    rows = Rows()
    commit(rows, [Edit(WHERE, "all"), Edit(REPLICAS, 2)], ANN, note="first")
    change = commit(rows, [Edit(REPLICAS, 3), Edit(WHERE, "all")], BOB)
    assert change is not None
    assert [tuple(edited) for edited in change.edits] == [(REPLICAS, 2, 3)]
    spec = Desired.read(rows).models["llama3.2:1b"]
    assert (spec.replicas, spec.values["replicas",].by) == (3, BOB)
    assert [(found.note, found.by) for found in changes(rows)] == [("", BOB), ("first", ANN)]
    assert changes(rows)[0] == change


def test_what_changes_nothing_is_no_change() -> None:
    rows = Rows()
    commit(rows, [Edit(WHERE, "all")], ANN)
    before = dict(rows.values)
    assert commit(rows, [Edit(WHERE, "all"), Edit(REPLICAS, NOTHING)], BOB) is None
    assert rows.values == before


def test_a_value_that_is_none_for_its_field_changes_nothing_at_all() -> None:
    rows = Rows()
    with pytest.raises(ConfigError, match=r"models.llama3.2:1b.replicas: is a whole number"):
        commit(rows, [Edit(WHERE, "all"), Edit(REPLICAS, 0)], ANN)
    assert rows.values == {}


@pytest.mark.parametrize(
    "place",
    [
        Place("models", "", "where"),
        Place("models", "a\nb", "where"),
        Place("models", "\udcff", "where"),
        Place("models", "m" * 257, "where"),
        Place("models", "m", "of-the-future"),
        Place("models", "m", "where", "key"),
        Place("models", "m", "settings"),
        Place("models", "m", "settings", "no key"),
        Place("settings", "m", "pulls_per_node"),
    ],
)
@pytest.mark.parametrize("value", ["all", NOTHING])
def test_what_has_no_place_is_not_written(place: Place, value: object) -> None:
    rows = Rows()
    with pytest.raises(ConfigError, match="no such field, or a name"):
        commit(rows, [Edit(place, value)], ANN)
    assert rows.values == {}


def test_any_earlier_change_is_taken_back_save_what_was_changed_since() -> None:
    rows = Rows()
    commit(rows, [Edit(WHERE, "all"), Edit(REPLICAS, 2)], ANN, note="first")
    commit(rows, [Edit(REPLICAS, 3)], BOB, note="second")
    first = changes(rows)[-1]
    found = undo(first, Desired.read(rows).values)
    assert found.edits == [Edit(WHERE, NOTHING)]
    assert found.overtaken == [REPLICAS]


def test_undoing_again_and_again_goes_back_and_back() -> None:
    rows = Rows()
    for replicas in (1, 2, 3):
        commit(rows, [Edit(WHERE, "all"), Edit(REPLICAS, replicas)], By("ann", float(replicas), "cli"))
    for expected in (2, 1, None):
        change = last(changes(rows))
        assert change is not None
        edits, overtaken = undo(change, Desired.read(rows).values)
        assert overtaken == []
        commit(rows, edits, By("ann", 10.0 - (expected or 0), "cli"), undoes=change.id)
        spec = Desired.read(rows).models.get("llama3.2:1b")
        assert (None if spec is None else spec.replicas) == expected
    assert last(changes(rows)) is None


def test_a_change_comes_after_those_it_saw_unless_a_clock_is_out_by_more_than_an_hour() -> None:
    rows = Rows()
    for at_s in (1000.0, 1000.0, 900.0, 9e9, 1001.0):
        commit(rows, [Edit(REPLICAS, 1 + len(rows.keys(CHANGES)))], By("ann", at_s, "cli"))
    assert [change.by.at_s for change in changes(rows)] == [9e9, 1001.0, 900.0, 1000.0, 1000.0]
    ids = [int(change.id.partition("-")[0]) for change in reversed(changes(rows))]
    assert ids == [1_000_000, 1_000_001, 1_000_002, 1_001_000, 9_000_000_000_000]


def test_so_many_changes_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "CHANGES_KEPT", 100)
    rows = Rows()
    for number in range(160):
        commit(rows, [Edit(REPLICAS, 1 + number % 2)], By("ann", float(number), "cli"))
    kept = [int(change.by.at_s) for change in changes(rows)]
    assert 100 <= len(kept) <= 150
    assert kept == list(reversed(range(160)))[: len(kept)]


def test_two_edits_of_different_fields_at_once_both_hold() -> None:
    """Each says the whole of the model, as a file does: what it does not change it does not write."""
    here, there = Replica("here"), Replica("there")
    number, other = (Place("models", "llama3.2:1b", "settings", key) for key in ("num_ctx", "num_gpu"))
    commit(here, [Edit(WHERE, "all"), Edit(REPLICAS, 1), Edit(LOADED, False)], ANN)
    there.merge(here)
    commit(here, [Edit(WHERE, "all"), Edit(REPLICAS, 2), Edit(LOADED, False), Edit(number, 8192)], ANN)
    commit(there, [Edit(WHERE, "all"), Edit(REPLICAS, 1), Edit(LOADED, True), Edit(other, 1)], BOB)
    here.merge(there)
    there.merge(here)
    for replica in (here, there):
        spec = Desired.read(replica).models["llama3.2:1b"]
        assert (spec.replicas, spec.loaded, spec.conflicts()) == (2, True, {})
        assert spec.settings == {"num_ctx": 8192, "num_gpu": 1}
        assert {change.by for change in changes(replica)} == {ANN, BOB}


def test_a_conflict_is_shown_with_both_authors_and_settled_by_writing_what_holds() -> None:
    rows = Rows()
    commit(rows, [Edit(WHERE, "all")], ANN)
    rows.values[REPLICAS.row] = [[3, list(BOB)], [2, list(ANN)], [3, list(ANN)]]
    spec = Desired.read(rows).models["llama3.2:1b"]
    assert [(rival.value, rival.by) for rival in spec.conflicts()["replicas"].rivals] == [(2, ANN)]
    assert commit(rows, [Edit(REPLICAS, 3)], BOB) is not None
    assert Desired.read(rows).models["llama3.2:1b"].conflicts() == {}


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        [],
        [1],
        ["all", []],
        ["all", ["a", "b", "c"]],
        ["all", ["a", float("nan"), "c"]],
        ["nowhere and", ["a", 1.0, "c", 4]],
        [7, ["a", 1.0, "c"]],
    ],
)
def test_a_row_that_cannot_be_read_declares_nothing_and_is_named(value: object) -> None:
    rows = Rows()
    others: dict[str, list[object]] = {
        "desired/models/x/of-the-future": [["y", list(ANN)]],
        "desired/models/a%0Ab/where": [["all", list(ANN)]],
        "desired/models/a": [["all", list(ANN)]],
        "desired/models": [["all", list(ANN)]],
        "desired/settings": [["all", list(ANN)]],
        "desired/settings/replace_after": [["9" * 400 + "h", list(ANN)]],
        "desired/models/x/settings/k": [[float("nan"), list(ANN)]],
    }
    rows.values = {WHERE.row: [value], **others}
    found = Desired.read(rows)
    assert found.models == {}
    assert {row for row, _ in found.unreadable} == {WHERE.row, *others}


def test_changes_that_cannot_be_read_are_left_out() -> None:
    rows = Rows()
    commit(rows, [Edit(WHERE, "all")], ANN)
    elsewhere = {"by": list(BOB), "note": "", "undoes": "", "edits": [["models", "a\nb", "where", "", [], []]]}
    rows.values |= {CHANGES + "junk": [{}], CHANGES + "0000000001000-00000000": [{"by": [1, 2, 3]}]}
    rows.values |= {CHANGES + "0000000001001-00000000": [elsewhere]}
    assert len(changes(rows)) == 1


@given(st.text(min_size=1, max_size=64).filter(lambda name: name.isprintable()), st.sampled_from(["where", "settings"]))
def test_every_place_has_a_row_of_its_own(name: str, field: str) -> None:
    place = Place("models", name, field, "num_ctx" if field == "settings" else "")
    assert place_of(place.row) == place
