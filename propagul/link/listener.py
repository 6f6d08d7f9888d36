"""An open port: strangers come in, links come out.

Every connection has one task, owned by its listener's group; what one of them raises is caught there and disturbs no
other. What a stranger can cost is bounded before it proves anything: time, places on the doorstep, and 4 KiB.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
import traceback
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, IdentityError, LinkError, PeerProtocolError, PropagulError
from propagul.link.base import FIRST_FRAME_BYTES_MAX, Address, NodeId, Purpose
from propagul.link.certificates import holder, parse_certificate
from propagul.link.credentials import Standing
from propagul.link.messages import PROTOCOL_VERSION, Hello, RefusalCode, pack_ok, pack_refusal, unpack_hello
from propagul.link.refusals import TOO_MANY, Doorstep, RefusalBook, Visitor
from propagul.link.stream import FrameStream
from propagul.link.tcp_link import TcpLink
from propagul.link.tls import Cause, cause_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from propagul.link.base import Link
    from propagul.link.credentials import Credentials
    from propagul.link.invite import InviteGate
    from propagul.link.open_links import OpenLinks

_log = logging.getLogger("propagul.link")

_OBJECTIONS: dict[RefusalCode, str] = {
    RefusalCode.VERSION: "another protocol version",
    RefusalCode.PURPOSE: "asked for a purpose that is not served here",
    RefusalCode.INVITE: "an invite used for more than joining, or joining without an invite",
    RefusalCode.REVOKED: Standing.REVOKED.value,
    RefusalCode.SECRET: Standing.FORMER.value,
}


_PROOF_BYTES_MAX = FIRST_FRAME_BYTES_MAX - 256
"""A longer proof, after some twenty changes of the secret, would not fit into the answer."""


class _TurnedAwayError(Exception):
    """One connection that becomes no link. An empty reason is not counted."""


class TcpListener:
    """Implements `propagul.link.base.Listener`; made by `TcpTransport.listen`."""

    def __init__(
        self,
        credentials: Credentials,
        accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]],
        *,
        invites: InviteGate | None,
        doorstep: Doorstep[FrameStream],
        book: RefusalBook,
        opened: OpenLinks,
        handshake_timeout_s: float,
    ) -> None:
        self._credentials, self._accept, self._invites = credentials, dict(accept), invites
        self._doorstep, self._book, self._opened, self._timeout_s = doorstep, book, opened, handshake_timeout_s
        self._mine: set[Visitor[FrameStream]] = set()
        self._closed, self._emptied = asyncio.Event(), asyncio.Event()
        self._emptied.set()
        self._group = asyncio.TaskGroup()
        self._server: asyncio.Server | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._address = Address("", 0)

    @property
    def address(self) -> Address:
        """Where it listens; the first one if the name it was given means several."""
        return self._address

    async def open(self, address: Address) -> None:
        """Open the port; see `propagul.link.base.Transport.listen`.

        Raises:
            LinkError: The port is taken or the address is not this machine's.
        """
        loop = asyncio.get_running_loop()
        started = asyncio.Event()
        self._supervisor = loop.create_task(self._own_tasks(started), name=f"propagul listener {address}")
        await started.wait()
        try:
            self._server = await loop.create_server(lambda: FrameStream(self._enter), address.host, address.port)
        except OSError as error:
            self._closed.set()
            raise LinkError(_listen_sentence(address, error)) from error
        bound = self._server.sockets[0].getsockname()
        self._address = Address(str(bound[0]), int(bound[1]))

    async def aclose(self) -> None:
        """Stop listening and abort connections that have no link yet; open links stay. Idempotent."""
        self._closed.set()
        if self._server is not None:
            self._server.close()
        for visitor in tuple(self._mine):
            visitor.connection.abort()
        await self._emptied.wait()

    async def _own_tasks(self, started: asyncio.Event) -> None:
        """Hold the group that every connection's task belongs to, until it is closed and the last link is."""
        async with self._group:
            started.set()
            await self._closed.wait()

    def _enter(self, stream: FrameStream) -> None:
        """Give a fresh connection a place on the doorstep and a task, or turn it away."""
        if self._closed.is_set():
            stream.abort()
            return
        now = asyncio.get_running_loop().time()
        visitor, evicted = self._doorstep.enter(stream, stream.remote.host, now)
        if evicted is not None:
            self._count(TOO_MANY, evicted.connection.remote.host)
            evicted.connection.evicted = True
            evicted.connection.abort()
        if evicted is not visitor:
            self._mine.add(visitor)
            self._emptied.clear()
            self._group.create_task(self._serve(visitor), name="propagul link")

    async def _serve(self, visitor: Visitor[FrameStream]) -> None:
        link = await self._welcome(visitor)
        if link is None:
            return
        try:
            await self._accept[link.purpose](link)
        except PropagulError as error:
            _log.debug("link.ended purpose=%s peer=%s error=%s", link.purpose, link.peer, error)
        except Exception as error:  # noqa: BLE001 - supervisor: a handler's defect ends its own link only
            # The message of a foreign exception may hold what the link carried: its place is enough.
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error(
                "link.handler_failed purpose=%s error=%s at=%s:%s",
                link.purpose, type(error).__name__, place.filename, place.lineno,
            )  # fmt: skip
        finally:
            await link.aclose()

    async def _welcome(self, visitor: Visitor[FrameStream]) -> TcpLink | None:
        """Turn a connection into a link, or count why not."""
        stream, link = visitor.connection, None
        reason = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                link = await self._handshake(stream)
        except _TurnedAwayError as error:
            reason = str(error)
        except TimeoutError:
            late = f"no handshake within {self._timeout_s:g} s"
            reason = late if stream.verdict.failure is None else Cause.FOREIGN
        except PeerProtocolError:
            reason = Cause.GARBAGE
        except (OSError, ClosedError) as error:
            reason = cause_of(error if isinstance(error, OSError) else stream.failure)
        except Exception as error:  # noqa: BLE001 - supervisor: one stranger must not end the listener
            _log.error("link.welcome_failed error=%s", type(error).__name__)
        finally:
            self._leave(visitor)
            if link is None:
                stream.abort()
        if reason and not stream.evicted and not self._closed.is_set():
            self._count(reason, stream.remote.host)
        return link

    async def _handshake(self, stream: FrameStream) -> TcpLink:
        invites = tuple(self._invites.open_certificates()) if self._invites is not None else ()
        context = self._credentials.acceptor_context(invites)
        await stream.start_tls(context, server_side=False, timeout_s=2 * self._timeout_s)
        await self._turn_away_excluded(stream)
        peer, invited = self._who(stream, invites)
        if not invited:
            self._opened.add(stream, peer)
        hello = unpack_hello(await self._first_frame(stream))
        objection = self._objection(hello, invited=invited)
        if objection is not None:
            await self._refuse(stream, objection)
        stream.allow_long_frames()
        await stream.send(pack_ok())
        return TcpLink(stream, peer=peer, purpose=Purpose(hello.purpose), dialed=False)

    async def _turn_away_excluded(self, stream: FrameStream) -> None:
        """Tell one who was a member that it is none any more, once it has said what for."""
        try:
            standing, tag = self._credentials.standing(stream.peer_certificate() or b"")
        except IdentityError:
            return
        if standing is Standing.REVOKED:
            await stream.receive()
            await self._refuse(stream, RefusalCode.REVOKED)
        if standing is Standing.FORMER:
            await stream.receive()
            proof = self._credentials.ring.proofs.get(tag, b"")
            await self._refuse(stream, RefusalCode.SECRET, proof if len(proof) <= _PROOF_BYTES_MAX else b"")

    async def _refuse(self, stream: FrameStream, code: RefusalCode, proof: bytes = b"") -> None:
        await stream.send(pack_refusal(code, proof))
        await stream.aclose()
        raise _TurnedAwayError(_OBJECTIONS[code])

    async def _first_frame(self, stream: FrameStream) -> bytes:
        try:
            return await stream.receive()
        except ClosedError:
            if cause_of(stream.failure) is Cause.FOREIGN:  # one that we know does not know who made our certificate
                self._credentials.show_another()
            raise

    def _who(self, stream: FrameStream, invites: Sequence[str]) -> tuple[NodeId, bool]:
        """Return whose certificate the peer showed, and whether it is an invite's."""
        shown = stream.peer_certificate() or b""
        if shown in map(ssl.PEM_cert_to_DER_cert, invites):
            return holder(parse_certificate(shown)), True
        try:
            peer = self._credentials.member(shown)
        except IdentityError as error:
            raise _TurnedAwayError(Cause.FOREIGN) from error
        if peer == self._credentials.node:
            raise _TurnedAwayError  # our own dialler, which says so itself
        return peer, False

    def _objection(self, hello: Hello, *, invited: bool) -> RefusalCode | None:
        if hello.version != PROTOCOL_VERSION:
            return RefusalCode.VERSION
        if invited != (hello.purpose == Purpose.JOIN):
            return RefusalCode.INVITE
        if hello.purpose not in self._accept:
            return RefusalCode.PURPOSE
        return None

    def _leave(self, visitor: Visitor[FrameStream]) -> None:
        self._doorstep.leave(visitor)
        self._mine.discard(visitor)
        if not self._mine:
            self._emptied.set()

    def _count(self, reason: str, host: str) -> None:
        """Count a refusal; log the first and then ever rarer, so that strangers cannot fill a log."""
        count = self._book.add(str(reason), host, asyncio.get_running_loop().time())
        if count & (count - 1) == 0:
            _log.info("link.refused reason='%s' host=%s count=%d", reason, host, count)


def _listen_sentence(address: Address, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {address.port} on {address.host} is taken by another program: choose another port"
        case errno.EADDRNOTAVAIL | None:  # Python 3.13 tries the next address, and has no number when none is left
            return f"{address.host} is not an address of this machine, so port {address.port} cannot be opened there"
        case errno.EACCES:
            return f"port {address.port} is reserved by the system: choose one above 1023"
        case _:
            return f"port {address.port} on {address.host} cannot be opened: {error.strerror}"
