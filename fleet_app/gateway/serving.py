"""The owner's side: what stands between any gateway of the fleet and the engines of this node.

Requests come from this node's own ingress (`open`) and from other nodes over tunnels (`accept_tunnel`), and pass the
same checks: an inference route on the allow-list, a model that this node advertises at an engine that is ready, a
node that is not draining. Where a request goes is decided here from our own list of engines; no header, target or
body field a client sends can name another. Engines see a body and nothing else of the client.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from fleet_app.gateway.call import BODY_BYTES_MAX, INFERENCE_PATHS, read_call
from fleet_app.gateway.front import HttpServer
from fleet_app.gateway.openai_errors import Reason, RequestError, UnservedError, answering_errors, error_response
from fleet_app.gateway.relay import relay
from fleet_app.gateway.tunnels import ServedTunnel
from fleet_app.gateway.upstream import Answer, engine_socket, exchange, first_answer, session_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from aiohttp import web

    from fleet_app.gateway.call import Call
    from fleet_app.presence import BackendPresence
    from propagul.link.base import ByteLink, NodeId

_log = logging.getLogger(__name__)

TUNNEL_IDLE_S = 75.0
"""How long an idle tunnel is served; the other end gives up first."""

TUNNEL_END_S = 1.0
"""How long a request on a broken tunnel may take to clean up."""


class ServingSide:
    """Serves this node's engines to the fleet.

    Args:
        node: This node.
        backends: What this node advertises now; asked anew for every request.
        body_bytes_max: Largest request body.
        key_of: The API key of the engine at an address, if it wants one. Added here, and it never leaves this node.

    Attributes:
        is_drained: Whether this node takes no new requests because somebody declared so.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        backends: Callable[[], Sequence[BackendPresence]],
        body_bytes_max: int = BODY_BYTES_MAX,
        key_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._node, self._backends, self._key_of = node, backends, key_of
        self._body_bytes_max = body_bytes_max
        self._session: aiohttp.ClientSession | None = None
        self._in_flight: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self.is_drained = False

    def in_flight(self) -> Mapping[str, int]:
        """Requests running now, by engine address; engines without any are absent."""
        return +self._in_flight

    async def drain(self, limit_s: float) -> int:
        """Refuse new requests from now on, wait at most `limit_s` for the running ones, return how many are left."""
        self._draining = True
        try:
            async with asyncio.timeout(limit_s):
                await self._idle.wait()
        except TimeoutError:
            _log.info("gateway.drain_limit node=%s left=%d", self._node, self._in_flight.total())
        return self._in_flight.total()

    async def aclose(self) -> None:
        """Abort what is running and close the connections to the engines. Idempotent."""
        self._draining = True
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def open(self, call: Call, *, url: str | None = None) -> AsyncIterator[Answer]:
        """Ask an engine of this node and yield its answer once the head is there.

        Args:
            call: The request.
            url: Ask this engine only; otherwise the least busy that has the model, and the next where nothing was sent.

        Raises:
            UnservedError: No engine here answered; `reason` says why.
            GatewayError: The engine's answer may not be passed on.
        """
        if self._draining or self.is_drained:
            raise UnservedError(Reason.DRAINING, "this node")
        engines = [one for one in self._serving(call.model) if url in (None, one.url)]
        if not engines:
            raise UnservedError(Reason.NOT_HERE, "this node")
        async with first_answer(partial(self._ask, engine, call) for engine in engines) as answer:
            yield answer

    async def accept_tunnel(self, link: ByteLink) -> None:
        """Serve HTTP over the tunnel until either end closes it."""
        server = HttpServer(answering_errors(self._tunnelled), marks={}, keepalive_timeout=TUNNEL_IDLE_S)
        tunnel = ServedTunnel(server())
        transport = link.hand_over(tunnel)
        try:
            await tunnel.closed.wait()
        finally:
            transport.abort()
            await server.shutdown(TUNNEL_END_S)

    async def _tunnelled(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request of another node: refuse what is not inference before reading its body."""
        if request.raw_path not in INFERENCE_PATHS or request.method != "POST" or "Upgrade" in request.headers:
            refused = RequestError("only inference is served over a tunnel", status=403, code="route_not_allowed")
            response = error_response(refused)
            response.force_close()  # no gateway of ours asks for this, so nothing more is read of who does
            return response
        call = await read_call(request, body_bytes_max=self._body_bytes_max)
        async with self.open(call) as answer:
            return await relay(request, answer, {})

    def _serving(self, model: str) -> list[BackendPresence]:
        """Engines here that are ready and have exactly this model, least in flight first."""
        ready = (one for one in self._backends() if one.condition == "ready")
        having = (one for one in ready if any(held.name == model for held in one.models))
        return sorted(having, key=lambda one: (self._in_flight[one.url], one.url))

    @asynccontextmanager
    async def _ask(self, engine: BackendPresence, call: Call) -> AsyncIterator[Answer]:
        if self._session is None:
            # An engine may have fewer HTTP threads than we have callers: an idle connection would hold one of them.
            connector = aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=engine_socket)
            self._session = session_over(connector)
        url = URL(engine.url.rstrip("/") + call.path, encoded=True)
        place, key = f"the {engine.kind} engine", self._key_of(engine.url)
        with self._counted(engine.url):
            async with exchange(self._session, url, call, place=place, key=key) as response:
                yield Answer(response=response, kind=engine.kind)

    @contextmanager
    def _counted(self, url: str) -> Iterator[None]:
        self._in_flight[url] += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight[url] -= 1
            if not self._in_flight.total():
                self._idle.set()
