"""Ollama told what to do, with everything that may happen on the way."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from fleet_app.backends import conversation
from fleet_app.errors import BackendError
from fleet_app.names import tagged
from tests.backends.contract import engine_at, pulled, refusal_of, rest_of, sight
from tests.backends.replays.ollama import OllamaReplay, ollama_replay
from tests.backends.replays.replay import Weights


def test_a_pull_that_ends_in_an_error_line_failed_though_its_status_is_200() -> None:
    async def run() -> None:
        with ollama_replay(library={"tiny:latest": Weights()}) as replay:
            engine = await engine_at(replay.url)
            with pytest.raises(BackendError, match="file does not exist") as missing:
                await pulled(engine, "nope")
            assert not missing.value.retryable
            replay.fail_pull_at = (4, "max retries exceeded: EOF")
            with pytest.raises(BackendError, match="max retries exceeded") as failed:
                await pulled(engine, "tiny")
            assert failed.value.retryable
            assert replay.models == {}

    asyncio.run(run())


def test_a_pull_that_nobody_listens_to_stops_and_goes_on_where_it_was() -> None:
    async def run() -> None:
        with ollama_replay(library={"tiny:latest": Weights(1_000_000)}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            replay.pulls.allow(3)
            pull = engine.pull("tiny")
            async for step in pull:
                if step.completed_bytes == 300_000:
                    break
            await pull.aclose()
            replay.pulls.open()
            replay.restart()
            steps = await pulled(engine, "tiny")
            first = next(step.completed_bytes for step in steps if step.completed_bytes)
            assert first >= 300_000
            assert steps[-1].status == "success"

    asyncio.run(run())


def test_a_pull_sums_its_layers_and_tells_no_total_before_one_is_known() -> None:
    async def run() -> None:
        with ollama_replay(library={"tiny:latest": Weights(350_000)}) as replay:
            steps = await pulled(await engine_at(replay.url), "tiny")
            assert steps[0].total_bytes is None
            assert (steps[-1].status, steps[-1].completed_bytes, steps[-1].total_bytes) == ("success", 350_000, 350_000)
            totals = [step.total_bytes for step in steps if step.total_bytes]
            assert totals == sorted(totals)
            assert totals[0] < totals[-1]

    asyncio.run(run())


def test_a_pull_that_ends_without_success_failed() -> None:
    async def run() -> None:
        with ollama_replay(library={"tiny:latest": Weights(1_000_000)}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            replay.pulls.allow(2)
            async with aclosing(engine.pull("tiny")) as pull:
                while not (await anext(pull)).completed_bytes:
                    pass
                replay.stop()
                error = await refusal_of(rest_of(pull))
            assert error.retryable

    asyncio.run(run())


def test_a_full_disk_is_no_reason_to_try_again() -> None:
    async def run() -> None:
        with ollama_replay(
            {"old:latest": Weights(500_000)}, {"tiny:latest": Weights(1_000_000)}, disk=1_000_000
        ) as replay:
            error = await refusal_of(pulled(await engine_at(replay.url), "tiny"))
            assert "no space left on device" in str(error)
            assert not error.retryable
            assert set(replay.models) == {"old:latest"}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("model", "insecure"),
    [
        ("localhost:5000/library/x", True),
        ("127.0.0.1:5000/library/x", True),
        ("box:5000/library/x", False),
        ("x", False),
    ],
)
def test_a_registry_may_speak_plain_http_only_beside_the_node(model: str, *, insecure: bool) -> None:
    async def run() -> None:
        with ollama_replay() as replay:
            await refusal_of(pulled(await engine_at(replay.url), model))
            [call] = replay.asked("/api/pull")
            assert call.body == {"model": tagged(model), "stream": True} | ({"insecure": True} if insecure else {})

    asyncio.run(run())


@pytest.mark.parametrize(
    "name",
    ["llama3.2", "llama3.2:latest", "LLAMA3.2", "library/llama3.2", "registry.ollama.ai/library/llama3.2:latest"],
)
def test_a_name_is_spelt_as_the_engine_spells_it(name: str) -> None:
    async def run() -> None:
        with ollama_replay({"llama3.2:latest": Weights()}) as replay:
            assert (await engine_at(replay.url)).named(name) == "llama3.2:latest"

    asyncio.run(run())


def test_a_name_that_the_engine_has_not_keeps_its_letters() -> None:
    async def run() -> None:
        with ollama_replay() as replay:
            named = (await engine_at(replay.url)).named
            assert named("hf.co/Me/Model-GGUF:Q4_K_M") == "hf.co/Me/Model-GGUF:Q4_K_M"
            assert named("localhost:5000/me/model") == "localhost:5000/me/model:latest"

    asyncio.run(run())


def test_a_model_that_does_not_fit_is_an_error_that_may_pass() -> None:
    async def run() -> None:
        with ollama_replay({"big:latest": Weights(9_000)}, memory=4_000) as replay:
            error = await refusal_of((await engine_at(replay.url)).load("big", {}))
            assert "requires more system memory" in str(error)
            assert error.retryable

    asyncio.run(run())


def test_a_load_holds_the_model_for_good_and_a_question_does_not_load_it_anew() -> None:
    async def run() -> None:
        with ollama_replay({"m:latest": Weights()}) as replay:
            engine = await engine_at(replay.url)
            await engine.load("m", {"num_ctx": 2048, "num_gpu": 1})
            assert replay.asked("/api/generate")[-1].body["keep_alive"] == -1
            assert await engine.speaks("m")
            assert replay.loaded == {"m:latest": {"num_ctx": 2048, "num_gpu": 1}}
            fresh = await engine_at(replay.url)  # as after a restart of the node
            assert await fresh.speaks("m")
            assert replay.asked("/api/generate")[-1].body["options"] == {"num_ctx": 2048, "num_predict": 1}

    asyncio.run(run())


def test_a_model_that_hangs_does_not_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_app.backends.adapter.SPEAK_TIMEOUT_S", 0.2)

    async def run() -> None:
        with ollama_replay({"m:latest": Weights(), "e:latest": Weights(abilities=("embeddings",))}) as replay:
            engine = await engine_at(replay.url)
            for model in ("m", "e"):
                await engine.load(model, {})
            replay.hang = {"/api/generate"}
            assert not await engine.speaks("m")
            assert await engine.speaks("e")

    asyncio.run(run())


def test_what_one_engine_says_of_a_model_is_not_believed_of_another_engines() -> None:
    async def run() -> None:
        with ollama_replay({"m:latest": Weights(abilities=("chat", "tools"))}) as replay:
            with ollama_replay({"m:latest": Weights(abilities=("embeddings",))}) as other:
                async with sight(other.url), sight(replay.url) as seen:
                    assert seen.engine.seen.models[0].capabilities == ("chat", "completions", "tools")

    asyncio.run(run())


def test_what_a_model_can_do_is_asked_once_where_the_list_does_not_tell() -> None:
    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OllamaReplay, "tells_abilities", False)
            models = {f"m{number}:latest": Weights(context=number + 1) for number in range(10)}
            with ollama_replay(models) as replay:
                async with sight(replay.url) as seen:
                    for _ in range(5):
                        await seen.look()
                    asked = [call.body["model"] for call in replay.asked("/api/show")]
                    assert sorted(asked) == sorted(models)
                    assert {held.name: held.context for held in seen.engine.seen.models} == {
                        name: held.context for name, held in models.items()
                    }

    asyncio.run(run())


def test_a_model_of_which_no_answer_came_is_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        with ollama_replay({"m:latest": Weights(abilities=("embeddings",))}) as replay:
            replay.hang.add("/api/show")
            monkeypatch.setattr(conversation, "ANSWER_TIMEOUT_S", 0.3)
            async with sight(replay.url) as seen:
                monkeypatch.setattr(conversation, "ANSWER_TIMEOUT_S", 20.0)
                assert seen.engine.seen.models[0].capabilities == ()
                replay.hang.clear()
                assert (await seen.look()).models[0].capabilities == ("embeddings",)

    monkeypatch.setattr(OllamaReplay, "tells_abilities", False)
    asyncio.run(run())
