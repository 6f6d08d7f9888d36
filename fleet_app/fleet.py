"""The fleet for programs and for the command line: what is there, what should be, and changing that.

    from fleet_app import Fleet

    with Fleet.open() as fleet:
        print(fleet.plan(fleet.from_file("fleet.yaml")).steps)
        fleet.pull("llama3.1:8b", on=["attic"])

Everything that is changed here is a row with an author and a time, and can be undone from any box. Blocking; a method
returns when this box has the change, not when the fleet has followed it.
"""

from __future__ import annotations

import os
import platform
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fleet_app.config import load
from fleet_app.desired import (
    NOTHING,
    Desired,
    Edit,
    Place,
    Source,
    changes,
    dropping,
    edits_of,
    facts_of,
    last,
    node_called,
    parse,
    undo,
)
from fleet_app.desired.edits import Nothing, checked, effective
from fleet_app.desired.plan import Plan, plan
from fleet_app.desired.rows import By, Value
from fleet_app.desired.selector import Selector
from fleet_app.errors import ConfigError, FleetError, did_you_mean
from fleet_app.ledger import Author, author_here, open_ledger
from fleet_app.reconcile.reconciler import held_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fleet_app.desired import Change, ModelSpec, NodeFacts
    from fleet_app.desired.edits import Edited
    from fleet_app.ledger import Ledger
    from fleet_app.view import FleetView


