"""What a client of the gateway gets is what the engine said: over tunnels and here, streamed and whole."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from typing import TYPE_CHECKING

import aiohttp
import pytest
from openai import NotFoundError, OpenAI

from fleet_app.presence import BackendPresence, Model
from tests.gateway.odd_engine import head, odd_engine, saying
from tests.gateway.rig import STARTED_S, Box, chat_body, engine, fleet

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

    from tests.engines import LlamaServer

pytestmark = pytest.mark.engine

CHANGING = [rb'"created":\d+', rb'"id":"[^"]*"', rb'"timings":\{[^}]*\}', rb'"cached_tokens":\d+']


def settled(body: bytes) -> bytes:
    """The body without what differs between two answers of one engine."""
    for pattern in CHANGING:
        body = re.sub(pattern, b"-", body)
    return body


def boxes_with(place: str, *engines: BackendPresence) -> tuple[Box, Box]:
    """Two boxes of which this one or the other has the engines."""
    here, there = Box("box-a"), Box("box-b")
    (here if place == "here" else there).engines += engines
    return here, there


ASKED = [
    ("/v1/chat/completions", chat_body("alpha")),
    ("/v1/chat/completions", chat_body("alpha", stream=True)),
    ("/v1/chat/completions", chat_body("alpha", stream=True, stream_options={"include_usage": True})),
    ("/v1/chat/completions", chat_body("alpha", max_tokens="many")),
    ("/v1/completions", {"model": "alpha", "prompt": "a", "max_tokens": 5}),
    ("/v1/completions", {"model": "alpha", "prompt": "a", "max_tokens": 5, "stream": True}),
    ("/v1/embeddings", {"model": "alpha", "input": "not an embedding engine"}),
]


@pytest.mark.parametrize("place", ["here", "there"])
@pytest.mark.parametrize(("path", "body"), ASKED)
def test_an_answer_is_byte_for_byte_the_engines(
    alpha: LlamaServer, place: str, path: str, body: dict[str, object]
) -> None:
    async def run() -> None:
        async with fleet(*boxes_with(place, engine(alpha.url, "alpha"))) as front:
            async with front.client.post(alpha.url + path, json=body) as direct:
                said = await direct.read()
            async with front.client.post(front.url + path, json=body) as answer:
                assert settled(await answer.read()) == settled(said)
                assert answer.status == direct.status
                assert answer.headers["Content-Type"] == direct.headers["Content-Type"]
                assert answer.headers["X-Propagul-Node"] == ("box-a" if place == "here" else "box-b")
                assert answer.headers["X-Propagul-Backend"] == "llamacpp"
                assert "0" in answer.headers["X-Propagul-Route"]

    asyncio.run(run())


@pytest.mark.parametrize("place", ["here", "there"])
def test_embeddings_come_back(embedder: LlamaServer, place: str) -> None:
    async def run() -> None:
        async with fleet(*boxes_with(place, engine(embedder.url, "embed"))) as front:
            body = {"model": "embed", "input": ["one", "two"]}
            async with front.client.post(f"{front.url}/v1/embeddings", json=body) as answer:
                assert [len(row["embedding"]) > 8 for row in (await answer.json())["data"]] == [True, True]

    asyncio.run(run())


def test_the_official_client_works_against_it(alpha: LlamaServer) -> None:
    def use(url: str) -> None:
        with OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["alpha", "org/alpha"]
            assert client.models.retrieve("org/alpha").id == "org/alpha"
            messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
            whole = client.chat.completions.create(model="alpha", messages=messages)
            assert whole.choices[0].message.content == " alpha box speaking one two three"
            with client.chat.completions.create(model="alpha", messages=messages, stream=True) as stream:
                said = "".join(part.choices[0].delta.content or "" for part in stream if part.choices)
            assert said == " alpha box speaking one two three"
            with pytest.raises(NotFoundError) as refused:
                client.chat.completions.create(model="nope", messages=messages)
            assert refused.value.code == "model_not_found"

    async def run() -> None:
        async with fleet(*boxes_with("there", engine(alpha.url, "alpha", "org/alpha"))) as front:
            await asyncio.to_thread(use, front.url)

    asyncio.run(run())


@pytest.mark.parametrize("place", ["here", "there"])
def test_the_bodys_bytes_reach_the_engine_unchanged_and_nothing_else_of_the_client_does(place: str) -> None:
    body = (
        b' {"messages" : [ {"role":"user","content":"\\u00e9\xc3\xa9"} ],\n "x": 1.0, "x":1e0, "model":"\\u0061lpha"} '
    )
    told = {"Authorization": "Bearer canary-key", "Cookie": "canary=1", "X-Api-Key": "canary", "Forwarded-By": "canary"}

    async def run() -> None:
        async with odd_engine(saying(head("200 OK", length=2) + b"{}")) as odd:
            async with fleet(*boxes_with(place, engine(odd.url, "alpha"))) as front:
                path = f"{front.url}/v1/chat/completions?api_base=http://evil.test&canary=1"
                async with front.client.post(path, data=body, headers=told) as answer:
                    assert answer.status == 200
                assert odd.bodies == [body]
                assert odd.heads[0].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
                assert f"Host: {odd.url.removeprefix('http://')}\r\n" in odd.heads[0]
                assert "canary" not in odd.heads[0]

    asyncio.run(run())


def test_an_engines_key_is_added_at_its_own_node_and_never_comes_back() -> None:
    async def run() -> None:
        async with odd_engine(saying(head("200 OK", length=2) + b"{}")) as odd:
            here, there = boxes_with("there", engine(odd.url, "alpha"))
            there.serving._key_of = {odd.url: "engine-key"}.get
            async with fleet(here, there) as front, front.chat("alpha") as answer:
                assert answer.status == 200
                assert "engine-key" not in str(answer.headers)
            assert "Authorization: Bearer engine-key\r\n" in odd.heads[0]

    asyncio.run(run())


def test_the_engines_cookies_redirects_and_cors_stay_with_it() -> None:
    said = head(
        "200 OK",
        "Set-Cookie: a=b",
        "Access-Control-Allow-Origin: *",
        "Location: http://evil.test",
        "Connection: X-Hop",
        "X-Propagul-Node: forged",
        "X-Propagul-Unserved: forged",
        "X-Request-Id: 7",
        "Content-Type: text/odd; x=Y",
        length=2,
    )

    async def run() -> None:
        async with odd_engine(saying(said + b"{}")) as odd, fleet(*boxes_with("there", engine(odd.url, "m"))) as front:
            async with front.chat("m") as answer:
                assert answer.headers["X-Request-Id"] == "7"
                assert answer.headers["Content-Type"] == "text/odd; x=Y"
                assert answer.headers["X-Propagul-Node"] == "box-b"
                gone = {"set-cookie", "access-control-allow-origin", "location", "x-propagul-unserved"}
                assert gone.isdisjoint(name.lower() for name in answer.headers)

    asyncio.run(run())


@pytest.mark.parametrize("place", ["here", "there"])
def test_a_compressed_answer_is_not_unpacked_on_the_way(place: str) -> None:
    packed = gzip.compress(b'{"said": "words"}')
    said = head("200 OK", "Content-Encoding: gzip", length=len(packed)) + packed

    async def run() -> None:
        async with odd_engine(saying(said)) as odd, fleet(*boxes_with(place, engine(odd.url, "m"))) as front:
            path = f"{front.url}/v1/chat/completions"
            async with aiohttp.ClientSession(auto_decompress=False) as client:
                async with client.post(path, json=chat_body("m")) as answer:
                    assert (answer.headers["Content-Encoding"], await answer.read()) == ("gzip", packed)

    asyncio.run(run())


def test_models_are_the_union_of_the_fleet_in_openais_shape() -> None:
    loaded = BackendPresence(
        kind="ollama", url="http://127.0.0.1:2", condition="ready", models=(Model(name="both", loaded=False),)
    )
    here = Box("box-a", [engine("http://127.0.0.1:1", "both", "only-a")])
    there = Box("box-b", [loaded, engine("http://127.0.0.1:3", "asleep", condition="loading")])
    cut_off = Box("box-c", [engine("http://127.0.0.1:4", "cut-off")], reach="none")
    down = Box("box-d", [engine("http://127.0.0.1:5", "down")], state="down")

    async def run() -> None:
        async with fleet(here, there, cut_off, down) as front:
            async with front.client.get(f"{front.url}/v1/models") as answer:
                listed = await answer.json()
            async with front.client.get(f"{front.url}/v1/models/both") as answer:
                assert await answer.json() == listed["data"][0]
            async with front.client.get(f"{front.url}/v1/models/nope") as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (404, "model_not_found")
        assert listed["object"] == "list"
        assert [entry["id"] for entry in listed["data"]] == ["both", "only-a"]
        assert listed["data"][0] == {
            "id": "both",
            "object": "model",
            "created": int(STARTED_S),
            "owned_by": "propagul",
            "propagul": {"nodes": ["box-a", "box-b"], "engines": ["llamacpp", "ollama"], "loaded": True},
        }

    asyncio.run(run())


def test_an_unknown_model_is_refused_and_no_other_one_answers(alpha: LlamaServer) -> None:
    async def run() -> None:
        async with fleet(*boxes_with("here", engine(alpha.url, "alpha"))) as front:
            for name in ["Alpha", "alpha ", "alpha:latest", "alph", "../alpha"]:
                async with front.chat(name) as answer:
                    error = (await answer.json())["error"]
                    assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "model")
                    assert "alpha" in error["message"]

    asyncio.run(run())


def test_a_model_that_is_still_loading_is_a_503_with_retry_after() -> None:
    async def run() -> None:
        async with fleet(Box("box-a", [engine("http://127.0.0.1:1", "m", condition="loading")])) as front:
            async with front.chat("m") as answer:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert "loading" in json.loads(await answer.read())["error"]["message"]

    asyncio.run(run())


def test_an_http_1_0_client_gets_the_whole_answer(alpha: LlamaServer) -> None:
    async def run() -> None:
        async with fleet(*boxes_with("here", engine(alpha.url, "alpha"))) as front:
            async with aiohttp.ClientSession(version=aiohttp.HttpVersion10) as client:
                path = f"{front.url}/v1/chat/completions"
                async with client.post(path, json=chat_body("alpha", stream=True)) as answer:
                    assert (await answer.read()).endswith(b"data: [DONE]\n\n")

    asyncio.run(run())
