"""The laboratory itself: a fault does what it is called, and nothing of a network outlives the one who made it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.network.cable import TUN
from tests.network.lab import PORT, Lab, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("network-partitions")]

MAKER = """
import sys
from tests.network.lab import Lab
with Lab(["a", "b"]) as lab:
    print(lab["a"].namespace, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(["a", "b", "c"]) as lab:
        yield lab


def listening(lab: Lab, name: str) -> socket.socket:
    with lab[name].inside():
        return socket.create_server(("", PORT))


def dial(lab: Lab, source: str, target: str, *, timeout_s: float = 5.0) -> socket.socket:
    with lab[source].inside():
        return socket.create_connection((lab[target].address, PORT), timeout=timeout_s)


def reaches(lab: Lab, source: str, target: str, *, timeout_s: float = 0.3) -> bool:
    with listening(lab, target), contextlib.suppress(TimeoutError), dial(lab, source, target, timeout_s=timeout_s):
        return True
    return False


def test_a_host_is_a_machine_of_its_own(lab: Lab) -> None:
    assert reaches(lab, "a", "b")
    with lab["a"].inside():
        here = [name for _, name in socket.if_nameindex()]
    assert sorted(here) == ["eth0", "lo"]
    assert here != [name for _, name in socket.if_nameindex()]


def test_a_cut_host_is_silent_both_ways_until_it_is_healed(lab: Lab) -> None:
    with lab.cut("b"):
        assert not reaches(lab, "a", "b")
        assert not reaches(lab, "b", "a")
        assert reaches(lab, "a", "c")
    assert reaches(lab, "a", "b")


def test_groups_that_are_cut_apart_hear_their_own(lab: Lab) -> None:
    with lab.cut_between(["a"], ["b"]):
        assert not reaches(lab, "a", "b")
        assert not reaches(lab, "b", "a")
        assert reaches(lab, "a", "c")
        assert reaches(lab, "c", "b")


def test_one_way_loses_what_one_host_says_and_nothing_that_it_hears(lab: Lab) -> None:
    with lab["a"].inside():
        a = socket.socket(type=socket.SOCK_DGRAM)
    with lab["b"].inside():
        b = socket.socket(type=socket.SOCK_DGRAM)
    with a, b:
        for end in (a, b):
            end.bind(("", PORT))
            end.settimeout(0.3)
        with lab.one_way("a", ["b"]):
            a.sendto(b"lost", (lab["b"].address, PORT))
            b.sendto(b"heard", (lab["a"].address, PORT))
            assert a.recv(9) == b"heard"
            with pytest.raises(TimeoutError):
                b.recv(9)


def test_a_reset_ends_connections_that_were_open(lab: Lab) -> None:
    with listening(lab, "b") as server, dial(lab, "a", "b") as here:
        there, _ = server.accept()
        with there, lab.resets("a", "b"):
            here.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                here.recv(1)
            with pytest.raises(ConnectionRefusedError):
                dial(lab, "a", "b")


def test_a_host_without_a_way_in_dials_out(lab: Lab) -> None:
    with lab.no_way_in("a"):
        assert not reaches(lab, "b", "a")
        assert reaches(lab, "a", "b")


def test_loss_loses_about_its_part(lab: Lab) -> None:
    with lab["a"].inside():
        a = socket.socket(type=socket.SOCK_DGRAM)
    with lab["b"].inside():
        b = socket.socket(type=socket.SOCK_DGRAM)
    with a, b, lab.loss(20):
        b.bind(("", PORT))
        b.setblocking(False)
        heard = 0
        for _ in range(1000):
            a.sendto(b"x", (lab["b"].address, PORT))
            with contextlib.suppress(BlockingIOError):
                heard += len(b.recv(9))
    assert 700 < heard < 900


def test_a_slow_host_sends_no_faster_than_told(lab: Lab) -> None:
    with listening(lab, "b") as server, lab.slow("a", kbit=800), dial(lab, "a", "b") as here:
        there, _ = server.accept()
        with there:
            since, left = time.monotonic(), 50_000
            here.sendall(bytes(left))
            while left:
                left -= len(there.recv(65536))
    assert time.monotonic() - since > 0.4  # 400 kbit at 800 kbit/s, less what goes at once


@pytest.mark.skipif(not os.access(TUN, os.W_OK), reason="TAP devices are not allowed here")
def test_a_long_cable_delays_and_the_rules_of_the_switch_hold_for_it() -> None:
    with Lab(["a", "b"], one_way_ms=20) as lab:
        reaches(lab, "a", "b", timeout_s=5)  # they learn where the other is
        since = time.monotonic()
        with listening(lab, "b"), dial(lab, "a", "b"):
            assert time.monotonic() - since >= 0.08  # two cables, there and back
        with lab.cut("b"):
            assert not reaches(lab, "a", "b")


def test_nothing_is_left_of_a_network_whose_maker_was_killed() -> None:
    maker = subprocess.Popen([sys.executable, "-c", MAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with maker:
        assert maker.stdout is not None
        name = maker.stdout.readline().strip()
        assert name in namespaces()
        command = ["ip", "netns", "exec", name, "sh", "-c", "echo there; exec sleep 600"]
        sleeper = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert sleeper.stdout is not None
        assert sleeper.stdout.readline()
        maker.send_signal(signal.SIGKILL)
    sleeper.stdout.close()
    until(lambda: not any(re.match(f"propagul-{maker.pid}-", left) for left in namespaces()), "they are gone")
    assert sleeper.wait(10) == -signal.SIGKILL


def namespaces() -> list[str]:
    return [place.name for place in Path("/run/netns").iterdir()]
