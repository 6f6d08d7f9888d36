"""A TCP relay that counts what it carries: all that a link costs above TCP, whatever encrypts it.

Whoever should be reached through it only must be advertised at its address. It carries bytes as they come, changes
none of them, and can cut its connections as a network does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

LOOPBACK = "127.0.0.1"

_PIECE_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Carries what comes to its port to one other address, both ways.

    Args:
        target: Where to.
        port: Its own; 0 lets the system choose.

    Attributes:
        port: Its own, once it is open.
        carried: Bytes so far, both ways together.
        cut_at: When so many were carried, all connections break, once; None for never.
    """

    def __init__(self, target: tuple[str, int], port: int = 0) -> None:
        self.port, self.carried = port, 0
        self.cut_at: int | None = None
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        """Break every connection as a network does: with a reset, losing what is under way."""
        for writer in self._writers:
            taken: socket.socket = writer.get_extra_info("socket")
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = {writer}
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self._target)
            mine.add(onward_writer)
            self._writers |= mine
            await asyncio.gather(self._carry(reader, onward_writer), self._carry(onward_reader, writer))
        except OSError:
            pass  # nobody answers there, or a connection broke: the other end sees it
        finally:
            self._writers -= mine
            for each in mine:
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            self.carried += len(piece)
            if self.cut_at is not None and self.carried >= self.cut_at:
                self.cut_at = None
                self.cut()
                return
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()


def free_port(host: str = LOOPBACK) -> int:
    """A port on which nobody listens at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
