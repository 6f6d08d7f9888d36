"""Where this machine can be reached, and how a person can reach it.

A node that listens everywhere tells the others which addresses those are; which of them are of no use to others,
`propagul._interfaces` knows. Addresses of a VPN such as Tailscale or WireGuard are told to members, after those of the
LAN, and never called out on the LAN. Only `interfaces` and `free_port_near` touch the system; the rest are functions of
their arguments.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import sys
from typing import TYPE_CHECKING

import psutil

from fleet_app.errors import ConfigError
from propagul._interfaces import Interface, bridge_ports, is_vpn, usable
from propagul.link.base import Address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The hosts that mean every address, and the IP versions a listener there takes; recognised here, bound elsewhere.
_VERSIONS = {"": (4, 6), "0.0.0.0": (4,), "::": (6,)}  # noqa: S104 - recognised

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`; IPv6 stands in brackets, port 0 lets the system choose.

    Raises:
        ConfigError: It is not of that form; the message says which part and shows the right one.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ConfigError(f"{text[:80]!r} is not HOST:PORT; write it like 0.0.0.0:8788 or [::1]:8788")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ip(host, 6):
            raise ConfigError(f"{text[:80]!r}: only an IPv6 address stands in brackets, like [::1]:8788")
    elif ":" in host:
        raise ConfigError(f"{text[:80]!r}: write an IPv6 address in brackets, like [::1]:8788")
    elif not _is_host(host):
        raise ConfigError(f"{text[:80]!r}: {host[:80]!r} is neither an IP address nor a host name")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ConfigError(f"{text[:80]!r}: the port must be a number from 0 to 65535")
    return Address(host, int(port))


def _is_host(host: str) -> bool:
    """An IPv4 address or a DNS name, whose last label is never all digits (RFC 3696, section 2)."""
    labels = host.rstrip(".").split(".")
    if labels[-1].isdigit():
        return _is_ip(host, 4)
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine. A name other than `localhost` is not looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def interfaces() -> list[Interface]:
    """Read the interfaces of this machine that are up."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    families = (socket.AF_INET, socket.AF_INET6)
    return [
        Interface(name, tuple(a.address.partition("%")[0] for a in found if a.family in families), bridge_ports(name))
        for name, found in psutil.net_if_addrs().items()
        if name in up
    ]


def advertised(listen: Address, among: Iterable[Interface] | None = None) -> tuple[Address, ...]:
    """Return the addresses to tell the other members for a listener at `listen`: the LAN's first, then a VPN's.

    A listener on one address has that one. A listener on all of them has every address another box could use
    (`0.0.0.0`: IPv4 only, `::`: IPv6 only, as asyncio binds them), IPv4 first; loopback only when there is nothing
    else.

    Args:
        listen: Where the listener is, with its real port.
        among: The interfaces that are up; read from the system when None.
    """
    if listen.host not in _VERSIONS:
        return (listen,)
    nics = interfaces() if among is None else list(among)
    hosts = [*_hosts(nics, listen, vpn=False), *_hosts(nics, listen, vpn=True)]
    alone = "::1" if listen.host == "::" else "127.0.0.1"
    return tuple(Address(host, listen.port) for host in dict.fromkeys(hosts or [alone]))


def on_lan(listen: Address, among: Iterable[Interface] | None = None) -> tuple[Address, ...]:
    """Return those of `advertised` that may be called out on the LAN; none for a listener on a VPN or loopback."""
    nics = interfaces() if among is None else list(among)
    if listen.host in _VERSIONS:
        hosts = _hosts(nics, listen, vpn=False)
    else:
        hosts = [ip for nic in nics for ip in usable(nic) if ip == listen.host and not is_vpn(nic, ip)]
    return tuple(Address(host, listen.port) for host in dict.fromkeys(hosts))


def _hosts(nics: Iterable[Interface], listen: Address, *, vpn: bool) -> list[str]:
    """Usable addresses that a listener on every address takes, IPv4 first."""
    found = [host for nic in nics for host in usable(nic) if is_vpn(nic, host) == vpn]
    return [host for version in _VERSIONS[listen.host] for host in found if _is_ip(host, version)]


def has_display(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> bool:
    """Whether a browser opened on this machine would be seen by the person at the keyboard."""
    variables = os.environ if environ is None else environ
    if variables.get("SSH_CONNECTION") or variables.get("SSH_TTY"):
        return False
    if platform in {"darwin", "win32"}:
        return True
    return bool(variables.get("DISPLAY") or variables.get("WAYLAND_DISPLAY"))


def ssh_line(gateway: Address, user: str, host: str) -> str:
    """Return the command that brings a loopback `gateway` of `host` to the same port of one's own machine."""
    return f"ssh -L {gateway.port}:{gateway} {user}@{host}"


def free_port_near(host: str, port: int, tries: int = 50) -> int:
    """Return the first free TCP port from `port` upwards, so that two nodes on one box need no flags.

    Only for defaults: an address the user gave is used or refused, never replaced. The port is free at the moment of
    asking; whoever binds it must still expect to lose a race.

    Raises:
        ConfigError: None of `tries` ports is free, or `host` is not an address of this machine.
    """
    last = min(port + tries, 65536)
    for candidate in range(port, last):
        if _is_free(host, candidate):
            return candidate
    raise ConfigError(f"ports {port} to {last - 1} on {host or 'every address'} are all taken; name a free one")


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # there it only steps over connections in TIME_WAIT; on Windows it would steal ports
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except OSError as problem:
        if problem.errno in {errno.EADDRINUSE, errno.EACCES}:
            return False
        raise ConfigError(f"{host} is not an address of this machine; listen on one that is") from problem
    return True
