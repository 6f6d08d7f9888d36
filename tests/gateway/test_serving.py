"""The owner's side serves inference of what it advertises and nothing else, whoever asks over a tunnel."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.gateway.odd_engine import OddEngine, chunk, head, odd_engine, saying
from tests.gateway.rig import Box, chat_body, engine, fleet, tunnels, until

if TYPE_CHECKING:
    from propagul.link.base import ByteLink

FINE = head("200 OK", length=2) + b"{}"


async def say(link: ByteLink, request: bytes) -> bytes:
    """Send raw bytes through a tunnel and return what came back until it was closed."""
    reader = asyncio.StreamReader()
    transport = link.hand_over(asyncio.StreamReaderProtocol(reader))
    transport.write(request)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        transport.abort()


def request(method: str, target: str, body: object = None, *headers: str) -> bytes:
    content = json.dumps(chat_body("m") if body is None else body).encode()
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


REFUSED = [
    ("POST", "/api/pull"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/chat"),
    ("GET", "/v1/models"),
    ("GET", "/v1/chat/completions"),
    ("HEAD", "/v1/chat/completions"),
    ("PUT", "/v1/chat/completions"),
    ("DELETE", "/v1/models/m"),
    ("OPTIONS", "/v1/chat/completions"),
    ("GET", "/admin/status"),
    ("POST", "/admin/invite"),
    ("GET", "/"),
    ("GET", "/slots"),
    ("POST", "/v1/chat/completions/../../../api/pull"),
    ("POST", "/v1/chat/completions/%2e%2e/control"),
    ("POST", "/v1//chat/completions"),
    ("POST", "//evil.test/v1/chat/completions"),
    ("POST", "/v1/chat/completions?model=other"),
    ("POST", "http://evil.test/v1/chat/completions"),
    ("POST", "http://127.0.0.1:9/v1/chat/completions"),
]


@pytest.mark.parametrize(("method", "target"), REFUSED)
def test_a_tunnel_refuses(method: str, target: str) -> None:
    async def run() -> None:
        async with odd_engine(saying(FINE)) as odd:
            there = Box("box-b", [engine(odd.url, "m")])
            async with tunnels(Box("box-a"), there) as open_tunnel:
                answer = await say(await open_tunnel(there.id), request(method, target))
                assert answer.split()[1] == b"403", answer[:80]
                assert method == "HEAD" or b'"route_not_allowed"' in answer
            await there.serving.aclose()
            assert odd.bodies == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "raw",
    [
        b"CONNECT evil.test:80 HTTP/1.1\r\nHost: evil.test:80\r\n\r\n",
        request("POST", "/v1/chat/completions", None, "Upgrade: websocket").replace(b"close", b"Upgrade"),
        request("POST", "/v1/chat/completions", None, "Upgrade: h2c"),
        request("POST", "/v1/chat/completions", None, "Transfer-Encoding: chunked"),
        request("POST", "/v1/chat/completions", None, "Content-Length: 3"),
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
    ],
)
def test_what_is_no_plain_request_reaches_no_engine(raw: bytes) -> None:
    async def run() -> None:
        async with odd_engine(saying(FINE)) as odd:
            there = Box("box-b", [engine(odd.url, "m")])
            async with tunnels(Box("box-a"), there) as open_tunnel:
                link = await open_tunnel(there.id)
                asked = asyncio.create_task(say(link, raw))
                answer = await asked
                assert answer[:12].split()[-1] in {b"400", b"403"}, answer[:80]
            await there.serving.aclose()
            assert odd.bodies == []

    asyncio.run(run())


def test_a_tunnel_serves_what_is_advertised_and_ready_only() -> None:
    async def run() -> None:
        async with odd_engine(saying(FINE)) as odd:
            there = Box("box-b", [engine(odd.url, "m"), engine(odd.url, "asleep", condition="loading")])
            async with tunnels(Box("box-a"), there) as open_tunnel:
                for model in ["asleep", "other", "M", "m:latest"]:
                    said = request("POST", "/v1/chat/completions", chat_body(model))
                    answer = await say(await open_tunnel(there.id), said)
                    assert answer.split()[1] == b"404", model
                    assert b'"model_not_found"' in answer
                assert odd.bodies == []
                forged = request("POST", "/v1/chat/completions", None, "X-Forwarded-Host: evil.test", "Cookie: c=1")
                assert (await say(await open_tunnel(there.id), forged)).split()[1] == b"200"
                assert "evil.test" not in odd.heads[0]
                assert "Cookie" not in odd.heads[0]
            await there.serving.aclose()

    asyncio.run(run())


def test_of_two_engines_the_one_with_less_in_flight_is_asked() -> None:
    async def hold(odd: OddEngine, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK") + chunk(b"x"))
        await odd.release.wait()
        writer.write(b"0\r\n\r\n")

    async def run() -> None:
        for place in ("here", "there"):
            async with odd_engine(hold) as one, odd_engine(hold) as two:
                here, there = Box("box-a"), Box("box-b")
                owner = here if place == "here" else there
                owner.engines = [engine(one.url, "m"), engine(two.url, "m")]
                async with fleet(here, there) as front, front.chat("m"), front.chat("m"), front.chat("m"):
                    assert sorted([len(one.bodies), len(two.bodies)]) == [1, 2]
                    assert sum(owner.serving.in_flight().values()) == 3
                    one.release.set()
                    two.release.set()
                    await until(lambda: owner.serving.in_flight() == {})  # noqa: B023 - awaited inside the loop's turn

    asyncio.run(run())


def test_requests_spread_over_nodes_by_what_they_say_and_by_what_we_sent() -> None:
    async def hold(odd: OddEngine, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK") + chunk(b"x"))
        await odd.release.wait()

    async def run() -> None:
        async with odd_engine(hold) as one, odd_engine(hold) as two, odd_engine(hold) as busy:
            boxes = [Box("box-a"), Box("box-b", [engine(busy.url, "m", in_flight=3)])]
            boxes += [Box("box-c", [engine(one.url, "m")]), Box("box-d", [engine(two.url, "m")])]
            async with fleet(*boxes) as front, front.chat("m"), front.chat("m"), front.chat("m"), front.chat("m"):
                assert [len(odd.bodies) for odd in (busy, one, two)] == [0, 2, 2]

    asyncio.run(run())


@pytest.mark.parametrize("place", ["here", "there"])
def test_a_draining_node_refuses_new_requests_and_finishes_the_running_ones(place: str) -> None:
    async def hold(odd: OddEngine, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK") + chunk(b"begun "))
        await odd.release.wait()
        writer.write(chunk(b"and ended") + b"0\r\n\r\n")

    async def run() -> None:
        async with odd_engine(hold) as odd:
            here, there = Box("box-a"), Box("box-b")
            owner = here if place == "here" else there
            owner.engines = [engine(odd.url, "m")]
            async with fleet(here, there) as front, front.chat("m") as running:
                assert await owner.serving.drain(0.05) == 1
                async with front.chat("m") as refused:
                    assert refused.status == 503
                    assert int(refused.headers["Retry-After"]) > 0
                    assert (await refused.json())["error"]["code"] == "backend_draining"
                drained = asyncio.create_task(owner.serving.drain(5))
                odd.release.set()
                assert await running.text() == "begun and ended"
                assert await drained == 0

    asyncio.run(run())


def test_a_node_that_is_declared_drained_takes_nothing_until_it_is_not() -> None:
    async def run() -> None:
        async with odd_engine(saying(FINE)) as odd:
            boxes = [Box(name, [engine(odd.url, "m")]) for name in ("box-a", "box-b")]
            async with fleet(*boxes) as front:
                for is_drained, answers in ((True, "box-b"), (False, "box-a")):
                    boxes[0].serving.is_drained = is_drained
                    async with front.chat("m") as answer:
                        assert answer.headers["X-Propagul-Node"] == answers

    asyncio.run(run())


def test_a_request_for_a_draining_node_is_answered_by_another() -> None:
    async def run() -> None:
        async with odd_engine(saying(FINE)) as odd:
            boxes = [Box(name, [engine(odd.url, "m")]) for name in ("box-a", "box-b", "box-c")]
            async with fleet(*boxes) as front:
                for box, answers in zip(boxes, ("box-a", "box-b", "box-c"), strict=True):
                    async with front.chat("m") as answer:
                        assert answer.headers["X-Propagul-Node"] == answers
                    await box.serving.drain(0)

    asyncio.run(run())
