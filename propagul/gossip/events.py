"""What happens to a gossip node and what it asks for: the two ends of `GossipNode.handle`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from propagul.crdt import Cut, Entry, VersionVector
    from propagul.link.base import NodeId

LinkKey = NewType("LinkKey", int)
"""Names one open link to the node; never reused in a process."""


class Source(Protocol):
    """One namespace as gossip sees it. Every call is atomic towards local writers."""

    @property
    def arrival(self) -> int:
        """How many row changes there have been."""

    def hello(self) -> tuple[bytes, VersionVector, int]:
        """The vector's digest, a copy of the vector, and its mark, all of one instant."""

    def told_since(self, mark: int) -> tuple[list[Entry], int]:
        """How the vector changed since `mark`, and the mark now."""

    def covers(self, entries: Iterable[Entry]) -> bool:
        """Whether everything in `entries` is applied here."""

    def cut(self, *, after: int, known: VersionVector, told: int) -> Cut:
        """Freeze what a peer lacks; see `Replica.cut`."""

    def cut_own(self, *, after: int, known: VersionVector) -> Cut:
        """Freeze what a peer lacks of this process's own writes; see `Replica.cut_own`."""

    def merge(self, packed: bytes, entries: Iterable[Entry]) -> bool:
        """Log and join one complete stream; return whether anything was new.

        Raises:
            PeerProtocolError: The bytes are not rows. Nothing was applied.
        """


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link is open and authenticated."""

    link: LinkKey
    peer: NodeId
    dialed: bool


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A link is gone, whoever closed it."""

    link: LinkKey


@dataclass(frozen=True, slots=True)
class Received:
    """A frame arrived."""

    link: LinkKey
    frame: bytes


@dataclass(frozen=True, slots=True)
class Wrote:
    """Local writes happened in this namespace; one event may stand for many."""

    space: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; due at `GossipNode.next_tick`, harmless at any other time."""


Event = LinkUp | LinkDown | Received | Wrote | Tick


@dataclass(frozen=True, slots=True)
class Ready:
    """`GossipNode.outgoing(link)` has frames now."""

    link: LinkKey


@dataclass(frozen=True, slots=True)
class Drop:
    """Close this link."""

    link: LinkKey
    reason: str


Effect = Ready | Drop
