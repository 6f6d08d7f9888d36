"""A body that is not an inference request is refused with the reason and the field, before any engine hears of it."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from tests.gateway.odd_engine import head, odd_engine, saying
from tests.gateway.rig import Box, engine, fleet

CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
CANARY = "canary-prompt"
M = '"messages":[]'

BAD: dict[str, tuple[str, bytes, str | None]] = {
    "nothing": (CHAT, b"", None),
    "not JSON": (CHAT, b'{"model": "m", canary-prompt', None),
    "two documents": (CHAT, b'{"model":"m","messages":[]}{}', None),
    "a list": (CHAT, b'[{"model":"m","messages":["canary-prompt"]}]', None),
    "a string": (CHAT, b'"canary-prompt"', None),
    "a form": (CHAT, b"model=m&messages=canary-prompt", None),
    "not UTF-8": (CHAT, b'{"model":"m\xff","messages":[]}', None),
    "UTF-16": (CHAT, '{"model":"m","messages":[]}'.encode("utf-16"), None),
    "a byte order mark": (CHAT, b'\xef\xbb\xbf{"model":"m","messages":[]}', None),
    "too deep": (CHAT, b'{"model":"m","messages":' + b"[" * 100_000, None),
    "a number without end": (CHAT, b'{"model":"m","messages":[' + b"1" * 100_000 + b"]}", None),
    "no model": (CHAT, b'{"messages":["canary-prompt"]}', "model"),
    "null model": (CHAT, b'{"model":null,"messages":[]}', "model"),
    "model a number": (CHAT, b'{"model":1,"messages":[]}', "model"),
    "model a list": (CHAT, b'{"model":["m"],"messages":[]}', "model"),
    "empty model": (CHAT, b'{"model":"","messages":[]}', "model"),
    "long model": (CHAT, f'{{"model":"{"m" * 257}",{M}}}'.encode(), "model"),
    "model twice": (CHAT, b'{"model":"m","messages":[],"model":"other"}', "model"),
    "model in another spelling": (CHAT, b'{"model":"m","messages":[],"Model":"other"}', "model"),
    "model only in another spelling": (CHAT, b'{"MODEL":"m","messages":[]}', "model"),
    "messages a string": (CHAT, b'{"model":"m","messages":"canary-prompt"}', "messages"),
    "no messages": (CHAT, b'{"model":"m"}', "messages"),
    "stream a string": (CHAT, b'{"model":"m","messages":[],"stream":"true"}', "stream"),
    "stream a number": (EMBED, b'{"model":"m","input":"x","stream":1}', "stream"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_a_400_that_names_the_field_and_quotes_nothing(name: str) -> None:
    path, body, param = BAD[name]

    async def run() -> None:
        async with odd_engine(saying(b"")) as odd, fleet(Box("box-a", [engine(odd.url, "m", "other")])) as front:
            async with front.client.post(front.url + path, data=body) as answer:
                error = (await answer.json())["error"]
                assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", param)
                assert CANARY not in json.dumps(error)
            assert odd.bodies == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[],"stream":null}',
        b'{"model":"m","messages":[{"model":"x","model":"y"}]}',
        b'\r\n {"messages":[],"model":"m","x":NaN} \n',
    ],
)
def test_what_is_the_engines_business_passes(body: bytes) -> None:
    async def run() -> None:
        async with odd_engine(saying(head("200 OK", length=2) + b"{}")) as odd:
            async with fleet(Box("box-a", [engine(odd.url, "m")])) as front:
                async with front.client.post(front.url + CHAT, data=body) as answer:
                    assert answer.status == 200
            assert odd.bodies == [body]

    asyncio.run(run())


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_over_the_limit_is_a_413_that_names_the_limit(*, chunked: bool) -> None:
    body = b'{"model":"m","messages":["' + b"x" * 2000 + b'"]}'

    async def parts() -> object:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    async def run() -> None:
        async with odd_engine(saying(b"")) as odd, fleet(Box("box-a", [engine(odd.url, "m")])) as front:
            front.gateway._body_bytes_max = 1000
            async with front.client.post(front.url + CHAT, data=parts() if chunked else body) as answer:
                error = (await answer.json())["error"]
                assert (answer.status, error["code"]) == (413, "request_too_large")
                assert "1000 bytes" in error["message"]
            assert odd.bodies == []

    asyncio.run(run())


def test_megabytes_pass_in_both_directions() -> None:
    text = "x" * (9 * 2**20)
    body = json.dumps({"model": "m", "messages": [text]}).encode()

    async def run() -> None:
        async with odd_engine(saying(head("200 OK", length=len(text)) + text.encode())) as odd:
            async with fleet(Box("box-a"), Box("box-b", [engine(odd.url, "m")])) as front:
                async with front.client.post(front.url + CHAT, data=io.BytesIO(body)) as answer:
                    assert await answer.text() == text
            assert odd.bodies == [body]

    asyncio.run(run())


def test_a_compressed_body_is_refused_and_not_unpacked() -> None:
    async def run() -> None:
        async with fleet(Box("box-a")) as front:
            headers = {"Content-Encoding": "gzip"}
            async with front.client.post(front.url + CHAT, data=b"\x1f\x8b", headers=headers) as answer:
                assert answer.status in {400, 415}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/responses", 404),
        ("GET", "/v1", 404),
        ("POST", "/v1/chat/completions/", 404),
    ],
)
def test_other_routes_under_v1_say_which_there_are(method: str, path: str, status: int) -> None:
    async def run() -> None:
        async with fleet(Box("box-a")) as front, front.client.request(method, front.url + path) as answer:
            assert answer.status == status
            assert (await answer.json())["error"]["type"] == "invalid_request_error"

    asyncio.run(run())
