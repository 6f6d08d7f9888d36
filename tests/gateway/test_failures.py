"""What happens when an engine, a node or a client fails: said plainly before the first byte, cut after it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from propagul.errors import LinkError
from tests.engines import LlamaServer, llama_server
from tests.gateway.odd_engine import OddEngine, chunk, head, odd_engine, saying
from tests.gateway.rig import Box, Front, chat_body, engine, fleet, until

if TYPE_CHECKING:
    from propagul.link.base import ByteLink, NodeId

pytestmark = pytest.mark.engine

PLACES = pytest.mark.parametrize("place", ["here", "there"])
NOWHERE = "http://127.0.0.1:9"
FINE = head("200 OK", "Content-Type: application/json", length=2) + b"{}"


def boxes_with(place: str, url: str, model: str = "m") -> tuple[Box, Box]:
    here, there = Box("box-a"), Box("box-b")
    (here if place == "here" else there).engines.append(engine(url, model))
    return here, there


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


# --- nodes that go ----------------------------------------------------------------------------------------------


def test_a_lost_node_cuts_its_streams_and_its_unanswered_requests_go_elsewhere_at_once(slow: LlamaServer) -> None:
    async def waiting(odd: OddEngine, _: asyncio.StreamWriter) -> None:
        await odd.release.wait()

    async def run() -> None:
        async with odd_engine(waiting) as silent, odd_engine(saying(FINE)) as fine:
            gone = Box("box-b", [engine(slow.url, "slow"), engine(silent.url, "m")])
            other = Box("box-c", [engine(fine.url, "m", in_flight=5)])
            async with fleet(Box("box-a"), gone, other) as front, asyncio.TaskGroup() as tasks:
                unanswered = tasks.create_task(text_of(front, "m"))
                said = bytearray()
                streamed = tasks.create_task(read_until_cut(front, "slow", said))
                await until(lambda: bool(said) and bool(silent.bodies))
                assert gone.serving.in_flight() == {slow.url: 1, silent.url: 1}
                began = time.monotonic()
                front.gateway.node_lost(gone.id)
                assert await unanswered == "{}"
                await streamed
                assert time.monotonic() - began < 1
                await until(lambda: gone.serving.in_flight() == {}, within_s=1)

    asyncio.run(run())


async def text_of(front: Front, model: str) -> str:
    async with front.chat(model) as answer:
        return await answer.text()


async def read_until_cut(front: Front, model: str, said: bytearray) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await read_stream(front, model, said)


async def read_stream(front: Front, model: str, said: bytearray) -> None:
    """Read a long streamed answer to its end, into `said` as it comes."""
    async with front.chat(model, stream=True, max_tokens=900) as answer:
        answer.raise_for_status()
        async for part in answer.content.iter_any():
            said += part


def test_a_tunnel_that_never_opens_ends_when_its_node_is_lost() -> None:
    opening = asyncio.Event()

    async def never(_: NodeId) -> ByteLink:
        opening.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        here, there = boxes_with("there", NOWHERE)
        async with fleet(here, there, open_tunnel=never) as front, asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(text_of(front, "m"))
            await opening.wait()
            began = time.monotonic()
            front.gateway.node_lost(there.id)
            assert "backend_unreachable" in await asked
            assert time.monotonic() - began < 1

    asyncio.run(run())


def test_tunnels_are_kept_and_few(alpha: LlamaServer) -> None:
    async def run() -> None:
        here, there = boxes_with("there", alpha.url, "alpha")
        async with fleet(here, there) as front:
            for _ in range(5):
                await text_of(front, "alpha")
            assert there.tunnels_accepted == 1
            await asyncio.gather(*(text_of(front, "alpha") for _ in range(9)))
            tunnels = front.gateway._tunnels
            assert tunnels is not None
            await until(lambda: not tunnels._acquired)
            assert [len(kept) for kept in tunnels._conns.values()] == [4]

    asyncio.run(run())


# --- clients that go, or dawdle ---------------------------------------------------------------------------------


@PLACES
def test_a_client_that_leaves_frees_the_slot_within_a_second(place: str, slow: LlamaServer) -> None:
    async def run() -> None:
        here, there = boxes_with(place, slow.url, "slow")
        async with fleet(here, there) as front:

            async def idle() -> bool:
                async with front.client.get(f"{slow.url}/slots") as answer:
                    return not any(slot["is_processing"] for slot in await answer.json())

            assert await until(idle, within_s=5) >= 0
            async with front.chat("slow", stream=True, max_tokens=900) as answer:
                await answer.content.readany()
                assert not await idle()
            serving = (here if place == "here" else there).serving
            await until(lambda: serving.in_flight() == {}, within_s=1)
            await until(idle, within_s=2)

    asyncio.run(run())


@PLACES
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_answer_frees_the_engine(place: str, *, stream: bool) -> None:
    async def waiting(odd: OddEngine, _: asyncio.StreamWriter) -> None:
        await odd.left.wait()

    async def run() -> None:
        async with odd_engine(waiting) as odd, fleet(*boxes_with(place, odd.url)) as front:
            asked = asyncio.create_task(text_of_stream(front, stream=stream))
            await until(lambda: bool(odd.bodies))
            asked.cancel()
            async with asyncio.timeout(1):
                await odd.left.wait()

    asyncio.run(run())


async def text_of_stream(front: Front, *, stream: bool) -> None:
    async with front.chat("m", stream=stream):
        pass


@PLACES
def test_a_slow_reader_holds_the_engine_back_and_memory_flat(place: str) -> None:
    part, parts = b"x" * 65_536, 4_000

    async def flood(odd: OddEngine, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK"))
        for _ in range(parts):
            writer.write(chunk(part))
            await writer.drain()
            odd.written_bytes += len(part)
        writer.write(b"0\r\n\r\n")

    async def run() -> None:
        async with odd_engine(flood) as odd, fleet(*boxes_with(place, odd.url)) as front:
            async with front.chat("m", stream=True) as answer:
                await settled(odd)
                assert odd.written_bytes < 48 * 2**20 < parts * len(part)
                assert len(await answer.content.readexactly(8 * 2**20)) == 8 * 2**20
            async with asyncio.timeout(1):
                await odd.left.wait()

    async def settled(odd: OddEngine) -> None:
        """Wait until the engine could write nothing for a while."""
        last, quiet_since = -1, time.monotonic()
        while time.monotonic() - quiet_since < 0.3:
            if odd.written_bytes != last:
                last, quiet_since = odd.written_bytes, time.monotonic()
            await asyncio.sleep(0.02)

    asyncio.run(run())
