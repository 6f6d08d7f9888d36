"""What differs between operating systems, for the fleet: signals, ending at once, users, and the system's own tools."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

_SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/local/sbin")
_STOP = (signal.SIGINT, signal.SIGTERM)


def on_stop_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` at the first Ctrl-C or SIGTERM; end the process at once at the second.

    The node's children end when nobody reads them any more, so nothing is left behind. Where loops know no signal
    handlers (Windows), Ctrl-C reaches the loop as KeyboardInterrupt instead.
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
    program = _program(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - callers name fixed programs
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=_plain(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Printed(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))


class LineTool:
    """A tool of the system that goes on printing lines for as long as it runs, and is run once.

    It is started when its lines are first asked for, and again no sooner than `RESTART_S` after it ended. A thread
    reads it, so nobody waits for it; when this process is gone, it ends at its next line.

    Args:
        command: The tool and what it is told.
        keep: So many of its newest lines are kept, beside its first.
        stale_s: Lines older than this are none: the tool hangs.
    """

    RESTART_S = 60.0
    _LINE_BYTES_MAX = 64 * 1024

    def __init__(self, *command: str, keep: int = 1, stale_s: float = 15.0) -> None:
        self._command, self._stale_s = command, stale_s
        self._recent: deque[str] = deque(maxlen=keep)
        self._first = ""
        self._said_at = self._tried_at = float("-inf")
        self._child: subprocess.Popen[bytes] | None = None

    def lines(self) -> list[str]:
        """The first line of this run and then the newest ones; none while it has said nothing lately."""
        now = time.monotonic()
        is_running = self._child is not None and self._child.poll() is None
        if not is_running and now - self._tried_at >= self.RESTART_S:
            self._tried_at = now
            self._start()
        return [self._first, *self._recent] if now - self._said_at <= self._stale_s else []

    def close(self) -> None:
        """End it. Idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()

    def _start(self) -> None:
        self.close()
        program = _program(self._command[0])
        if program is None:
            return
        try:
            self._child = subprocess.Popen(  # noqa: S603 - callers name fixed programs
                [program, *self._command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_plain(),
            )
        except OSError:
            return
        threading.Thread(target=self._read, args=(self._child,), name="propagul tool", daemon=True).start()

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        is_first = True
        with child.stdout as printed:
            while line := printed.readline(self._LINE_BYTES_MAX):
                text = line.decode(errors="replace").rstrip()
                if is_first:
                    self._first, is_first = text, False
                    self._recent.clear()
                self._recent.append(text)
                self._said_at = time.monotonic()


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_DIRECTORIES]))


def _plain() -> dict[str, str]:
    """The environment of a tool whose words are read by a program."""
    return {**os.environ, "LC_ALL": "C", "LANG": "C"}