class Fleet:
    """One fleet, through the node that runs on this box or, while none does, through its store."""

    def __init__(self, ledger: Ledger, author: Author) -> None:
        self._ledger, self._author = ledger, author
        self._resources = ExitStack()

    @classmethod
    def open(cls, data_dir: str | Path | None = None, *, via: str = "python") -> Self:
        """The fleet that this box is in; use it in a `with` block, or call `close`.

        Args:
            data_dir: The node's data directory, if it is not the usual one.
            via: What changes are said to come from.

        Raises:
            FleetError: This box is in no fleet, or its store cannot be opened.
        """
        settings = load({"data_dir": None if data_dir is None else str(data_dir)}, environ=os.environ)
        with ExitStack() as resources:
            fleet = cls(resources.enter_context(open_ledger(settings)), author_here(settings.name, via))
            fleet._resources = resources.pop_all()
            return fleet

    def close(self) -> None:
        """Let go of the store. Idempotent."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what is there ---------------------------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether a node runs here."""
        return self._ledger.is_live

    def view(self) -> FleetView:
        """Every node as this box sees it."""
        return self._ledger.view()

    def desired(self) -> Desired:
        """What is declared."""
        return Desired.read(self._ledger.snapshot())

    def changes(self) -> list[Change]:
        """What was changed, the newest first."""
        return changes(self._ledger.snapshot())

    def nodes(self) -> tuple[NodeFacts, ...]:
        """Every node as placement looks at it."""
        return self._facts(self.desired())

    # --- what would happen -----------------------------------------------------------------------------------------

    def from_file(self, file: str | Path, *, prune: bool = False) -> list[Edit]:
        """The edits that make a file so.

        Raises:
            ConfigError: It cannot be read, or something in it is wrong; the line is named.
        """
        path = Path(file)
        try:
            content = path.read_bytes()
        except OSError as problem:
            raise ConfigError(f"{path}: cannot be read: {problem.strerror}") from None
        return self.from_text(content, str(path), source=f"{path.name}@{platform.node()}", prune=prune)

    def from_text(self, content: bytes, name: str, *, source: str, prune: bool = False) -> list[Edit]:
        """The edits that make a document so. Raises as `from_file`."""
        return edits_of(parse(content, name), self.desired(), self.nodes(), Source(source), prune=prune)

    def difference(self, edits: Iterable[Edit]) -> list[Edited]:
        """What edits would change of what is declared.

        Raises:
            ConfigError: A value is none for its field.
        """
        return effective([checked(edit) for edit in edits], self.desired().values)

    def plan(self, edits: Iterable[Edit] = ()) -> Plan:
        """What nodes would do if these edits were made. Raises as `difference`."""
        desired = self.desired()
        values = dict(desired.values)
        for place, _, after in effective([checked(edit) for edit in edits], values):
            if isinstance(after, Nothing):
                values.pop(place, None)
            else:
                values[place] = Value(after, By("", 0.0, ""))
        after = Desired.of(values)
        return plan(after, self._facts(after))

    # --- changing it -----------------------------------------------------------------------------------------------

    def apply(self, edits: Iterable[Edit], *, note: str = "") -> str | None:
        """Make edits as one change; its id, None where nothing would change.

        Raises:
            ConfigError: A value is none for its field.
            FleetError: It could not be written.
        """
        return self._ledger.change(edits, self._author, note=note)

    def pull(self, model: str, *, on: Sequence[str] = (), engine: str | None = None) -> str | None:
        """Declare a model on some nodes, or on all; on those beside the ones it is declared on already.

        Raises:
            ConfigError: A node is not known.
        """
        return self.apply(self.pulling(model, on=on, engine=engine), note=f"pull {model}")

    def delete(self, model: str, *, on: Sequence[str] = ()) -> str | None:
        """Declare a model absent on some nodes, or on all: its weights leave their disks.

        Raises:
            ConfigError: A node is not known.
        """
        return self.apply(self.deleting(model, on=on), note=f"delete {model}")

    def pulling(self, model: str, *, on: Sequence[str] = (), engine: str | None = None) -> list[Edit]:
        """The edits of `pull`: nodes are added to those that are named already.

        Raises:
            ConfigError: A node is not known, or the model is declared for nodes by what they are.
        """
        edits = [_edit(model, "state", "present")] + ([_edit(model, "engine", engine)] if engine else [])
        spec = self.desired().models.get(model)
        nodes = [self.node(name) for name in on]
        more = Selector(nodes=tuple(node.name for node in nodes))
        if spec is None or spec.where is None or spec.is_absent:
            return [_edit(model, "where", more.packed()), *edits]
        if all(spec.where.matches(node) for node in nodes):
            return edits
        if spec.where != Selector(nodes=spec.where.nodes):
            raise ConfigError(
                f"{model} is declared for {spec.where}; say where else with: propagul fleet edit {model} --where ..."
            )
        return [_edit(model, "where", Selector(nodes=(*spec.where.nodes, *more.nodes)).packed()), *edits]

    def deleting(self, model: str, *, on: Sequence[str] = ()) -> list[Edit]:
        """The edits of `delete`: all else that was declared of the model goes with it."""
        spec = self.desired().models.get(model)
        gone = [edit for edit in dropping(spec) if edit.place.field not in {"where", "state"}] if spec else []
        return [*gone, _edit(model, "where", self._where(on).packed()), _edit(model, "state", "absent")]

    def keeping(self, model: str, *, loaded: bool) -> list[Edit]:
        """The edits that keep a declared model in memory or out of it.

        Raises:
            ConfigError: It is not declared.
        """
        self.spec(model)
        return [_edit(model, "loaded", loaded)]

    def spec(self, model: str) -> ModelSpec:
        """A declared model.

        Raises:
            ConfigError: It is not declared.
        """
        known = self.desired().models
        if model not in known:
            raise ConfigError(f"{model} is not declared{did_you_mean(model, known)} (declare it: propagul fleet pull)")
        return known[model]

    def on_node(self, node: str, field: str, value: object | Nothing, key: str = "") -> list[Edit]:
        """The edit of one field of a node.

        Raises:
            ConfigError: The node is not known.
        """
        return [Edit(Place("nodes", self.node(node).id, field, key), value)]

    def node(self, name: str) -> NodeFacts:
        """The node that a name means.

        Raises:
            ConfigError: There is none, or more than one.
        """
        known = self.nodes()
        found = node_called(name, known)
        return next(node for node in known if node.id == found.id)

    def undo(self, change_id: str = "") -> tuple[Change, list[Place]]:
        """Take a change back: the last one, if none is named. Return it, and what stays as somebody changed it since.

        Raises:
            FleetError: There is no such change, or nothing of it is left to undo.
        """
        known = self.changes()
        change = next((one for one in known if one.id == change_id), None) if change_id else last(known)
        if change is None:
            raise FleetError(f"there is no change {change_id}" if change_id else "there is nothing to undo")
        edits, overtaken = undo(change, self.desired().values)
        if not edits:
            raise FleetError(f"nothing of {change.id} is left to undo: all of it was changed since")
        self._ledger.change(edits, self._author, note=f"undo {change.note}".strip(), undoes=change.id)
        return change, overtaken

    # --- inside ----------------------------------------------------------------------------------------------------

    def _where(self, on: Sequence[str]) -> Selector:
        return Selector(nodes=tuple(self.node(name).name for name in on))

    def _facts(self, desired: Desired) -> tuple[NodeFacts, ...]:
        return facts_of(self.view(), desired, held_in(self._ledger.snapshot()), {})


def _edit(model: str, field: str, value: object) -> Edit:
    return Edit(Place("models", model, field), value)


__all__ = ["NOTHING", "Fleet"]
