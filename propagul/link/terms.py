"""The terms on which a node links, the same for all ways in and out: ports, dials, and streams that others relay."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from propagul.link.base import Purpose
from propagul.link.twins import runs_twice

if TYPE_CHECKING:
    from propagul.link.awaited import AwaitedTunnels
    from propagul.link.base import NodeId
    from propagul.link.credentials import Credentials
    from propagul.link.invite import InviteGate
    from propagul.link.messages import Hello, Versions
    from propagul.link.open_links import OpenLinks
    from propagul.link.pins import Pins
    from propagul.link.refusals import RefusalBook
    from propagul.link.twins import InstanceBook

_log = logging.getLogger("propagul.link")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Who we are, whom we let in, and where it is counted.

    Attributes:
        credentials: Our standing in the room.
        invites: Open invites, if this node redeems any.
        pins: Which members to link with.
        versions: What this node speaks.
        instance: What tells this run from another one with the same identity.
        awaited: Tunnels that were asked for.
        book: Where those turned away are counted.
        opened: The connections of members, so that one who is a member no more can be cut off.
        timeout_s: Longest handshake.
        instances: Who linked with us under which instance.
    """

    credentials: Credentials
    invites: InviteGate | None
    pins: Pins
    versions: Versions
    instance: bytes
    awaited: AwaitedTunnels
    book: RefusalBook
    opened: OpenLinks
    timeout_s: float
    instances: InstanceBook

    def count(self, reason: str, host: str) -> None:
        """Count a refusal; log the first and then ever rarer, so that strangers cannot fill a log."""
        count = self.book.add(str(reason), host, asyncio.get_running_loop().time())
        if count & (count - 1) == 0:
            _log.info("link.refused reason='%s' host=%s count=%d", reason, host, count)

    def note_instance(self, node: NodeId, said: Hello, host: str) -> None:
        """A member linked with us; count it if it runs twice.

        Only links for gossip tell: of several processes with one directory, one has those, and all may open tunnels.
        """
        if said.purpose == Purpose.GOSSIP and self.instances.note(node, said.instance):
            self.count(runs_twice(node), host)
