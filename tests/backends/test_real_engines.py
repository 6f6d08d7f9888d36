"""The contract against real engines, under `make test-real` alone; see `tests.backends.real`.

A real Ollama gets its models from a registry on loopback, by the adapter's own pull.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.backends.contract import AlwaysLoaded, Bench, Deletes, Embeds, Loads, LoadsAsTold, Pulls, engine_at, pulled
from tests.backends.real import ASKED, LLAMA_SERVER, OLLAMA, VLLM_PYTHON
from tests.backends.registry import registry
from tests.engines import free_port, llama_router, model_file, ollama_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.engine
VLLM_START_S = 600.0


async def _stock(url: str, names: tuple[str, ...]) -> None:
    engine = await engine_at(url)
    for name in names:
        await pulled(engine, name)


if ASKED and OLLAMA:

    class TestRealOllama(Pulls, Deletes, Loads, LoadsAsTold, Embeds):
        @contextmanager
        def bench(self) -> Iterator[Bench]:
            files = {
                "talker": model_file("talker"),
                "other": model_file("other", "other words"),
                "pullable": model_file("pullable", "words to pull"),
                "embedder": model_file("embedder", pooled=True),
            }
            with registry(files) as prefix, ollama_server(str(OLLAMA)) as engine:
                asyncio.run(_stock(engine.url, tuple(prefix + name for name in ("talker", "other", "embedder"))))
                yield Bench(
                    url=engine.url,
                    kind="ollama",
                    can=("pull", "delete", "load", "unload"),
                    model=f"{prefix}talker",
                    other=f"{prefix}other",
                    embedder=f"{prefix}embedder",
                    pullable=f"{prefix}pullable",
                    settings=({"num_ctx": 1024}, 1024),
                    end=engine.kill,
                )


if ASKED and LLAMA_SERVER:

    class TestRealLlamaCppRouter(Loads):
        @contextmanager
        def bench(self) -> Iterator[Bench]:
            with llama_router(str(LLAMA_SERVER), {"alpha": "alpha speaking", "bravo": "bravo speaking"}) as engine:
                yield Bench(
                    url=engine.url,
                    kind="llamacpp",
                    can=("pull", "cancel", "delete", "load", "unload"),
                    model="alpha",
                    end=engine.kill,
                )


@functools.cache
def _vllm(_start: int) -> tuple[str, subprocess.Popen[bytes]]:
    """A vLLM, which takes a minute to start and so serves many tests."""
    port = free_port()
    command = [str(VLLM_PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", os.environ["VLLM_MODEL"]]
    command += ["--served-model-name", "talker", "--port", str(port), "--enforce-eager"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + VLLM_START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1):
            return url, process
        time.sleep(1)
    process.kill()
    raise RuntimeError(f"vLLM did not start within {VLLM_START_S:g} s")


if ASKED and VLLM_PYTHON:

    class TestRealVllm(AlwaysLoaded):
        starts = 0

        @contextmanager
        def bench(self) -> Iterator[Bench]:
            url, process = _vllm(self.starts)
            yield Bench(url=url, kind="vllm", can=(), model="talker", end=process.terminate)
            if process.poll() is not None:
                type(self).starts += 1

        @classmethod
        def teardown_class(cls) -> None:
            _, process = _vllm(cls.starts)
            process.terminate()
            process.wait(60)
