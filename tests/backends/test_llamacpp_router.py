"""llama.cpp's router told what to do: it begins at once, goes on by itself, and its list says how far it is."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from tests.backends.contract import engine_at, pulled, refusal_of, rest_of
from tests.backends.replays.replay import Weights
from tests.backends.replays.router import router_replay

BIG = Weights(1_000_000)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("adapter.POLL_S", "llamacpp_engine.DOWNLOAD_POLL_S"):
        monkeypatch.setattr(f"fleet_app.backends.{name}", 0.01)


def test_a_download_goes_on_by_itself_and_is_joined_again() -> None:
    async def run() -> None:
        with router_replay(library={"me/m:Q4": BIG}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            replay.pulls.allow(3)
            async with aclosing(engine.pull("me/m:Q4")) as pull:
                async for step in pull:
                    if step.completed_bytes == 300_000:
                        assert step.total_bytes == 1_000_000
                        break
            replay.pulls.open()
            await pulled(engine, "me/m:Q4")
            assert len(replay.asked("/models")) == 1
            assert await pulled(engine, "me/m:Q4") == []  # it is there

    asyncio.run(run())


def test_a_download_is_cancelled_and_what_came_stays() -> None:
    async def run() -> None:
        with router_replay(library={"me/m:Q4": BIG}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            replay.pulls.allow(2)
            async with aclosing(engine.pull("me/m:Q4")) as pull:
                async for step in pull:
                    if step.completed_bytes == 200_000:
                        break
            await engine.cancel("me/m:Q4")
            assert (replay.values, replay.parts) == ({}, {"me/m:Q4": 200_000})
            await engine.cancel("me/m:Q4")

    asyncio.run(run())


def test_a_download_that_ends_without_the_model_failed() -> None:
    async def run() -> None:
        with router_replay(library={"me/m:Q4": BIG}) as replay:
            replay.fail_pull_at = (3, "")
            error = await refusal_of(pulled(await engine_at(replay.url), "me/m:Q4"))
            assert "ended without it" in str(error)
            assert error.retryable

    asyncio.run(run())


def test_a_model_kept_under_a_longer_name_is_said() -> None:
    async def run() -> None:
        with router_replay(library={"me/m": BIG}) as replay:
            engine = await engine_at(replay.url)
            replay.pulls.hold()
            async with aclosing(engine.pull("me/m")) as pull:
                await anext(pull)
                replay.values.pop("me/m")
                replay.models["me/m:Q4_K_M"] = BIG
                error = await refusal_of(rest_of(pull))
            assert "keeps it as me/m:Q4_K_M; declare it by that name" in str(error)

    asyncio.run(run())


def test_what_lies_in_the_servers_own_folder_is_not_deleted_and_it_is_said_why() -> None:
    async def run() -> None:
        with router_replay({"mine": Weights()}) as replay:
            error = await refusal_of((await engine_at(replay.url)).delete("mine"))
            assert "--models-dir" in str(error)
            assert not error.retryable
            assert set(replay.models) == {"mine"}

    asyncio.run(run())


def test_a_model_that_does_not_start_is_an_error_with_its_exit_code() -> None:
    async def run() -> None:
        with router_replay({"big": BIG}, memory=1000) as replay:
            error = await refusal_of((await engine_at(replay.url)).load("big", {}))
            assert "ended with 1" in str(error)
            assert error.retryable

    asyncio.run(run())


def test_a_load_returns_when_the_model_is_loaded_and_not_before() -> None:
    async def run() -> None:
        with router_replay({"m": Weights()}) as replay:
            engine = await engine_at(replay.url)
            replay.loads.hold()
            load = asyncio.ensure_future(engine.load("m", {}))
            async with asyncio.timeout(10):
                while replay.values != {"m": "loading"}:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert not load.done()
            replay.loads.open()
            await load
            assert replay.values == {"m": "loaded"}

    asyncio.run(run())


def test_no_look_names_a_model_to_a_router() -> None:
    async def run() -> None:
        with router_replay({"m": Weights()}) as replay:
            await engine_at(replay.url)
            assert [call.path for call in replay.calls] == ["/v1/models", "/props"]
            assert all(not call.query for call in replay.calls)

    asyncio.run(run())
