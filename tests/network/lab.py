"""A private network of namespaces: hosts on one switch, and the faults that real networks have.

Every host is a network namespace with one interface; the switch is a bridge in a namespace of its own, so the machine's
own network is not touched. A fault is a rule in the switch, and is undone when its block ends. Names carry our pid, and
a keeper process removes whatever bears them as soon as we are gone, however we went.

Needs root, `ip` and `nft`; `missing` says what is not there. Long cables need TAP devices: `tests.network.cable`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

from tests.network.cable import Cable
from tests.network.host import Host, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PORT: Final = 9000
DEADLINE_S: Final = 20.0

_SWITCH: Final = "switch"
_NAMES: Final = itertools.count(1)

_KEEPER: Final = """
trap '' INT TERM HUP
cat
for name in "$@"; do
  ip netns pids "$name" | xargs -r kill -9
  ip netns del "$name"
done
"""
"""Waits for the end of its standard input, which comes when we let go of it or are gone."""


class Lab:
    """Hosts on a switch, for as long as the block runs.

    Args:
        names: What the hosts are called, without a space.
        one_way_ms: Delay of every cable between host and switch, in each direction; 0 for none.
        is_routed: Whether hosts know a way out of their network, as machines behind a router do.
    """

    def __init__(self, names: Sequence[str], *, one_way_ms: float = 0.0, is_routed: bool = True) -> None:
        prefix = f"propagul-{os.getpid()}-{next(_NAMES)}"
        self.hosts = {
            name: Host(name, f"{prefix}-{name}", f"10.77.0.{number}") for number, name in enumerate(names, start=1)
        }
        self._switch = Host(_SWITCH, f"{prefix}-{_SWITCH}", "")
        self._one_way_ms, self._is_routed = one_way_ms, is_routed
        self._numbers = itertools.count(1)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._open:
            self._open.enter_context(self._keeper())
            self._build()
            self._open = self._open.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    # Faults. Each holds while its block runs; several may hold at once.

    def cut(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Nothing reaches a host and nothing leaves it, in silence."""
        address = self.hosts[name].address
        return self._ruled(f"ip saddr {address} drop", f"ip daddr {address} drop")

    def cut_between(self, ones: Sequence[str], others: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        """Two groups hear nothing of each other."""
        pairs = list(itertools.product(map(self._address, ones), map(self._address, others)))
        return self._ruled(*(f"ip saddr {a} ip daddr {b} drop" for one, other in pairs for a, b in _both(one, other)))

    def one_way(self, source: str, targets: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        """What one host sends to others is lost; what they send to it arrives."""
        return self._ruled(
            *(f"ip saddr {self._address(source)} ip daddr {self._address(target)} drop" for target in targets)
        )

    def loss(self, percent: int) -> contextlib.AbstractContextManager[None]:
        """Of all packets, this part is lost."""
        return self._ruled(f"meta protocol ip numgen random mod 100 < {percent} drop")

    @contextlib.contextmanager
    def resets(self, one: str, other: str) -> Iterator[None]:
        """Every TCP packet between two hosts is answered with a reset, as by a firewall that refuses."""
        with contextlib.ExitStack() as both:
            for here, there in _both(one, other):
                rule = f"ip saddr {self._address(there)} tcp flags & rst == 0 reject with tcp reset"
                both.enter_context(self._ruled(rule, at=self.hosts[here]))  # a bridge cannot on every kernel
            yield

    def no_way_in(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Nobody can open a connection to a host, as behind NAT; it can open its own."""
        return self._ruled(f"ip daddr {self._address(name)} tcp flags & (syn | ack) == syn drop")

    @contextlib.contextmanager
    def slow(self, name: str, *, kbit: int) -> Iterator[None]:
        """What a host sends is shaped to so many kilobits a second, and lost beyond a queue of 0.4 s."""
        device = ("tc", "-n", self.hosts[name].namespace, "qdisc")
        run(*device, "add", "dev", "eth0", "root", "tbf", "rate", f"{kbit}kbit", "burst", "3200", "latency", "400ms")
        try:
            yield
        finally:
            run(*device, "del", "dev", "eth0", "root")

    # Building.

    @contextlib.contextmanager
    def _keeper(self) -> Iterator[None]:
        """Remove every namespace of ours when the block ends, or when this process does."""
        names = [host.namespace for host in (*self.hosts.values(), self._switch)]
        command = ("sh", "-c", _KEEPER, "keeper", *names)
        keeper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        with keeper:  # its end closes the pipe and waits
            yield

    def _build(self) -> None:
        switch = self._switch.namespace
        run("ip", "netns", "add", switch)
        run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "bridge", "up")
        for number, host in enumerate(self.hosts.values(), start=1):
            self._attach(host, f"port{number}")

    def _attach(self, host: Host, port: str) -> None:
        switch, there = self._switch.namespace, ("ip", "-n", host.namespace)
        run("ip", "netns", "add", host.namespace)
        if self._one_way_ms:
            self._open.enter_context(Cable((host, "eth0"), (self._switch, port), self._one_way_ms))
        else:
            run("ip", "-n", switch, "link", "add", port, "type", "veth", "peer", "eth0", "netns", host.namespace)
        run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
        run(*there, "link", "set", "lo", "up")
        run(*there, "addr", "add", f"{host.address}/16", "dev", "eth0")
        run(*there, "link", "set", "eth0", "up")
        if self._is_routed:
            run(*there, "route", "add", "default", "dev", "eth0")

    def _address(self, name: str) -> str:
        return self.hosts[name].address

    @contextlib.contextmanager
    def _ruled(self, *rules: str, at: Host | None = None) -> Iterator[None]:
        """Have the switch treat packets by these rules while the block runs, or a host those that reach it."""
        place, hook = (self._switch, "prerouting") if at is None else (at, "input")
        table = f"{'bridge' if at is None else 'inet'} fault{next(self._numbers)}"
        lines = (f"table {table} {{", "chain packets {", f"type filter hook {hook} priority 0", *rules, "}", "}\n")
        run(*place.command("nft", "-f", "-"), given="\n".join(lines))
        try:
            yield
        finally:
            run(*place.command("nft", "delete", "table", *table.split()))


@functools.cache
def missing() -> str:
    """What keeps this machine from making networks; empty if nothing does."""
    if sys.platform != "linux":
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    absent = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}
    for tool, package in absent.items():
        if not shutil.which(tool):
            return f"{tool} is not installed: apt-get install {package}"
    try:
        with Lab(["probe"]) as lab, lab.cut("probe"), lab.resets("probe", "probe"), lab.loss(1):
            return ""
    except RuntimeError as error:
        return f"this kernel or container makes no such network: {str(error).splitlines()[0]}"


def until(condition: Callable[[], object], what: str, *, within_s: float = DEADLINE_S) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: It did not come true in time.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)


def _both(one: str, other: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (one, other), (other, one)
