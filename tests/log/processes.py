"""Real processes at the price of a fork: one Python imports the package, and every process of a test is its child.

A process runs a piece of source that is given `arguments`, `say(line)` and `lines`, an iterator over what it is told.
Killing one waits until the kernel has let go of everything it held. POSIX only.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 20

NURSERY = """
import json, os, signal, socket, sys, traceback
import propagul.log.baton, propagul.log.directory, propagul.log.snapshot

def live(port, source, arguments):
    with socket.create_connection(("127.0.0.1", port)) as channel, channel.makefile("rw") as lines:
        def say(line):
            lines.write(f"{line}\\n")
            lines.flush()
        say(os.getpid())
        exec(source, {"arguments": arguments, "say": say, "lines": iter(lines.readline, "")})

for line in sys.stdin:
    match json.loads(line):
        case ["start", *what]:
            if not os.fork():
                try:
                    live(*what)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
        case ["kill", pid]:
            os.kill(pid, signal.SIGKILL)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        case ["wait", pid]:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Process:
    """One child, told and heard by lines."""

    def __init__(self, nursery: Nursery, channel: socket.socket) -> None:
        self._nursery, self._channel = nursery, channel
        self._lines = channel.makefile("rw")
        self.pid = int(self.hear())
        self.exit_code: int | None = None

    def tell(self, line: str = "") -> None:
        """Say a line to it."""
        self._lines.write(line + "\n")
        self._lines.flush()

    def hear(self) -> str:
        """Its next line; empty when it has ended."""
        return self._lines.readline().strip()

    def ask(self, line: str = "") -> str:
        """Say a line and wait for the answer."""
        self.tell(line)
        return self.hear()

    def kill(self) -> None:
        """Kill -9. Idempotent."""
        if self.exit_code is None:
            self._end("kill")

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        if self.exit_code is None:
            self._end("wait")
        assert self.exit_code is not None
        return self.exit_code

    def _end(self, how: str) -> None:
        self.exit_code = int(self._nursery.order([how, self.pid], answer=True))
        with contextlib.suppress(OSError):
            self._lines.close()
        self._channel.close()


class Nursery:
    """Where processes come from. A context manager; use one for all tests of a file."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._process.communicate(timeout=WAIT_S)

    def order(self, what: list[object], *, answer: bool) -> str:
        """Give an order and read the answer, if there is one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline() if answer else ""

    @contextlib.contextmanager
    def processes(self, count: int, source: str, *arguments: str) -> Iterator[list[Process]]:
        """So many processes that run the same; killed at the end."""
        started: list[Process] = []
        try:
            for _ in range(count):
                self.order(["start", self._listener.getsockname()[1], source, arguments], answer=False)
                channel = self._listener.accept()[0]
                channel.settimeout(WAIT_S)
                started.append(Process(self, channel))
            yield started
        finally:
            for process in started:
                process.kill()


def at_once(started: list[Process], line: str = "") -> list[str]:
    """Tell all of them before hearing any."""
    for process in started:
        process.tell(line)
    return [process.hear() for process in started]
