"""The contract, for every adapter: over replays that keep state, and over the real llama.cpp.

llama.cpp's router is the real one where `LLAMA_SERVER` names a `llama-server` or one is in the path; without it the
replay stands in.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.backends.contract import AlwaysLoaded, Bench, Deletes, Embeds, Loads, LoadsAsTold, Pulls
from tests.backends.real import LLAMA_SERVER
from tests.backends.replays.lmstudio import lmstudio_replay
from tests.backends.replays.ollama import ollama_replay
from tests.backends.replays.replay import Replay, Weights
from tests.backends.replays.router import router_replay
from tests.backends.replays.single import tgi_replay, vllm_replay
from tests.engines import llama_router, llama_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TALKS, EMBEDS = Weights(), Weights(abilities=("embeddings",))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays do at once what engines take seconds for."""
    for name in ("adapter.POLL_S", "lmstudio_engine.DOWNLOAD_POLL_S", "llamacpp_engine.DOWNLOAD_POLL_S"):
        monkeypatch.setattr(f"fleet_app.backends.{name}", 0.02)


def asked(replay: Replay) -> Callable[[str], int]:
    """How often a path was asked for, apart from loads."""
    return lambda path: sum(call.path == path and call.body.get("prompt") != "" for call in replay.calls)


class TestOllama(Pulls, Deletes, Loads, LoadsAsTold, Embeds):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        models = {"talker:latest": TALKS, "other:1b": TALKS, "embedder:latest": EMBEDS}
        with ollama_replay(models, {"pullable:latest": Weights(1_000_000)}) as replay:
            yield Bench(
                url=replay.url,
                kind="ollama",
                can=("pull", "delete", "load", "unload"),
                model="talker:latest",
                other="other:1b",
                embedder="embedder:latest",
                pullable="pullable",
                settings=({"num_ctx": 2048}, 2048),
                end=replay.stop,
                asked=asked(replay),
            )


class TestOllamaThatTellsNoAbilities(Embeds):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.backends.replays.ollama.OllamaReplay.tells_abilities", False)
            with TestOllama().bench() as bench:
                yield bench


class TestLmStudio(Pulls, Loads, LoadsAsTold, Embeds):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        with lmstudio_replay(
            {"me/talker": TALKS, "me/embedder": EMBEDS}, {"me/pullable": Weights(1_000_000)}
        ) as replay:
            yield Bench(
                url=replay.url,
                kind="lmstudio",
                can=("pull", "load", "unload"),
                model="me/talker",
                embedder="me/embedder",
                pullable="me/pullable",
                settings=({"num_ctx": 2048, "flash_attention": True}, 2048),
                end=replay.stop,
                asked=asked(replay),
            )


class TestVllm(AlwaysLoaded):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        with vllm_replay({"talker": TALKS, "talker-lora": TALKS}) as replay:
            yield Bench(url=replay.url, kind="vllm", can=(), model="talker", end=replay.stop, asked=asked(replay))


class TestVllmThatEmbeds(AlwaysLoaded, Embeds):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        with vllm_replay({"embedder": EMBEDS}) as replay:
            yield Bench(
                url=replay.url,
                kind="vllm",
                can=(),
                model="embedder",
                embedder="embedder",
                end=replay.stop,
                asked=asked(replay),
            )


class TestTgi(AlwaysLoaded):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        with tgi_replay({"me/talker": TALKS}) as replay:
            yield Bench(url=replay.url, kind="tgi", can=(), model="me/talker", end=replay.stop, asked=asked(replay))


@pytest.mark.engine
class TestLlamaCpp(AlwaysLoaded):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        with llama_server("alpha", parallel=1) as engine:
            yield Bench(url=engine.url, kind="llamacpp", can=(), model="alpha", end=engine.kill)


@pytest.mark.engine
class TestLlamaCppThatEmbeds(AlwaysLoaded, Embeds):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        with llama_server("embed", embeddings=True, parallel=1) as engine:
            yield Bench(url=engine.url, kind="llamacpp", can=(), model="embed", embedder="embed", end=engine.kill)


class TestLlamaCppRouter(Pulls, Deletes, Loads, Embeds):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        library = {"me/pullable:Q4": Weights(1_000_000)}
        with router_replay({"talker": TALKS, "embedder": EMBEDS}, library) as replay:
            replay.models["me/other:Q4"] = TALKS  # downloaded once, and so no file of the folder
            yield Bench(
                url=replay.url,
                kind="llamacpp",
                can=("pull", "cancel", "delete", "load", "unload"),
                model="talker",
                other="me/other:Q4",
                embedder="embedder",
                pullable="me/pullable:Q4",
                end=replay.stop,
                asked=asked(replay),
            )


class TestLlamaCppRouterThatDoesNotCount(Pulls):
    @contextmanager
    def bench(self) -> Iterator[Bench]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.backends.replays.router.RouterReplay.counts", False)
            with TestLlamaCppRouter().bench() as bench:
                yield bench


if LLAMA_SERVER is not None:

    @pytest.mark.engine
    class TestRealLlamaCppRouter(Loads):
        @contextmanager
        def bench(self) -> Iterator[Bench]:
            models = {"alpha": "alpha box speaking", "bravo": "bravo box speaking"}
            with llama_router(str(LLAMA_SERVER), models) as engine:
                yield Bench(
                    url=engine.url,
                    kind="llamacpp",
                    can=("pull", "cancel", "delete", "load", "unload"),
                    model="alpha",
                    end=engine.kill,
                )
