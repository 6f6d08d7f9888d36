"""Options that several commands share, and the fleet they speak to."""

from __future__ import annotations

import click

from fleet_app.fleet import Fleet

data_dir_option = click.option("--data-dir", metavar="DIR", help="The node's data directory.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def open_fleet(data_dir: str | None) -> Fleet:
    """The fleet of this box, as the command line changes it. Use it in a `with` block.

    Raises:
        FleetError: This box is in none.
    """
    return Fleet.open(data_dir, via="cli")
