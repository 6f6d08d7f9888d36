"""The front port is open to its own machine and to nobody else, whatever the route and the method."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from fleet_app.gateway import GATEWAY_HEADER
from propagul.link.base import NodeId
from tests.gateway.rig import Box, fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateway.rig import Front

PATHS = ["/v1/models", "/v1/models/x", "/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
PATHS += ["/v1/nothing", "/", "/admin/status", "/page", "/no/such/route"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

FOREIGN = {
    "origin": {"Origin": "http://evil.test"},
    "null origin": {"Origin": "null"},
    "https origin": {"Origin": "https://127.0.0.1:{port}"},
    "other port's origin": {"Origin": "http://127.0.0.1:1"},
    "other name's origin": {"Origin": "http://localhost:{port}"},
    "host": {"Host": "evil.test"},
    "host with our port": {"Host": "evil.test:{port}"},
    "host that looks like ours": {"Host": "127.0.0.1.evil.test:{port}"},
    "host with user": {"Host": "127.0.0.1@evil.test"},
    "empty host": {"Host": ""},
    "rebound": {"Host": "evil.test:{port}", "Origin": "http://evil.test:{port}"},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "same-site": {"Sec-Fetch-Site": "same-site"},
    "forwarded for": {"X-Forwarded-For": "203.0.113.9"},
    "forwarded for loopback": {"X-Forwarded-For": "127.0.0.1"},
    "forwarded by other name": {"X-Forwarded-Anything": "1"},
    "forwarded": {"Forwarded": "for=203.0.113.9"},
    "real ip": {"X-Real-IP": "203.0.113.9"},
    "via": {"Via": "1.1 somewhere"},
}


@asynccontextmanager
async def front() -> AsyncIterator[Front]:
    async with fleet(Box("box-a")) as running:
        yield running


async def ask_all(running: Front, headers: dict[str, str]) -> list[tuple[str, str, aiohttp.ClientResponse, str]]:
    """Every method on every path with these headers: (method, path, response, body)."""
    told = {name: value.replace("{port}", str(running.port)) for name, value in headers.items()}
    answers = []
    for path in PATHS:
        for method in METHODS:
            async with running.client.request(method, running.url + path, headers=told, allow_redirects=False) as got:
                answers.append((method, path, got, await got.text()))
    return answers


@pytest.mark.parametrize("name", FOREIGN)
def test_every_route_and_method_refuses_a_foreign(name: str) -> None:
    async def run() -> None:
        async with front() as running:
            for method, path, answer, body in await ask_all(running, FOREIGN[name]):
                assert answer.status == 403, (method, path)
                assert method == "HEAD" or '"not_loopback"' in body
                assert not [header for header in answer.headers if header.lower().startswith("access-control")]

    asyncio.run(run())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:{port}"},
        {"Host": "localhost:{port}", "Origin": "http://localhost:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Host": "LOCALHOST:9999"},
        {"Host": "127.0.0.1:18787", "Sec-Fetch-Site": "none"},
        {"Host": "[::1]:{port}"},
        {"Host": "127.0.0.1"},
    ],
)
def test_this_machine_passes_also_through_a_forwarded_port(headers: dict[str, str]) -> None:
    async def run() -> None:
        async with front() as running:
            assert {answer.status for *_, answer, _ in await ask_all(running, headers)}.isdisjoint({403})

    asyncio.run(run())


def test_a_refusal_names_what_was_refused_and_the_way_in_and_never_the_value() -> None:
    async def run() -> None:
        async with front() as running:
            for headers, named in [
                ({"Origin": "http://canary.test"}, "Origin"),
                ({"Host": "canary.test"}, "Host"),
                ({"X-Forwarded-For": "canary"}, "X-Forwarded-*"),
                ({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site"),
            ]:
                async with running.client.get(f"{running.url}/v1/models", headers=headers) as answer:
                    error = (await answer.json())["error"]
                    assert set(error) == {"message", "type", "param", "code"}
                    assert named in error["message"]
                    assert "ssh -L 8787:127.0.0.1:8787" in error["message"]
                    assert "canary" not in error["message"]

    asyncio.run(run())


def test_every_response_carries_our_mark_and_nosniff_and_no_cors() -> None:
    async def greedy(_: web.Request) -> web.Response:
        return web.Response(text="x", headers={"Access-Control-Allow-Origin": "*"})

    async def run() -> None:
        async with front() as running:
            for _, path, answer, _ in await ask_all(running, {}) + await ask_all(running, FOREIGN["origin"]):
                assert answer.headers[GATEWAY_HEADER] == running.node, path
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Server"] == "propagul"

    asyncio.run(run())
    response = asyncio.run(_of_handler(greedy))
    assert "Access-Control-Allow-Origin" not in response.headers


async def _of_handler(handler: object) -> aiohttp.ClientResponse:
    from fleet_app.gateway import front_application, front_runner

    app = front_application(node=NodeId("a" * 52), port=8787)
    app.router.add_get("/x", handler)  # type: ignore[arg-type]  # a handler, whatever its annotations
    runner = front_runner(app, node=NodeId("a" * 52))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/x") as answer:
            await answer.read()
            return answer
    finally:
        await runner.cleanup()


async def raw(port: int, request: bytes, *, host: str = "127.0.0.1") -> bytes:
    """Send these bytes and read until the other end closes."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://evil.test/v1/models HTTP/1.1\r\nHost: 127.0.0.1",
        b"GET http://127.0.0.1/v1/models HTTP/1.1\r\nHost: 127.0.0.1",
        b"GET /v1/models HTTP/1.0\r\nAccept: */*",
        b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nOrigin: http://evil.test",
        b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1",
    ],
)
def test_odd_targets_and_doubled_headers_are_refused(head: bytes) -> None:
    async def run() -> None:
        async with front() as running:
            answer = await raw(running.port, head + b"\r\nConnection: close\r\n\r\n")
            assert b" 403 " in answer[:20]

    asyncio.run(run())


def test_ipv6_loopback_passes() -> None:
    async def run() -> None:
        async with front() as running:
            site = web.TCPSite(_runner_of(running), "::1", 0)
            await site.start()
            port = next(address[1] for address in _runner_of(running).addresses if address[0] == "::1")
            answer = await raw(port, f"GET /v1/models HTTP/1.0\r\nHost: [::1]:{port}\r\n\r\n".encode(), host="::1")
            assert b" 200 " in answer[:20]

    if not _has_ipv6_loopback():
        pytest.skip("this machine has no ::1")
    asyncio.run(run())


def _runner_of(running: Front) -> web.AppRunner:
    return running.runner


def _has_ipv6_loopback() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def test_a_peer_that_is_not_this_machine_is_refused() -> None:
    address = _own_lan_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")

    async def run() -> None:
        async with front() as running:
            await web.TCPSite(_runner_of(running), address, 0).start()
            port = next(bound[1] for bound in _runner_of(running).addresses if bound[0] == address)
            answer = await raw(port, b"GET /v1/models HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", host=address)
            assert b" 403 " in answer[:20]

    asyncio.run(run())


def _own_lan_address() -> str | None:
    """An address of this machine that is not loopback; choosing a route sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if found.startswith("127.") else found
