"""A tunnel's end: the connection of a link given to a protocol that has no frames."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from propagul.errors import ClosedError
from propagul.link import Purpose
from propagul.link.tcp_link import TcpLink
from tests.link.world import listening, member, run, until

if TYPE_CHECKING:
    from propagul.link import Link


class Caller(asyncio.Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard, self.made, self.lost = bytearray(), 0, asyncio.Event()

    def connection_made(self, _: asyncio.BaseTransport) -> None:
        self.made += 1

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, _: Exception | None) -> None:
        self.lost.set()


@pytest.mark.parametrize("body_bytes", [0, 5, 1_000_000])
@pytest.mark.parametrize("early", [True, False])
def test_an_http_server_answers_through_a_link(body_bytes: int, *, early: bool) -> None:
    """`early`: the request lies in the link's buffer when the server gets the connection."""

    async def length(request: web.BaseRequest) -> web.Response:
        return web.Response(text=f"{request.path} {len(await request.read())}")

    async def scenario() -> None:
        ours, theirs, server = member(), member(), web.Server(length)
        release, waiting = asyncio.Event(), list[TcpLink]()

        async def serve(link: Link) -> None:
            assert isinstance(link, TcpLink)
            waiting.append(link)
            await release.wait()
            link.hand_over(server())

        async with listening(theirs, {Purpose.TUNNEL: serve}) as listener:
            link, caller = await ours.dial(listener.address, Purpose.TUNNEL), Caller()
            if not early:
                release.set()
            transport = link.hand_over(caller)
            ask(transport, "/first", body_bytes)
            if early:
                held = min(body_bytes, 150_000)  # more than that stops reading
                await until(lambda: bool(waiting) and waiting[0]._stream._decoder.buffered > held)
                assert waiting[0]._stream._paused == (body_bytes > held)
                release.set()
            await until(lambda: f"/first {body_bytes}".encode() in caller.heard)
            ask(transport, "/second", body_bytes)  # one keep-alive connection
            await until(lambda: f"/second {body_bytes}".encode() in caller.heard)
            assert caller.heard.count(b"HTTP/1.1 200 OK") == 2
            assert caller.made == 1
            transport.close()
            await asyncio.wait_for(caller.lost.wait(), 20)
        await server.shutdown()

    run(scenario)


def ask(transport: asyncio.Transport, path: str, body_bytes: int) -> None:
    transport.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {body_bytes}\r\n\r\n".encode())
    transport.write(b"b" * body_bytes)


def test_a_connection_that_was_paused_flows_again_after_the_hand_over() -> None:
    async def scenario() -> None:
        ours, theirs, far, release, waiting = member(), member(), Caller(), asyncio.Event(), list[TcpLink]()

        async def serve(link: Link) -> None:
            assert isinstance(link, TcpLink)
            waiting.append(link)
            await release.wait()
            link.hand_over(far)

        async with listening(theirs, {Purpose.TUNNEL: serve}) as listener:
            link, caller = await ours.dial(listener.address, Purpose.TUNNEL), Caller()
            transport = link.hand_over(caller)
            transport.write(bytes(range(250)) * 10_000)
            await until(lambda: bool(waiting) and waiting[0]._stream._paused)
            release.set()
            await until(lambda: len(far.heard) == 2_500_000)
            assert far.heard == bytes(range(250)) * 10_000
            transport.close()
            await asyncio.wait_for(caller.lost.wait(), 20)

    run(scenario)


def test_a_spent_link_does_nothing_any_more() -> None:
    async def scenario() -> None:
        ours, theirs, far = member(), member(), Caller()

        async def serve(link: Link) -> None:
            assert isinstance(link, TcpLink)
            link.hand_over(far)

        async with listening(theirs, {Purpose.TUNNEL: serve}) as listener:
            link, caller = await ours.dial(listener.address, Purpose.TUNNEL), Caller()
            transport = link.hand_over(caller)
            link.abort()
            await link.aclose()
            with pytest.raises(ClosedError):
                await link.send(b"x")
            with pytest.raises(ClosedError):
                await link.receive()
            with pytest.raises(ClosedError):
                link.hand_over(Caller())
            transport.write(b"raw")
            await until(lambda: far.heard == b"raw")
            transport.close()
            await asyncio.wait_for(far.lost.wait(), 20)
            await asyncio.wait_for(caller.lost.wait(), 20)

    run(scenario)


def test_a_closed_link_cannot_be_handed_over() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs) as listener:
            link = await ours.dial(listener.address, Purpose.TUNNEL)
            await link.aclose()
            with pytest.raises(ClosedError):
                link.hand_over(Caller())

    run(scenario)
