"""`propagul fleet events` and `logs`: what happened in the fleet, and what this box's node has to say of itself."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from fleet_app.cli.elsewhere import client_of_running_node
from fleet_app.cli.frame import printable
from fleet_app.cli.options import data_dir_option, json_option
from fleet_app.cli.words import clock
from fleet_app.config import load_data_dir

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleet_app.cli.frame import Doors

_FOLLOW_S = 1.0


@click.command
@click.option("--limit", default=30, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@json_option
@data_dir_option
@click.pass_obj
def events(doors: Doors, *, limit: int, as_json: bool, data_dir: str | None) -> None:
    """Show what happened: boxes, engines and models that came and went, pulls and deletes; the newest first."""
    found = client_of_running_node(load_data_dir({"data_dir": data_dir}, environ=os.environ)).events(limit)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for head in ("when", "box", "what"):
        table.add_column(head, no_wrap=head == "when")
    for event in found:
        at_s = event.get("at_s")
        when = clock(at_s) if isinstance(at_s, (int, float)) else ""
        cells = (when, str(event.get("node", "")), str(event.get("words", "")))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    doors.console.print(table if found else "Nothing has happened yet.")


@click.command
@click.option("--lines", default=100, show_default=True, type=click.IntRange(1, 2000), help="How many.")
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@json_option
@data_dir_option
def logs(*, lines: int, follow: bool, as_json: bool, data_dir: str | None) -> None:
    """Show what this box's node logged since it started, as far as it remembers."""
    client = client_of_running_node(load_data_dir({"data_dir": data_dir}, environ=os.environ))
    found = client.logs(limit=lines)
    last = _print(found, 0, as_json=as_json)
    while follow:
        time.sleep(_FOLLOW_S)
        last = _print(client.logs(after=last, limit=2000), last, as_json=as_json)


def _print(found: Iterable[dict[str, object]], last: int, *, as_json: bool) -> int:
    """Print lines, one each; return the number of the last."""
    for line in found:
        if as_json:
            click.echo(json.dumps(line))
        else:
            click.echo(printable(f"{line.get('at')} {line.get('level'):<7} {line.get('event')}"))
        number = line.get("number")
        last = number if isinstance(number, int) else last
    return last
