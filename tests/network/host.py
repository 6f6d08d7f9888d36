"""A network namespace that stands for one machine, and how the system is told things."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Host:
    """A namespace that stands for one machine.

    Attributes:
        name: What the test calls it.
        namespace: What the system calls it.
        address: Its IPv4 address.
    """

    def __init__(self, name: str, namespace: str, address: str) -> None:
        self.name, self.namespace, self.address = name, namespace, address

    def __repr__(self) -> str:
        return f"Host({self.name})"

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Stand on this host: sockets and threads made in the block belong to it for as long as they live."""
        with Path("/proc/thread-self/ns/net").open() as home, Path("/run/netns", self.namespace).open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def command(self, *arguments: str) -> tuple[str, ...]:
        """The command that runs another one on this host."""
        return ("ip", "netns", "exec", self.namespace, *arguments)


def run(*command: str, given: str = "") -> None:
    """Run a command of the system.

    Raises:
        RuntimeError: It failed; the message is its own.
    """
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a namespace cannot be entered")
