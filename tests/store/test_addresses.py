"""What a store tells of where it is, where no way leads out of its network."""

from __future__ import annotations

import psutil
import pytest

from propagul._interfaces import Interface, dialable, interfaces

LOOPBACK = Interface("lo", ("127.0.0.1", "::1"))
LAN = Interface("eth0", ("10.0.0.2", "169.254.1.2", "fd00::2", "fe80::2"))
CABLE = Interface("eth1", ("169.254.7.7", "fe80::7"))
VPN = Interface("wg0", ("10.8.0.2", "fd08::2"))
OVERLAY = Interface("eth2", ("100.64.0.9",))
BRIDGE = Interface("docker0", ("172.17.0.1", "169.254.9.9"))
SPARE = Interface("mine", ("172.31.0.1", "fd31::1"), ("veth12",))
CARRIES_THE_LAN = Interface("br0", ("10.1.0.2",), ("eth0", "veth12"))


@pytest.mark.parametrize(
    ("nics", "four", "six"),
    [
        ([LOOPBACK], [], []),
        ([LOOPBACK, BRIDGE, SPARE], [], []),
        ([VPN, LOOPBACK, LAN, BRIDGE, CABLE], ["10.0.0.2", "10.8.0.2"], ["fd00::2", "fd08::2"]),
        ([OVERLAY, LAN], ["10.0.0.2", "100.64.0.9"], ["fd00::2"]),
        ([LOOPBACK, BRIDGE, CABLE], ["169.254.7.7"], []),
        ([CARRIES_THE_LAN, SPARE, CARRIES_THE_LAN], ["10.1.0.2"], []),
        ([Interface("", ("192.168.0.7", "127.0.0.1"))], ["192.168.0.7"], []),
    ],
)
def test_others_are_told_what_they_could_dial(nics: list[Interface], four: list[str], six: list[str]) -> None:
    assert dialable(nics, 4) == four
    assert dialable(nics, 6) == six


def test_the_interfaces_that_are_read_are_those_of_the_system() -> None:
    """Against a library that asks the system in another way."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    expected = {
        (name, one.address.partition("%")[0])
        for name, found in psutil.net_if_addrs().items()
        for one in found
        if name in up and one.family.name in ("AF_INET", "AF_INET6")
    }
    assert {(nic.name, address) for nic in interfaces() for address in nic.addresses} == expected
