"""Planted bugs of what is declared: one line of the code written wrongly, each with the test that must fail for it.

What decides about a model on a node has planted bugs of its own, in `tests/reconcile/test_planted.py`.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A planted bug: what stands in a file of `fleet_app`, what is written in its place, and the test that fails."""

    name: str
    file: str
    old: str
    new: str
    killer: str


DOCUMENT, EDITS, SELECTOR = "desired/test_document.py", "desired/test_edits.py", "desired/test_selector.py"
PLAN, FILE, LEDGER = "desired/test_plan.py", "fleet/test_desired_file.py", "fleet/test_ledger.py"

MUTANTS = [
    # --- the file
    Mutant("`yes` is a truth", "desired/document.py",
           '{"true": True,', '{"yes": True, "true": True,',
           f"{DOCUMENT}::test_what_is_text_in_yaml_1_2_stays_text"),
    Mutant("`1e3` is a number", "desired/document.py",
           r"{1,18}\.[0-9]{1,32}(?:", r"{1,18}(?:\.[0-9]{1,32})?(?:",
           f"{DOCUMENT}::test_what_is_text_in_yaml_1_2_stays_text"),
    Mutant("a file says what only the program says", "desired/document.py",
           "self._entries(body, where, IN_FILES[table])", "self._entries(body, where, TABLES[table])",
           f"{DOCUMENT}::test_what_is_wrong_is_said_with_its_line"),
    Mutant("an unknown word is passed over", "desired/document.py",
           "            if not word or (known is not None and word not in known):\n",
           "            if word not in (known or word):\n                continue\n            if not word:\n",
           f"{DOCUMENT}::test_what_is_wrong_is_said_with_its_line"),
    Mutant("a suggestion is for the line of the whole", "desired/document.py",
           'raise self._wrong(key, f"{where}: {word[:64]!r} is no word here',
           'raise self._wrong(node, f"{where}: {word[:64]!r} is no word here',
           f"{DOCUMENT}::test_what_is_wrong_is_said_with_its_line"),
    Mutant("no replicas are some", "desired/fields.py",
           "_count(1, 1000)", "_count(0, 1000)",
           f"{EDITS}::test_a_value_that_is_none_for_its_field_changes_nothing_at_all"),
    # --- from the file to edits, and back
    Mutant("pruning drops what another file is watched for", "desired/apply.py",
           "source.name == (spec.managed_by or spec.source)", "source.name in {spec.source, spec.managed_by}",
           f"{DOCUMENT}::test_pruning_leaves_what_another_file_is_watched_for"),
    Mutant("pruning drops whatever some file declared", "desired/apply.py",
           "if source.name == (spec.managed_by or spec.source)", "if spec.managed_by or spec.source",
           f"{DOCUMENT}::test_a_model_that_a_file_names_is_declared_whole_and_what_it_does_not_name_stays"),
    Mutant("a second file that is watched is not refused", "desired/apply.py",
           "not in {None, source.name}:", "not in {None, source.name} and not source.watched:",
           f"{FILE}::test_a_second_file_that_is_watched_for_a_model_is_refused_and_named"),
    Mutant("a file that is not watched changes what another is watched for", "desired/apply.py",
           "not in {None, source.name}:", "not in {None, source.name} and source.watched:",
           f"{DOCUMENT}::test_a_model_that_another_file_is_watched_for_is_refused_and_the_file_named"),
    Mutant("an export says what no file may say", "desired/export.py",
           "if path[0] not in IN_FILES[table]:", 'if path[0] == "managed_by":',
           f"{DOCUMENT}::test_what_is_exported_is_read_as_the_same"),
    Mutant("a file that is not watched drops what it names no more", "desired_file.py",
           "prune=self._source.watched", "prune=True",
           f"{FILE}::test_a_file_that_is_not_watched_declares_once_and_owns_nothing"),
    Mutant("what was changed elsewhere is not declared again", "desired_file.py",
           "if seen == self._seen and time.monotonic() < self._declared_at + AGAIN_S:", "if seen == self._seen:",
           f"{FILE}::test_what_somebody_changed_elsewhere_is_declared_again_after_a_while"),
    # --- which nodes, and who takes it
    Mutant("`>=` is `>`", "desired/selector.py",
           '">=": gib >= self.gib', '">=": gib > self.gib',
           f"{SELECTOR}::test_every_part_must_hold_and_what_cannot_be_told_does_not"),
    Mutant("`all` means drained nodes, too", "desired/specs.py",
           'return self.is_drained or self._get("cordon") is True', 'return self._get("cordon") is True',
           f"{PLAN}::test_a_drained_node_takes_nothing_and_keeps_what_it_has"),
    Mutant("absent takes every tag of a name", "desired/facts.py",
           "if canonical(engine.kind, model.name) == name)",
           'if canonical(engine.kind, model.name).partition(":")[0] == name.partition(":")[0])',
           f"{PLAN}::test_every_delete_is_named_and_frees_its_bytes"),
    # --- edits and rows
    Mutant("an edit writes what it does not change", "desired/edits.py",
           "if before != value or (held is not None and held.rivals):", "if held is None or before is not NOTHING:",
           f"{EDITS}::test_two_edits_of_different_fields_at_once_both_hold"),
    Mutant("the keys of a mapping share a row", "desired/rows.py",
           '[*parts, *([quote(self.key, safe="")] if self.key else [])]', "parts",
           f"{EDITS}::test_two_edits_of_different_fields_at_once_both_hold"),
    Mutant("a row is written without its author", "desired/edits.py",
           "rows.set(place.row, packed(after, by))", 'rows.set(place.row, packed(after, By("", 0.0, "")))',
           f"{EDITS}::test_a_change_is_made_whole_and_remembers_what_was_before"),
    Mutant("what others wrote at the same time is not shown", "desired/rows.py",
           "for one in found[1:] if one.value != held.value", "for one in found[1:] if one.value == held.value",
           f"{EDITS}::test_a_conflict_is_shown_with_both_authors_and_settled_by_writing_what_holds"),
    Mutant("a change is remembered beside what it changed", "desired/edits.py",
           "        rows.set(CHANGES + change.id, _packed(change))\n",
           "    rows.set(CHANGES + change.id, _packed(change))\n    with rows.transaction():\n",
           f"{EDITS}::test_a_change_is_made_whole_and_remembers_what_was_before"),
    Mutant("the newest changes are forgotten", "desired/edits.py",
           "known[: len(known) - CHANGES_KEPT]", "known[CHANGES_KEPT:]",
           f"{EDITS}::test_so_many_changes_are_kept_and_no_more"),
    Mutant("changes are ranked by clocks alone", "desired/edits.py",
           "_after(known, int(by.at_s * 1000)):013d", "int(by.at_s * 1000):013d",
           f"{EDITS}::test_a_change_comes_after_those_it_saw_unless_a_clock_is_out_by_more_than_an_hour"),
    Mutant("an undo undoes what was changed since", "desired/edits.py",
           "if now == after or (held is not None and held.rivals):", "if now != before:",
           f"{EDITS}::test_any_earlier_change_is_taken_back_save_what_was_changed_since"),
    Mutant("an undo is undone by the next", "desired/edits.py",
           "if not change.undoes and change.id not in gone", "if change.id not in gone",
           f"{EDITS}::test_undoing_again_and_again_goes_back_and_back"),
    # --- the ledger, and the face above it
    Mutant("an undo takes back the newest, whichever was named", "fleet.py",
           "next((one for one in known if one.id == change_id), None) if change_id else last(known)", "last(known)",
           f"{LEDGER}::test_the_change_that_is_named_is_taken_back_and_no_other"),
    Mutant("a change is made at the time since the start", "ledger.py",
           "By(author.name, time.time(), author.via)", "By(author.name, time.monotonic(), author.via)",
           f"{LEDGER}::test_every_change_says_who_made_it_when_and_how"),
    Mutant("a value that is false is none", "ledger.py",
           "edit.value[0] if edit.value else NOTHING", "edit.value[0] if any(edit.value) else NOTHING",
           f"{LEDGER}::test_a_running_node_is_told_the_edits_as_they_are"),
    Mutant("only what holds is told of a row", "ledger.py",
           "store.siblings(key) for prefix", "store.siblings(key)[:1] for prefix",
           f"{LEDGER}::test_a_snapshot_shows_every_value_of_a_row"),
    Mutant("a pull elsewhere takes the model from where it was", "fleet.py",
           "Selector(nodes=(*spec.where.nodes, *more.nodes)).packed()", "more.packed()",
           f"{LEDGER}::test_a_pull_adds_a_node_and_a_delete_leaves_nothing_else_declared"),
    Mutant("a delete leaves replicas declared", "fleet.py",
           'if edit.place.field not in {"where", "state"}] if spec else []',
           'if edit.place.field in {"engine", "loaded"}] if spec else []',
           f"{LEDGER}::test_a_pull_adds_a_node_and_a_delete_leaves_nothing_else_declared"),
    Mutant("a difference hides what is taken away", "cli/plans.py",
           '        if place.field == "source":\n',
           '        if place.field == "source" or isinstance(after, Nothing):\n',
           "cli/test_plans.py::test_a_difference_shows_what_comes_what_goes_and_what_becomes_something_else"),
]  # fmt: skip
