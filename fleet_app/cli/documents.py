"""Commands around a file of what should be there: plan it, apply it, compare it, edit it, write it.

Each shows first what it changes and what boxes will do about it. `--yes` skips the question.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import click

from fleet_app.cli.options import data_dir_option, json_option, open_fleet, yes_option
from fleet_app.cli.plans import difference_lines, make, plan_json, show
from fleet_app.desired import NOTHING, Edit, Place, dropping, parse
from fleet_app.desired.export import document_of
from fleet_app.desired.fields import TABLES
from fleet_app.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from fleet_app.cli.frame import Doors
    from fleet_app.fleet import Fleet

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")

_prune = click.option("--prune", is_flag=True, help="Drop what this file declared before and does not name any more.")


@click.command
@click.argument("file", type=click.Path(exists=False))
@_prune
@json_option
@data_dir_option
@click.pass_obj
def plan(doors: Doors, *, file: str, prune: bool, as_json: bool, data_dir: str | None) -> None:
    """Show what FILE would change, and what each box would pull, delete, load and unload. Changes nothing."""
    with open_fleet(data_dir) as fleet:
        edits = fleet.from_file(file, prune=prune)
        edited, found = fleet.difference(edits), fleet.plan(edits)
        if as_json:
            click.echo(json.dumps(plan_json(edited, found), indent=2))
        else:
            show(doors.console, fleet, edited, found)


@click.command
@click.argument("file", type=click.Path(exists=False))
@_prune
@yes_option
@data_dir_option
@click.pass_obj
def apply(doors: Doors, *, file: str, prune: bool, yes: bool, data_dir: str | None) -> None:
    """Declare what FILE says, after showing what that does."""
    with open_fleet(data_dir) as fleet:
        make(doors.console, fleet, fleet.from_file(file, prune=prune), note=f"apply {file}", yes=yes)


@click.command
@click.argument("file", type=click.Path(exists=False))
@_prune
@data_dir_option
@click.pass_obj
def diff(doors: Doors, *, file: str, prune: bool, data_dir: str | None) -> int:
    """Show how FILE differs from what is declared. The exit code is 0 where it does not."""
    with open_fleet(data_dir) as fleet:
        edited = fleet.difference(fleet.from_file(file, prune=prune))
        for line in difference_lines(edited, {node.id: node.name for node in fleet.nodes()}):
            doors.console.print(line)
    return 1 if edited else 0


@click.command
@click.argument("model", required=False)
@click.option("--set", "sets", metavar="FIELD=VALUE", multiple=True, help="Such as replicas=2, settings.num_ctx=8192.")
@click.option("--unset", metavar="FIELD", multiple=True, help="Take a field away.")
@yes_option
@data_dir_option
@click.pass_obj
def edit(
    doors: Doors, *, model: str | None, sets: tuple[str, ...], unset: tuple[str, ...], yes: bool, data_dir: str | None
) -> None:
    """Change fields of MODEL; without --set and --unset, edit what is declared in your editor."""
    with open_fleet(data_dir) as fleet:
        if model is not None and (sets or unset):
            fleet.spec(model)
            edits = [_set(model, text) for text in sets] + [Edit(_place(model, field), NOTHING) for field in unset]
        elif sets or unset:
            raise ConfigError("say which MODEL --set and --unset are about")
        else:
            edits = _edited(fleet, model)
        make(doors.console, fleet, edits, note=f"edit {model or ''}".strip(), yes=yes)


@click.command
@click.argument("model", required=False)
@data_dir_option
def export(*, model: str | None, data_dir: str | None) -> None:
    """Print what is declared as a file that `apply` reads."""
    with open_fleet(data_dir) as fleet:
        click.echo(document_of(fleet.desired(), {node.id: node.name for node in fleet.nodes()}, only=model), nl=False)


def _edited(fleet: Fleet, model: str | None) -> list[Edit]:
    """What a person makes of what is declared, in an editor."""
    names = {node.id: node.name for node in fleet.nodes()}
    text = document_of(fleet.desired(), names, only=model)
    changed = click.edit(text, extension=".yaml")
    if changed is None or changed == text:
        return []
    edits = fleet.from_text(changed.encode(), "what you wrote", source="")
    kept = parse(changed.encode(), "what you wrote").models
    gone = [spec for name, spec in fleet.desired().models.items() if name not in kept and model in {None, name}]
    return [edit for edit in edits if edit.place.field != "source"] + [e for spec in gone for e in dropping(spec)]


def _set(model: str, text: str) -> Edit:
    field, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: write FIELD=VALUE, such as replicas=2")
    return Edit(_place(model, field), _plain(field, value))


def _place(model: str, text: str) -> Place:
    field, _, key = text.partition(".")
    known = TABLES["models"].get(field)
    if known is None:
        raise ConfigError(f"{field!r} is no field of a model{did_you_mean(field, TABLES['models'])}")
    if known.open_keys != bool(key):
        raise ConfigError(f"{text!r}: write settings.KEY" if known.open_keys else f"{text!r}: {field} has no parts")
    return Place("models", model, field, key)


def _plain(field: str, text: str) -> object:
    """A value as a person types it: JSON where it is some, else text."""
    if text in {"true", "false"} or _NUMBER.fullmatch(text) or text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            raise ConfigError(f"--set {field}: {text[:64]!r} is not JSON") from None
    return text
