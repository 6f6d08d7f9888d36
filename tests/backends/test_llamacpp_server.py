"""The real llama.cpp server: loading, keys, crashing, and the words we gave it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from demo.tiny_model import write_tiny_model
from fleet_app.backends import Scanner, identify
from tests.backends.looks import identify_now, running, scan, until
from tests.engines import free_port, llama_server

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from fleet_app.presence import BackendPresence

pytestmark = pytest.mark.engine


def post(url: str, body: dict[str, object]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        answer: dict[str, Any] = json.loads(response.read())
        return answer


def test_a_server_is_recognised_with_its_model() -> None:
    with llama_server("bravo", "bravo here") as engine:
        seen = identify_now(engine.url)
        assert seen
        assert (seen.kind, seen.url, seen.condition) == ("llamacpp", engine.url, "ready")
        assert [(model.name, model.loaded) for model in seen.models] == [("bravo", True)]
        assert seen.models[0].size_bytes


def test_a_server_that_wants_a_key_is_known_without_it_and_listed_with_it() -> None:
    with llama_server(api_key="hunter2") as engine:
        without, wrong = identify_now(engine.url), identify_now(engine.url, api_key="no")
        assert without
        assert (without.kind, without.condition, without.models) == ("llamacpp", "needs_key", ())
        assert wrong == without
        seen = identify_now(engine.url, api_key="hunter2")
        assert seen
        assert (seen.condition, [model.name for model in seen.models]) == ("ready", ["alpha"])
        [shown] = scan(Scanner(urls=[engine.url], detect=False, api_keys={engine.url: "hunter2"}))
        assert shown == seen
        assert "hunter2" not in shown.model_dump_json()


async def _first_sight(url: str) -> BackendPresence:
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while (seen := await identify(session, url)) is None:
            await asyncio.sleep(0.002)
        return seen


def test_a_server_that_loads_its_model_is_loading_and_then_ready() -> None:
    for _ in range(10):  # the moment is short: the machine may be too quick to see it at the first try
        with llama_server("slow", slow=True, wait=False) as engine:
            seen = asyncio.run(_first_sight(engine.url))
            assert seen.kind == "llamacpp"
            if seen.condition == "loading":
                assert seen.models == ()
                engine.wait_until_listening()
                ready = identify_now(engine.url)
                assert ready
                assert (ready.condition, ready.models[0].name) == ("ready", "slow")
                return
    pytest.fail("llama.cpp was never seen loading")


def test_a_server_that_starts_appears_and_one_that_is_killed_vanishes() -> None:
    port = free_port()
    scanner = Scanner(urls=[], detect=True, ports=[port], interval_s=0.1)

    async def follow() -> None:
        async with running(scanner):
            for name in ("alpha", "bravo"):
                with llama_server(name, f"{name} speaking", port=port) as engine:
                    await until(scanner, lambda shown: [m.name for seen in shown for m in seen.models] == [name])  # noqa: B023 - awaited here
                    engine.kill()
                    await until(scanner, lambda shown: shown == ())

    asyncio.run(follow())


def test_a_named_server_that_is_killed_stays_as_unreachable() -> None:
    with llama_server() as engine:
        scanner = Scanner(urls=[engine.url], detect=False)
        assert scan(scanner)[0].condition == "ready"
        engine.kill()
        [shown] = scan(scanner)
        assert (shown.kind, shown.condition, shown.models) == ("llamacpp", "unreachable", ())


def test_a_server_says_the_words_it_was_given() -> None:
    with llama_server("charlie", "charlie counts one two three") as engine:
        body: dict[str, object] = {"messages": [{"role": "user", "content": "who are you?"}], "max_tokens": 20}
        answer = post(f"{engine.url}/v1/chat/completions", body)
        [choice] = answer["choices"]
        assert choice["message"]["content"].split() == ["charlie", "counts", "one", "two", "three"]
        assert choice["finish_reason"] == "stop"


def test_an_embedding_server_embeds_and_is_listed() -> None:
    with llama_server("embed", "one two", embeddings=True) as engine:
        answer = post(f"{engine.url}/v1/embeddings", {"input": "one"})
        [row] = answer["data"]
        assert len(row["embedding"]) == 64
        seen = identify_now(engine.url)
        assert seen
        [model] = seen.models
        assert (model.name, model.loaded, model.capabilities) == ("embed", True, ("embeddings",))


def test_a_server_asked_to_stop_ends_with_0() -> None:
    with llama_server() as engine:
        assert engine.stop() == 0


def test_a_server_whose_launcher_is_gone_ends_by_itself() -> None:
    with llama_server() as engine:
        assert engine.process.stdin
        engine.process.stdin.close()
        assert engine.process.wait(10) == 0


def test_a_server_that_cannot_start_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with"), llama_server(flags=["--model", str(tmp_path / "none.gguf")]):
        pytest.fail("it started without a model")


@pytest.mark.parametrize("words", ["", "one two one"])
def test_a_model_needs_words_and_each_once(tmp_path: Path, words: str) -> None:
    with pytest.raises(ValueError, match="no word twice"):
        write_tiny_model(tmp_path / "model.gguf", name="m", words=words)


def test_the_command_line_writes_a_model_and_serves_it(tmp_path: Path) -> None:
    from demo.tiny_model import main

    main([str(tmp_path / "m.gguf"), "--name", "delta", "--tokens", '["del", "ta"]', "--loop", "--tool-template"])
    with llama_server("delta", flags=["--model", str(tmp_path / "m.gguf")]) as engine:
        answer = post(f"{engine.url}/v1/completions", {"prompt": "x", "max_tokens": 4})
        assert json.dumps(answer).count("deltadelta") == 1


def test_no_process_outlives_its_block() -> None:
    with llama_server() as engine:
        process: subprocess.Popen[str] = engine.process
    assert process.poll() is not None
