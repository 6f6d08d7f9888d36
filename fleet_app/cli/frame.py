"""What surrounds every command: exit codes, one-line complaints, and the doors a command reaches the world by.

A command raises; `run` says it in one line and picks the exit code. Nothing prints a traceback unasked: an error
of ours that nobody foresaw is named by its type and place, because its message may hold what the user typed. With `-v`
the traceback is logged, redacted. Importing this file needs click and nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet_app.errors import ConfigError
from propagul.errors import PropagulError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Console

    from fleet_app.config import Settings
    from fleet_app.presence import BackendPresence

logger = logging.getLogger(__name__)

Say = Callable[[str], None]
"""Prints one line for people."""

Serve = Callable[["Settings", Say], int]
"""Runs a node until it is told to stop and returns the exit code."""

FindEngines = Callable[["Settings"], "tuple[BackendPresence, ...]"]
"""Looks for engines on this machine and at the addresses given."""

_WIDTH_OF_A_PIPE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """How commands reach the world: click carries it as the context's object.

    Attributes:
        program: What the user typed: `propagul` or `propagul-mesh`.
        serve: Runs the node.
        find_engines: Looks for engines.
    """

    program: str
    serve: Serve
    find_engines: FindEngines

    @property
    def console(self) -> Console:
        """Where tables go; complaints and progress go to stderr."""
        return _console()


def run(command: click.Command, program: str, words: Sequence[str], serve: Serve | None) -> int:
    """Run one command line and return the exit code; everything it can raise ends here."""
    doors = Doors(program=program, serve=serve or _serve, find_engines=_find_engines)
    try:
        outcome = command.main(list(words), prog_name=program, standalone_mode=False, obj=doors)
    except (KeyboardInterrupt, click.Abort):
        return 0  # whoever pressed Ctrl-C knows
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.ctx.get_help() if problem.ctx else str(problem), err=True)
        return 2
    except ModuleNotFoundError:
        raise  # the caller knows which extra it comes with
    except Exception as problem:  # supervisor: everything a command raises is said here, in one line
        logger.info("cli.failed", exc_info=problem)  # with -v, and through the redaction filter
        code, message = _verdict(problem, program)
        click.echo(f"propagul: {printable(message)}", err=True)
        return code
    return outcome if isinstance(outcome, int) else 0


def _verdict(problem: Exception, program: str) -> tuple[int, str]:
    """Return the exit code and the line for what a command raised."""
    match problem:
        case click.UsageError():
            return 2, f"{problem.format_message()} (see: {_help_of(problem, program)})"
        case ConfigError():
            return 2, str(problem)
        case PropagulError() | click.ClickException():
            return 1, str(problem)
        case OSError():
            where = f": {problem.filename}" if problem.filename else ""
            return 1, f"{problem.strerror or type(problem).__name__}{where}"
        case _:
            return 1, f"a defect of Propagul: {type(problem).__name__} at {_place(problem.__traceback__)}"


def warn(message: str) -> None:
    """Say one line on stderr that does not end the command."""
    click.echo(f"propagul: warning: {printable(message)}", err=True)


def _serve(settings: Settings, say: Say) -> int:
    from fleet_app.run import serve  # noqa: PLC0415 - the node is much to import, and only one command needs it

    return serve(settings, say)


def _find_engines(settings: Settings) -> tuple[BackendPresence, ...]:
    from fleet_app.backends import detect  # noqa: PLC0415 - brings an HTTP client, and only one command needs it

    keys = {url: key.get_secret_value() for url, key in settings.backend_keys.items()}
    return asyncio.run(detect(settings.backends, api_keys=keys))


def _console() -> Console:
    """A pipe has no width of its own, and whoever searches it wants one line a row."""
    from rich.console import Console  # noqa: PLC0415 - comes with the extra, and `propagul state` does without

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE)


def printable(text: str) -> str:
    """Keep a text on its line and free of what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _help_of(problem: click.UsageError, program: str) -> str:
    return f"{problem.ctx.command_path if problem.ctx else program} --help"


def _place(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
