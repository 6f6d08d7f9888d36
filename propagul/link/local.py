"""Links between the processes of one state directory, over Unix sockets that only their user can reach.

The kernel vouches for the peer, so there is no TLS: the socket has mode 0600 in a directory of mode 0700, and both ends
ask the kernel (`SO_PEERCRED`, where there is one) whose process the other is. Then one frame each:

    hello    [`propagul`, version, purpose, node]     dialler to acceptor
    ok       [`ok`, version, node]                    acceptor to dialler: the link is open

A node here is the directory's identity, a slash, and the process's log id: it tells twins apart and is not shown to
other machines. What follows are the same frames as on any other link. POSIX only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from propagul import _system
from propagul.errors import ClosedError, IdentityError, LinkError, LocalProtocolError, PeerProtocolError, PropagulError
from propagul.link.base import FIRST_FRAME_BYTES_MAX, FRAME_BYTES_MAX, Address, NodeId, Purpose
from propagul.link.door import Door
from propagul.link.framing import FrameDecoder, encode_frame
from propagul.link.messages import PROTOCOL_VERSION, pack, unpack

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link.base import Link, Refusal

HANDSHAKE_TIMEOUT_S: Final = 5.0
_SHUTDOWN_S: Final = 2.0
_READ_BYTES: Final = 64 * 1024
_MAGIC, _OK = "propagul", "ok"

_log = logging.getLogger("propagul.link")


def process_node(identity: NodeId, log_id: str) -> NodeId:
    """What one of several processes with the same identity is called on local links."""
    return NodeId(f"{identity}/{log_id}")


def is_local(node: NodeId) -> bool:
    """Whether this names a process of a directory and not a member of the room."""
    return "/" in node


class LocalLink:
    """Implements `propagul.link.base.Link`; made by `LocalTransport` only."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: Path, *, dialed: bool) -> None:
        self._reader, self._writer, self._dialed = reader, writer, dialed
        self._decoder = FrameDecoder(FIRST_FRAME_BYTES_MAX)
        self._closing = False
        self.remote = Address(str(path), 0)
        self.peer, self.purpose = NodeId(""), Purpose.GOSSIP

    @property
    def dialed(self) -> bool:
        """Whether this end opened the connection."""
        return self._dialed

    @property
    def version(self) -> int:
        """The protocol version; the processes of one directory are of one program."""
        return PROTOCOL_VERSION

    @property
    def instance(self) -> bytes:
        """Empty: the system ends the links of a process with it, so none stands in the way of the next run."""
        return b""

    def opened(self, peer: NodeId, purpose: Purpose) -> None:
        """The handshake is done."""
        self.peer, self.purpose, self._decoder.limit = peer, purpose, FRAME_BYTES_MAX

    async def send(self, frame: bytes) -> None:
        """Queue one frame; return when the transport may take more.

        Raises:
            LocalProtocolError: The frame is longer than `FRAME_BYTES_MAX`.
            ClosedError: The link is closed or broke.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise LocalProtocolError(f"a frame has {len(frame)} bytes, the limit is {FRAME_BYTES_MAX}")
        try:
            await self._writer.drain()
            if self._closing or self._writer.is_closing():
                raise ClosedError("the link is closed")
            self._writer.write(encode_frame(frame))
            await self._writer.drain()
        except OSError as error:
            raise ClosedError("the link broke") from error

    async def receive(self) -> bytes:
        """Return the next frame. One caller at a time.

        Raises:
            PeerProtocolError: The peer announced a frame over the limit; the link is closed.
            ClosedError: The link is closed or broke.
        """
        while True:
            if self._closing:
                raise ClosedError("the link is closed")
            try:
                frame = self._decoder.next_frame()
                if frame is not None:
                    return frame
                received = await self._reader.read(_READ_BYTES)
            except PeerProtocolError:
                self.abort()
                raise
            except OSError as error:
                raise ClosedError("the link broke") from error
            if not received:
                raise ClosedError("the peer closed the link")
            self._decoder.feed(received)

    async def aclose(self) -> None:
        """Send what is queued within 2 s, then close. Idempotent."""
        self._closing = True
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_SHUTDOWN_S):
                    self._writer.close()
                    await self._writer.wait_closed()
        finally:
            self.abort()

    def abort(self) -> None:
        """Close at once, dropping what is queued. Idempotent."""
        self._closing = True
        self._writer.transport.abort()


class LocalListener:
    """Implements `propagul.link.base.Listener`; made by `LocalTransport.listen`."""

    def __init__(self, node: NodeId, path: Path, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]) -> None:
        self.path = path
        self._node, self._accept = node, dict(accept)
        self._closed = asyncio.Event()
        self._half_open: set[LocalLink] = set()
        self._links: set[LocalLink] = set()
        self._group = asyncio.TaskGroup()
        self._door: Door | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def address(self) -> Address:
        """The socket's path, and 0."""
        return Address(str(self.path), 0)

    async def open(self) -> None:
        """Make the socket, in place of one that a process which is gone left.

        Raises:
            LinkError: The system refused.
        """
        try:
            door = self._door = Door([_system.private_socket(self.path)], self._enter)
        except OSError as error:
            raise LinkError(f"the socket {self.path} cannot be made: {error.strerror}") from error
        started = asyncio.Event()
        self._supervisor = asyncio.create_task(self._own_tasks(door, started), name="propagul local links")
        try:
            await started.wait()
        except BaseException:
            await self.end()
            raise

    async def aclose(self) -> None:
        """Stop listening; open links stay. Idempotent."""
        self._closed.set()
        self._stop_listening()
        for link in tuple(self._half_open):
            link.abort()

    async def end(self) -> None:
        """Stop listening, abort every link that was accepted, and return when they are over. Idempotent."""
        await self.aclose()
        for link in tuple(self._links):
            link.abort()
        if self._supervisor is not None:
            await self._supervisor

    async def _own_tasks(self, door: Door, started: asyncio.Event) -> None:
        """Hold the group that every link's task belongs to, until it is closed and the last link is."""
        async with self._group:
            try:
                door.open()
                started.set()
                await self._closed.wait()
            finally:
                self._stop_listening()

    def _stop_listening(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            door.close()
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _enter(self, connection: socket.socket, _: object) -> None:
        """Give a fresh connection a task, which it belongs to even if that never runs."""
        task = self._group.create_task(self._serve(connection))
        task.add_done_callback(lambda _: connection.close())

    async def _serve(self, connection: socket.socket) -> None:
        link = LocalLink(*await asyncio.open_unix_connection(sock=connection), self.path, dialed=False)
        self._links.add(link)
        self._half_open.add(link)
        try:
            try:
                async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                    await self._welcome(link)
            finally:
                self._half_open.discard(link)
            await self._accept[link.purpose](link)
        except (PropagulError, TimeoutError) as error:
            _log.debug("link.ended local peer=%s error=%s", link.peer, error)
        except Exception:  # noqa: BLE001 # supervisor: a handler's defect ends its own link only
            _log.exception("link.handler_failed local peer=%s", link.peer)
        finally:
            await link.aclose()
            self._links.discard(link)

    async def _welcome(self, link: LocalLink) -> None:
        if self._closed.is_set():
            raise ClosedError("the listener is closed")
        _check_owner(link, self.path)
        magic, version, purpose, node, *_ = unpack(await link.receive(), str, int, str, str)
        if (magic, version) != (_MAGIC, PROTOCOL_VERSION) or purpose not in self._accept or not is_local(_node(node)):
            raise PeerProtocolError("a first frame is no hello of this protocol")
        await link.send(pack([_OK, PROTOCOL_VERSION, self._node]))
        link.opened(_node(node), Purpose(str(purpose)))


class LocalTransport:
    """Opens and accepts links on this machine. Implements `propagul.link.base.Transport`; hosts are paths.

    Args:
        node: What this process is called; see `process_node`.
    """

    def __init__(self, node: NodeId) -> None:
        self.node = node

    async def listen(
        self, address: Address, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]
    ) -> LocalListener:
        """Accept links at a path and run the handler of their purpose, one task a link.

        Raises:
            LinkError: There are no such sockets here, others could reach it, or the system refused.
        """
        listener = LocalListener(self.node, _path(address), accept)
        await listener.open()
        return listener

    async def dial(self, address: Address, purpose: Purpose, *, expect: NodeId | None = None) -> LocalLink:
        """Open a link.

        Raises:
            LinkError: No process listens there, in time.
            IdentityError: It is another user's process, or not `expect`.
        """
        path = _path(address)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(path)
                return await self._ask(LocalLink(reader, writer, path, dialed=True), purpose, expect)
        except TimeoutError as error:
            raise LinkError(f"the process at {path} did not answer in {HANDSHAKE_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise LinkError(f"no process listens at {path}") from error
        except (ClosedError, PeerProtocolError) as error:
            raise LinkError(f"the process at {path} opened no link for {purpose}") from error

    async def _ask(self, link: LocalLink, purpose: Purpose, expect: NodeId | None) -> LocalLink:
        try:
            _check_owner(link, Path(link.remote.host))
            await link.send(pack([_MAGIC, PROTOCOL_VERSION, purpose.value, self.node]))
            node = _answered(await link.receive(), expect)
        except BaseException:
            link.abort()
            raise
        link.opened(node, purpose)
        return link

    def refusals(self) -> list[Refusal]:
        """Strangers cannot reach a socket of ours."""
        return []


def _check_owner(link: LocalLink, path: Path) -> None:
    """Refuse a process of another user.

    Raises:
        IdentityError: It is one.
    """
    connection = link._writer.get_extra_info("socket")  # noqa: SLF001 - one module
    if not _system.is_same_user(connection, path.parent):
        raise IdentityError(f"the process at the other end of {path} belongs to another user")


def _path(address: Address) -> Path:
    if not hasattr(asyncio, "open_unix_connection"):
        raise LinkError("this system has no Unix sockets: processes of one directory are not linked here")
    return Path(address.host)


def _node(name: object) -> NodeId:
    return NodeId(str(name))


def _answered(frame: bytes, expect: NodeId | None) -> NodeId:
    """Who opened the link.

    Raises:
        PeerProtocolError: It is no answer that opens one.
        IdentityError: It is not `expect`.
    """
    word, _, name, *_ = unpack(frame, str, int, str)
    node = _node(name)
    if word != _OK or not is_local(node):
        raise PeerProtocolError("an answer is not ok")
    if expect is not None and node != expect:
        raise IdentityError(f"a local process is {node}, expected was {expect}")
    return node
