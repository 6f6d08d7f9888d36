"""A pull through the scanner, with everything that may happen on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleet_app.backends import Scanner
from fleet_app.errors import BackendError
from tests.backends.replays.ollama import ollama_replay
from tests.backends.replays.replay import Weights

if TYPE_CHECKING:
    from fleet_app.engine import Engine, Progress


async def only_engine(url: str) -> Engine:
    scanner = Scanner(urls=[url], detect=False)
    await scanner.scan_once()
    [engine] = scanner.engines()
    return engine


async def pulled(engine: Engine, model: str) -> list[Progress]:
    return [progress async for progress in engine.pull(model)]


def test_a_pull_tells_how_far_it_is_and_ends_with_the_model_there() -> None:
    async def run() -> None:
        with ollama_replay(library={"tiny:latest": Weights(350_000)}) as replay:
            scanner = Scanner(urls=[replay.url], detect=False)
            await scanner.scan_once()
            [engine] = scanner.engines()
            assert engine.url == replay.url
            assert "pull" in engine.seen.can
            steps = await pulled(engine, "tiny")
            assert steps[0].total_bytes is None
            assert (steps[-1].status, steps[-1].completed_bytes, steps[-1].total_bytes) == ("success", 350_000, 350_000)
            done = [step.completed_bytes for step in steps]
            assert done == sorted(done)
            assert not engine.seen.models
            await scanner.scan_once()
            assert scanner.engines() == (engine,)
            assert [model.name for model in engine.seen.models] == ["tiny:latest"]

    asyncio.run(run())


def test_a_pull_that_ends_in_an_error_line_failed_though_its_status_is_200() -> None:
    async def run() -> None:
        with ollama_replay(library={"tiny:latest": Weights()}) as replay:
            engine = await only_engine(replay.url)
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
            engine = await only_engine(replay.url)
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
