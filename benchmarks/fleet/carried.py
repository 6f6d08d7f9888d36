"""What the gossip links of a node carry, read from the kernel at their other ends, which are in this process.

Counted are the bytes of TCP's streams, both ways: frames, TLS records and handshakes; not what TCP and IP put around
them, and not what is sent a second time. Linux only: elsewhere a socket does not tell.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection

IS_TOLD = sys.platform.startswith("linux")

_ACKED_AND_RECEIVED = struct.Struct("=120xQQ")
"""In the kernel's `struct tcp_info`: bytes that the other end has acknowledged, bytes that came from it."""


class Carried:
    """Bytes of the links between a node and this process.

    Args:
        pid: The node's process.
        port: Where it listens.
        ports: Where this process does.
    """

    def __init__(self, pid: int, port: int, ports: Collection[int]) -> None:
        self._node, self._here = psutil.Process(pid), psutil.Process()
        self._port, self._ports = port, frozenset(ports)
        self._seen: dict[tuple[object, object], int] = {}

    def bytes(self) -> int:
        """Sent and received so far. Call it now and then: of a link that ends, what it carried since is not known."""
        theirs = {(link.raddr, link.laddr) for link in self._node.net_connections("tcp") if link.raddr}
        for link in self._here.net_connections("tcp"):
            is_gossip = link.raddr and (link.raddr.port == self._port or link.laddr.port in self._ports)
            if is_gossip and (link.laddr, link.raddr) in theirs:
                self._seen[link.laddr, link.raddr] = _carried(link.fd)
        return sum(self._seen.values())

    @property
    def links(self) -> int:
        """How many links there have been."""
        return len(self._seen)


def _carried(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as one:
        told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AND_RECEIVED.size)
    return sum(_ACKED_AND_RECEIVED.unpack(told))
