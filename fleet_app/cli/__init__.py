"""The command line: `propagul`, `propagul-mesh` and `python -m fleet_app`.

Importing this file needs the standard library only. What the commands need comes with the `fleet` extra and is imported
when a command runs; without it there is one line that says what to install, and which version that is can be asked all
the same. `propagul state` belongs to the library: it needs click and nothing else of the extra, so it is found before
the fleet's commands are imported.

Exit codes: 0 done, 1 it did not work, 2 something was said wrongly. The last two come with one line on stderr.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet_app.cli.frame import Serve

__all__ = ["main", "mesh_main"]

_NODE = {"propagul": (("fleet", "up"), ("fleet", "start"), ("start",)), "propagul-mesh": (("up",), ("start",))}
"""The words that run a node. It lives for months, so it loads no other command."""

_MISSING_EXTRA = 'propagul: this command needs the fleet extra; install it with: pip install "propagul[fleet]>=1"'


def main(arguments: Sequence[str] | None = None, *, serve: Serve | None = None) -> int:
    """Run `propagul` and return its exit code.

    Args:
        arguments: The command line without the program's name; the process's own when None.
        serve: What runs the node, in place of `fleet_app.run.serve`.
    """
    return _run("propagul", arguments, serve)


def mesh_main(arguments: Sequence[str] | None = None, *, serve: Serve | None = None) -> int:
    """Run `propagul-mesh`, which has the fleet commands at top level, and return its exit code."""
    return _run("propagul-mesh", arguments, serve)


def _run(program: str, arguments: Sequence[str] | None, serve: Serve | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--version"], ["version"]):
        from fleet_app.cli.version import version_line  # noqa: PLC0415 - what it needs takes a moment to load

        print(version_line())  # noqa: T201 - as below
        return 0
    try:
        from fleet_app.cli.frame import run  # noqa: PLC0415 - needs click

        if program == "propagul" and words[:1] == ["state"]:
            from fleet_app.cli.state import state  # noqa: PLC0415 - needs click

            return run(state, "propagul state", words[1:], serve)
        for path in _NODE[program]:
            if tuple(words[: len(path)]) == path:
                from fleet_app.cli.up import up  # noqa: PLC0415 - needs the extra

                return run(up, " ".join((program, *path)), words[len(path) :], serve)
        from fleet_app.cli.tree import PROGRAMS  # noqa: PLC0415 - needs the extra

        return run(PROGRAMS[program], program, words, serve)
    except ModuleNotFoundError as problem:
        print(_what_is_missing(problem.name or "?"), file=sys.stderr)  # noqa: T201 - there is no console without the extra
        return 2
    except KeyboardInterrupt:  # Ctrl-C while modules load
        return 0


def _what_is_missing(module: str) -> str:
    if module.partition(".")[0] in {"fleet_app", "propagul"}:
        return f"propagul: this installation lacks its own part {module}; install it anew"
    return _MISSING_EXTRA
