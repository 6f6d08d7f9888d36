"""What is asked of a system, and what it needs for that. No secret and no token ever stands in either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "propagul"
SUMMARY = "Propagul fleet node"
RESTART_S = 10
RESTARTS_MAX = 20
RESTARTS_WITHIN_S = 600
"""A node whose address is not there yet, as at boot, has some minutes; one that can never start is given up."""

STOP_S = 25
"""Longer than running requests may go on after a request to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCommand:
    """How the node is started, and as whom.

    Attributes:
        words: The whole command: an absolute program, then its arguments.
        data_dir: Where it keeps what it is; absolute.
        user: The account it runs as.
        home: That account's home.
        system: Whether it starts with the machine rather than with its user.
        user_id: The number of the account that installs it; None on Windows.
    """

    words: tuple[str, ...]
    data_dir: Path
    user: str
    home: Path
    system: bool = False
    user_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of the system's own tool.

    Attributes:
        command: Program and arguments.
        otherwise: What to tell where it fails and all goes on; empty where it must not fail.
        quiet: Whether its failure is nothing to tell, as when it stops what does not run.
    """

    command: tuple[str, ...]
    otherwise: str = ""
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The node as a service of one system.

    Attributes:
        kind: What the system calls it.
        path: Where its file stands.
        content: The file.
        probe: A command that succeeds where this system's service manager runs; empty where there always is one.
        absent: What to say where it does not.
        start: Registers and starts it, or starts it anew.
        stop: Stops it and takes it off the list.
        forget: What follows when the file is gone.
        logs: How to see what it logs.
        notes: What else there is to know.
    """

    kind: str
    path: Path
    content: bytes
    probe: tuple[str, ...] = ()
    absent: str = ""
    start: tuple[Step, ...]
    stop: tuple[Step, ...]
    forget: tuple[Step, ...] = ()
    logs: str
    notes: tuple[str, ...] = ()
