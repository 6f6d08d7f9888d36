"""What happens to a gossip node and what it asks for: the two ends of `GossipNode.handle`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from propagul.crdt import Entry, Join, VersionVector
    from propagul.link.base import NodeId

LinkKey = NewType("LinkKey", int)
"""Names one open link to the node; never reused in a process."""


@dataclass(frozen=True, slots=True)
class InThread:
    """Instead of a frame or a block: what takes long, as reading a disk, before the next one can be had.

    Attributes:
        run: Does it, in any thread. Raises StoreError.
    """

    run: Callable[[], None]


class Outgoing(Protocol):
    """What a peer lacks, of one instant, read while the namespace changes."""

    @property
    def entries(self) -> list[Entry]:
        """How the vector changed since that peer was last told."""

    @property
    def arrival(self) -> int:
        """The peer's next place."""

    @property
    def mark(self) -> int:
        """The next "since we last told"."""

    @property
    def join(self) -> Join | None:
        """Set if this is a snapshot join."""

    @property
    def is_empty(self) -> bool:
        """Whether it surely holds no rows, is no snapshot join, and completes no stream that broke off."""

    @property
    def goes_on(self) -> bool:
        """Whether it is the rest of the stream that the peer holds the first rows of."""

    @property
    def position(self) -> bytes:
        """What makes the rest of it a `cut` of a peer that has all blocks taken so far; empty if nothing does."""

    def blocks(self) -> Iterator[bytes | InThread]:
        """The encoded blocks. Taken once; after an `InThread` that must have been run."""


class Incoming(Protocol):
    """A stream on its way in: nothing of it is visible before `apply`."""

    def add(self, block: bytes) -> None:
        """Stage one block.

        Raises:
            StoreError: The log took it not.
        """

    def apply(self, entries: list[Entry], join: Join | None) -> bool:
        """Log and join the whole stream in one step; return whether anything was new.

        Raises:
            PeerProtocolError: The bytes are not rows. Nothing was applied.
            StoreError: The log took it not. Nothing was applied.
        """

    def go_on(self) -> None:
        """It broke off, and another stream brings the rest: rows that come again are newer."""

    def abandon(self) -> None:
        """The rest will not come."""


class Provable(Protocol):
    """Rows that prove themselves: they may be compared, and joined whatever vectors say."""

    def sums(self) -> bytes | None:
        """For each of 256 buckets of keys, 8 bytes that depend on all rows in it and not on their order.

        None if rows changed since they were counted.
        """

    def count(self) -> None:
        """Count them, unless that was done meanwhile. Takes long: in any thread, and in several at once.

        Raises:
            StoreError: They could not be read.
        """

    def rows_in(self, buckets: Collection[int]) -> Iterator[bytes | InThread]:
        """Encoded blocks of all rows in these buckets; after an `InThread` that must have been run."""

    def mend(self, block: bytes) -> bool:
        """Join rows whatever the vector says; return whether anything was new.

        Raises:
            PeerProtocolError: The bytes are not rows.
            StoreError: The log took them not.
        """


class Source(Protocol):
    """One namespace as gossip sees it. Every call is atomic towards local writers."""

    @property
    def arrival(self) -> int:
        """The number of the newest change of rows."""

    def hello(self) -> tuple[bytes, VersionVector, int]:
        """The vector's digest, a copy of the vector, and its mark, all of one instant."""

    def told_since(self, mark: int) -> tuple[list[Entry], int]:
        """How the vector changed since `mark`, and the mark now."""

    def covers(self, entries: Iterable[Entry]) -> bool:
        """Whether everything in `entries` is applied here."""

    def origins(self) -> int:
        """Of how many origins something is applied here."""

    def cut(self, *, after: int, known: VersionVector, told: int, held: bytes = b"") -> Outgoing:
        """Freeze what a peer lacks; see `Replica.cut`. `held` is the position of a stream of ours that broke off."""

    def cut_own(self, *, after: int, known: VersionVector) -> Outgoing | None:
        """Freeze what a peer lacks of this process's own writes; see `Replica.cut_own`."""

    def incoming(self) -> Incoming:
        """Where a stream goes that begins now."""

    @property
    def is_busy(self) -> bool:
        """Whether rows of a stream that is applied wait to be joined: what needs them all at once takes long now."""

    def settle(self) -> bool:
        """Join some of them; return whether more are left."""

    @property
    def provable(self) -> Provable | None:
        """Its rows as such; None where rows prove nothing, as by default."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link is open and authenticated.

    Attributes:
        dialed: Whether we opened it; else it is used from when its peer speaks on it.
        urgent: Whether we have no other and the peer should make room for it.
        instance: Tells this run of the peer from others; empty where it is not known.
    """

    link: LinkKey
    peer: NodeId
    dialed: bool
    urgent: bool = False
    instance: bytes = b""


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
class Settled:
    """No row of this namespace waits to be joined any more; harmless at any other time."""

    space: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; due at `GossipNode.next_tick`, harmless at any other time."""


Event = LinkUp | LinkDown | Received | Wrote | Settled | Tick


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
