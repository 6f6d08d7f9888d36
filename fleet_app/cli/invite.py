"""`propagul fleet invite`: a token for one more box, alone on stdout so that it can be piped."""

from __future__ import annotations

import os
import re

import click

from fleet_app.admin import EXPIRES_S_MAX, USES_MAX
from fleet_app.cli.elsewhere import client_of_running_node
from fleet_app.config import load_data_dir
from fleet_app.errors import ConfigError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str, flag: str = "--expires") -> int:
    """Read a span such as `90s`, `30m`, `1h` or `2d`.

    Raises:
        ConfigError: It is none, or over the limit.
    """
    match = re.fullmatch(r"([0-9]{1,7})([smhd])", text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 1 <= seconds <= EXPIRES_S_MAX:
        raise ConfigError(f"{flag}: write a span from 1s to 30d, such as 30m, 1h or 2d")
    return seconds


@click.command
@click.option("--expires", default="1h", show_default=True, metavar="SPAN", help="How long it can be used.")
@click.option("--uses", default=1, show_default=True, type=click.IntRange(1, USES_MAX), help="For how many boxes.")
@click.option("--admin", is_flag=True, help="Hand the fleet's secret over too: the box can then do all this one can.")
@click.option("--data-dir", metavar="DIR", help="The running node's data directory.")
def invite(*, expires: str, uses: int, admin: bool, data_dir: str | None) -> None:
    """Print an invite token for another box.

    The token alone goes to stdout: `propagul fleet invite | ssh box2 propagul fleet up --join -`
    """
    expires_s = seconds_of(expires)
    client = client_of_running_node(load_data_dir({"data_dir": data_dir}, environ=os.environ))
    reply = client.invite(expires_s=expires_s, uses=uses, admin=admin)
    boxes = "one box" if uses == 1 else f"{uses} boxes"
    click.echo(f"For {boxes}, usable for {_span(expires_s)}. There, run: propagul fleet up --join -", err=True)
    click.echo("and paste this token, which is as good as a key until then:", err=True)
    if admin:
        click.echo(
            "Who joins with it learns the fleet's secret, and can invite, shut out and change the secret.", err=True
        )
    click.echo(reply.token)


def _span(seconds: int) -> str:
    """The largest unit that divides it."""
    unit = max((size, name) for name, size in _UNITS_S.items() if seconds % size == 0)
    return f"{seconds // unit[0]} {unit[1]}"
