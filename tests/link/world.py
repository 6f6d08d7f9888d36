"""Members, strangers and a loop that must not complain: what the tests of links are made of."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, IdentityError
from propagul.link import Address, Credentials, Identity, Purpose, RoomAuthority, TcpTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from propagul.link import Invite, InviteGate, Link, Listener, NodeId

ROOM = "my-project"
SECRET = "correct-horse-battery-staple-9"
OTHER_SECRET = "incorrect-horse-battery-staple"
LOOPBACK = Address("127.0.0.1", 0)

Handlers = dict[Purpose, "Callable[[Link], Awaitable[None]]"]


def run(scenario: Callable[[], Awaitable[None]], *, within_s: float = 60.0) -> None:
    """Run a scenario; it fails if the loop had anything to complain of, or a task outlives it."""
    complaints: list[dict[str, object]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(dict(context)))
        async with asyncio.timeout(within_s):
            await scenario()
        await until(lambda: len(asyncio.all_tasks()) == 1)
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert complaints == []


async def until(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.005)


def member(
    secret: str = SECRET, room: str = ROOM, *, invites: InviteGate | None = None, timeout_s: float = 20.0
) -> TcpTransport:
    """Return the transport of a new member of a room."""
    return TcpTransport(standing(secret, room), invites=invites, handshake_timeout_s=timeout_s)


async def linked(ours: TcpTransport, theirs: TcpTransport, purpose: Purpose = Purpose.GOSSIP) -> tuple[Link, Link]:
    """Return both ends of a link; whoever gets them closes them."""
    accepted: asyncio.Queue[Link] = asyncio.Queue()

    async def accept(link: Link) -> None:
        await accepted.put(link)
        with contextlib.suppress(ClosedError):
            while True:
                await link.receive()

    async with listening(theirs, {purpose: accept}) as listener:
        link = await ours.dial(listener.address, purpose)
        return link, await accepted.get()


def reasons(transport: TcpTransport) -> list[str]:
    """Return why a transport turned others away so far, newest last."""
    return [refusal.reason for refusal in transport.refusals()]


def standing(secret: str = SECRET, room: str = ROOM) -> Credentials:
    """Return the credentials of a new member of a room."""
    return Credentials.from_authority(Identity.generate(), RoomAuthority.from_secret(room, secret))


@contextlib.asynccontextmanager
async def listening(
    transport: TcpTransport,
    accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]] | None = None,
    address: Address = LOOPBACK,
) -> AsyncIterator[Listener]:
    """Listen for as long as the block runs; without handlers every purpose but join echoes."""
    listener = await transport.listen(address, accept or {Purpose.GOSSIP: echo, Purpose.TUNNEL: echo})
    try:
        yield listener
    finally:
        await listener.aclose()


async def echo(link: Link) -> None:
    """Send every frame back until the peer leaves."""
    with contextlib.suppress(ClosedError):
        while True:
            await link.send(await link.receive())


@contextlib.asynccontextmanager
async def stranger(
    address: Address, *, local: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a bare TCP connection, perhaps from another loopback address."""
    reader, writer = await asyncio.open_connection(address.host, address.port, local_addr=(local, 0) if local else None)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def heard(reader: asyncio.StreamReader) -> bytes:
    """Return all bytes until the other end closes, in whatever way."""
    heard_bytes = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            heard_bytes += chunk
    return heard_bytes


async def tls_as_dialer(address: Address, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Do the handshake as a dialler does, with any context."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    loop = asyncio.get_running_loop()
    try:
        transport = await loop.start_tls(
            writer.transport, writer.transport.get_protocol(), context, server_side=True, ssl_handshake_timeout=20
        )
    except BaseException:
        writer.transport.abort()
        raise
    assert transport is not None
    writer._transport = transport  # type: ignore[attr-defined] # the stdlib's own way needs a server side
    return reader, writer


@contextlib.asynccontextmanager
async def acceptor(context: ssl.SSLContext) -> AsyncIterator[Address]:
    """Do handshakes as an acceptor does, with any context, and leave without a word."""
    loop, tasks = asyncio.get_running_loop(), list[asyncio.Task[None]]()

    async def upgrade(raw: asyncio.Transport) -> None:
        with contextlib.suppress(OSError):
            transport = await loop.start_tls(raw, asyncio.Protocol(), context, server_side=False)
            await asyncio.sleep(0.05)  # a dialler that objects does so meanwhile
            if transport is not None:
                transport.close()

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            tasks.append(loop.create_task(upgrade(transport)))

    server = await loop.create_server(Accepted, *LOOPBACK)
    yield Address(*server.sockets[0].getsockname()[:2])
    server.close()
    await asyncio.gather(*tasks)


class Gate:
    """An invite book in memory."""

    def __init__(self, invites: Sequence[Invite] = ()) -> None:
        self.invites = list(invites)
        self.used: dict[str, NodeId] = {}
        self.expired: set[str] = set()
        self.admins: set[str] = set()
        self.hosts: list[str] = []

    def open_certificates(self) -> list[str]:
        return [invite.certificate_pem for invite in self.invites]

    def is_admin(self, invite_id: str) -> bool:
        return invite_id in self.admins

    def redeem(self, invite_id: str, joiner: NodeId, host: str) -> None:
        self.hosts.append(host)
        if invite_id in self.expired:
            raise IdentityError("the invite is expired")
        if self.used.setdefault(invite_id, joiner) != joiner:
            raise IdentityError("the invite was used by another machine")
