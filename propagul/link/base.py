"""The seam of this package: what a link is, whatever carries it.

One link = one connection = one session = one purpose. Nothing is multiplexed: TCP's flow control is per purpose. A
link exists only after both ends have proven that they are members of the room (or, for `JOIN`, that they hold an
invite), so whoever is handed a `Link` may trust `peer`.

Two transports implement `Transport`: `propagul.link.tcp.TcpTransport` and the in-memory one in `propagul.testing`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NewType, Protocol, runtime_checkable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link.awaited import AwaitedTunnels

NodeId = NewType("NodeId", str)
"""A node's Ed25519 public key in lower-case base32 without padding: 52 characters."""

FRAME_BYTES_MAX = 64 * 1024
"""Payload of one frame after the purpose is agreed. Longer ones close the link."""

FIRST_FRAME_BYTES_MAX = 4 * 1024
"""Payload of the first frame, read before anything else is known of the peer."""


class Purpose(enum.StrEnum):
    """What one connection is for; agreed in its first frame and never changed."""

    GOSSIP = "gossip"
    TUNNEL = "tunnel"
    JOIN = "join"
    QUERY = "query"


class Address(NamedTuple):
    """Where a listener is. `host` is an IP address or a name, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Link(Protocol):
    """An open, authenticated connection that carries frames in order."""

    @property
    def peer(self) -> NodeId:
        """Who is at the other end, proven by its certificate."""

    @property
    def purpose(self) -> Purpose:
        """What this connection is for."""

    @property
    def dialed(self) -> bool:
        """Whether this end opened the connection."""

    @property
    def remote(self) -> Address:
        """The other end's address as this end sees it."""

    @property
    def version(self) -> int:
        """The protocol version that both ends speak on it."""

    @property
    def instance(self) -> bytes:
        """Tells the process at the other end from other runs of the same identity; empty where it tells none."""

    async def send(self, frame: bytes) -> None:
        """Queue one frame; return when the transport may take more (flow control).

        Raises:
            LocalProtocolError: The frame is longer than `FRAME_BYTES_MAX`.
            ClosedError: The link is closed or broke.
        """

    async def receive(self) -> bytes:
        """Return the next frame.

        Raises:
            PeerProtocolError: The peer announced a frame over the limit.
            ClosedError: The link is closed or broke.
        """

    async def aclose(self) -> None:
        """Send what is queued, then close. Idempotent."""

    def abort(self) -> None:
        """Close at once, dropping what is queued. Idempotent."""


@runtime_checkable
class ByteLink(Link, Protocol):
    """A link whose connection can be handed to another protocol: the end of a tunnel."""

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Give the decrypted byte stream to `protocol` and return its transport; the link object is spent.

        `protocol.connection_made` is called, then `data_received` with whatever arrived after the last frame read.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Strangers a listener turned away for one reason from one address."""

    reason: str
    """A sentence for people: `another room or another secret`, `no handshake within 5 s`, ..."""
    host: str
    count: int
    last_s: float
    """When the last one came, by the transport's monotonic clock."""


class Listener(Protocol):
    """An open port."""

    @property
    def address(self) -> Address:
        """Where it listens, with the port the system chose if 0 was asked for."""

    async def aclose(self) -> None:
        """Stop listening and abort connections that have no link yet; open links stay."""


class Transport(Protocol):
    """Opens and accepts links."""

    @property
    def node(self) -> NodeId:
        """This end's identity."""

    async def listen(self, address: Address, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]) -> Listener:
        """Accept links and run the handler of their purpose, one task a link; when it returns the link is closed.

        A purpose without a handler is refused.

        Raises:
            LinkError: The port is taken or the address is not this machine's.
        """

    async def dial(self, address: Address, purpose: Purpose, *, expect: NodeId | None = None) -> Link:
        """Open a link.

        Raises:
            LinkError: Nobody answers there, in time, with this protocol.
            IdentityError: The peer belongs to another room or secret, or is not `expect`.
        """

    def refusals(self) -> list[Refusal]:
        """Strangers turned away since the start, bounded, newest last."""


@runtime_checkable
class ReverseTransport(Transport, Protocol):
    """A transport that can also be dialled for a tunnel which its own side asked for."""

    @property
    def awaited(self) -> AwaitedTunnels:
        """The tunnels that are waited for here."""

    async def dial_back(self, address: Address, nonce: bytes, *, expect: NodeId) -> Link:
        """Open a tunnel that the other end asked for with this nonce.

        Raises:
            LinkError: Nobody answers there, in time, with this protocol, or nobody waits for it.
            IdentityError: The peer belongs to another room or secret, or is not `expect`.
        """
