"""`get`, `history` and `undo`: what is declared and how it stands, who changed what, and taking it back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from fleet_app.cli.frame import Doors, printable
from fleet_app.cli.options import data_dir_option, json_option, open_fleet
from fleet_app.cli.words import clock
from fleet_app.desired.edits import Nothing
from fleet_app.desired.selector import Selector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet_app.desired import Change, Desired, ModelSpec
    from fleet_app.desired.rows import Value
    from fleet_app.presence import Condition
    from fleet_app.view import FleetView

_SHOWN = 20


@click.command
@click.argument("change", required=False, default="")
@data_dir_option
@click.pass_obj
def undo(doors: Doors, *, change: str, data_dir: str | None) -> None:
    """Take back the last change, or CHANGE (see: propagul fleet history), whoever made it."""
    with open_fleet(data_dir) as fleet:
        undone, overtaken = fleet.undo(change)
        doors.console.print(printable(f"Took back {undone.id} ({undone.note or 'no note'}, by {undone.by.author})."))
        for place in overtaken:
            doors.console.print(printable(f"! {place} was changed since and stays as it is"))


@click.command
@click.option("--limit", default=_SHOWN, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@json_option
@data_dir_option
@click.pass_obj
def history(doors: Doors, *, limit: int, as_json: bool, data_dir: str | None) -> None:
    """Show what was changed of what is declared, by whom and when; the newest first."""
    with open_fleet(data_dir) as fleet:
        changes = fleet.changes()[:limit]
    if as_json:
        click.echo(json.dumps([_change_json(change) for change in changes], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for head in ("change", "when", "by", "from", "what"):
        table.add_column(head, no_wrap=head in {"change", "when"})
    for change in changes:
        what = change.note or ", ".join(str(edited.place) for edited in change.edits[:4])
        cells = (change.id, clock(change.by.at_s), change.by.author, change.by.via, what)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    doors.console.print(table if changes else "Nothing was changed yet.")


@click.command
@click.argument("model", required=False)
@json_option
@data_dir_option
@click.pass_obj
def get(doors: Doors, *, model: str | None, as_json: bool, data_dir: str | None) -> None:
    """Show what is declared, who declared it, what is in conflict, and how it stands on each box."""
    with open_fleet(data_dir) as fleet:
        if model is not None:
            fleet.spec(model)
        desired, view = fleet.desired(), fleet.view()
    if as_json:
        click.echo(json.dumps(_desired_json(desired, view, model), indent=2))
        return
    shown = [spec for name, spec in desired.models.items() if model in {None, name}]
    for spec in shown:
        for line, style in _lines_of(spec, view):
            doors.console.print(Text(printable(line), style=style))
    for row, why in desired.unreadable if model is None else ():
        doors.console.print(Text(printable(f"! {row} {why}"), style="yellow"))
    if not shown:
        doors.console.print("Nothing is declared. Begin with: propagul fleet pull MODEL, or propagul fleet apply FILE")


def _lines_of(spec: ModelSpec, view: FleetView) -> Iterator[tuple[str, str]]:
    """A declared model, a line each with its style."""
    yield spec.name, "bold"
    for path, value in spec.values.items():
        yield f"  {'.'.join(path)}: {_shown(path[0], value)}", ""
        for rival in value.rivals:
            settle = f"propagul fleet edit {spec.name} --set {'.'.join(path)}=..."
            yield f"  ! at the same time: {_shown(path[0], rival)}; settle it with: {settle}", "yellow"
    if spec.where is None:
        yield "  ! nobody says where, so nothing is done about it", "yellow"
    for node, condition in _conditions(view, spec.name):
        reason = f": {condition.reason}" if condition.reason else ""
        yield f"  {node}: {condition.kind}{reason}", ""


def _conditions(view: FleetView, model: str) -> list[tuple[str, Condition]]:
    return [
        (node.name, condition)
        for node in view.nodes
        if node.presence is not None and node.state != "down"
        for condition in node.presence.conditions
        if condition.model == model
    ]


def _shown(field: str, value: Value) -> str:
    text = str(Selector.read(value.value)) if field == "where" else value.value
    text = text if isinstance(text, str) else json.dumps(text)
    return f"{text}  ({value.by.author}, {clock(value.by.at_s)}, {value.by.via})"


def _change_json(change: Change) -> dict[str, Any]:
    edits = [
        {
            "place": str(place),
            "before": None if isinstance(before, Nothing) else before,
            "after": None if isinstance(after, Nothing) else after,
        }
        for place, before, after in change.edits
    ]
    return {"id": change.id, **change.by._asdict(), "note": change.note, "undoes": change.undoes, "edits": edits}


def _desired_json(desired: Desired, view: FleetView, model: str | None) -> dict[str, Any]:
    return {
        "models": {
            name: {
                "fields": {".".join(path): _value_json(value) for path, value in spec.values.items()},
                "conditions": {node: condition.model_dump() for node, condition in _conditions(view, name)},
            }
            for name, spec in desired.models.items()
            if model in {None, name}
        },
        "nodes": {
            node: {".".join(path): _value_json(value) for path, value in spec.values.items()}
            for node, spec in desired.nodes.items()
        },
        "unreadable": [found._asdict() for found in desired.unreadable],
    }


def _value_json(value: Value) -> dict[str, Any]:
    rivals = [{"value": rival.value, **rival.by._asdict()} for rival in value.rivals]
    return {"value": value.value, **value.by._asdict(), "rivals": rivals}
