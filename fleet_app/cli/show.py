"""`propagul config show`: what a node started here and now would be told, and by whom."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from fleet_app.cli.frame import Doors, printable
from fleet_app.config import default_config_file, load, shown


@click.command
@click.option("--config", "config_file", metavar="FILE", help="The YAML file to read.")
@click.pass_obj
def show(doors: Doors, *, config_file: str | None) -> None:
    """Show the effective settings and where each comes from; secrets as ***."""
    settings = load({}, environ=os.environ, config_file=None if config_file is None else Path(config_file))
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for row in shown(settings, os.environ):
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    doors.console.print(table)
    doors.console.print(Text(f"Order: flag, environment, file (by default {default_config_file()}), default."))
