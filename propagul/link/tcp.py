"""The TCP transport: the face of this package for whoever opens and accepts links.

Holds what all ports and dials of a node share: credentials, limits, the doorstep and the book of refusals.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from propagul.errors import IdentityError, LinkError
from propagul.link.approach import approach, explained
from propagul.link.awaited import AwaitedTunnels
from propagul.link.base import Purpose
from propagul.link.handshake import CertificateRefusedError, UnknownCertificateError, ask, connect, open_stream
from propagul.link.listener import TcpListener
from propagul.link.messages import INSTANCE_BYTES, VERSIONS, SecretChangedError, Versions
from propagul.link.open_links import OpenLinks
from propagul.link.pins import AnyMember
from propagul.link.refusals import Doorstep, RefusalBook
from propagul.link.relayed import Relayed
from propagul.link.terms import Terms
from propagul.link.twins import InstanceBook

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link.base import Address, ByteLink, Link, NodeId, Refusal
    from propagul.link.credentials import Credentials
    from propagul.link.invite import InviteGate
    from propagul.link.pins import Pins
    from propagul.link.stream import FrameStream
    from propagul.link.tcp_link import TcpLink


_TRIES = 3
"""How often one dial tries: while a secret changes either end may have shown a certificate too old or too new."""


class TcpTransport:
    """Opens and accepts links over TCP with mutual TLS 1.3. Implements `propagul.link.base.ReverseTransport`.

    Args:
        credentials: Our standing in the room.
        invites: Open invites, if this node redeems any.
        pins: Which members to link with; every one if not given.
        versions: The protocol versions to speak, `(oldest, newest)`; those of this code if not given.
        instance: What tells this run from another one with our identity, 8 bytes; random if not given.
        handshake_timeout_s: From an accepted connection to its first frame; also each step of a dial.
        half_open_max: Connections that have proven nothing yet, in all. Each costs about 320 KiB.
        half_open_per_host_max: The same for one address (one /64 for IPv6).
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        invites: InviteGate | None = None,
        pins: Pins | None = None,
        versions: tuple[int, int] = VERSIONS,
        instance: bytes | None = None,
        handshake_timeout_s: float = 5.0,
        half_open_max: int = 64,
        half_open_per_host_max: int = 8,
    ) -> None:
        self.awaited = AwaitedTunnels()
        self._doorstep: Doorstep[FrameStream] = Doorstep(half_open_max, half_open_per_host_max)
        self._terms = Terms(
            credentials=credentials,
            invites=invites,
            pins=pins or AnyMember(),
            versions=Versions(*versions),
            instance=secrets.token_bytes(INSTANCE_BYTES) if instance is None else instance,
            awaited=self.awaited,
            book=RefusalBook(),
            opened=OpenLinks(credentials),
            timeout_s=handshake_timeout_s,
            instances=InstanceBook(),
        )

    @property
    def node(self) -> NodeId:
        """This end's identity."""
        return self._terms.credentials.node

    @property
    def half_open(self) -> int:
        """Connections that have proven nothing yet."""
        return len(self._doorstep)

    async def listen(
        self, address: Address, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]
    ) -> TcpListener:
        """Accept links and run the handler of their purpose, one task a link; when it returns the link is closed.

        A purpose without a handler is refused. `JOIN` is for holders of an open invite, who get nothing else. A tunnel
        that is awaited goes to who waits for it.

        Raises:
            LinkError: The port is taken or the address is not this machine's.
        """
        listener = TcpListener(self._terms, accept, self._doorstep)
        await listener.open(address)
        return listener

    async def dial(self, address: Address, purpose: Purpose, *, expect: NodeId | None = None) -> TcpLink:
        """Open a link.

        Raises:
            LinkError: Nobody answers there, in time, with this protocol; or it is this node itself.
            IdentityError: The peer belongs to another room or secret, or is not `expect`; or the pins, here or there,
                are against it; or it is a second machine with our identity.
        """
        return await self._dial(address, purpose, expect, b"")

    async def dial_back(self, address: Address, nonce: bytes, *, expect: NodeId) -> TcpLink:
        """Open a tunnel that the other end asked for with this nonce.

        Raises:
            LinkError, IdentityError: As for `dial`; or nobody waits for it there.
        """
        return await self._dial(address, Purpose.TUNNEL, expect, nonce)

    def over(self, stream: ByteLink | asyncio.Transport, via: Address) -> Relayed:
        """Bytes that somebody else carries, as a connection on which either end may open a link.

        The same handshake as on a socket runs end to end, so whoever carries the bytes sees ciphertext.

        Args:
            stream: A tunnel to who carries them, which is spent with this call, or any connection of the loop.
            via: What to call the other end in errors and refusals.

        Raises:
            ClosedError: The tunnel is closed.
        """
        return Relayed(self._terms, stream, via)

    def refusals(self) -> list[Refusal]:
        """Strangers turned away since the start, at most 64 reasons and hosts, newest last."""
        return self._terms.book.entries()

    async def _dial(self, address: Address, purpose: Purpose, expect: NodeId | None, nonce: bytes) -> TcpLink:
        """Dial, with the next of our certificates where one is not taken."""
        choice, trouble = 0, IdentityError("")
        try:
            for _ in range(_TRIES):
                try:
                    return await self._dial_once(address, purpose, expect, nonce, choice)
                except UnknownCertificateError as error:
                    trouble = error
                except (CertificateRefusedError, SecretChangedError) as error:
                    choice, trouble = choice + 1, explained(self._terms, error, address)
                    if choice >= self._terms.credentials.choices:
                        break
            if isinstance(trouble, UnknownCertificateError):
                await self._ask_why(address, choice)
            raise trouble from None
        finally:
            del trouble  # its traceback leads here: only the collector could free what was tried

    async def _dial_once(
        self, address: Address, purpose: Purpose, expect: NodeId | None, nonce: bytes, choice: int
    ) -> TcpLink:
        terms = self._terms
        pinned = await terms.pins.pinned(address)
        stream = await connect(address, terms.timeout_s)
        link = await approach(terms, stream, address, purpose, expect=expect, pinned=pinned, nonce=nonce, choice=choice)
        if expect is None:
            try:
                await terms.pins.remember(address, link.peer)
            except BaseException:  # cancelled, too: nobody else would close it; it is raised again
                link.abort()
                raise
        return link

    async def _ask_why(self, address: Address, choice: int) -> None:
        """Ask one whom we do not know why that is. Nothing it says is believed but a proof.

        Raises:
            IdentityError: The room's secret was changed.
        """
        terms = self._terms
        try:
            stream = await open_stream(address, terms.credentials.asking_context(choice), terms.timeout_s)
            await ask(stream, address, Purpose.QUERY, terms.timeout_s)
        except SecretChangedError as error:
            raise explained(terms, error, address) from None
        except (IdentityError, LinkError):
            return
        stream.abort()
