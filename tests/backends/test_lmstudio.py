"""LM Studio told what to do: downloads are jobs, and a model may be in memory more than once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from tests.backends.contract import engine_at, pulled, refusal_of, rest_of, sight
from tests.backends.replays.lmstudio import lmstudio_replay
from tests.backends.replays.replay import Weights


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_app.backends.lmstudio_engine.DOWNLOAD_POLL_S", 0.01)


def test_a_download_goes_on_by_itself_and_is_joined_again() -> None:
    async def run() -> None:
        with lmstudio_replay(library={"me/m": Weights(1_000_000)}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            replay.pulls.allow(3)
            async with aclosing(engine.pull("me/m")) as pull:
                async for step in pull:
                    if step.completed_bytes == 300_000:
                        break
            replay.pulls.open()
            steps = await pulled(engine, "me/m")
            assert len(replay.jobs) == 1
            assert all(step.completed_bytes >= 300_000 or step.completed_bytes == 0 for step in steps)
            assert "me/m" in replay.models
            assert await pulled(engine, "me/m") == []  # it is there

    asyncio.run(run())


@pytest.mark.parametrize(("status", "words"), [("failed", "ended as failed"), ("paused", "resume it in LM Studio")])
def test_a_download_that_does_not_go_on_is_an_error(status: str, words: str) -> None:
    async def run() -> None:
        with lmstudio_replay(library={"me/m": Weights(1_000_000)}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            async with aclosing(engine.pull("me/m")) as pull:
                await anext(pull)
                [job] = replay.jobs.values()
                job["status"] = status
                error = await refusal_of(rest_of(pull))
            assert words in str(error)
            assert error.retryable

    asyncio.run(run())


def test_a_download_survives_a_restart_of_lm_studio_as_a_new_job() -> None:
    async def run() -> None:
        with lmstudio_replay(library={"me/m": Weights(1_000_000)}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            replay.pulls.allow(2)
            async with aclosing(engine.pull("me/m")) as pull:
                async for step in pull:
                    if step.completed_bytes:
                        break
                replay.restart()
                error = await refusal_of(rest_of(pull))
            assert error.retryable
            replay.pulls.open()
            await pulled(engine, "me/m")
            assert "me/m" in replay.models

    asyncio.run(run())


def test_a_download_under_way_cannot_be_ended_and_it_says_where_it_can() -> None:
    async def run() -> None:
        with lmstudio_replay(library={"me/m": Weights(1_000_000)}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            async with aclosing(engine.pull("me/m")) as pull:
                await anext(pull)
                assert "under Downloads" in str(await refusal_of(engine.cancel("me/m")))
            assert "under Downloads" in str(await refusal_of(engine.cancel("me/m")))  # though nobody follows it
            await engine.cancel("me/other")

    asyncio.run(run())


def test_every_instance_is_unloaded_and_none_is_loaded_twice() -> None:
    async def run() -> None:
        with lmstudio_replay({"me/m": Weights()}) as replay:
            async with sight(replay.url) as seen:
                await seen.engine.load("me/m", {"context_length": 1024})
                await seen.engine.load("me/m", {"num_ctx": 1024})
                assert replay.instances == {"me/m": ("me/m", {"context_length": 1024})}
                await seen.engine.load("me/m", {"num_ctx": 2048})
                assert [config for _, config in replay.instances.values()] == [{"context_length": 2048}]
                replay.instances["me/m:2"] = ("me/m", {})
                await seen.engine.unload("me/m")
                assert replay.instances == {}

    asyncio.run(run())


def test_a_model_kept_under_another_name_is_said() -> None:
    async def run() -> None:
        with lmstudio_replay(library={"https://hub.example/me/m": Weights()}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            async with aclosing(engine.pull("https://hub.example/me/m")) as pull:
                await anext(pull)
                replay.models["me/m"] = Weights()
                [job] = replay.jobs.values()
                job["status"] = "completed"
                error = await refusal_of(rest_of(pull))
            assert "lms ls" in str(error)
            assert not error.retryable

    asyncio.run(run())


def test_lm_studio_is_never_asked_for_a_path_it_does_not_know() -> None:
    async def run() -> None:
        with lmstudio_replay({"me/m": Weights()}) as replay:
            async with sight(replay.url) as seen:
                for _ in range(3):
                    await seen.look()
                await seen.engine.load("me/m", {})
                await seen.engine.speaks("me/m")
            known = {path for _, path in replay.routes}
            assert {call.path for call in replay.calls} <= known

    asyncio.run(run())
