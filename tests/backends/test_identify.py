"""Every engine as recorded, on a port that says nothing about it."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from fleet_app.backends import Scanner, identify, probe
from fleet_app.presence import BackendPresence, Model
from tests.backends.looks import identify_now, scan
from tests.engines import ENGINES, Answer, Exchange, ReplayServer

if TYPE_CHECKING:
    from fleet_app.presence import BackendCondition, BackendKind

DIGEST = "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72"

_ALPHA = Model(name="alpha", loaded=True, size_bytes=483584, context=256, capabilities=("chat", "completions", "tools"))
_CHILD = Model(name="bravo", loaded=False, capabilities=("chat", "completions"))

EXPECTED: dict[str, tuple[BackendKind, BackendCondition, str | None, tuple[Model, ...]]] = {
    "llamacpp": ("llamacpp", "ready", None, (_ALPHA,)),
    "llamacpp_loading": ("llamacpp", "loading", None, ()),
    "llamacpp_key": ("llamacpp", "needs_key", None, ()),
    "llamacpp_sleeping": (
        "llamacpp",
        "ready",
        "b1-0c1e570",
        (_ALPHA.model_copy(update={"loaded": False, "context": 512}),),
    ),
    "llamacpp_router": (
        "llamacpp",
        "ready",
        "b1-0c1e570",
        (
            _CHILD.model_copy(update={"name": "alpha", "loaded": True, "size_bytes": 483584, "context": 512}),
            _CHILD,
            _CHILD.model_copy(update={"name": "tool"}),
        ),
    ),
    "vllm": (
        "vllm",
        "ready",
        "0.32.0",
        (Model(name="tiny-vllm", loaded=True, context=512, capabilities=("chat", "completions")),),
    ),
    "ollama": (
        "ollama",
        "ready",
        "0.33.0",
        (
            Model(
                name="llama3.2:latest",
                loaded=True,
                size_bytes=2019393189,
                vram_bytes=3200000000,
                context=4096,
                capabilities=("chat", "completions", "tools"),
            ),
        ),
    ),
    "tgi": (
        "tgi",
        "ready",
        "3.3.6-dev0",
        (Model(name="bigscience/blomm-560m", loaded=True, context=2048, capabilities=("chat", "completions")),),
    ),
    "lmstudio": (
        "lmstudio",
        "ready",
        None,
        (
            Model(
                name="google/gemma-4-26b-a4b",
                loaded=True,
                size_bytes=17990911801,
                context=4096,
                capabilities=("chat", "completions", "vision", "tools"),
            ),
        ),
    ),
    "lmstudio_old": (
        "lmstudio",
        "ready",
        None,
        (
            Model(
                name="qwen2-vl-7b-instruct",
                loaded=False,
                context=32768,
                capabilities=("chat", "completions", "vision"),
            ),
        ),
    ),
}
LOADS = {"llamacpp": (2, 0, 0), "vllm": (None, 0, 0), "tgi": (128, 0, 0), "llamacpp_sleeping": (2, None, None)}
"""Slots, running and queued, of those who tell."""


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_each_engine_is_recognised_with_its_models(engine: str) -> None:
    kind, condition, version, models = EXPECTED[engine]
    with ReplayServer.of(engine) as server:
        seen = identify_now(server.url)
        assert seen
        assert (seen.kind, seen.url, seen.condition, seen.version) == (kind, server.url, condition, version)
        assert seen.models == models
        assert (seen.slots, seen.running, seen.queued) == LOADS.get(engine, (None, None, None))
        assert (seen.reason == "") == (condition == "ready")


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_looking_changes_nothing_and_loads_nothing(engine: str) -> None:
    with ReplayServer.of(engine) as server:
        scan(Scanner(urls=[server.url], detect=False), rounds=3)
        assert {method for method, _ in server.seen} - {"GET"} <= {"POST"}
        asked = [path for method, path in server.seen if method == "POST"]
        assert asked in ([], ["/api/show"], ["/v1/rerank", "/v1/embeddings"])  # once; see `ollama` and `llamacpp`
        assert not [path for path in server.paths() if "?" in path or "chat" in path or "load" in path]


@pytest.mark.parametrize(
    ("engine", "own"),
    [
        ("llamacpp", {"/v1/models", "/props", "/metrics"}),
        ("vllm", {"/v1/models", "/version", "/metrics"}),
        ("tgi", {"/info", "/health", "/metrics"}),
        ("lmstudio", {"/api/v1/models"}),
        ("ollama", {"/api/version", "/", "/api/tags", "/api/ps", "/v1/models"}),
    ],
)
def test_a_recognised_engine_is_asked_only_for_its_own_paths(engine: str, own: set[str]) -> None:
    with ReplayServer.of(engine) as server:
        scanner = Scanner(urls=[server.url], detect=False)
        scan(scanner)
        server.seen.clear()
        assert scan(scanner)[0].kind == EXPECTED[engine][0]
        assert set(server.paths()) == own


def test_lm_studio_is_asked_for_its_own_list_alone_on_its_usual_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with ReplayServer.of("lmstudio") as server:
        monkeypatch.setattr(probe, "LM_STUDIO_PORT", server.port)
        assert identify_now(server.url)
        assert server.paths() == ["/api/v1/models"]


def test_engines_on_each_others_usual_ports_are_not_confused() -> None:
    with ExitStack() as stack:
        try:
            vllm = stack.enter_context(ReplayServer.of("vllm", port=11434))
            ollama = stack.enter_context(ReplayServer.of("ollama", port=8000))
        except OSError:
            pytest.skip("a usual port is taken on this machine")
        found = {seen.url: seen.kind for seen in scan(Scanner(urls=[], detect=True))}
    assert found[vllm.url] == "vllm"
    assert found[ollama.url] == "ollama"


def test_a_router_without_autoload_lists_only_what_is_loaded() -> None:
    with ReplayServer.of("llamacpp_router") as server:
        props = json.loads(Exchange.load("llamacpp_router/props").answer.body)
        server.get("/props", Answer.of({**props, "models_autoload": False}))
        seen = identify_now(server.url)
        assert seen
        assert [model.name for model in seen.models] == ["alpha"]


def test_an_ollama_without_models_is_recognised() -> None:
    for empty in (list[object](), None):
        with ReplayServer.of("ollama") as server:
            for path in ("/api/tags", "/api/ps"):
                server.get(path, Answer.of({"models": empty}))
            server.get("/v1/models", Answer.of({"object": "list", "data": empty}))
            seen = identify_now(server.url)
            assert seen
            assert (seen.kind, seen.models) == ("ollama", ())


def test_an_lm_studio_without_models_is_recognised() -> None:
    with ReplayServer.of("lmstudio") as server:
        empty = Answer(b'{"models": []}', headers=(("X-Powered-By", "Express"),))
        server.get("/api/v1/models", empty).get("/api/v0/models", Answer.of({"object": "list", "data": []}))
        seen = identify_now(server.url)
        assert seen
        assert (seen.kind, seen.models) == ("lmstudio", ())


def test_ollama_models_carry_a_tag_and_cloud_stubs_are_left_out() -> None:
    entries = [
        {"name": "plain", "digest": DIGEST, "size": 1},
        {"name": "Reg.example:5000/ns/m", "digest": DIGEST},
        {"name": "big:cloud", "digest": "ab", "remote_model": "big", "remote_host": "https://ollama.example"},
    ]
    with ReplayServer.of("ollama") as server:
        server.get("/api/tags", Answer.of({"models": entries}))
        server.get("/api/ps", Answer.of({"models": [{"name": "PLAIN:latest"}]}))
        seen = identify_now(server.url)
    assert seen
    assert seen.models == (
        Model(name="plain:latest", loaded=True, size_bytes=1),
        Model(name="Reg.example:5000/ns/m:latest", loaded=False),
    )


def test_an_ollama_that_does_not_tell_what_is_loaded_is_believed_the_rest() -> None:
    with ReplayServer.of("ollama") as server:
        del server.answers["GET", "/api/ps"]
        seen = identify_now(server.url)
    assert seen
    assert seen.models[0].loaded is None


def test_a_vllm_that_wants_a_key_is_known_by_its_metrics() -> None:
    with ReplayServer.of("vllm") as server:
        server.get("/v1/models", Answer.of({"error": "Unauthorized"}, 401))
        seen = identify_now(server.url)
    assert seen
    assert (seen.kind, seen.condition) == ("vllm", "needs_key")


def test_a_tgi_whose_health_check_fails_is_unhealthy_and_lists_nothing() -> None:
    with ReplayServer.of("tgi") as server:
        server.get("/health", Exchange.load("tgi/health_503").answer)
        seen = identify_now(server.url)
    assert seen
    assert (seen.kind, seen.condition, seen.models) == ("tgi", "unhealthy", ())


def test_more_models_than_a_heartbeat_carries_are_cut_and_said_so() -> None:
    listing = json.loads(Exchange.load("vllm/get_v1_models").answer.body)
    entry = listing["data"][0]
    listing["data"] = [{**entry, "id": f"m{number}"} for number in range(5112)]
    with ReplayServer.of("vllm") as server:
        server.get("/v1/models", Answer.of(listing))
        seen = identify_now(server.url)
    assert seen
    assert len(seen.models) == 5000
    assert seen.models[0].name == "m0"
    assert re.search("5000 of 5112", seen.reason)
    assert BackendPresence.model_validate(seen.model_dump())


def test_a_bad_address_is_the_callers_mistake() -> None:
    from fleet_app.errors import ConfigError

    async def ask() -> None:
        import aiohttp

        async with aiohttp.ClientSession() as session:
            await identify(session, "ftp://box")

    with pytest.raises(ConfigError):
        asyncio.run(ask())
