"""The commands of `propagul state` that look after a directory as a whole: numbers, checks, compaction, copies."""

from __future__ import annotations

import dataclasses
from typing import Final

import click

from fleet_app.cli import _state_directory as directory
from fleet_app.cli import _state_text as text
from fleet_app.cli._state_directory import json_flag, on_directory
from fleet_app.cli._state_files import reading, writing
from fleet_app.cli.frame import printable, warn
from fleet_app.errors import ConfigError, FleetError
from propagul.store import _verify
from propagul.store._export import Exported, export_lines
from propagul.store._import import WIDEST, import_lines
from propagul.store._retention import Retention


@click.command
@json_flag
@on_directory
def stats(*, as_json: bool, path: str | None) -> None:
    """Show how much there is."""
    where = directory.find(path)
    with directory.opened(where) as store:
        numbers = {"room": store.room, "path": str(where), "log_bytes": directory.log_bytes(where)}
        numbers |= dataclasses.asdict(store.stats)
    click.echo(text.table(numbers, as_json=as_json))


@click.command
@on_directory
def verify(*, path: str | None) -> None:
    """Look for damage and forgery, in every log.

    Reads all records and changes nothing. Exits with 1 if anything is damaged, or if a row that must prove who wrote it
    does not.
    """
    where, faults = directory.find(path), 0
    directory.room_of(where)
    for report in _verify.verify(where):
        told = f"{report.records} records, {report.keys} keys, {report.size_bytes} bytes"
        click.echo(f"log {report.path.name}: {told}, {len(report.faults) or 'no'} faults")
        for word, lines in (("note", report.notes), ("FAULT", report.faults)):
            for line in lines:
                click.echo(f"  {word}: {printable(line)}")
        faults += len(report.faults)
    if faults:
        raise FleetError(f"{where} has {faults} fault{'s' * (faults > 1)}")


@click.command
@click.option("--keep", metavar="TIME", help="How much history to keep from now on: 7d, 12h, none, all.")
@on_directory
def compact(*, keep: str | None, path: str | None) -> None:
    """Rewrite the log to what it says now.

    Programs do so themselves from time to time. No other process may have the directory open. Without --keep it keeps
    as much history as the directory was told before; see `stats`.
    """
    where = directory.find(path)
    try:
        retention = None if keep is None else Retention(keep)
    except ValueError as error:
        raise ConfigError(f"--keep: {error}") from None
    before = directory.log_bytes(where)
    kept = directory.compact(where, retention)
    click.echo(f"{before} bytes of log before, {directory.log_bytes(where)} now; {kept} more keep the history")


@click.command("export")
@click.argument("file", metavar="FILE|-")
@click.option("--prefix", default="", help="Only what begins so.")
@on_directory
def export(file: str, *, prefix: str, path: str | None) -> None:
    """Write all there is to FILE, as JSON lines.

    Values, counters, sets, logs and maps; no history.
    """
    where, report = directory.find(path), Exported()
    with directory.opened(where) as store, writing(file) as write:
        for line in export_lines(store, store.room, report, prefix):
            write(line + "\n")
    for name in report.unreadable:
        warn(f"{name!r} holds a value that this version cannot read; it is not in the export")
    click.echo(f"{report.keys} keys exported", err=True)


@click.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@on_directory
def import_file(file: str, *, dry_run: bool, path: str | None) -> None:
    """Write what an export in FILE says.

    What is there already is not written again, and nothing is removed.
    """
    where = directory.find(path)
    with directory.opened(where, limits=WIDEST) as store, reading(file) as lines:
        done = import_lines(store, lines, dry_run=dry_run)
    word = "to write" if dry_run else "written"
    click.echo(f"{done.written} {word}, {done.unchanged} already there")
    if done.settled:
        warn(f"{done.settled} leaves of maps left out: leaves below them hid them")
    if done.owned:
        warn(f"{done.owned} values left out: only the members that they are about may write them")


UPKEEP: Final = (stats, verify, compact, export, import_file)
