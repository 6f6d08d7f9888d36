"""The replays themselves: what they answer is recorded or refused, and what they hold outlives them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.backends.contract import engine_at, pulled
from tests.backends.replays.__main__ import KINDS
from tests.backends.replays.ollama import OllamaReplay, ollama_replay
from tests.backends.replays.replay import UNCOVERED, Weights, shape
from tests.engines import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def status_of(url: str, body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_answer_is_shaped_after_a_file_that_says_where_it_is_from(kind: str) -> None:
    replay = KINDS[kind]
    fixtures = [fixture for fixtures, _ in replay.routes.values() for fixture in fixtures]
    assert len(replay.routes) >= 6
    assert all(fixtures for fixtures, _ in replay.routes.values())
    for fixture in (*fixtures, replay.unknown):
        assert shape(fixture).source.startswith(("real capture", "DERIVED (not captured)"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_request_that_no_fixture_covers_is_answered_599_and_fails_the_test(kind: str, tmp_path: Path) -> None:
    replay = KINDS[kind](folder=tmp_path)
    replay.start()
    assert status_of(f"{replay.url}/api/nothing", b"{}") == UNCOVERED
    assert status_of(f"{replay.url}/nothing") == UNCOVERED
    with pytest.raises(AssertionError, match="no fixture covers: POST /api/nothing"):
        replay.__exit__(None)
    assert len((tmp_path / "uncovered.ndjson").read_text().splitlines()) == 2


def test_a_test_that_fails_for_another_reason_fails_for_that_one() -> None:
    def fail() -> None:
        with ollama_replay() as replay:
            assert status_of(f"{replay.url}/nothing") == UNCOVERED
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_what_is_on_the_disk_survives_a_crash_and_what_is_in_memory_does_not(tmp_path: Path) -> None:
    async def run() -> None:
        with ollama_replay({"m:latest": Weights()}, folder=tmp_path) as replay:
            replay.library = {"tiny:latest": Weights()}
            engine = await engine_at(replay.url)
            await engine.load("m", {})
            await pulled(engine, "tiny")
            port = replay.port
            replay.restart()
            assert replay.port == port
            assert (set(replay.models), replay.loaded) == ({"m:latest", "tiny:latest"}, {})
        assert set(OllamaReplay(folder=tmp_path).models) == {"m:latest", "tiny:latest"}

    asyncio.run(run())


@contextmanager
def process(folder: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A replay of Ollama in a process of its own."""
    command = [sys.executable, "-m", "tests.backends.replays", "ollama", "--folder", str(folder), *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            assert running.stdout is not None
            word, url = running.stdout.readline().split()
            assert word == "LISTENING"
            yield url, running
        finally:
            running.kill()


def test_a_replay_in_a_process_of_its_own_goes_on_where_a_killed_one_was(tmp_path: Path) -> None:
    async def begin(url: str, running: subprocess.Popen[str]) -> None:
        async with aclosing((await engine_at(url)).pull("tiny")) as pull:
            while (await anext(pull)).completed_bytes < 300_000:
                pass
            running.kill()

    async def finish(url: str) -> int:
        steps = await pulled(await engine_at(url), "tiny")
        return next(step.completed_bytes for step in steps if step.completed_bytes)

    flags = ("--library", "tiny:latest=1000000", "--pace-s", "0.02")
    with process(tmp_path, *flags) as (url, running):
        asyncio.run(begin(url, running))
    with process(tmp_path, *flags) as (url, running):
        assert asyncio.run(finish(url)) >= 300_000
        running.terminate()
        assert running.wait(10) == 0
    calls = [json.loads(call) for call in (tmp_path / "calls.ndjson").read_text().splitlines()]
    assert [call["path"] for call in calls].count("/api/pull") == 2
