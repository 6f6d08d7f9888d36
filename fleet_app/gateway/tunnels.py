"""HTTP over tunnels: aiohttp's own client and server on links that the link layer opened.

A host name in this session is a node's id and nothing else: there is no DNS and no address here. Idle tunnels are
kept a little while and a few a node. `abort` is for a node that is gone: its tunnels break at once, also those still
being opened, instead of after a TCP timeout.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_proto import ResponseHandler

from fleet_app.gateway.upstream import CONNECT_WAIT_S
from propagul.errors import PropagulError
from propagul.link.base import NodeId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.tracing import Trace

    from propagul.link.base import ByteLink

IDLE_TUNNELS_MAX = 4
"""Idle tunnels kept a node. More save a handshake after a burst and cost the far node a socket each."""

IDLE_S = 30.0
"""How long an idle tunnel is kept; shorter than the serving side's patience, so that it is never asked at closing."""


class TunnelConnector(aiohttp.BaseConnector):
    """Opens a tunnel where aiohttp would open a TCP connection.

    aiohttp leaves `_create_connection` to its subclasses; `_release` is overridden to bound what is kept idle.
    """

    def __init__(self, open_tunnel: Callable[[NodeId], Awaitable[ByteLink]]) -> None:
        super().__init__(limit=0, keepalive_timeout=IDLE_S)
        self._open_tunnel = open_tunnel
        self._opening: defaultdict[str, set[asyncio.Timeout]] = defaultdict(set)
        self._open: defaultdict[str, set[asyncio.Transport]] = defaultdict(set)

    def abort(self, node: NodeId) -> None:
        """Break every tunnel to `node`, idle, busy or still being opened."""
        for deadline in self._opening.pop(node, ()):
            deadline.reschedule(self._loop.time())
        for transport in self._open.pop(node, ()):
            transport.abort()

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],  # noqa: ARG002 - aiohttp's seam
        timeout: ClientTimeout,  # noqa: ARG002, ASYNC109 - aiohttp's seam; ours is `CONNECT_WAIT_S`
    ) -> ResponseHandler:
        node = NodeId(req.url.raw_host or "")
        deadlines = self._opening[node]
        try:
            async with asyncio.timeout(CONNECT_WAIT_S) as deadline:
                deadlines.add(deadline)
                link = await self._open_tunnel(node)
            protocol = ResponseHandler(loop=self._loop)
            transport = link.hand_over(protocol)
        except (TimeoutError, OSError, PropagulError) as error:
            raise aiohttp.ClientConnectorError(req.connection_key, OSError(type(error).__name__)) from None
        finally:
            deadlines.discard(deadline)
        self._open[node] = {one for one in self._open[node] if not one.is_closing()} | {transport}
        return protocol

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        enough = len(self._conns.get(key, ())) >= IDLE_TUNNELS_MAX
        super()._release(key, protocol, should_close=should_close or enough)


class ServedTunnel(asyncio.Protocol):
    """Hands a tunnel's bytes to aiohttp's server protocol and notes when the tunnel is closed."""

    def __init__(self, http: web.RequestHandler) -> None:
        self._http = http
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the HTTP connection."""
        self._http.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Feed request bytes."""
        self._http.data_received(data)

    def eof_received(self) -> None:
        """The other end sends no more; returning None closes the tunnel."""
        self._http.eof_received()

    def pause_writing(self) -> None:
        """The other end reads slower than we answer."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """The other end has caught up."""
        self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the HTTP connection, which cancels a handler that is still running."""
        self._http.connection_lost(exc)
        self.closed.set()
