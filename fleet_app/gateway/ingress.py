"""The front of the gateway: `/v1` over the whole fleet, at any node of it.

A request is read once, sent to the best place that serves exactly its model, and answered with that engine's bytes.
A local engine is asked through this node's `ServingSide`, a remote one through a tunnel to its node; either way the
same checks stand before the engine. Another place is tried only while no byte of an answer has arrived.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from yarl import URL

from fleet_app.gateway.call import BODY_BYTES_MAX, INFERENCE_PATHS, read_call
from fleet_app.gateway.catalogue import missing, model_entry, model_list, within_reach
from fleet_app.gateway.openai_errors import (
    UNSERVED_HEADER,
    Reason,
    RequestError,
    UnservedError,
    answering_errors,
    model_not_found,
)
from fleet_app.gateway.relay import BACKEND_HEADER, relay
from fleet_app.gateway.routing import Engine, engine_of, explain, header_text, rank
from fleet_app.gateway.tunnels import TunnelConnector
from fleet_app.gateway.upstream import Answer, exchange, first_answer, session_over
from fleet_app.presence import KINDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    import aiohttp

    from fleet_app.gateway.call import Call
    from fleet_app.gateway.serving import ServingSide
    from fleet_app.view import FleetView, Placement
    from propagul.link.base import ByteLink, NodeId

_log = logging.getLogger(__name__)

NODE_HEADER = "X-Propagul-Node"
ROUTE_HEADER = "X-Propagul-Route"


class Gateway:
    """One OpenAI-compatible endpoint over the fleet.

    Args:
        node: This node.
        view: The fleet as this node sees it; asked anew for every request.
        open_tunnel: Opens a tunnel to a node; raises a `PropagulError` when none can be had.
        serving: This node's own engines.
        body_bytes_max: Largest request body.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        view: Callable[[], FleetView],
        open_tunnel: Callable[[NodeId], Awaitable[ByteLink]],
        serving: ServingSide,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self._node, self._view, self._serving = node, view, serving
        self._open_tunnel, self._body_bytes_max = open_tunnel, body_bytes_max
        self._tunnels: TunnelConnector | None = None
        self._session: aiohttp.ClientSession | None = None
        self._asked: Counter[Engine] = Counter()

    def routes(self) -> list[web.RouteDef]:
        """The routes under `/v1`; whatever else is asked there is answered with an error that names them."""
        return [
            web.get("/v1/models", answering_errors(self._models)),
            web.get("/v1/models/{id:.+}", answering_errors(self._model)),
            *(web.post(path, answering_errors(self._infer)) for path in sorted(INFERENCE_PATHS)),
            web.route("*", "/v1{rest:(/.*)?}", answering_errors(self._unknown)),
        ]

    def node_lost(self, node: NodeId) -> None:
        """Break every tunnel to `node` now: requests without an answer go elsewhere, the others are cut."""
        if self._tunnels is not None:
            self._tunnels.abort(node)

    async def aclose(self) -> None:
        """Close all tunnels. Idempotent."""
        if self._session is not None:
            await self._session.close()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response(model_list(self._view()))

    async def _model(self, request: web.Request) -> web.Response:
        models = within_reach(self._view())
        name = request.match_info["id"]
        if name not in models:
            raise model_not_found(models)
        return web.json_response(model_entry(name, models[name]))

    async def _unknown(self, request: web.Request) -> web.Response:
        if request.path in INFERENCE_PATHS | {"/v1/models"}:
            raise RequestError("this route takes another method", status=405, code="method_not_allowed")
        served = ", ".join(sorted(INFERENCE_PATHS | {"/v1/models"}))
        raise RequestError(f"no such route; there are: {served}", status=404, code="route_not_found")

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        call = await read_call(request, body_bytes_max=self._body_bytes_max)
        view = self._view()
        places = within_reach(view).get(call.model, ())
        if not places:
            raise missing(view, call.model)
        load = self._load(places)
        order = rank(places, load)
        chosen: list[Placement] = []
        async with first_answer(
            partial(self._ask, place, call, chosen) for place in self._once_a_node(order)
        ) as answer:
            place = chosen[-1]
            _log.debug("gateway.routed path=%s node=%s tries=%d", call.path, place.node.id, len(chosen))
            ours = {NODE_HEADER: header_text(place.node.name), ROUTE_HEADER: explain(order, load)}
            return await relay(request, answer, ours)

    def _load(self, places: Iterable[Placement]) -> dict[Engine, int]:
        """Requests in flight: exact for our own engines, else what the node says or what we sent, if that is more."""
        here = self._serving.in_flight()
        return {
            engine_of(place): here.get(place.backend.url, 0)
            if place.node.id == self._node
            else max(place.backend.in_flight, self._asked[engine_of(place)])
            for place in places
        }

    def _once_a_node(self, order: Iterable[Placement]) -> Iterator[Placement]:
        """Drop further engines of a remote node: that node chooses among its own."""
        seen: set[str] = set()
        for place in order:
            if place.node.id not in seen:
                yield place
            if place.node.id != self._node:
                seen.add(place.node.id)

    @asynccontextmanager
    async def _ask(self, place: Placement, call: Call, chosen: list[Placement]) -> AsyncIterator[Answer]:
        chosen.append(place)
        engine = engine_of(place)
        self._asked[engine] += 1
        try:
            here = place.node.id == self._node
            async with self._serving.open(call, url=engine.url) if here else self._over_tunnel(place, call) as answer:
                yield answer
        finally:
            self._asked[engine] -= 1

    @asynccontextmanager
    async def _over_tunnel(self, place: Placement, call: Call) -> AsyncIterator[Answer]:
        """Ask the node's `ServingSide`; its word that no engine answered counts as if we had asked the engine."""
        if self._session is None:
            self._tunnels = TunnelConnector(self._open_tunnel)
            self._session = session_over(self._tunnels)
        url = URL.build(scheme="http", host=place.node.id, path=call.path)
        name = f"node {place.node.name}"
        async with exchange(self._session, url, call, place=name) as response:
            unserved = response.headers.get(UNSERVED_HEADER)
            if unserved is not None:
                raise UnservedError(Reason(unserved) if unserved in set(Reason) else Reason.BROKEN, name)
            kind = response.headers.get(BACKEND_HEADER, "")
            yield Answer(response=response, kind=kind if kind in KINDS else "unknown")
