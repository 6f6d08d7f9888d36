"""Whatever a port answers, a look ends in time, in bounds and without an exception."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_app.backends import Scanner, conversation, identify, probe
from fleet_app.backends.conversation import Conversation, Reply
from fleet_app.backends.engine_url import normalise_url
from fleet_app.backends.openai import PLAIN, PLAIN_NAMED
from fleet_app.backends.shape import parse
from fleet_app.presence import BackendPresence
from tests.backends.looks import identify_now, raw_server, scan
from tests.engines import ENGINES, Answer, Exchange, ReplayServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fleet_app.backends.signature import Signature

_anything = st.text(st.characters(exclude_categories=()), max_size=300) | st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)

ODD: tuple[object, ...] = (None, True, 5, -1, 0.5, 2**70, 1e300, "", "x", [], [[]], {}, {"value": []})

PLACES_MAX = 40
"""Of one answer; the names of fifty routes are as good as those of some."""

SIGNATURES: tuple[Signature, ...] = (*probe._OPENAI, *probe._LM_STUDIO, *probe._REST, PLAIN, PLAIN_NAMED)
RECORDED = {
    engine: {exchange.path: exchange.answer for exchange in map(Exchange.load, ENGINES[engine])} for engine in ENGINES
}


class Scripted(Conversation):
    """A conversation in which every path has a scripted reply."""

    def __init__(self, replies: dict[str, Reply], otherwise: Reply) -> None:
        self.url = "http://127.0.0.1:1"
        self._replies = {}
        self._script, self._otherwise = replies, otherwise

    async def _fetch(self, path: str, _question: object = None) -> Reply:
        return self._script.get(path, self._otherwise)


def reply(answer: Answer) -> Reply:
    headers = {key.lower(): value for key, value in answer.headers}
    text = answer.body.decode()
    return Reply(status=answer.status, server=headers.get("server", ""), text=text, json=parse(answer.body))


def look_with_every_signature(talk: Scripted) -> None:
    """Each signature, and then the whole look, say something valid or nothing."""
    for signature in SIGNATURES:
        try:
            signature.recognise(talk).send(None)  # a scripted conversation never waits
        except StopIteration as result:
            seen = result.value
        if seen is not None:
            assert BackendPresence.model_validate_json(seen.model_dump_json()) == seen


@settings(max_examples=150, deadline=None)
@given(body=JSON, status=st.sampled_from([200, 200, 200, 401, 503]), server=st.sampled_from(["", "llama.cpp"]))
def test_any_json_on_every_path_is_survived(body: object, status: int, server: str) -> None:
    look_with_every_signature(Scripted({}, Reply(status=status, server=server, powered_by="Express", json=body)))


def _places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [here, *(place for key in keys for place in _places(value[key], (*here, key)))]


def _replaced(value: Any, place: tuple[Any, ...], new: object) -> object:
    if not place:
        return new
    changed = copy.copy(value)
    changed[place[0]] = _replaced(value[place[0]], place[1:], new)
    return changed


@settings(max_examples=300, deadline=None)
@given(draw=st.data(), engine=st.sampled_from(sorted(ENGINES)), new=JSON)
def test_a_recorded_answer_with_any_part_replaced_is_survived(draw: st.DataObject, engine: str, new: object) -> None:
    replies = {path: reply(answer) for path, answer in RECORDED[engine].items()}
    path = draw.draw(st.sampled_from(sorted(replies)))
    body = replies[path].json
    changed = _replaced(body, draw.draw(st.sampled_from(_places(body))), new)
    replies[path] = Reply(status=replies[path].status, server=replies[path].server, json=changed)
    look_with_every_signature(Scripted(replies, Reply(status=404)))


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_every_single_part_of_a_recorded_answer_may_have_any_type(engine: str) -> None:
    replies = {path: reply(answer) for path, answer in RECORDED[engine].items()}
    for path, good in replies.items():
        places = _places(good.json)
        for place in places[:: 1 + len(places) // PLACES_MAX]:
            for new in ODD:
                bad = Reply(status=good.status, server=good.server, json=_replaced(good.json, place, new))
                look_with_every_signature(Scripted({**replies, path: bad}, Reply(status=404)))


@settings(max_examples=200)
@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_bytes_parse_to_something_or_to_nothing(body: bytes) -> None:
    parse(body)


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_mistake_that_is_explained(text: str) -> None:
    from fleet_app.errors import ConfigError

    try:
        kept = normalise_url(text)
    except ConfigError:
        return
    assert normalise_url(kept) == kept
    assert len(kept) <= 256


@pytest.mark.parametrize(
    "body",
    [
        b"5",
        b"null",
        b'"Ollama is running"',
        b"[" * 100_000,
        b'{"data":' * 50_000,
        b"9" * 10_000,
        b'{"data": [{"id": "\\ud800", "owned_by": "llamacpp"}]}',
        b"\xff\xfe\x00",
        b"NaN",
        b"",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_these_bodies_are_no_engine_to_speak_of(body: bytes) -> None:
    with ReplayServer(unknown=Answer(body)) as server:
        seen = identify_now(server.url)
        assert seen is None or seen.models == ()


def test_names_that_could_not_travel_or_would_move_the_cursor_are_left_out() -> None:
    listing = json.loads(Exchange.load("vllm/get_v1_models").answer.body)
    names = ["\ud800", "a\x1b[2Jb", "", "x" * 257, 5, None, ["m"], "fine", "ünï/code:1"]
    listing["data"] = [{**listing["data"][0], "id": name} for name in names]
    with ReplayServer.of("vllm") as server:
        server.get("/v1/models", Answer.of(listing))
        seen = identify_now(server.url)
    assert seen
    assert [model.name for model in seen.models] == ["fine", "ünï/code:1"]


def test_a_redirect_is_not_followed() -> None:
    with ReplayServer.of("ollama") as target, ReplayServer() as server:
        body = RECORDED["ollama"]["/api/tags"].body
        server.unknown = Answer(body, 302, (("Location", f"{target.url}/api/tags"),))
        assert identify_now(server.url) is None
        assert target.seen == []
        [shown] = scan(Scanner(urls=[server.url], detect=False))
        assert "redirect" in shown.reason


def test_ten_megabytes_are_not_read_and_it_is_said() -> None:
    with ReplayServer.of("vllm") as server:
        listing = json.loads(RECORDED["vllm"]["/v1/models"].body)
        server.get("/v1/models", Answer.of({**listing, "padding": "x" * 900_000}))
        assert identify_now(server.url)
        server.get("/v1/models", Answer.of({**listing, "padding": "x" * 10_000_000}))
        assert identify_now(server.url) is None
        [shown] = scan(Scanner(urls=[server.url], detect=False))
        assert "over 4 MB" in shown.reason


def look_at_raw(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> tuple[BackendPresence | None, float]:
    """What a look says of such a server, and how many seconds it took."""

    async def once() -> tuple[BackendPresence | None, float]:
        async with raw_server(talk) as url, aiohttp.ClientSession() as session:
            started = time.monotonic()
            return await identify(session, url), time.monotonic() - started

    return asyncio.run(once())


def test_an_endless_body_is_cut_at_four_megabytes() -> None:
    sent = []

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        for _ in range(100_000):
            writer.write(b"[" * 10_000)
            await writer.drain()
            sent.append((path, 10_000))

    seen, seconds = look_at_raw(endless)
    assert seen is None
    assert seconds < probe.LOOK_TIMEOUT_S
    first = sum(count for path, count in sent if path == b"/v1/models")
    assert 4_000_000 <= first < 16_000_000  # what the system's socket buffers took counts as sent


def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "ANSWER_TIMEOUT_S", 0.3)

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    seen, seconds = look_at_raw(drip)
    assert seen is None
    assert seconds < 2


def test_a_server_slow_on_every_path_is_given_up_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LOOK_TIMEOUT_S", 0.5)
    with ReplayServer(unknown=Answer.of({}).delayed(0.2)) as server:
        started = time.monotonic()
        assert identify_now(server.url) is None
        assert time.monotonic() - started < 2
        assert len(server.seen) <= 4


@pytest.mark.parametrize(
    "greeting",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x02\x00", b"", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000],
    ids=["ssh", "tls", "hangs up", "endless header"],
)
def test_a_port_that_does_not_speak_http_is_no_engine(greeting: bytes) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    seen, seconds = look_at_raw(greet)
    assert seen is None
    assert seconds < conversation.ANSWER_TIMEOUT_S


def test_a_body_that_lies_about_its_encoding_or_length_is_survived() -> None:
    for header in (b"Content-Encoding: gzip", b"Content-Length: 500", b"Transfer-Encoding: chunked"):

        async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, header: bytes = header) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\nnonsense")
            await writer.drain()

        seen, seconds = look_at_raw(lie)
        assert seen is None
        assert seconds < conversation.ANSWER_TIMEOUT_S


def test_no_connection_is_kept_because_each_one_holds_a_thread_of_llamacpp() -> None:
    heads: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    look_at_raw(listen)
    assert heads
    assert all(b"\r\nConnection: close\r\n" in head for head in heads)
