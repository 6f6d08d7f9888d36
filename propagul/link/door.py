"""Accepting connections so that each of them belongs to us from its first instant.

asyncio's server gives every connection a task of its own, and what that holds is nobody's if the loop ends before it
has run; a cancelled `sock_accept` drops what it has just accepted. Here the connection is handed over in the same call
of the loop in which it was accepted, to one who closes it whatever becomes of a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from propagul.link.base import Address

_BACKLOG: Final = 100
"""Connections that the system takes in advance."""

_PAUSE_S: Final = 1.0
"""How long who knocks waits while this process has no descriptor left."""

_log = logging.getLogger("propagul.link")


async def sockets_at(address: Address) -> list[socket.socket]:
    """Listen at every address that a host means; each is a socket, and the caller's to close.

    Raises:
        OSError: At none of them, or one of the ports is taken.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with contextlib.ExitStack() as opened:
        listening, absent = list[socket.socket](), OSError(errno.EADDRNOTAVAIL, "no such address")
        for family, *_, place in dict.fromkeys(found):
            try:
                listening.append(socket.create_server(place, family=family, backlog=_BACKLOG))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                absent = error  # a name may mean addresses of a family that is switched off here
            else:
                opened.callback(listening[-1].close)
        if not listening:
            raise absent
        opened.pop_all()
    return listening


class Door:
    """Sockets that listen, and whoever knocks at them.

    Args:
        listening: The sockets, which are the door's from now on.
        enter: Owns each connection that was accepted: non-blocking, and where it comes from.
    """

    def __init__(self, listening: Sequence[socket.socket], enter: Callable[[socket.socket, object], None]) -> None:
        self._listening, self._enter = tuple(listening), enter
        self._loop = asyncio.get_running_loop()
        self._watched = set[socket.socket]()
        self._accepting: list[asyncio.Task[None]] = []
        self._closed = False
        for one in self._listening:
            one.setblocking(False)

    def open(self) -> None:
        """Accept from now on."""
        for one in self._listening:
            self._await_knocks(one)

    def close(self) -> None:
        """Accept nothing more. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for task in self._accepting:
            task.cancel()
        for one in self._watched:
            self._loop.remove_reader(one)
        for one in self._listening:
            one.close()

    def _await_knocks(self, listening: socket.socket) -> None:
        if self._closed:
            return
        try:
            self._loop.add_reader(listening, self._answer, listening)
        except NotImplementedError:  # the loop of Windows, whose `sock_accept` closes what a cancelled one accepted
            self._accepting.append(self._loop.create_task(self._answer_forever(listening), name="propagul door"))
        else:
            self._watched.add(listening)

    def _answer(self, listening: socket.socket) -> None:
        """Let in all who stand there, at most as many as the system takes in advance."""
        for _ in range(_BACKLOG):
            try:
                connection, place = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _note(error)
                self._watched.discard(listening)
                self._loop.remove_reader(listening)
                self._loop.call_later(_PAUSE_S, self._await_knocks, listening)
                return
            connection.setblocking(False)
            self._enter(connection, place)
            if self._closed:
                return

    async def _answer_forever(self, listening: socket.socket) -> None:
        while not self._closed:
            try:
                connection, place = await self._loop.sock_accept(listening)
            except OSError as error:
                _note(error)
                await asyncio.sleep(_PAUSE_S)
            else:
                self._enter(connection, place)


def _note(error: OSError) -> None:
    """No descriptor is left, most likely."""
    _log.warning("link.not_accepted error=%s", error.strerror)
