"""`propagul fleet rotate-secret`: change the fleet's secret while it runs, and see who has followed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from fleet_app.cli.elsewhere import client_of_running_node
from fleet_app.cli.frame import printable
from fleet_app.cli.invite import seconds_of
from fleet_app.config import load_data_dir
from fleet_app.errors import ConfigError, FleetError
from fleet_app.home import SECRET_FILE, Home

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.admin import RotationReply

_OVERLAP = "24h"


@click.command("rotate-secret")
@click.option(
    "--overlap", metavar="SPAN", help=f"How long the former secret stays good at most.  [default: {_OVERLAP}]"
)
@click.option("--now", is_flag=True, help="End the former secret at once.")
@click.option("--finish", is_flag=True, help="End the former secret of a change that is under way.")
@click.option("--show-secret", is_flag=True, help="Only print the present secret.")
@click.option("--data-dir", metavar="DIR", help="The running node's data directory.")
def rotate_secret(*, overlap: str | None, now: bool, finish: bool, show_secret: bool, data_dir: str | None) -> None:
    """Change the fleet's secret without losing a link.

    Every box that is known gets a certificate of the new one by itself. When all have followed, or the overlap is over,
    the former secret opens nothing any more. Run again, this shows who has not followed yet.
    """
    if (overlap is not None) + now + finish + show_secret > 1:
        raise ConfigError("--overlap, --now, --finish and --show-secret exclude each other: give one of them")
    overlap_s = 0 if now else seconds_of(overlap or _OVERLAP, "--overlap")
    path = load_data_dir({"data_dir": data_dir}, environ=os.environ)
    if show_secret:
        click.echo(_secret_in(path))
        return
    client = client_of_running_node(path)
    if finish:
        client.finish_rotation()
        click.echo("The former secret opens nothing any more.")
        return
    before = client.rotation()
    if before.under_way and now:
        raise ConfigError("the secret is being changed already; end the former one with: rotate-secret --finish")
    after = before if before.under_way else client.rotate(overlap_s=overlap_s)
    click.echo("\n".join(_told(after, path, fresh=not before.under_way)))


def _secret_in(path: Path) -> str:
    held = Home(path).secrets()
    if not held:
        raise FleetError(f"the secret is not kept in {path}: this box was invited, or is given it at its start")
    return held[0]


def _told(rotation: RotationReply, path: Path, *, fresh: bool) -> list[str]:
    kept = f"The new secret is kept in {path / SECRET_FILE} (rotate-secret --show-secret prints it)."
    if not rotation.under_way:
        return ["The secret was changed; every box that is known has followed, and the former one is over.", kept]
    lines = ["The secret is being changed." if fresh else "The secret is still being changed."]
    if rotation.ours:
        lines.append(kept)
    lines.append(f"Followed: {_names(rotation.followed)}")
    lines.append(f"Not yet:  {_names(rotation.missing)}")
    lines.append(f"The former secret ends when all have followed, and in {_in_words(rotation.left_s)} at the latest.")
    lines.append("To end it now, and have those who are missing invited again: propagul fleet rotate-secret --finish")
    return lines


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(map(printable, names)) or "nobody"


def _in_words(seconds: int) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
