"""`propagul fleet backup` and `restore`: a node in one file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet_app.admin import running_node
from fleet_app.cli.elsewhere import hint_of_another_node
from fleet_app.cli.frame import printable
from fleet_app.config import load, load_data_dir
from fleet_app.errors import FleetError

if TYPE_CHECKING:
    from fleet_app.backup import Manifest


@click.command
@click.argument("file", metavar="FILE")
@click.option("--without-secrets", is_flag=True, help="Only what was declared and its changes: nothing to keep safe.")
@click.option("--data-dir", metavar="DIR", help="The node's data directory.")
def backup(file: str, *, without_secrets: bool, data_dir: str | None) -> None:
    """Write this box's node into FILE, also while it runs.

    Whoever has the file can be this node, and rule the fleet if it holds the secret.
    """
    from fleet_app.backup import back_up  # noqa: PLC0415 - brings the library, and only two commands need it

    settings = load({"data_dir": data_dir}, environ=os.environ)
    if not (settings.data_dir / "state").exists() and (hint := hint_of_another_node(settings.data_dir)):
        raise FleetError(f"{settings.data_dir} holds no node, but {hint}")
    node = running_node(settings.data_dir)
    name = settings.name if node is None else node.name
    made = back_up(settings.data_dir, Path(file), name=name, secrets=not without_secrets)
    size = sum(entry.size for entry in made.files.values())
    click.echo(f"{_of(made)}, {size} bytes in {len(made.files)} files: {file}")
    if without_secrets:
        click.echo("It holds what was declared, and neither identity nor secret: restoring it founds a new fleet.")
    else:
        secret = " and the fleet's secret" if "room-secret" in made.files else ""
        click.echo(f"It holds the identity of this node{secret}: keep it as safe as a key.")


@click.command
@click.argument("file", metavar="FILE")
@click.option("--data-dir", metavar="DIR", help="Where the node is to be; empty, or not there yet.")
def restore(file: str, *, data_dir: str | None) -> None:
    """Make a node out of a backup.

    It takes the place of the node that was backed up: stop that one for good, or both are named as one identity twice.
    """
    from fleet_app import backup as tape  # noqa: PLC0415 - as above

    path = load_data_dir({"data_dir": data_dir}, environ=os.environ)
    made = tape.restore(Path(file), path)
    click.echo(f"{_of(made)}, restored into {path}")
    if made.kind == "declared":
        click.echo("It is the first node of a new fleet.")
    else:
        click.echo("It takes the place of the node that was backed up: that one must not run any more.")
    click.echo(f"start it: propagul fleet up --data-dir {path}")


def _of(made: Manifest) -> str:
    when = datetime.fromtimestamp(made.made_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{printable(made.name)} at {when}"
