"""What a mesh keeps of its links: those that are open, whom it stays linked with, and what it has counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from propagul.link.base import Address, Link, NodeId, Transport

ASKS_MAX: Final = 64
"""Frames that are no gossip waiting for one link."""


@dataclass(slots=True, eq=False)
class Open:
    """A link in use; `ready` is set when the node may have frames for it, or when there are `asks`."""

    link: Link
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    asks: list[bytes] = field(default_factory=list)

    def take_asks(self) -> list[bytes]:
        """Take what waits to be sent between the frames of gossip."""
        taken, self.asks = self.asks, []
        return taken


@dataclass(slots=True, eq=False)
class Target:
    """Somebody to stay linked with.

    Attributes:
        addresses: Where it may answer, tried in turn.
        node: Who it is: given for members, learned from the first link for addresses the user named.
        tried: Set when the first round of dials has ended, one way or the other.
        trouble: Why the last round failed; empty after a success.
        refused: Whether somebody answered and was not a member of this room, or not who was expected.
        ousted: Whether its link ended for one to another run of it: this run may live too, and is dialled once more.
        transport: How it is dialled, if it is a process of our own directory.
        urgent: Whether it must make room for us.
    """

    addresses: tuple[Address, ...]
    node: NodeId | None = None
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: str = ""
    refused: bool = False
    ousted: bool = False
    transport: Transport | None = None
    urgent: bool = False
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class MeshCounters:
    """What has happened on the links since the start."""

    links_opened: int = 0
    links_dropped: int = 0
    dials_failed: int = 0
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    throttled_s: float = 0.0
    last_drop: str = ""
