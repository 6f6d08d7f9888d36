"""Network namespaces for tests: machines of one's own, with their own interfaces, firewall and mDNS.

Names hold this process's id, everything made is removed at the end. Where namespaces are not allowed the test is
skipped, which the end of the run names loudly.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.fleet.boxes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Namespace:
    """One of them."""

    name: str

    def within(self, *command: str) -> list[str]:
        """The command line that runs a command in it."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, **options: str) -> str:
        """Run a command in it, which must succeed; return what it printed."""
        done = subprocess.run(
            self.within(*command), capture_output=True, text=True, timeout=60, check=False, input=options.get("stdin")
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bridge(self, name: str, address: str, container: Namespace) -> None:
        """Add a bridge to which a container is connected: without one the system calls it down."""
        port = f"veth{next(_numbers)}"
        _ip("-n", self.name, "link", "add", name, "type", "bridge")
        cable(self, port, container, f"{port}c")
        _ip("-n", self.name, "link", "set", port, "master", name, "up")
        container.give(f"{port}c", "172.29.0.2/32")
        self.give(name, address)
        wait_for(lambda: "LOWER_UP" in _ip("-n", self.name, "link", "show", "dev", name), 10)

    def give(self, interface: str, address: str) -> None:
        """Give an interface an address and bring it up."""
        _ip("-n", self.name, "addr", "add", address, "dev", interface)
        _ip("-n", self.name, "link", "set", interface, "up")


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace with loopback up; skip the test where that is not allowed."""
    name = f"pgt{os.getpid()}n{next(_numbers)}"
    if shutil.which("ip") is None:
        pytest.skip("needs the program ip (iproute2) for network namespaces")
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"needs network namespaces, which are not allowed here: {made.stderr.strip()}")
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        yield Namespace(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def cable(one: Namespace, end: str, other: Namespace, far_end: str) -> None:
    """Connect two namespaces by a pair of virtual interfaces; it goes with either of them."""
    _ip("link", "add", end, "netns", one.name, "type", "veth", "peer", "name", far_end, "netns", other.name)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20).stdout
