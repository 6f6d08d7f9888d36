"""What happens when an engine fails: said plainly before the first byte, cut after it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest

from propagul.errors import LinkError
from tests.engines import LlamaServer, llama_server
from tests.gateway.odd_engine import OddEngine, chunk, head, odd_engine, saying
from tests.gateway.rig import (
    NOWHERE,
    PLACES,
    Box,
    boxes_with,
    chat_body,
    engine,
    fleet,
    read_stream,
    read_until_cut,
    until,
)

if TYPE_CHECKING:
    from propagul.link.base import ByteLink, NodeId

pytestmark = pytest.mark.engine

FINE = head("200 OK", "Content-Type: application/json", length=2) + b"{}"


async def error_of(answer: aiohttp.ClientResponse) -> dict[str, object]:
    error = (await answer.json())["error"]
    assert isinstance(error, dict)
    assert set(error) == {"message", "type", "param", "code"}
    return error


# --- before the first byte --------------------------------------------------------------------------------------


@PLACES
def test_an_engine_that_is_gone_is_a_503_with_retry_after(place: str) -> None:
    with llama_server("m") as server:
        server.kill()

        async def run() -> None:
            async with fleet(*boxes_with(place, server.url)) as front, front.chat("m") as answer:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert (await error_of(answer))["code"] == "backend_unreachable"

        asyncio.run(run())


def test_a_node_that_is_gone_is_a_503_and_not_a_wait() -> None:
    async def run() -> None:
        dialled: list[NodeId] = []

        async def no_path(node: NodeId) -> ByteLink:
            dialled.append(node)
            raise LinkError

        there = Box("box-b", [engine(NOWHERE, "m"), engine("http://127.0.0.1:10", "m")])
        async with fleet(Box("box-a"), there, open_tunnel=no_path) as front, front.chat("m") as answer:
            assert answer.status == 503
            assert "box-b" in str((await error_of(answer))["message"])
        assert dialled == [there.id], "a node with two engines is one node to reach"

    asyncio.run(run())


@PLACES
def test_another_place_answers_when_the_first_cannot_be_reached(place: str, alpha: LlamaServer) -> None:
    async def run() -> None:
        here, there = boxes_with(place, NOWHERE, "alpha")
        third = Box("box-c", [engine(alpha.url, "alpha", in_flight=5)])
        async with fleet(here, there, third) as front, front.chat("alpha") as answer:
            assert answer.status == 200
            assert answer.headers["X-Propagul-Node"] == "box-c"
            assert "alpha box" in await answer.text()

    asyncio.run(run())


def test_the_other_engine_of_a_node_answers_when_one_is_gone(alpha: LlamaServer) -> None:
    async def run() -> None:
        for place in ("here", "there"):
            here, there = boxes_with(place, NOWHERE, "alpha")
            (here if place == "here" else there).engines.append(engine(alpha.url, "alpha", in_flight=1))
            async with fleet(here, there) as front, front.chat("alpha") as answer:
                assert answer.status == 200, place

    asyncio.run(run())


@PLACES
def test_a_request_whose_engine_dies_unanswered_is_sent_once_more_and_no_further(place: str) -> None:
    async def run() -> None:
        async with odd_engine(saying(b"")) as one, odd_engine(saying(b"")) as two, odd_engine(saying(b"")) as three:
            here, there = boxes_with(place, one.url)
            boxes = [here, there, Box("box-c", [engine(two.url, "m", in_flight=8)])]
            boxes.append(Box("box-d", [engine(three.url, "m", in_flight=9)]))
            async with fleet(*boxes) as front, front.chat("m") as answer:
                assert answer.status == 502
                assert (await error_of(answer))["code"] == "backend_broken"
            assert [len(odd.bodies) for odd in (one, two, three)] == [1, 1, 0]

    asyncio.run(run())


@PLACES
def test_a_broken_response_head_is_a_502(place: str) -> None:
    async def run() -> None:
        for said in [b"nonsense canary\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\ncanary canary: 1\r\n\r\n"]:
            async with odd_engine(saying(said)) as odd, fleet(*boxes_with(place, odd.url)) as front:
                async with front.chat("m") as answer:
                    assert answer.status == 502
                    assert "canary" not in await answer.text()

    asyncio.run(run())


# --- engines' own errors ----------------------------------------------------------------------------------------


@PLACES
def test_an_engines_error_comes_back_unchanged_and_is_not_retried(place: str) -> None:
    cases = [
        (b"500 Internal Server Error", "", b'{"error":"it broke"}'),
        (b"429 Too Many Requests", "17", b'{"error":"Model is overloaded","error_type":"overloaded"}'),
        (b"503 Service Unavailable", "3", b'{"error":{"code":503}}'),
        (b"404 Not Found", "", b"404 page not found"),
    ]

    async def run() -> None:
        for status, retry_after, body in cases:
            more = [f"Retry-After: {retry_after}"] if retry_after else []
            said = head(status.decode(), "Content-Type: text/odd", *more, length=len(body)) + body
            async with odd_engine(saying(said)) as odd, odd_engine(saying(FINE)) as fine:
                other = Box("box-c", [engine(fine.url, "m", in_flight=5)])
                async with fleet(*boxes_with(place, odd.url), other) as front, front.chat("m") as answer:
                    assert answer.status == int(status[:3])
                    assert await answer.read() == body
                    assert answer.headers["Content-Type"] == "text/odd"
                    assert answer.headers.get("Retry-After", "") == retry_after
                assert fine.bodies == []

    asyncio.run(run())


@PLACES
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_neither_followed_nor_passed_on(place: str, status: str) -> None:
    async def run() -> None:
        async with odd_engine(saying(FINE)) as elsewhere:
            said = head(status, f"Location: {elsewhere.url}/v1/chat/completions", length=0)
            async with odd_engine(saying(said)) as odd, fleet(*boxes_with(place, odd.url)) as front:
                async with front.chat("m") as answer:
                    assert (answer.status, answer.headers.get("Location")) == (502, None)
                    assert (await error_of(answer))["code"] == "backend_redirected"
            assert elsewhere.bodies == []

    asyncio.run(run())


# --- after the first byte ---------------------------------------------------------------------------------------


UNFINISHED = {
    "dies mid-chunk": head("200 OK") + chunk(b"data: 1\n\n") + b"ff\r\ndata",
    "dies between chunks": head("200 OK") + chunk(b"data: 1\n\n"),
    "sends less than it said": head("200 OK", length=100) + b'{"half',
}


@PLACES
@pytest.mark.parametrize("said", UNFINISHED.values(), ids=UNFINISHED)
def test_an_answer_that_breaks_off_is_cut_and_never_asked_for_again(place: str, said: bytes) -> None:
    async def run() -> None:
        async with odd_engine(saying(said)) as odd, odd_engine(saying(FINE)) as fine:
            other = Box("box-c", [engine(fine.url, "m", in_flight=5)])
            async with fleet(*boxes_with(place, odd.url), other) as front:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await read_stream(front, "m", bytearray())
            assert (len(odd.bodies), len(fine.bodies)) == (1, 0)

    asyncio.run(run())


@PLACES
@pytest.mark.parametrize("at_once", [True, False])
def test_a_garbled_answer_fails_and_is_never_asked_for_again(place: str, *, at_once: bool) -> None:
    async def garbled(_: OddEngine, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK") + chunk(b"data: 1\n\n"))
        await asyncio.sleep(0 if at_once else 0.1)
        writer.write(b"zz\r\nnonsense\r\n")
        await writer.drain()

    async def run() -> None:
        async with odd_engine(garbled) as odd, odd_engine(saying(FINE)) as fine:
            other = Box("box-c", [engine(fine.url, "m", in_flight=5)])
            async with fleet(*boxes_with(place, odd.url), other) as front:
                with pytest.raises(aiohttp.ClientError):
                    await read_stream(front, "m", bytearray())
            assert (len(odd.bodies), len(fine.bodies)) == (1, 0)

    asyncio.run(run())


def test_an_http_1_0_client_sees_the_cut_too() -> None:
    async def run() -> None:
        said = UNFINISHED["dies between chunks"]
        async with odd_engine(saying(said)) as odd, fleet(*boxes_with("here", odd.url)) as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            body = json.dumps(chat_body("m")).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            writer.write(body)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    asyncio.run(run())


def test_bytes_beyond_the_announced_length_do_not_reach_the_client() -> None:
    async def run() -> None:
        async with odd_engine(saying(FINE + b"HTTP/1.1 200 OK\r\n\r\ncanary")) as odd:
            async with fleet(*boxes_with("there", odd.url)) as front:
                for _ in range(2):
                    async with front.chat("m") as answer:
                        assert await answer.read() == b"{}"

    asyncio.run(run())


@PLACES
def test_a_killed_engine_cuts_the_stream_it_was_sending(place: str) -> None:
    async def run(server: LlamaServer) -> None:
        async with fleet(*boxes_with(place, server.url)) as front:
            said = bytearray()
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_until_cut(front, "m", said))
                await until(lambda: bool(said))
                await asyncio.to_thread(server.kill)
                await reading
            assert b"[DONE]" not in said

    with llama_server("m", "words that never come to their end", slow=True) as server:
        asyncio.run(run(server))
