"""What listens on this box, and which addresses it has; the one file here that asks the system."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

import psutil


class Listening(NamedTuple):
    """A TCP socket that listens.

    Attributes:
        host: Its address; `0.0.0.0` or `::` for all.
        port: Its port.
        program: The name of its process; empty where the system does not tell this user.
    """

    host: str
    port: int
    program: str = ""


def listening(ports: frozenset[int]) -> tuple[Listening, ...] | None:
    """Return the sockets that listen at some ports; None where only root may know, as on macOS."""
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return None
    found = [(item.laddr, item.pid) for item in sockets if item.status == psutil.CONN_LISTEN]
    return tuple(Listening(at.ip, at.port, _name_of(pid)) for at, pid in found if at and at.port in ports)


def own_addresses() -> tuple[str, ...]:
    """Return the IP addresses of this box's interfaces that are up."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    families = (socket.AF_INET, socket.AF_INET6)
    addresses = [
        address.address.partition("%")[0]
        for name, found in psutil.net_if_addrs().items()
        if name in up
        for address in found
        if address.family in families
    ]
    return tuple(address for address in addresses if not ipaddress.ip_address(address).is_link_local)


def _name_of(pid: int | None) -> str:
    try:
        return psutil.Process(pid).name() if pid else ""
    except psutil.Error:
        return ""
