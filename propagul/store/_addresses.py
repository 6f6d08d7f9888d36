"""Under which addresses a store tells others to reach it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

from propagul._interfaces import dialable, interfaces
from propagul.link import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESSES_MAX = 16


def advertised(listening: Address, given: Sequence[tuple[str, int]] | None) -> tuple[Address, ...]:
    """What to advertise for a listener: what the user gave, else its host, else this machine's outgoing address.

    Where no way leads out, the addresses of all interfaces that others could dial; loopback if there are none. A
    listener on `0.0.0.0` takes IPv4 only and one on `::` IPv6 only, so that is what is told of them.
    """
    if given is not None:
        return tuple(Address(host, port or listening.port) for host, port in given)[:ADDRESSES_MAX]
    try:
        host = ipaddress.ip_address(listening.host)
    except ValueError:
        return (listening,)
    if not host.is_unspecified:
        return (listening,)
    outgoing, alone = _outgoing(host.version), "127.0.0.1" if host.version == 4 else "::1"
    found = [outgoing] if outgoing else dialable(interfaces(), host.version)
    return tuple(Address(one, listening.port) for one in (found or [alone])[:ADDRESSES_MAX])


def _outgoing(version: int) -> str:
    """The address the system would send from, empty without one that others could dial. No packet is sent."""
    family, target = (socket.AF_INET, "192.0.2.1") if version == 4 else (socket.AF_INET6, "2001:db8::1")
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))  # a network of documentation (RFC 5737, RFC 3849)
        host = str(probe.getsockname()[0]).partition("%")[0]
        return "" if ipaddress.ip_address(host).is_link_local else host
    return ""


def parse_addresses(value: object) -> tuple[Address, ...]:
    """Addresses out of a member's presence row; what is not an address is left out: it came from another machine."""
    rows = value if isinstance(value, list) else []
    return tuple(
        Address(row[0], row[1])
        for row in rows[:ADDRESSES_MAX]
        if isinstance(row, list)
        and len(row) == 2
        and type(row[0]) is str
        and type(row[1]) is int
        and 0 < row[1] < 65536
        and 0 < len(row[0]) < 256
    )
