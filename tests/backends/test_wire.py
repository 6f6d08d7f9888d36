"""What an engine may do to those who tell it something: nothing beyond an error in words."""

from __future__ import annotations

import asyncio
import json
import traceback
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from fleet_app.backends import wire
from fleet_app.backends.conversation import Silence, Unanswered
from fleet_app.backends.wire import LINE_BYTES_MAX, Wire, words_of
from fleet_app.errors import BackendError
from tests.backends.looks import raw_server
from tests.engines import Answer, ReplayServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable

CANARY = "sk-canary-0123456789"
_LINES = (("Content-Type", "application/x-ndjson"),)


def answering(body: bytes, status: int = 200) -> ReplayServer:
    """A server that answers so whatever is asked, by any method."""
    return ReplayServer(unknown=Answer(body, status, _LINES))


async def lines_of(url: str, *, api_key: str | None = None) -> list[object]:
    async with aclosing(Wire(url, api_key=api_key).lines("/pull", {"model": "m"})) as lines:
        return [line async for line in lines]


def failure(url: str, *, api_key: str | None = None) -> BackendError:
    with pytest.raises(BackendError) as caught:
        asyncio.run(lines_of(url, api_key=api_key))
    assert 0 < len(str(caught.value)) <= 256
    assert str(caught.value).isprintable()
    return caught.value


def ndjson(*contents: object) -> bytes:
    return b"\n".join(json.dumps(content).encode() for content in contents)


def test_lines_come_whole_however_they_are_cut() -> None:
    with answering(b'\n{"a": 1}\r\n\n{"b": 2}\n{"c": 3}') as server:
        assert asyncio.run(lines_of(server.url)) == [{"a": 1}, {"b": 2}, {"c": 3}]
        assert server.seen == [("POST", "/pull")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"x" * (2 * LINE_BYTES_MAX), "a line of over 65536 bytes"),
        (b"[" * (2 * LINE_BYTES_MAX), "a line of over 65536 bytes"),
        (b"<html>\n", "no JSON object"),
        (b"5\n", "no JSON object"),
        (b'["a"]\n', "no JSON object"),
        (b"\xff\xfe\n", "no JSON object"),
    ],
    ids=["endless line", "endless brackets", "html", "number", "list", "bytes"],
)
def test_what_is_no_line_of_json_is_an_error_that_may_pass(body: bytes, words: str) -> None:
    with answering(body) as server:
        error = failure(server.url)
        assert words in str(error)
        assert error.retryable


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (404, False), (408, True), (429, True), (500, True), (503, True)],
)
def test_a_refusal_tells_the_engines_words_and_whether_trying_again_helps(status: int, *, retryable: bool) -> None:
    with answering(b'{"error": "no such\\nluck\\u001b[2J"}', status) as server:
        error = failure(server.url)
        assert str(error) == "no such luck [2J"
        assert error.retryable == retryable


def test_a_redirect_is_not_followed() -> None:
    with ReplayServer() as target, ReplayServer() as server:
        server.unknown = Answer(b"", 302, (("Location", f"{target.url}/pull"),))
        assert "HTTP 302" in str(failure(server.url))
        assert target.seen == []


@pytest.mark.parametrize("status", [200, 500])
def test_a_key_that_an_engine_repeats_is_in_no_error(status: int) -> None:
    body = {"error": {"message": f"the key {CANARY} is wrong", "type": "auth"}}
    with answering(json.dumps(body).encode(), status) as server:
        with pytest.raises(BackendError) as caught:
            asyncio.run(Wire(server.url, api_key=CANARY).tell("POST", "/x", {}))
        assert str(caught.value) == "the key *** is wrong"
        assert server.authorizations == [f"Bearer {CANARY}"]


def test_nothing_there_is_said_so_and_may_pass() -> None:
    error = failure(f"http://127.0.0.1:{free_port()}")
    assert isinstance(error, Unanswered)
    assert (error.silence, error.retryable) == (Silence.REFUSED, True)


def test_a_stream_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "IDLE_TIMEOUT_S", 0.3)

    async def speak_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"status": "pulling"}\n')
        await reader.read()  # until the other end gives up

    async def run() -> None:
        async with raw_server(speak_once) as url:
            lines = Wire(url).lines("/pull", {})
            assert await anext(lines) == {"status": "pulling"}
            with pytest.raises(BackendError, match=r"said nothing for 0\.3 s"):
                await anext(lines)

    asyncio.run(run())


def test_an_answer_that_does_not_come_is_given_up() -> None:
    with ReplayServer(unknown=Answer().delayed(60)) as server, pytest.raises(Unanswered, match=r"within 0\.2 s"):
        asyncio.run(Wire(server.url).ask("GET", "/x", timeout_s=0.2))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "plain"}, "plain"),
        ({"error": {"code": 400, "message": "in openai's shape"}}, "in openai's shape"),
        ({"detail": "in fastapi's"}, "in fastapi's"),
        ({"message": "alone"}, "alone"),
        ({"error": {"error": {"error": "deep"}}}, "deep"),
        ({"error": 5}, ""),
        ({"error": "  \n "}, ""),
        ({"error": "a\u202eb\x00c\u2028d"}, "a b c d"),
        ([], ""),
        (None, ""),
    ],
)
def test_an_engines_words_are_found_and_cleaned(answer: object, words: str) -> None:
    assert words_of(answer) == words


def test_endless_words_are_cut() -> None:
    endless: Iterable[str] = "word " * 10_000
    assert len(words_of({"error": endless})) <= 4 * wire.WORDS_CHARS_MAX
    with answering(ndjson({"error": endless}), 500) as server:
        assert len(str(failure(server.url))) <= 256


def test_a_key_is_in_no_cause_of_an_error() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()

    async def run() -> None:
        async with raw_server(greet) as url:
            with pytest.raises(BackendError) as caught:
                await Wire(url, api_key=CANARY).tell("GET", "/x")
            assert CANARY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__)

    asyncio.run(run())
