"""Commands about one model: bring it, delete it, keep it in memory or out of it, declare it no more.

Each shows first what it changes and what boxes will do about it. `--yes` skips the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleet_app.cli.options import data_dir_option, open_fleet, yes_option
from fleet_app.cli.plans import make
from fleet_app.desired import dropping

if TYPE_CHECKING:
    from fleet_app.cli.frame import Doors

_on = click.option("--on", metavar="NODE", multiple=True, help="On this node; may be repeated.  [default: all]")


@click.command
@click.argument("model")
@_on
@click.option("--engine", metavar="KIND", help="By engines of this kind only.")
@yes_option
@data_dir_option
@click.pass_obj
def pull(doors: Doors, *, model: str, on: tuple[str, ...], engine: str | None, yes: bool, data_dir: str | None) -> None:
    """Bring MODEL to some boxes, or to all, and keep it there."""
    with open_fleet(data_dir) as fleet:
        make(doors.console, fleet, fleet.pulling(model, on=on, engine=engine), note=f"pull {model}", yes=yes)


@click.command
@click.argument("model")
@_on
@yes_option
@data_dir_option
@click.pass_obj
def delete(doors: Doors, *, model: str, on: tuple[str, ...], yes: bool, data_dir: str | None) -> None:
    """Delete MODEL from the disks of some boxes, or of all, and keep it away."""
    with open_fleet(data_dir) as fleet:
        make(doors.console, fleet, fleet.deleting(model, on=on), note=f"delete {model}", yes=yes)


@click.command
@click.argument("model")
@yes_option
@data_dir_option
@click.pass_obj
def drop(doors: Doors, *, model: str, yes: bool, data_dir: str | None) -> None:
    """Declare nothing of MODEL any more. Its weights stay where they are."""
    with open_fleet(data_dir) as fleet:
        make(doors.console, fleet, dropping(fleet.spec(model)), note=f"drop {model}", yes=yes)


@click.command
@click.argument("model")
@yes_option
@data_dir_option
@click.pass_obj
def load(doors: Doors, *, model: str, yes: bool, data_dir: str | None) -> None:
    """Keep MODEL in memory wherever it is declared."""
    with open_fleet(data_dir) as fleet:
        make(doors.console, fleet, fleet.keeping(model, loaded=True), note=f"load {model}", yes=yes)


@click.command
@click.argument("model")
@yes_option
@data_dir_option
@click.pass_obj
def unload(doors: Doors, *, model: str, yes: bool, data_dir: str | None) -> None:
    """Keep MODEL out of memory wherever it is declared."""
    with open_fleet(data_dir) as fleet:
        make(doors.console, fleet, fleet.keeping(model, loaded=False), note=f"unload {model}", yes=yes)
