"""A fleet for gateway tests: boxes with real engines, tunnels between them, and the guarded front port of one of them.

The tunnels are the real transport's, mutual TLS over loopback; the engines are whatever a test starts.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import aiohttp
import pytest
from aiohttp import web

from fleet_app.gateway import Gateway, ServingSide, front_application, front_runner
from fleet_app.presence import BackendPresence, Model, NodePresence
from fleet_app.view import FleetView, NodeView
from propagul.link.base import Address, NodeId, Purpose
from propagul.link.credentials import Credentials
from propagul.link.identity import Identity
from propagul.link.room import RoomAuthority
from propagul.link.tcp import TcpTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from fleet_app.presence import BackendCondition, BackendKind
    from fleet_app.view import Reach
    from propagul.link.base import ByteLink, Link

ROOM = RoomAuthority.from_secret("gateway tests", secrets.token_hex(32))
STARTED_S = 1_700_000_000.0

PLACES = pytest.mark.parametrize("place", ["here", "there"])
"""The engine is at the node that is asked, or at another one."""

NOWHERE = "http://127.0.0.1:9"
"""The address of an engine that is gone."""


def engine(
    url: str, *models: str, kind: BackendKind = "llamacpp", condition: BackendCondition = "ready", in_flight: int = 0
) -> BackendPresence:
    held = tuple(Model(name=name, loaded=True) for name in models)
    return BackendPresence(kind=kind, url=url, condition=condition, models=held, in_flight=in_flight)


@dataclass
class Box:
    """One node: what it advertises and what really stands behind it, which tests let differ."""

    name: str
    engines: list[BackendPresence] = field(default_factory=list)
    advertised: list[BackendPresence] | None = None
    state: Literal["up", "draining", "down"] = "up"
    reach: Reach = "linked"
    tunnels_accepted: int = 0

    def __post_init__(self) -> None:
        self.credentials = Credentials.from_authority(Identity.generate(), ROOM)
        self.id = self.credentials.node
        self.serving = ServingSide(node=self.id, backends=lambda: self.engines)

    def transport(self) -> TcpTransport:
        return TcpTransport(self.credentials)

    async def accept(self, link: Link) -> None:
        """Serve a tunnel, as a node does."""
        self.tunnels_accepted += 1
        await self.serving.accept_tunnel(cast("ByteLink", link))

    def seen(self) -> NodeView:
        told = tuple(self.engines if self.advertised is None else self.advertised)
        presence = NodePresence(name=self.name, version="1", at_s=STARTED_S, started_s=STARTED_S, backends=told)
        return NodeView(id=self.id, name=self.name, state=self.state, reach=self.reach, heard_s=0.1, presence=presence)


def boxes_with(place: str, url: str, model: str = "m") -> tuple[Box, Box]:
    """Two boxes, of which this one or the other has an engine at `url`."""
    here, there = Box("box-a"), Box("box-b")
    (here if place == "here" else there).engines.append(engine(url, model))
    return here, there


@asynccontextmanager
async def tunnels(here: Box, *others: Box) -> AsyncIterator[Callable[[NodeId], Awaitable[ByteLink]]]:
    """Listen for the other boxes and yield what opens a tunnel from `here`; a box that is `down` has no path."""
    addresses: dict[NodeId, Address] = {}
    async with AsyncExitStack() as stack:
        for box in others:
            listener = await box.transport().listen(Address("127.0.0.1", 0), {Purpose.TUNNEL: box.accept})
            stack.push_async_callback(listener.aclose)
            addresses[box.id] = listener.address
        dialler = here.transport()

        async def open_tunnel(node: NodeId) -> ByteLink:
            return await dialler.dial(addresses[node], Purpose.TUNNEL, expect=node)

        yield open_tunnel


@dataclass
class Front:
    """The front port of the first box, with a client to ask it."""

    node: NodeId
    url: str
    port: int
    gateway: Gateway
    client: aiohttp.ClientSession
    runner: web.AppRunner

    def chat(self, model: str, *, content: str = "hello", **fields: object) -> aiohttp.client._RequestContextManager:
        return self.client.post(f"{self.url}/v1/chat/completions", json=chat_body(model, content=content, **fields))


def chat_body(model: str, *, content: str = "hello", **fields: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 12, **fields}


@asynccontextmanager
async def fleet(
    *boxes: Box,
    open_tunnel: Callable[[NodeId], Awaitable[ByteLink]] | None = None,
    more: Iterable[web.RouteDef] = (),
) -> AsyncIterator[Front]:
    """Run the boxes' serving sides and the gateway of the first; closed in order."""
    here = boxes[0]
    here.reach = "here"
    async with AsyncExitStack() as stack:
        if open_tunnel is None:
            open_tunnel = await stack.enter_async_context(tunnels(*boxes))
        gateway = Gateway(
            node=here.id,
            view=lambda: FleetView(nodes=tuple(box.seen() for box in boxes)),
            open_tunnel=open_tunnel,
            serving=here.serving,
        )
        app = front_application(node=here.id, port=8787)
        app.add_routes([*gateway.routes(), *more])
        runner = front_runner(app, node=here.id)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        for box in boxes:
            stack.push_async_callback(box.serving.aclose)
        stack.push_async_callback(gateway.aclose)
        client = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)))
        yield Front(here.id, f"http://127.0.0.1:{port}", port, gateway, client, runner)


async def text_of(front: Front, model: str) -> str:
    async with front.chat(model) as answer:
        return await answer.text()


async def read_stream(front: Front, model: str, said: bytearray) -> None:
    """Read a long streamed answer to its end, into `said` as it comes."""
    async with front.chat(model, stream=True, max_tokens=900) as answer:
        answer.raise_for_status()
        async for part in answer.content.iter_any():
            said += part


async def read_until_cut(front: Front, model: str, said: bytearray) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await read_stream(front, model, said)


async def until(truth: Callable[[], bool | Awaitable[bool]], *, within_s: float = 20.0) -> float:
    """Wait until `truth()` holds and return how long that took; fail at the deadline."""
    began = time.monotonic()
    while True:
        held = truth()
        if held if isinstance(held, bool) else await held:
            return time.monotonic() - began
        assert time.monotonic() - began < within_s, f"not true within {within_s} s"
        await asyncio.sleep(0.02)
