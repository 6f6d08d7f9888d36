"""The command tree: which command stands where, under which names.

`propagul` has the fleet commands under `fleet`; `propagul-mesh` has them at top level, where older texts put them.
`start` is an older name of `fleet up`: it works in both and is not shown.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import click

from fleet_app.cli.backup import backup, restore
from fleet_app.cli.boxes import cordon, drain, forget, label, rename
from fleet_app.cli.changes import get, history, undo
from fleet_app.cli.declared import delete, drop, load, pull, unload
from fleet_app.cli.detect import detect
from fleet_app.cli.doctor import doctor
from fleet_app.cli.documents import apply, diff, edit, export, plan
from fleet_app.cli.install import install_service, uninstall_service
from fleet_app.cli.invite import invite
from fleet_app.cli.look import models, nodes, top
from fleet_app.cli.record import events, logs
from fleet_app.cli.revoke import revoke
from fleet_app.cli.rotate import rotate_secret
from fleet_app.cli.show import show
from fleet_app.cli.state import state
from fleet_app.cli.status import status
from fleet_app.cli.up import up
from fleet_app.cli.version import version_line

if TYPE_CHECKING:
    from collections.abc import Mapping

_HELP = {"help_option_names": ["-h", "--help"]}


def _print_version(context: click.Context, _: click.Parameter | None, wanted: bool) -> None:  # noqa: FBT001 - click's
    if wanted:
        click.echo(version_line())
        context.exit()


_version_flag = click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)


@click.command
@click.pass_context
def version(context: click.Context) -> None:
    """Print the version."""
    _print_version(context, None, True)


@click.group(context_settings=_HELP)
@_version_flag
def propagul() -> None:
    """Replicated state that survives crashes, and one fleet of all your LLM boxes.

    Begin with `propagul fleet up` on one box and paste the line it prints on the next.
    """


@click.group(context_settings=_HELP)
@_version_flag
def mesh() -> None:
    """The fleet commands of `propagul`, at top level."""


@propagul.group
def fleet() -> None:
    """Start a node, let boxes in and out, see the fleet."""


@propagul.group
def config() -> None:
    """See what a node is told, and by whom."""


def _renamed(command: click.Command, name: str) -> click.Command:
    """The same command under an older name that help does not show."""
    alias = copy.copy(command)
    alias.name, alias.hidden = name, True
    return alias


start = _renamed(up, "start")
config.add_command(show)
_EVERY_DAY = (
    *(plan, apply, diff, get, edit, export),
    *(pull, delete, drop, load, unload),
    *(label, drain, cordon, rename, forget),
    *(history, undo),
    *(nodes, models, top, events, logs),
)
_KEEPING = (install_service, uninstall_service, backup, restore)
for _command in (up, invite, status, *_EVERY_DAY, revoke, rotate_secret, *_KEEPING, start):
    fleet.add_command(_command)
    mesh.add_command(_command)
for _command in (detect, doctor, version, start):
    propagul.add_command(_command)
    if _command is not start:
        mesh.add_command(_command)
propagul.add_command(state)
mesh.add_command(config)

PROGRAMS: Mapping[str, click.Command] = {"propagul": propagul, "propagul-mesh": mesh}
"""The root command of each console script."""
