"""`propagul fleet revoke`: shut a box out of the fleet, after saying what that means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from fleet_app.cli.elsewhere import client_of_running_node
from fleet_app.cli.frame import printable
from fleet_app.cli.status import view_of
from fleet_app.config import load_data_dir
from fleet_app.errors import ConfigError, FleetError

if TYPE_CHECKING:
    from fleet_app.view import NodeView

_PREFIX_CHARACTERS_MIN = 6

_WARNING = """\
{name} ({id}) will be shut out of the fleet, now and for good:
- every box closes its links to it, and lets it in no more, also boxes that are away now and hear of it later;
- what it has received so far it keeps;
- a box that knows the fleet's secret can come back under another identity: against that only a new secret helps
  (propagul fleet rotate-secret)."""


@click.command
@click.argument("who", metavar="NAME_OR_ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--data-dir", metavar="DIR", help="The running node's data directory.")
def revoke(who: str, *, yes: bool, data_dir: str | None) -> None:
    """Shut a box out of the fleet.

    NAME_OR_ID is its name, or its id or the beginning of it, as `propagul fleet status --json` shows them.
    """
    client = client_of_running_node(load_data_dir({"data_dir": data_dir}, environ=os.environ))
    box = chosen(view_of(client.status()).nodes, who)
    click.echo(_WARNING.format(name=printable(box.name), id=box.id), err=True)
    if not yes and not _agreed():
        raise FleetError("nothing was done; --yes goes without asking")
    client.revoke(box.id)
    click.echo(f"{printable(box.name)} is shut out.")


def _agreed() -> bool:
    try:
        return click.confirm("Shut it out?", err=True)
    except click.Abort:  # nobody is there to answer
        return False


def chosen(nodes: tuple[NodeView, ...], who: str) -> NodeView:
    """The one box that is meant.

    Raises:
        ConfigError: None is, or several are, or it is this node itself.
    """
    found = [node for node in nodes if node.id == who] or [node for node in nodes if node.name == who]
    if not found and len(who) >= _PREFIX_CHARACTERS_MIN:
        found = [node for node in nodes if node.id.startswith(who)]
    if not found:
        raise ConfigError(f"no box of this fleet is called {who!r}; see: propagul fleet status")
    if len(found) > 1:
        ids = ", ".join(node.id[:12] for node in found)
        raise ConfigError(f"several boxes are called {who!r}; say which by the beginning of its id: {ids}")
    if found[0].reach == "here":
        raise ConfigError("that is this box itself: stop it here, or shut it out from another one")
    return found[0]
