"""An open port: strangers come in, links come out.

Every connection has one task, owned by its listener's group; what one of them raises is caught there and disturbs no
other. What a stranger can cost is bounded before it proves anything: time, places on the doorstep, and 4 KiB.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import traceback
from typing import TYPE_CHECKING

from propagul.errors import LinkError, PropagulError
from propagul.link.base import Address, Purpose
from propagul.link.door import Door, sockets_at
from propagul.link.reception import welcome
from propagul.link.refusals import TOO_MANY, Doorstep, Visitor
from propagul.link.stream import FrameStream, address_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link.base import Link
    from propagul.link.terms import Terms

_log = logging.getLogger("propagul.link")


class TcpListener:
    """Implements `propagul.link.base.Listener`; made by `TcpTransport.listen`."""

    def __init__(
        self,
        terms: Terms,
        accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]],
        doorstep: Doorstep[FrameStream],
    ) -> None:
        self._terms, self._accept, self._doorstep = terms, dict(accept), doorstep
        self._mine: set[Visitor[FrameStream]] = set()
        self._closed, self._emptied = asyncio.Event(), asyncio.Event()
        self._emptied.set()
        self._group = asyncio.TaskGroup()
        self._door: Door | None = None
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
        try:
            listening = await sockets_at(address)
        except (OSError, UnicodeError) as error:  # a name too long for DNS is a UnicodeError
            raise LinkError(_listen_sentence(address, error)) from error
        bound = listening[0].getsockname()
        self._address = Address(str(bound[0]), int(bound[1]))
        self._door = Door(listening, self._enter)
        started = asyncio.Event()
        own_tasks = self._own_tasks(self._door, started)
        self._supervisor = asyncio.get_running_loop().create_task(own_tasks, name=f"propagul listener {address}")
        try:
            await started.wait()
        except BaseException:  # cancelled: nobody else would close it; it is raised again
            self._door.close()
            self._closed.set()
            raise

    async def aclose(self) -> None:
        """Stop listening and abort connections that have no link yet; open links stay. Idempotent."""
        self._closed.set()
        if self._door is not None:
            self._door.close()
        for visitor in tuple(self._mine):
            visitor.connection.evicted = True
            visitor.connection.abort()
        await self._emptied.wait()

    async def _own_tasks(self, door: Door, started: asyncio.Event) -> None:
        """Hold the group that every connection's task belongs to, until it is closed and the last link is."""
        async with self._group:
            try:
                door.open()
                started.set()
                await self._closed.wait()
            finally:  # also when the loop ends before anybody closed us: no task can be made any more
                self._closed.set()
                door.close()

    def _enter(self, connection: socket.socket, place: object) -> None:
        """Give a fresh connection a place on the doorstep and a task, or turn it away."""
        stream = FrameStream(address_of(place))
        visitor, evicted = self._doorstep.enter(stream, stream.remote.host, asyncio.get_running_loop().time())
        if evicted is not None:
            self._terms.count(TOO_MANY, evicted.connection.remote.host)
            evicted.connection.evicted = True
            evicted.connection.abort()
        if evicted is visitor:
            connection.close()
            return
        self._mine.add(visitor)
        self._emptied.clear()
        task = self._group.create_task(self._serve(visitor, connection), name="propagul link")
        task.add_done_callback(lambda _: self._over(visitor, connection))

    async def _serve(self, visitor: Visitor[FrameStream], connection: socket.socket) -> None:
        link = None
        try:
            if await _taken_over(connection, visitor.connection):
                link = await welcome(self._terms, visitor.connection, self._accept)
        finally:
            self._leave(visitor)
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

    def _over(self, visitor: Visitor[FrameStream], connection: socket.socket) -> None:
        """A connection's task has ended, perhaps without having begun: then the connection is still ours."""
        if visitor in self._mine:
            self._leave(visitor)
            connection.close()

    def _leave(self, visitor: Visitor[FrameStream]) -> None:
        self._doorstep.leave(visitor)
        self._mine.discard(visitor)
        if not self._mine:
            self._emptied.set()


async def _taken_over(connection: socket.socket, stream: FrameStream) -> bool:
    """Give a connection to its stream; whether it was not aborted, here or by the peer, meanwhile."""
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, connection)
    except OSError:  # macOS sets no option of a socket that was reset
        connection.close()
        return False
    return not stream.lost


def _listen_sentence(address: Address, error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return f"{address.host[:80]} is no name of a host"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {address.port} on {address.host} is taken by another program: choose another port"
        case errno.EADDRNOTAVAIL | None:  # Python 3.13 tries the next address, and has no number when none is left
            return f"{address.host} is not an address of this machine, so port {address.port} cannot be opened there"
        case errno.EACCES:
            return f"port {address.port} is reserved by the system: choose one above 1023"
        case _:
            return f"port {address.port} on {address.host} cannot be opened: {error.strerror}"
