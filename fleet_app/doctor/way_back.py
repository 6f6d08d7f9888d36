"""Whether the peer could reach this box in turn, by what this box announces.

Nobody but the peer can know, and it is not asked: these are the reasons that can be seen from here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

from fleet_app.addresses import is_loopback
from fleet_app.doctor.findings import Finding, blocked, note, ok

if TYPE_CHECKING:
    from fleet_app.doctor.box import Box
    from propagul.link.base import Address


def way_back(box: Box, place: Address) -> tuple[Finding, ...]:
    """Say what may keep the peer at `place`, an IP address, from reaching this box, its firewalls left out."""
    if box.node is None:
        return (blocked("node", "no node runs on this box, so that one does not see it", "propagul fleet up"),)
    if is_loopback(place.host):
        return ()
    return (judge_announcement(box, place, from_host=outgoing_host(place)),)


def judge_announcement(box: Box, place: Address, *, from_host: str) -> Finding:
    """Judge what this box announces, seen from a peer that we reach from `from_host`. Pure."""
    if box.is_for_itself:
        remedy = f"start the node with: propagul fleet up --listen 0.0.0.0:{box.port}"
        return blocked("address", "the node of this box listens for this box only, so that one cannot reach it", remedy)
    hosts = [address.host for address in box.announced]
    if from_host in hosts:
        return ok("address", f"this box announces {from_host}:{box.port}, over which the two are connected")
    told = ", ".join(hosts)
    if _is_public(place.host) and not any(map(_is_public, hosts)):
        return note("address", f"that box is far away, and cannot reach what this one announces ({told}) by itself")
    return note("address", f"this box reaches it from {from_host or 'an unknown address'}, and announces {told} only")


def outgoing_host(place: Address) -> str:
    """The address from which this box speaks to another, empty if there is none. No packet is sent."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((place.host, place.port))
        return str(probe.getsockname()[0])
    return ""


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return True
