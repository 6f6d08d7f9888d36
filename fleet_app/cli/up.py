"""`propagul fleet up`: read what the node is told, then run it."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet_app.cli.frame import Doors, warn
from fleet_app.cli.logs import configure_logging
from fleet_app.config import load, reloading
from fleet_app.errors import ConfigError
from propagul._system import read_private

if TYPE_CHECKING:
    from fleet_app.config.knobs import Text

_TOKEN_CHARACTERS_MAX = 16 * 1024


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--name", metavar="NAME", help="What to call this box.  [default: its host name]")
@click.option("--data-dir", metavar="DIR", help="Where identity and log live.")
@click.option("--listen", metavar="HOST:PORT", help="Where other nodes connect.  [default: 0.0.0.0:8788]")
@click.option("--gateway", metavar="HOST:PORT", help="Where you and your programs connect.  [default: 127.0.0.1:8787]")
@click.option("--join", metavar="TOKEN", multiple=True, help="Join the fleet of this invite; `-` reads it from stdin.")
@click.option("--join-file", metavar="FILE", multiple=True, help="Read an invite from a file with mode 600.")
@click.option("--secret-file", metavar="FILE", help="Read the room's secret from a file with mode 600.")
@click.option("--backend", metavar="URL[=KEY_FILE]", multiple=True, help="An engine to serve; may be repeated.")
@click.option("--no-detect", is_flag=True, help="Do not look for engines on this machine.")
@click.option("--no-mdns", is_flag=True, help="Do not look for nodes on the LAN.")
@click.option("--desired", metavar="FILE", help="Declare what this file says should be there.")
@click.option("--watch", is_flag=True, help="Declare it again whenever the file changes.")
@click.option("--config", "config_file", metavar="FILE", help="The YAML file to read.")
@click.option("--log-format", metavar="text|json", help="How log lines look on stderr.  [default: text]")
@click.option("-v", "--verbose", count=True, help="Log events on stderr; -vv logs more.")
@click.pass_obj
def up(
    doors: Doors,
    /,
    *,
    join: tuple[str, ...],
    join_file: tuple[str, ...],
    backend: tuple[str, ...],
    no_detect: bool,
    no_mdns: bool,
    watch: bool,
    config_file: str | None,
    verbose: int,
    **texts: str | None,
) -> int:
    """Run this box's node until Ctrl-C.

    The first start makes a fleet of one and prints the line for the next box.
    """
    flags: dict[str, Text | None] = {
        **_written(texts),
        "join": (*_tokens(join), *map(_token_in, join_file)),
        "backends": backend,
        "detect": "false" if no_detect else None,
        "mdns": "false" if no_mdns else None,
        "watch": "true" if watch else None,
    }
    file = None if config_file is None else Path(config_file)
    settings = load(flags, environ=os.environ, config_file=file)
    configure_logging(settings, verbose=verbose)
    settings = reloading(settings, flags, environ=os.environ, config_file=file)
    assert settings.reload is not None
    settings.reload.subscribe("log_format", apply=partial(configure_logging, verbose=verbose))
    return doors.serve(settings, click.echo)


def _written(texts: dict[str, str | None]) -> dict[str, str | None]:
    """Refuse a flag that was given an empty text: a shell variable was probably not set."""
    for name, text in texts.items():
        if text is not None and not text.strip():
            raise ConfigError(f"--{name.replace('_', '-')}: has no value; write one or leave the flag out")
    return texts


def _tokens(join: tuple[str, ...]) -> tuple[str, ...]:
    """Return the invite tokens, one of which may stand on standard input."""
    if any(token != "-" for token in join):  # noqa: S105 - the sign for standard input
        warn("a token on the command line is visible to every user of this machine; `--join -` reads it from stdin")
    if join.count("-") > 1:
        raise ConfigError("--join: `-` stands for one token on standard input; give it once")
    return tuple(_token_from_stdin() if token == "-" else token for token in join)  # noqa: S105 - as above


def _token_in(file: str) -> str:
    """Return the invite token in a file that nobody else can read."""
    try:
        token = read_private(Path(file), bytes_max=_TOKEN_CHARACTERS_MAX).decode("ascii", "replace").strip()
    except OSError as problem:
        raise ConfigError(f"--join-file: {file} cannot be read: {problem.strerror}") from problem
    if not token:
        raise ConfigError(f"--join-file: {file} holds no token; make one on a box of the fleet: propagul fleet invite")
    return token


def _token_from_stdin() -> str:
    """Read one line, so that a terminal or a pipe that stays open is enough."""
    if sys.stdin.isatty():
        click.echo("Paste the invite token, then press Enter:", err=True)
    token = sys.stdin.readline(_TOKEN_CHARACTERS_MAX).strip()
    if not token:
        raise ConfigError(
            "--join -: standard input held no token; make one on a box of the fleet: propagul fleet invite"
        )
    return token
