"""What differs between operating systems, for the fleet: signals, ending at once, users, and the system's own tools."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

_SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/local/sbin")
_STOP = (signal.SIGINT, signal.SIGTERM)


def on_stop_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` at the first Ctrl-C or SIGTERM; end the process at once at the second.

    The node has no children, so nothing is left behind. Where loops know no signal handlers (Windows), Ctrl-C reaches
    the loop as KeyboardInterrupt instead.
    """
    received = 0

    def receive() -> None:
        nonlocal received
        received += 1
        if received > 1:
            os._exit(1)
        stop()

    for number in _STOP:
        try:
            loop.add_signal_handler(number, receive)
        except NotImplementedError:
            return


def on_hangup(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call something at every SIGHUP, which else ends the process. Windows has none."""
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGHUP, call)


def has_terminal() -> bool:
    """Whether a person started this from a terminal that is still there."""
    return sys.stdin is not None and sys.stdin.isatty()


def user_id() -> int | None:
    """The number of the account that runs this; 0 for root, None on Windows."""
    return os.getuid() if sys.platform != "win32" else None


def windows_command_line(words: Sequence[str]) -> str:
    """Words as one text, quoted so that a program of Windows gets them back as they were."""
    return subprocess.list2cmdline(words)


def shell_line(words: Sequence[str]) -> str:
    """Words as a line that a person can paste into a shell of this system."""
    return windows_command_line(words) if sys.platform == "win32" else shlex.join(words)


class Printed(NamedTuple):
    """What a program printed, both streams in their order of capture, and its exit code."""

    code: int
    text: str


def printed_by(*command: str, timeout_s: float = 3.0) -> Printed | None:
    """Run a tool of the system in English and without input; None if it is not here or did not end in time.

    System directories are searched even where they are missing from the user's PATH. The tool is given no privileges.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_DIRECTORIES])
    program = shutil.which(command[0], path=path)
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - callers name fixed programs
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C", "LANG": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Printed(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))
