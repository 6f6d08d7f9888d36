"""What stands in the way of a link, in words for somebody who has another box to look after. Pure."""

from __future__ import annotations

import errno
import ipaddress
from typing import TYPE_CHECKING

from fleet_app.doctor.findings import Finding, blocked

if TYPE_CHECKING:
    from fleet_app.doctor.box import Box
    from propagul.link.base import Address

LOCAL_NETWORK_SINCE = 15
"""The version of macOS from which a program needs the user's leave to speak to the LAN."""

_LOOK_THERE = "on that box, run: propagul doctor"
_ALLOW_ON_A_MAC = (
    "allow your terminal in System Settings > Privacy & Security > Local Network, then try again "
    "(macOS does not say whether it is allowed)"
)
_JOIN = "on that box: propagul fleet invite; then here: propagul fleet up --join -"


def name_unknown(target: Address) -> Finding:
    """Nobody knows the name."""
    remedy = "use its IP address, which this shows on that box: propagul doctor"
    return blocked("address", f"no machine is known by the name {target.host} here", remedy)


def no_connection(target: Address, problem: OSError, *, mac_version: str) -> Finding:
    """No connection came about; the system's error says how."""
    lan = _LOOK_THERE if not _is_lan_of_a_mac(target, mac_version) else _ALLOW_ON_A_MAC
    match problem.errno:
        case errno.ECONNREFUSED:
            says = f"{target.host} is there, but nothing listens at port {target.port}"
            return blocked("port", says, "on that box, run: propagul fleet up")
        case errno.EHOSTUNREACH | errno.EHOSTDOWN:
            says = f"nothing answers under {target.host}: it is off, has another address now, or its firewall refuses"
            return blocked("address", says, lan)
        case errno.ENETUNREACH | errno.EADDRNOTAVAIL | errno.EINVAL:
            remedy = "connect this box to that network (cable, Wi-Fi or VPN), then try again"
            return blocked("address", f"this box has no way to the network of {target.host}", remedy)
        case errno.EACCES | errno.EPERM:
            remedy = f"allow outgoing connections to port {target.port} in the firewall of this box"
            return blocked("firewall", f"a firewall on this box forbids to connect to {target}", remedy)
        case _:
            says = f"{target} does not answer: a firewall there keeps us out, or the box is off or has another address"
            return blocked("firewall", says, lan)


def another_program(target: Address) -> Finding:
    """What answered spoke another protocol."""
    return blocked("port", f"another program answers at {target}, no node of Propagul", _port_remedy())


def says_nothing(target: Address) -> Finding:
    """The connection was taken, and nothing came."""
    says = f"{target} takes the connection and says nothing: another program, or a node that hangs"
    return blocked("port", says, _port_remedy())


def hangs_up(target: Address) -> Finding:
    """The connection was taken and closed."""
    says = f"{target} takes the connection and hangs up: another program, or a forwarded port that leads nowhere"
    return blocked("port", says, _port_remedy())


def foreign(box: Box) -> Finding:
    """A node of another room or secret, or one of a fleet while this box is in none."""
    if box.credentials is None:
        return blocked("secret", "this box is in no fleet yet", _JOIN)
    says = "it belongs to another fleet: room or secret differ"
    if box.settings.secret is not None:
        return blocked("secret", says, "give both boxes the same secret (PROPAGUL_GOSSIP_SECRET or --secret-file)")
    return blocked("secret", says, _JOIN)


def other_version() -> Finding:
    """The two speak different versions of the protocol."""
    remedy = "update Propagul on the older of the two boxes; this shows which: propagul version"
    return blocked("version", "the two boxes run versions of Propagul that do not understand each other", remedy)


def this_box(target: Address) -> Finding:
    """The address leads back here."""
    return blocked("address", f"{target} is this box itself", "name the other box, or run propagul doctor there")


def copied_identity(target: Address) -> Finding:
    """Two machines with one identity, which never link."""
    says = f"{target} runs with a copy of this box's identity, as after cloning a disk"
    remedy = "on one of the two, join anew with a directory of its own: propagul fleet up --data-dir NEW --join -"
    return blocked("identity", says, remedy)


def somebody_else(target: Address, expected: str, found: str) -> Finding:
    """A member of the fleet, and not the one that told this address."""
    says = f'"{expected}" was last known at {target}, and {found} is there now'
    return blocked("identity", says, f'start "{expected}" again, so that it tells its new address: propagul fleet up')


def span(seconds: float) -> str:
    """A span in the unit that a person would take."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _port_remedy() -> str:
    return "name the port that its node listens at, which this shows on that box: propagul doctor"


def _is_lan_of_a_mac(target: Address, mac_version: str) -> bool:
    """Whether macOS may be what keeps us from an address (TN3179: it makes a refusal look like a network fault)."""
    major = mac_version.partition(".")[0]
    if not major.isdigit() or int(major) < LOCAL_NETWORK_SINCE:
        return False
    try:
        return ipaddress.ip_address(target.host).is_private
    except ValueError:
        return target.host.rstrip(".").endswith(".local")
