"""No prompt, answer or key reaches a log record or an error body, whatever goes wrong, with every logger at DEBUG."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from fleet_app.gateway.call import Call
from tests.gateway.odd_engine import OddEngine, chunk, head, odd_engine, saying
from tests.gateway.rig import Box, chat_body, engine, fleet, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.odd_engine import Script

CANARY = "canary"
SECRETS = {"Authorization": "Bearer canary-key", "Cookie": "session=canary", "X-Api-Key": "canary"}


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{self.format(record)} {record.args!r} {record.exc_info!r} {record.__dict__!r}")


@contextmanager
def listening() -> Iterator[list[str]]:
    """Everything any logger says at DEBUG."""
    root, ear = logging.getLogger(), _Ear()
    before = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        yield ear.heard
    finally:
        root.removeHandler(ear)
        root.setLevel(before)


async def hang(odd: OddEngine, _: asyncio.StreamWriter) -> None:
    await odd.left.wait()


def answering(content: bytes) -> Script:
    return saying(head("200 OK", length=len(content)) + content)


SCRIPTS: dict[str, Script] = {
    "answers": answering(b"canary answer"),
    "says an error": saying(head("500 No", length=6) + b"canary"),
    "redirects": saying(head("302 Found", "Location: http://canary.test/canary", length=6) + b"canary"),
    "says nonsense": saying(b"canary canary\r\n\r\n"),
    "has a bad header": saying(b"HTTP/1.1 200 OK\r\ncanary canary: canary\r\n\r\n"),
    "closes": saying(b""),
    "breaks off": saying(head("200 OK") + chunk(b"canary") + b"ff\r\ncanary"),
    "garbles": saying(head("200 OK") + chunk(b"canary") + b"canary\r\n"),
}


@pytest.mark.parametrize("place", ["here", "there"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_whatever_an_engine_does_nothing_is_told_of_prompt_key_or_answer(name: str, place: str) -> None:
    async def run() -> None:
        async with odd_engine(SCRIPTS[name]) as odd:
            here, there = Box("box-a"), Box("box-b")
            (here if place == "here" else there).engines.append(engine(odd.url, "m"))
            async with fleet(here, there) as front:
                path = f"{front.url}/v1/chat/completions?key=canary"
                try:
                    async with front.client.post(path, json=chat_body("m", content=CANARY), headers=SECRETS) as answer:
                        body = await answer.text()
                except aiohttp.ClientError:
                    return
                own = name not in {"answers", "says an error"}
                assert not own or CANARY not in body

    with listening() as heard:
        asyncio.run(run(), debug=True)
    assert heard, "nothing was heard, so nothing was checked"
    assert [line for line in heard if CANARY in line] == []


BAD_REQUESTS = [
    b'POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8\r\n\r\n"canary"',
    b"GET /canary?canary HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /canary HTTP/1.1\r\nHost: canary.test\r\nOrigin: http://canary\r\n\r\n",
    b"canary canary canary\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer canary\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\ncanary canary: Bearer canary\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: " + b"canary" * 2000 + b"\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n",
]


@pytest.mark.parametrize("raw", BAD_REQUESTS)
def test_a_malformed_request_leaves_no_trace_of_its_bytes_in_a_log_or_in_our_answer(raw: bytes) -> None:
    async def run() -> None:
        async with fleet(Box("box-a")) as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(raw)
            async with asyncio.timeout(20):
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r")[0])
                body = await reader.readexactly(length)
            writer.close()
            assert answer.split()[1].startswith(b"4")
            assert CANARY.encode() not in answer + body
            assert front.node.encode() in answer

    with listening() as heard:
        asyncio.run(run(), debug=True)
    assert [line for line in heard if CANARY in line] == []


def test_a_client_that_leaves_is_no_news_with_content() -> None:
    async def run() -> None:
        async with odd_engine(hang) as odd, fleet(Box("box-a"), Box("box-b", [engine(odd.url, "m")])) as front:
            asked = asyncio.create_task(
                front.client.post(f"{front.url}/v1/chat/completions", json=body, headers=SECRETS)
            )
            await until(lambda: bool(odd.bodies))
            asked.cancel()
            await asyncio.wait_for(odd.left.wait(), 20)

    body = chat_body("m", content=CANARY)
    with listening() as heard:
        asyncio.run(run(), debug=True)
    assert [line for line in heard if CANARY in line] == []


def test_a_defect_of_a_handler_is_named_by_its_place_and_not_by_its_words() -> None:
    async def defect(_: web.Request) -> web.Response:
        raise ValueError(CANARY)

    async def run() -> None:
        async with fleet(Box("box-a"), more=[web.get("/defect", defect)]) as front:
            async with front.client.get(f"{front.url}/defect") as answer:
                assert answer.status == 500
                assert (await answer.json())["error"]["type"] == "api_error"

    with listening() as heard:
        asyncio.run(run(), debug=True)
    assert [line for line in heard if "gateway.http_error" in line and "test_silence.py" in line]
    assert [line for line in heard if CANARY in line] == []


def test_a_call_shows_no_body() -> None:
    assert CANARY not in repr(Call(path="/v1/completions", model="m", body=CANARY.encode()))
