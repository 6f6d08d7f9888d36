"""Changes: written together, remembered, and taken back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_app.desired import NOTHING, By, Desired, Edit, Place, changes, commit, last, undo
from fleet_app.desired.edits import CHANGES, CHANGES_KEPT
from fleet_app.desired.rows import place_of
from fleet_app.errors import ConfigError
from tests.desired.facts import Rows

ANN, BOB = By("ann@attic", 1000.0, "cli"), By("bob@cellar", 2000.0, "page")
WHERE, REPLICAS = Place("models", "llama3.2:1b", "where"), Place("models", "llama3.2:1b", "replicas")


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


def test_so_many_changes_are_kept_and_no_more() -> None:
    rows = Rows()
    for number in range(CHANGES_KEPT + 60):
        commit(rows, [Edit(REPLICAS, 1 + number % 2)], By("ann", float(number), "cli"))
    kept = changes(rows)
    assert CHANGES_KEPT <= len(kept) <= CHANGES_KEPT + 50
    assert kept[0].by.at_s == CHANGES_KEPT + 59


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
    rows.values = {WHERE.row: [value], "desired/models/x/of-the-future": [["y", list(ANN)]]}
    found = Desired.read(rows)
    assert found.models == {}
    assert {row for row, _ in found.unreadable} == {WHERE.row, "desired/models/x/of-the-future"}


def test_changes_that_cannot_be_read_are_left_out() -> None:
    rows = Rows()
    commit(rows, [Edit(WHERE, "all")], ANN)
    rows.values |= {CHANGES + "junk": [{}], CHANGES + "0000000001000-00000000": [{"by": [1, 2, 3]}]}
    assert len(changes(rows)) == 1


@given(st.text(min_size=1, max_size=64).filter(lambda name: name.isprintable()), st.sampled_from(["where", "settings"]))
def test_every_place_has_a_row_of_its_own(name: str, field: str) -> None:
    place = Place("models", name, field, "num_ctx" if field == "settings" else "")
    assert place_of(place.row) == place
