"""`propagul doctor`: what stands in the way between this box and the others, and what to do about it."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
import os
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from fleet_app.addresses import parse_address
from fleet_app.cli.elsewhere import hint_of_another_node
from fleet_app.cli.frame import Doors, printable
from fleet_app.config import load
from fleet_app.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet_app.config import Settings
    from fleet_app.doctor import Examination, Finding
    from propagul.link.base import Address

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "unknown": ("?", "yellow"), "blocked": ("NO", "bold red")}
_PORT_DEFAULT = 8788


@click.command
@click.argument("addresses", nargs=-1, metavar="[HOST[:PORT]]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--data-dir", metavar="DIR", help="The node's data directory.")
@click.option("--secret-file", metavar="FILE", help="The room's secret, if the node is given it by a file.")
@click.pass_obj
def doctor(
    doors: Doors, *, addresses: tuple[str, ...], as_json: bool, data_dir: str | None, secret_file: str | None
) -> int:
    """Say what stands in the way between this box and another.

    Without an address it looks at this box and at every box its node knows. It changes nothing. The exit code is 0
    when nothing stands in the way and 1 when something does.
    """
    targets = [target_of(text) for text in addresses]
    settings = load({"data_dir": data_dir, "secret_file": secret_file}, environ=os.environ)
    examinations = asyncio.run(_examine(settings, targets))
    if as_json:
        click.echo(json.dumps(_json_of(examinations), indent=2))
    else:
        for examination in examinations:
            doors.console.print(Text(printable(examination.of), style="bold"))
            doors.console.print(table_of(examination))
        click.echo(summary_of(examinations))
    return 0 if all(examination.is_healthy for examination in examinations) else 1


def target_of(text: str) -> Address:
    """Read `HOST`, `HOST:PORT`, an IPv6 address or one in brackets; the port is that of a node unless it is named.

    Raises:
        ConfigError: It is none of these.
    """
    try:
        host = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        has_port = ":" in text
        target = parse_address(text if has_port else f"{text}:{_PORT_DEFAULT}")
    else:
        target = parse_address(f"[{host}]:{_PORT_DEFAULT}" if host.version == 6 else f"{host}:{_PORT_DEFAULT}")
    if target.port == 0:
        raise ConfigError(f"{text[:80]!r}: nobody can be reached at port 0; name the port that the node listens at")
    return target


async def _examine(settings: Settings, targets: Sequence[Address]) -> list[Examination]:
    from fleet_app.doctor import examine_here, examine_member, examine_peer, look  # noqa: PLC0415 - much to import

    box = await asyncio.to_thread(look, settings)
    if targets:
        return list(await asyncio.gather(*(examine_peer(box, target) for target in targets)))
    elsewhere = hint_of_another_node(settings.data_dir) if box.node is None else ""
    here = examine_here(box, elsewhere=elsewhere)
    return list(await asyncio.gather(here, *(examine_member(box, member) for member in box.peers)))


def table_of(examination: Examination) -> Table:
    """Return one row a finding, with what to do below it."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for column in ("verdict", "subject"):
        table.add_column(column, no_wrap=True)
    table.add_column("says", overflow="fold")
    for finding in examination.findings:
        mark, style = _MARKS[finding.verdict]
        table.add_row(Text(f"  {mark:<4}", style=style), finding.subject, Text(printable(finding.says)))
        if finding.remedy:
            table.add_row("", "", Text(f"-> {printable(finding.remedy)}", style="bold"))
    return table


def summary_of(examinations: Sequence[Examination]) -> str:
    """Return the last line: the answer to the question that was asked."""
    found = (finding for examination in examinations for finding in examination.findings)
    subjects = dict.fromkeys(finding.subject for finding in found if finding.verdict == "blocked")
    return f"In the way: {', '.join(subjects)}." if subjects else "Nothing stands in the way."


def _json_of(examinations: Sequence[Examination]) -> dict[str, object]:
    healthy = all(examination.is_healthy for examination in examinations)
    return {"healthy": healthy, "examinations": [_plain(examination) for examination in examinations]}


def _plain(examination: Examination) -> dict[str, object]:
    findings: list[Finding] = list(examination.findings)
    return {
        "of": examination.of,
        "healthy": examination.is_healthy,
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }
