"""What this box knows of itself and of the others: settings, membership, the running node, its interfaces.

Only read: the doctor makes no identity, founds no fleet and opens no log.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_app.addresses import interfaces, is_loopback, parse_address
from fleet_app.admin import AdminClient, NodeFile, running_node
from fleet_app.doctor.tools import firewall_findings
from fleet_app.errors import ConfigError, FleetError
from fleet_app.membership import held
from fleet_app.presence import NodePresence  # noqa: TC001 - pydantic resolves the annotations

if TYPE_CHECKING:
    from fleet_app.config import Settings
    from fleet_app.doctor.findings import Finding
    from propagul._interfaces import Interface
    from propagul.link import Address, Credentials

_ADDRESSES_MAX = 16


class Member(BaseModel):
    """One node as the running node sees it; fields as `fleet_app.view.NodeView`. Other machines wrote most of it."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: str
    name: str
    reach: str
    heard_s: float | None = None
    addresses: Annotated[tuple[str, ...], Field(max_length=_ADDRESSES_MAX)] = ()
    presence: NodePresence | None = None

    @property
    def listens(self) -> tuple[Address, ...]:
        """Where it says that it listens; what is no address is left out."""
        found = []
        for text in self.addresses:
            with contextlib.suppress(ConfigError):
                found.append(parse_address(text))
        return tuple(found)

    def ahead_s(self, now_s: float) -> float | None:
        """How far its clock is ahead of ours, to about two seconds; None while no heartbeat comes from it."""
        if self.presence is None or self.heard_s is None or self.reach != "linked":
            return None
        return self.presence.at_s - (now_s - self.heard_s)


class _Fleet(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    nodes: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """This box.

    Attributes:
        settings: What a node started here would be told.
        credentials: What a node here shows to others; None while the box is in no fleet.
        membership_trouble: Why the membership on the disk cannot be used; empty if it can, or if there is none.
        node: The node that runs here, if one does.
        node_trouble: Why the running node could not be asked; empty if it was.
        members: The fleet as that node sees it, this box included.
        nics: Network interfaces that are up.
        firewalls: What the firewalls of this box let in; empty if there seems to be none, or nobody could come anyway.
        now_s: When all this was looked up, by the wall clock.
    """

    settings: Settings
    credentials: Credentials | None
    membership_trouble: str
    node: NodeFile | None
    node_trouble: str
    members: tuple[Member, ...]
    nics: tuple[Interface, ...]
    now_s: float
    firewalls: tuple[Finding, ...] = ()

    @property
    def announced(self) -> tuple[Address, ...]:
        """Where the running node tells others to reach it."""
        told = [address for member in self.members if member.reach == "here" for address in member.listens]
        if told or self.node is None:
            return tuple(told)
        with contextlib.suppress(ConfigError):
            return (parse_address(self.node.listen),)
        return ()

    @property
    def port(self) -> int:
        """Where the node listens, or would."""
        return self.announced[0].port if self.announced else self.settings.listen.port

    @property
    def is_for_itself(self) -> bool:
        """Whether the node listens, or would, where other boxes cannot come."""
        hosts = [address.host for address in self.announced] or [self.settings.listen.host]
        return all(map(is_loopback, hosts))

    @property
    def peers(self) -> tuple[Member, ...]:
        """The other members of the fleet."""
        return tuple(member for member in self.members if member.reach != "here")

    def is_own(self, address: Address) -> bool:
        """Whether an address, its host an IP address, is where the node of this box listens."""
        own = {host for nic in self.nics for host in nic.addresses}
        is_here = address.host in own or is_loopback(address.host)
        return self.node is not None and address.port == self.port and is_here

    def member_at(self, address: Address) -> Member | None:
        """Who told this address."""
        return next((member for member in self.peers if address in member.listens), None)

    def name_of(self, node: str) -> str:
        """What a node is called; the beginning of its identity if nobody told."""
        named = next((member.name for member in self.members if member.id == node), "")
        return f'"{named}"' if named else f"the node {node[:8]}"


def look(settings: Settings) -> Box:
    """Gather what there is to know without asking any other machine. Runs tools of the system; takes seconds."""
    credentials, membership_trouble = None, ""
    try:
        credentials = held(settings)
    except ConfigError as error:
        membership_trouble = str(error)
    node, members, node_trouble = _running(settings)
    box = Box(
        settings=settings,
        credentials=credentials,
        membership_trouble=membership_trouble,
        node=node,
        node_trouble=node_trouble,
        members=members,
        nics=tuple(interfaces()),
        now_s=time.time(),
    )
    return box if box.is_for_itself else replace(box, firewalls=firewall_findings(box.port))


def _running(settings: Settings) -> tuple[NodeFile | None, tuple[Member, ...], str]:
    """The node that runs here and what it says of the fleet, or why it does not."""
    node = None
    try:
        node = running_node(settings.data_dir)
        if node is None:
            return None, (), ""
        answer = AdminClient.from_data_dir(settings.data_dir).status()
        return node, _Fleet.model_validate(answer).nodes, ""
    except FleetError as error:
        return node, (), str(error)
    except ValidationError:
        return node, (), "the node that runs here is of another version than this command"
