"""Commands about one node: its labels and name, whether it takes requests and models, whether it counts.

Each shows first what it changes and what boxes will do about it. `--yes` skips the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleet_app.cli.options import data_dir_option, open_fleet, yes_option
from fleet_app.cli.plans import make
from fleet_app.desired import NOTHING, Edit
from fleet_app.errors import ConfigError, FleetError

if TYPE_CHECKING:
    from fleet_app.cli.frame import Doors
    from fleet_app.fleet import Fleet


@click.command
@click.argument("node")
@click.argument("labels", nargs=-1, required=True, metavar="LABEL=TEXT|LABEL-...")
@yes_option
@data_dir_option
@click.pass_obj
def label(doors: Doors, *, node: str, labels: tuple[str, ...], yes: bool, data_dir: str | None) -> None:
    """Give NODE labels that `where` can ask for; `LABEL-` takes one away."""
    with open_fleet(data_dir) as fleet:
        edits = [edit for text in labels for edit in _labelled(fleet, node, text)]
        make(doors.console, fleet, edits, note=f"label {node}", yes=yes)


def _flag(name: str, what: str, note: str) -> click.Command:
    """A command that sets a flag of a node, or with --off takes it back."""

    @click.command(name, help=what)
    @click.argument("node")
    @click.option("--off", is_flag=True, help="Take it back.")
    @yes_option
    @data_dir_option
    @click.pass_obj
    def command(doors: Doors, *, node: str, off: bool, yes: bool, data_dir: str | None) -> None:
        with open_fleet(data_dir) as fleet:
            edits = fleet.on_node(node, name, NOTHING if off else True)
            make(doors.console, fleet, edits, note=f"{note} {node}{' --off' if off else ''}", yes=yes)

    return command


drain = _flag("drain", "Send NODE no new requests and no new models; its replicas are made elsewhere.", "drain")
cordon = _flag("cordon", "Send NODE no new models.", "cordon")


@click.command
@click.argument("node")
@click.argument("name")
@yes_option
@data_dir_option
@click.pass_obj
def rename(doors: Doors, *, node: str, name: str, yes: bool, data_dir: str | None) -> None:
    """Call NODE by another NAME, on every box. Declarations that name it by its former name mean it no more."""
    with open_fleet(data_dir) as fleet:
        if any(other.name.casefold() == name.casefold() for other in fleet.nodes() if other.id != fleet.node(node).id):
            raise ConfigError(f"another node is called {name!r} already")
        make(doors.console, fleet, fleet.on_node(node, "name", name), note=f"rename {node}", yes=yes)


@click.command
@click.argument("node")
@yes_option
@data_dir_option
@click.pass_obj
def forget(doors: Doors, *, node: str, yes: bool, data_dir: str | None) -> None:
    """Show and count NODE no more until it is heard again. To shut it out for good: propagul fleet revoke."""
    with open_fleet(data_dir) as fleet:
        if fleet.node(node).is_up:
            raise FleetError(f"{node} is here now; to shut it out, use: propagul fleet revoke {node}")
        make(doors.console, fleet, fleet.on_node(node, "forgotten", True), note=f"forget {node}", yes=yes)


def _labelled(fleet: Fleet, node: str, text: str) -> list[Edit]:
    name, equals, value = text.partition("=")
    taken: object = value if equals else NOTHING
    if not equals and not text.endswith("-"):
        raise ConfigError(f"{text!r}: write LABEL=TEXT, or LABEL- to take it away")
    return fleet.on_node(node, "labels", taken, name if equals else text[:-1])
