"""The network interfaces of this machine, and which of their addresses another machine could dial.

Bridges of container and VM runtimes are left out: every box has the same ones, so an address there leads a peer to
itself. Only `interfaces` touches the system, without any dependency: POSIX's `getifaddrs` by way of ctypes. Windows has
none; there the addresses of the own host name are those of all interfaces, which then have no names.
"""

from __future__ import annotations

import ctypes
import ipaddress
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul import _system

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What runtimes of containers and virtual machines call their ends. `br-` alone would hide `br-lan`, which carries the
# LAN on many routers; Docker's have 12 hexadecimal digits. A Hyper-V switch that the user made may carry the LAN, too.
_VIRTUAL: Final = re.compile(
    r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}|nerdctl\d+|waydroid\d+|bridge1\d\d|vmenet\d+"
    r"|(veth|virbr|vnet|lxc|lxdbr|incusbr|cni|cali|cilium|flannel|podman|kube-|vmnet|vboxnet).*"
    r"|vEthernet \((WSL.*|Default Switch|nat|DockerNAT|HNS Internal NIC|Container NIC.*)\)"
    r"|(VMware Network Adapter VMnet|VirtualBox Host-Only|Loopback Pseudo-Interface).*"
)
_VPN: Final = re.compile(r"(tailscale|wg|wireguard|utun|tun|zt|zerotier|nebula).*", re.IGNORECASE)
_OF_MACHINES: Final = re.compile(r"(veth|vnet|tap|lxc|vmenet).*")
# Tailscale's, on any interface.
_OVERLAYS: Final = tuple(map(ipaddress.ip_network, ("100.64.0.0/10", "fd7a:115c:a1e0::/48")))
_SYSTEM_NAMES: Final = Path("/sys/class/net")
_IS_UP: Final = 1  # IFF_UP


class Interface(NamedTuple):
    """A network interface that is up.

    Attributes:
        name: What the system calls it; empty if it does not tell.
        addresses: Its IP addresses as text, IPv6 without zone.
        ports: If it is a bridge and the system tells, which interfaces hang on it.
    """

    name: str
    addresses: tuple[str, ...]
    ports: tuple[str, ...] | None = None


def interfaces() -> list[Interface]:
    """Those of this machine that are up and have an IP address, in the system's order; none if it does not tell."""
    found: dict[str, list[str]] = {}
    try:
        for name, address in _windows() if _system.WINDOWS else _posix():
            found.setdefault(name, []).append(address)
    except (OSError, AttributeError):  # a C library without `getifaddrs`
        return []
    return [Interface(name, tuple(addresses), bridge_ports(name)) for name, addresses in found.items()]


def is_vpn(nic: Interface, host: str) -> bool:
    """Whether an IP address of an interface belongs to an overlay that only its members reach."""
    return bool(_VPN.fullmatch(nic.name)) or any(ipaddress.ip_address(host) in overlay for overlay in _OVERLAYS)


def is_virtual(nic: Interface) -> bool:
    """Whether an interface leads to this machine's own containers or virtual machines only.

    By its name, or because it is a bridge on which nothing hangs but ends of those.
    """
    only_machines = nic.ports is not None and all(map(_OF_MACHINES.fullmatch, nic.ports))
    return only_machines or bool(_VIRTUAL.fullmatch(nic.name))


def usable(nic: Interface) -> list[str]:
    """Addresses of one interface that another machine could dial, wherever it stands."""
    parsed = map(ipaddress.ip_address, () if is_virtual(nic) else nic.addresses)
    return [
        str(ip) for ip in parsed if not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)
    ]


def dialable(nics: Iterable[Interface], version: int) -> list[str]:
    """Addresses of one IP version that others could dial: the LAN's, then a VPN's, or else those of one cable.

    Link-local ones of IPv6 are never among them: they go with an interface of the one who dials.
    """
    nics = list(nics)
    found = [(is_vpn(nic, host), host) for nic in nics for host in usable(nic) if _version(host) == version]
    on_a_cable = [
        host
        for nic in nics
        if not is_virtual(nic)
        for host in nic.addresses
        if version == _version(host) == 4 and ipaddress.ip_address(host).is_link_local
    ]
    hosts = [host for _, host in sorted(found, key=lambda one: one[0])] or on_a_cable
    return list(dict.fromkeys(hosts))


def bridge_ports(name: str) -> tuple[str, ...] | None:
    """Which interfaces hang on a bridge of Linux; None where there is none or the system does not tell."""
    try:
        return tuple(sorted(port.name for port in (_SYSTEM_NAMES / name / "brif").iterdir()))
    except OSError:
        return None


def _version(host: str) -> int:
    return ipaddress.ip_address(host).version


class _Entry(ctypes.Structure):
    """The beginning of `struct ifaddrs`, which is the same on Linux, macOS and the BSDs."""


_Entry._fields_ = [
    ("next", ctypes.POINTER(_Entry)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def _posix() -> Iterator[tuple[str, str]]:
    library = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_Entry)()
    if library.getifaddrs(ctypes.byref(first)):
        raise OSError(ctypes.get_errno(), "the interfaces cannot be listed")
    try:
        entry = first
        while entry:
            one = entry.contents
            address = _address_at(one.address) if one.address and one.flags & _IS_UP else ""
            if address:
                yield one.name.decode(errors="replace"), address
            entry = one.next
    finally:
        library.freeifaddrs(first)


def _address_at(place: int) -> str:
    """The IP address of a `struct sockaddr`, empty if it is none. The BSDs put a length before the family."""
    begin = ctypes.string_at(place, 2)
    family = int.from_bytes(begin, sys.byteorder) if sys.platform == "linux" else begin[1]
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, ctypes.string_at(place + 4, 4))
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, ctypes.string_at(place + 8, 16))
    return ""


def _windows() -> Iterator[tuple[str, str]]:
    for *_, place in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM):
        yield "", str(place[0]).partition("%")[0]
