"""`propagul state`: look into a state directory and change it, also while programs run on it.

Results go to stdout and can be piped; values are JSON (`propagul.store._readable` has the forms of what JSON lacks). No
message on stderr holds a value. Upkeep stands in `_state_upkeep`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sys
from typing import TYPE_CHECKING

import click

from fleet_app.cli import _state_directory as directory
from fleet_app.cli import _state_text as text
from fleet_app.cli._state_directory import json_flag, on_directory
from fleet_app.cli._state_upkeep import UPKEEP
from fleet_app.cli._state_watch import watch_changes
from fleet_app.cli.frame import warn
from fleet_app.errors import ConfigError, FleetError
from propagul.store._holdings import holdings
from propagul.store._readable import dumps, from_json, loads, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.store._holdings import Holding

_TYPES = ("value", "counter", "set", "log", "map")

_at = click.option("--at", "moment", metavar="TIME", help="As it was then: 2026-01-31, or 2026-01-31T09:30:00Z.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def state() -> None:
    """Look into a state directory and change it, also while programs run on it."""


@state.command
@click.argument("key")
@click.option("--raw", is_flag=True, help="Print a text or bytes as they are.")
@click.option("--type", "kind", type=click.Choice(_TYPES), help="Which, where several have that name.")
@json_flag
@_at
@on_directory
def get(key: str, *, raw: bool, kind: str | None, as_json: bool, moment: str | None, path: str | None) -> None:
    """Print the value of KEY.

    As JSON; with --json also who wrote it and when. KEY may name a counter, set, log or map too.
    """
    if moment is not None:
        _get_past(key, moment, path, raw=raw)
        return
    held = {holding.type: holding for holding in _held(path, key) if holding.name == key}
    kind = kind or ("value" if "value" in held else next(iter(held), "value"))
    if kind not in held:
        others = "".join(f"; there is a {other} of that name: --type {other}" for other in held)
        raise FleetError(f"no {kind} {text.quoted(key)} in the store{others}")
    if held[kind].disagreements() and not as_json:
        warn(f"{text.quoted(key)} has concurrent values, this is the newest; see: propagul state conflicts")
    if as_json:
        click.echo(text.described(held[kind]))
    else:
        _print_value(held[kind].value(), raw=raw)


def _get_past(key: str, moment: str, path: str | None, *, raw: bool) -> None:
    past = directory.past_of(directory.find(path)).at(_time(moment))
    if key not in past:
        raise FleetError(f"no value {text.quoted(key)} in the store at {moment}")
    _print_value(past.get(key), raw=raw)


def _print_value(value: object, *, raw: bool) -> None:
    if not raw:
        click.echo(dumps(to_json(value)))
    elif isinstance(value, str | bytes):
        click.echo(value, nl=False)
    else:
        raise FleetError("this is neither a text nor bytes; print it without --raw")


@state.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key")
@click.argument("value")
@click.option("--text", "as_text", is_flag=True, help="Take VALUE as text, also where it is JSON.")
@on_directory
def set_value(key: str, value: str, *, as_text: bool, path: str | None) -> None:
    """Write VALUE under KEY.

    What is JSON is stored as that, everything else as text. `-` reads it from standard input.
    """
    where = directory.find(path)
    content = _stdin() if value == "-" else value
    written = content if as_text else _read_value(content)
    with directory.opened(where) as store:
        try:
            store.set(key, written)
        except (ValueError, TypeError) as error:
            raise ConfigError(str(error)) from None


def _stdin() -> str:
    try:
        content = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise ConfigError('standard input is no text in UTF-8; bytes are written as {"$bytes": base64}') from None
    return content.removesuffix("\n").removesuffix("\r")


def _read_value(content: str) -> object:
    try:
        form = loads(content)
    except ValueError as error:
        if content[:1] in ("{", "[", '"'):
            warn(f"{error}, so it is stored as text; --text says that it is meant so")
        return content
    try:
        return from_json(form)
    except ValueError as error:
        raise ConfigError(str(error)) from None


@state.command
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@on_directory
def delete(keys: tuple[str, ...], *, path: str | None) -> None:
    """Remove keys.

    In one step. Exits with 1 if none of them was there.
    """
    where = directory.find(path)
    with directory.opened(where) as store, store.transaction():
        try:
            gone = [store.delete(key) for key in keys]
        except (ValueError, TypeError) as error:
            raise ConfigError(str(error)) from None
    for key, there in zip(keys, gone, strict=True):
        if not there and any(gone):
            warn(f"no value {text.quoted(key)} in the store")
    if not any(gone):
        raise FleetError(f"no value {', '.join(map(text.quoted, keys))} in the store")


@state.command("list")
@click.argument("prefix", default="")
@click.option("--values", is_flag=True, help="Print values too.")
@json_flag
@_at
@on_directory
def list_keys(prefix: str, *, values: bool, as_json: bool, moment: str | None, path: str | None) -> None:
    """List what there is under PREFIX.

    Keys, and counters, sets, logs and maps by name.
    """
    if moment is not None:
        lines = _past_lines(prefix, moment, path, values=values, as_json=as_json)
    else:
        held = _held(path, prefix)
        lines = text.as_array(held, values=values) if as_json else (text.line(item, values=values) for item in held)
    for line in lines:
        click.echo(line)


def _past_lines(prefix: str, moment: str, path: str | None, *, values: bool, as_json: bool) -> Iterator[str]:
    past = directory.past_of(directory.find(path)).at(_time(moment))
    return text.past_lines(past.items(prefix), values=values, as_json=as_json)


@state.command
@click.argument("prefix", default="")
@on_directory
def watch(prefix: str, *, path: str | None) -> None:
    """Print changes under PREFIX as they come.

    Each is a line of JSON. Ctrl-C ends it.
    """
    where = directory.find(path)
    with directory.opened(where) as store, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch_changes(store, prefix, where))


@state.command
@click.argument("prefix", default="")
@click.option("--resolve", metavar="newest|INDEX", help="Keep this value of the key PREFIX, and no other.")
@json_flag
@on_directory
def conflicts(prefix: str, *, resolve: str | None, as_json: bool, path: str | None) -> None:
    """Show what was written concurrently.

    Every value of each key under PREFIX that has several, newest first, with time and origin.
    """
    if resolve is not None:
        _resolve(prefix, resolve, path)
        return
    held = [holding for holding in _held(path, prefix) if holding.disagreements()]
    if not held:
        click.echo("nothing is in conflict", err=True)
    for line in text.conflicts_array(held) if as_json else text.conflict_lines(held):
        click.echo(line)


def _resolve(key: str, choice: str, path: str | None) -> None:
    where, index = directory.find(path), 0 if choice == "newest" else int(choice) - 1 if choice.isdecimal() else -1
    if index < 0:
        raise ConfigError("--resolve: takes `newest`, or the number that `propagul state conflicts` shows")
    with directory.opened(where) as store:
        count = len(store.get_conflicts(key))
        if not count:
            raise FleetError(f"{text.quoted(key)} is no key with concurrent values")
        if index >= count:
            raise ConfigError(f"--resolve: {text.quoted(key)} has {count} values, and none with the number {choice}")
        store.resolve(key, lambda values: values[min(index, len(values) - 1)])


@state.command
@click.argument("key")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="The newest N versions only.")
@json_flag
@on_directory
def history(key: str, *, limit: int | None, as_json: bool, path: str | None) -> None:
    """Show the values that KEY had.

    Oldest first, as far back as they are kept, with when and how each came: the fullest log of the directory tells.
    """
    versions = directory.past_of(directory.find(path)).versions(key, limit)
    for line in text.history_array(versions) if as_json else map(text.history_line, versions):
        click.echo(line)
    if not versions:
        since = f" since {versions.earliest.isoformat()}" if versions.earliest else ""
        raise FleetError(f"{text.quoted(key)} had no value{since}")


def _held(path: str | None, prefix: str) -> list[Holding]:
    with directory.opened(directory.find(path)) as store:
        return holdings(store, prefix)


def _time(text: str) -> dt.datetime:
    """A moment as somebody writes it; without a zone it is meant in this machine's."""
    try:
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise ConfigError("--at: write a time such as 2026-01-31T09:30:00Z") from None


for _command in UPKEEP:
    state.add_command(_command)
