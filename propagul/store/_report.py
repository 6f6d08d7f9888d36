"""What the store tells about itself: sync reports, members, statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propagul.link.base import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSync:
    """How catching up with one named peer went.

    Attributes:
        address: The address that was asked.
        node: Who answered; None if nobody did.
        label: What it calls itself.
        caught_up: Whether everything it had is here now.
        recovering: Whether it had itself not caught up with anybody yet, so that others may know more.
        trouble: Why it did not answer; empty if it did.
    """

    address: str
    node: NodeId | None = None
    label: str = ""
    caught_up: bool = False
    recovering: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What `start` recovered from peers.

    Attributes:
        peers: One entry for each peer that was named.
        rows: Rows received while starting.
        complete: Every named peer answered, was not recovering itself, and holds nothing that is not here.
    """

    peers: tuple[PeerSync, ...] = ()
    rows: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return all(peer.caught_up and not peer.recovering for peer in self.peers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A store in the room that was heard of recently.

    Attributes:
        node: Its identity.
        label: What it calls itself.
        addresses: Where it says it listens.
        linked: Whether a link is open between it and this store.
        heard_s: Seconds since its last sign of life arrived here, direct or relayed.
        leaf: Whether it is a leaf: it is linked with its hubs only, and hears of no presence.
    """

    node: NodeId
    label: str
    addresses: tuple[str, ...]
    linked: bool
    heard_s: float
    leaf: bool = False
