"""Under which addresses a store tells others to reach it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

from propagul.link import Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ADDRESSES_MAX = 16


def advertised(listening: Address, given: Sequence[tuple[str, int]] | None) -> tuple[Address, ...]:
    """What to advertise for a listener: what the user gave, else its host, else this machine's outgoing addresses."""
    if given is not None:
        return tuple(Address(host, port or listening.port) for host, port in given)[:ADDRESSES_MAX]
    try:
        everywhere = ipaddress.ip_address(listening.host).is_unspecified
    except ValueError:
        everywhere = False
    if not everywhere:
        return (listening,)
    found = list(_outgoing()) or ["127.0.0.1"]
    return tuple(Address(host, listening.port) for host in found)


def _outgoing() -> Iterator[str]:
    """The addresses the system would send from. Documentation networks as targets; no packet is sent."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            yield str(probe.getsockname()[0])


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
