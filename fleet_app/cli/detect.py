"""`propagul detect`: which engines run on this machine, without starting a node."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from fleet_app.cli.frame import Doors, printable
from fleet_app.config import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet_app.presence import BackendPresence


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--backend", metavar="URL[=KEY_FILE]", multiple=True, help="Also look here; may be repeated.")
@click.pass_obj
def detect(doors: Doors, *, as_json: bool, backend: tuple[str, ...]) -> None:
    """Look for engines on this machine and say what they serve."""
    settings = load({"backends": backend}, environ=os.environ)
    found = doors.find_engines(settings)
    if as_json:
        click.echo(json.dumps([engine.model_dump(mode="json") for engine in found], indent=2))
    elif found:
        doors.console.print(_table(found))
    else:
        click.echo("No engine answers on this machine. Start one, or name it: propagul detect --backend URL", err=True)


def _table(found: Sequence[BackendPresence]) -> Table:
    table = Table("engine", "url", "condition", "version", "models", box=None, pad_edge=False)
    for engine in found:
        condition = engine.condition.replace("_", " ") + (f": {engine.reason}" if engine.reason else "")
        models = ", ".join(model.name for model in engine.models) or "none"
        cells = (engine.kind, engine.url, condition, engine.version or "", models)
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    return table
