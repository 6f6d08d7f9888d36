"""The TCP transport: the face of this package for whoever opens and accepts links.

Holds what all ports and dials of a node share: credentials, limits, the doorstep and the book of refusals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.errors import IdentityError, LinkError
from propagul.link.deeds import Ended, read_deed
from propagul.link.handshake import CertificateRefusedError, UnknownCertificateError, ask, open_stream
from propagul.link.listener import TcpListener
from propagul.link.messages import SecretChangedError
from propagul.link.open_links import OpenLinks
from propagul.link.refusals import Doorstep, RefusalBook
from propagul.link.tcp_link import TcpLink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link.base import Address, Link, NodeId, Purpose, Refusal
    from propagul.link.credentials import Credentials
    from propagul.link.invite import InviteGate
    from propagul.link.stream import FrameStream


_TRIES = 3
"""How often one dial tries: while a secret changes either end may have shown a certificate too old or too new."""


class TcpTransport:
    """Opens and accepts links over TCP with mutual TLS 1.3. Implements `propagul.link.base.Transport`.

    Args:
        credentials: Our standing in the room.
        invites: Open invites, if this node redeems any.
        handshake_timeout_s: From an accepted connection to its first frame; also each step of a dial.
        half_open_max: Connections that have proven nothing yet, in all. Raising it costs about 100 KiB each.
        half_open_per_host_max: The same for one address (one /64 for IPv6).
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        invites: InviteGate | None = None,
        handshake_timeout_s: float = 5.0,
        half_open_max: int = 64,
        half_open_per_host_max: int = 8,
    ) -> None:
        self._credentials, self._invites, self._timeout_s = credentials, invites, handshake_timeout_s
        self._doorstep: Doorstep[FrameStream] = Doorstep(half_open_max, half_open_per_host_max)
        self._book = RefusalBook()
        self._open = OpenLinks(credentials)

    @property
    def node(self) -> NodeId:
        """This end's identity."""
        return self._credentials.node

    @property
    def half_open(self) -> int:
        """Connections that have proven nothing yet."""
        return len(self._doorstep)

    async def listen(
        self, address: Address, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]
    ) -> TcpListener:
        """Accept links and run the handler of their purpose, one task a link; when it returns the link is closed.

        A purpose without a handler is refused. `JOIN` is for holders of an open invite, who get nothing else.

        Raises:
            LinkError: The port is taken or the address is not this machine's.
        """
        listener = TcpListener(
            self._credentials,
            accept,
            invites=self._invites,
            doorstep=self._doorstep,
            book=self._book,
            opened=self._open,
            handshake_timeout_s=self._timeout_s,
        )
        await listener.open(address)
        return listener

    async def dial(self, address: Address, purpose: Purpose, *, expect: NodeId | None = None) -> TcpLink:
        """Open a link.

        Raises:
            LinkError: Nobody answers there, in time, with this protocol; or it is this node itself.
            IdentityError: The peer belongs to another room or secret, or is not `expect`.
        """
        choice, trouble = 0, IdentityError("")
        for _ in range(_TRIES):
            try:
                return await self._dial(address, purpose, expect, choice)
            except UnknownCertificateError as error:
                trouble = error
            except (CertificateRefusedError, SecretChangedError) as error:
                choice, trouble = choice + 1, self._explained(error, address)
                if choice >= self._credentials.choices:
                    raise trouble from None
        if isinstance(trouble, UnknownCertificateError):
            await self._ask_why(address, purpose, choice)
        raise trouble

    async def _dial(self, address: Address, purpose: Purpose, expect: NodeId | None, choice: int) -> TcpLink:
        stream = await open_stream(address, self._credentials.dialer_context(choice), self._timeout_s)
        try:
            peer = self._recognise(stream, address, expect)
        except (IdentityError, LinkError):
            stream.abort()
            raise
        self._open.add(stream, peer)
        await ask(stream, address, purpose, self._timeout_s)
        return TcpLink(stream, peer=peer, purpose=purpose, dialed=True)

    async def _ask_why(self, address: Address, purpose: Purpose, choice: int) -> None:
        """Ask one whom we do not know why that is. Nothing it says is believed but a proof.

        Raises:
            IdentityError: The room's secret was changed.
        """
        try:
            stream = await open_stream(address, self._credentials.asking_context(choice), self._timeout_s)
            await ask(stream, address, purpose, self._timeout_s)
        except SecretChangedError as error:
            raise self._explained(error, address) from None
        except (IdentityError, LinkError):
            return
        stream.abort()

    def _explained(self, error: IdentityError, address: Address) -> IdentityError:
        """What is known for sure of a refusal: that the secret was changed, if its proof holds."""
        if not isinstance(error, SecretChangedError) or self._is_proven(error.proof):
            return error
        return IdentityError(f"{address} says without proof that this room's secret was changed")

    def _is_proven(self, proof: bytes) -> bool:
        try:
            deed = read_deed(proof)
        except IdentityError:
            return False
        return isinstance(deed, Ended) and deed.tag in self._credentials.ring.certificates

    def _recognise(self, stream: FrameStream, address: Address, expect: NodeId | None) -> NodeId:
        try:
            peer = self._credentials.member(stream.peer_certificate() or b"")
        except IdentityError as error:
            raise IdentityError(f"{address} is {error}: it is not linked with") from error
        if peer == self.node:
            raise LinkError(f"{address} is this node itself, or a node that runs with a copy of its identity")
        if expect is not None and peer != expect:
            raise IdentityError(f"{address} is {peer}, expected was {expect}")
        return peer

    def refusals(self) -> list[Refusal]:
        """Strangers turned away since the start, at most 64 reasons and hosts, newest last."""
        return self._book.entries()
