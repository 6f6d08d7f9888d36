"""Servers that look like an engine we adopt are not taken for it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from fleet_app.backends import Scanner
from fleet_app.backends.watch import REST_ROUNDS_MAX
from fleet_app.errors import BackendError
from fleet_app.gateway import ServingSide
from fleet_app.gateway.call import CHAT_PATH, Call
from propagul.link import NodeId
from tests.backends.looks import identify_now, scan
from tests.engines import Answer, Exchange, ReplayServer

if TYPE_CHECKING:
    from fleet_app.presence import BackendKind


def kind_at(url: str) -> BackendKind | None:
    """Which engine a scanned port is."""
    seen = identify_now(url)
    return seen.kind if seen else None


OLLAMA = ("ollama/version", "ollama/root", "ollama/tags", "ollama/ps", "ollama/v1_models")

LOOKALIKES: dict[str, tuple[BackendKind, tuple[str, ...], str, str | None, dict[str, bool | None]]] = {
    "SGLang": ("sglang", ("sglang_v1_models",), "", None, {"m": None}),
    "Docker Model Runner": ("docker", ("docker_model_runner_models",), "/engines", None, {"ai/smollm2": None}),
    "KoboldCpp": (
        "koboldcpp",
        ("koboldcpp_extra_version", "koboldcpp_v1_models"),
        "",
        None,
        {"koboldcpp/gemma": None},
    ),
    "TabbyAPI": ("tabbyapi", ("tabbyapi_serviceinfo", "tabbyapi_v1_models"), "", None, {"qwen-exl2": None}),
    "LocalAI": ("localai", ("localai_system", "localai_v1_models"), "", None, {"gpt-4": True, "bert": False}),
    "Lemonade": (
        "lemonade",
        ("lemonade_health", "lemonade_models"),
        "/api",
        "9.4.0",
        {"Qwen3-0.6B-GGUF": True, "Gemma-3-4b-it-GGUF": False},
    ),
    "Jan": ("jan", ("jan_openapi", "jan_v1_models"), "", None, {"qwen3:0.6b": None}),
    "mlx_lm": ("mlx", ("mlx_v1_models",), "", None, {"mlx-community/Qwen3-0.6B-4bit": None}),
}
"""Kind, fixtures, prefix of the API, version, models and whether each is in memory."""


def lookalike(name: str) -> ReplayServer:
    """A server that imitates all of Ollama and is something else."""
    taken = () if name == "mlx_lm" else OLLAMA  # it imitates nobody
    return ReplayServer.playing(*taken, *(f"others/{fixture}" for fixture in LOOKALIKES[name][1]))


@pytest.mark.parametrize("name", sorted(LOOKALIKES))
@pytest.mark.parametrize("named", [False, True])
def test_a_server_that_imitates_all_of_ollama_is_seen_as_what_it_is(name: str, *, named: bool) -> None:
    kind, _, prefix, version, models = LOOKALIKES[name]
    with lookalike(name) as server:
        where = {"urls": [server.url], "detect": False} if named else {"urls": [], "detect": True}
        scanner = Scanner(**where, ports=[server.port])  # type: ignore[arg-type]
        [shown] = scan(scanner)
        assert (shown.kind, shown.condition, shown.version) == (kind, "ready", version)
        assert shown.url == server.url + prefix
        assert {model.name: model.loaded for model in shown.models} == models
        assert shown.can == ()
        server.seen.clear()
        assert scan(scanner) == (shown,)
        assert len(set(server.paths())) <= 2  # its mark and its list


@pytest.mark.parametrize("name", sorted(LOOKALIKES))
def test_requests_go_where_a_server_has_its_api(name: str) -> None:
    with lookalike(name) as server:
        [shown] = scan(Scanner(urls=[server.url], detect=False, api_keys={server.url: "hunter2"}))
        listing = shown.url.removeprefix(server.url) + "/v1/models"
        assert ("GET", listing) in server.answers
        assert set(server.authorizations) == {"Bearer hunter2"}


@pytest.mark.parametrize("name", ["KoboldCpp", "TabbyAPI", "LocalAI", "Lemonade", "Jan"])  # marked outside their list
def test_a_server_whose_list_wants_a_key_is_shown_so(name: str) -> None:
    with lookalike(name) as server:
        kind, _, prefix, _, _ = LOOKALIKES[name]
        server.get(f"{prefix}/v1/models", Answer.of({"error": "Unauthorized"}, 401))
        if name == "KoboldCpp":
            server.get("/.well-known/serviceinfo", Answer.of({"software": {"name": "KoboldCpp"}}))
        [shown] = scan(Scanner(urls=[], detect=True, ports=[server.port]))
        assert (shown.kind, shown.condition, shown.models) == (kind, "needs_key", ())
        assert "API key" in shown.reason


def test_tabbyapi_that_imitates_koboldcpp_is_not_it() -> None:
    with ReplayServer() as server:
        server.get("/api/extra/version", Answer.of({"result": "KoboldCpp", "version": "1.61"}))
        assert identify_now(server.url) is None


PLAIN = {"object": "list", "data": [{"id": "m", "object": "model"}]}


def test_a_plain_server_is_seen_on_a_scanned_port_when_its_list_is_well_formed() -> None:
    with ReplayServer() as server:
        server.get("/v1/models", Answer.of(PLAIN))
        [shown] = scan(Scanner(urls=[], detect=True, ports=[server.port]))
        assert (shown.kind, shown.condition, [model.name for model in shown.models]) == ("openai", "ready", ["m"])


@pytest.mark.parametrize(
    "listing",
    [
        {"data": [{"id": "m", "object": "model"}]},
        {"object": "list", "data": []},
        {"object": "list", "data": [{"id": "m"}]},
        {"object": "list", "data": [{"id": "m", "object": "model"}, 5]},
        {"object": "list", "data": [{"id": 5, "object": "model"}]},
    ],
)
def test_a_list_that_is_not_well_formed_is_believed_only_where_a_person_named_it(listing: dict[str, object]) -> None:
    with ReplayServer() as server:
        server.get("/v1/models", Answer.of(listing))
        assert scan(Scanner(urls=[], detect=True, ports=[server.port])) == ()
        [shown] = scan(Scanner(urls=[server.url], detect=False))
        assert (shown.kind, shown.condition) == (("openai", "ready") if listing["data"] else ("unknown", "unhealthy"))


def test_a_named_server_that_wants_a_key_is_shown_so_and_a_scanned_one_is_left_alone() -> None:
    with ReplayServer(unknown=Answer.of({"error": "Unauthorized"}, 401)) as server:
        assert scan(Scanner(urls=[], detect=True, ports=[server.port])) == ()
        [shown] = scan(Scanner(urls=[server.url], detect=False))
        assert (shown.kind, shown.condition) == ("openai", "needs_key")


def test_a_plain_server_that_is_replaced_by_an_engine_on_its_port_is_seen_as_that_in_time() -> None:
    with ReplayServer() as server, ReplayServer.of("tgi") as other:
        server.get("/v1/models", Answer.of(PLAIN))
        scanner = Scanner(urls=[], detect=True, ports=[server.port])
        assert scan(scanner)[0].kind == "openai"
        server.answers, server.unknown = other.answers, other.unknown
        assert scan(scanner, rounds=REST_ROUNDS_MAX)[0].kind == "tgi"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", Answer(b"<html>KoboldCpp</html>")),
        ("/api/version", Answer.of({})),
        ("/api/version", Answer.of({"version": 5})),
        ("/api/tags", Answer.of({"models": [{"name": "m:latest", "digest": "sha256:abc"}]})),
        ("/api/tags", Answer.of({"models": [{"name": "m:latest"}]})),
        ("/api/tags", Answer.of({})),
        ("/v1/models", Answer.of({"object": "list", "data": [{"id": "m", "object": "model"}]})),
    ],
)
def test_ollama_is_believed_only_when_everything_fits(path: str, answer: Answer) -> None:
    with ReplayServer.playing(*OLLAMA) as server:
        assert kind_at(server.url) == "ollama"
        server.get(path, answer)
        assert kind_at(server.url) in {None, "openai"}


def test_a_bare_openai_server_on_vllms_port_is_not_vllm() -> None:
    with ReplayServer.of("vllm") as server:
        listing = json.loads(Exchange.load("vllm/get_v1_models").answer.body)
        for key in ("owned_by", "root", "max_model_len", "permission"):
            entry = {name: value for name, value in listing["data"][0].items() if name != key}
            server.get("/v1/models", Answer.of({"object": "list", "data": [entry]}))
            assert kind_at(server.url) == "openai", key


def test_a_gateway_over_several_engines_is_none_of_them() -> None:
    lists = [json.loads(Exchange.load(name).answer.body) for name in ("vllm/get_v1_models", "llamacpp/get_v1_models")]
    merged = {"object": "list", "data": [entry for listing in lists for entry in listing["data"]]}
    with ReplayServer() as server:
        server.get("/v1/models", Answer.of(merged))
        assert kind_at(server.url) == "openai"


def test_an_embeddings_inference_server_is_not_tgi() -> None:
    with ReplayServer() as server:
        server.get("/info", Answer.of({"model_id": "bge", "model_type": {"embedding": {}}, "version": "1.9"}))
        assert identify_now(server.url) is None


def test_a_status_proves_nothing() -> None:
    with ReplayServer(unknown=Answer.of({"error": "Unexpected endpoint or method."})) as server:
        assert identify_now(server.url) is None


@pytest.mark.parametrize("engine", ["ollama", "llamacpp", "vllm", "lmstudio", "lmstudio_old", "tgi"])
@pytest.mark.parametrize("status", [203, 302, 404, 500])
def test_a_body_that_fits_under_another_status_proves_nothing(engine: str, status: int) -> None:
    with ReplayServer.of(engine) as server:
        assert identify_now(server.url)
        for request, answer in list(server.answers.items()):
            server.answers[request] = Answer(answer.body, status, answer.headers)
        assert identify_now(server.url) is None


def test_a_gateway_of_ours_is_known_by_any_one_of_its_answers() -> None:
    with ReplayServer.of("llamacpp") as server:
        server.get("/props", Answer.of({}, 404).marked("X-Propagul-Gateway", "node"))
        assert identify_now(server.url) is None


@pytest.mark.parametrize("engine", ["ollama", "llamacpp", "vllm", "lmstudio", "tgi"])
def test_a_gateway_of_ours_is_never_enrolled_whatever_it_answers(engine: str) -> None:
    with ReplayServer.of(engine) as server:
        for request, answer in list(server.answers.items()):
            server.answers[request] = answer.marked("X-Propagul-Gateway", "node")
        assert identify_now(server.url) is None
        assert scan(Scanner(urls=[], detect=True, ports=[server.port])) == ()
        [shown] = scan(Scanner(urls=[server.url], detect=False))
        assert shown.kind == "unknown"
        assert "gateway" in shown.reason


@pytest.mark.parametrize("engine", ["llamacpp_loading", "llamacpp_key"])
def test_an_error_like_llamacpps_without_its_header_is_not_llamacpp(engine: str) -> None:
    with ReplayServer.of(engine) as server:
        for request, answer in list(server.answers.items()):
            server.answers[request] = Answer(answer.body, answer.status)
        assert identify_now(server.url) is None


def test_a_request_goes_to_the_prefix_of_the_servers_api_and_takes_its_key_along() -> None:
    async def run() -> None:
        with lookalike("Docker Model Runner") as server:
            server.answers["POST", "/engines/v1/chat/completions"] = Answer.of({"choices": []})
            scanner = Scanner(urls=[server.url], detect=False, api_keys={server.url: "hunter2"})
            await scanner.scan_once()
            serving = ServingSide(node=NodeId("n"), backends=scanner.current, key_of=scanner.key_of)
            server.authorizations.clear()
            async with serving.open(Call(path=CHAT_PATH, model="ai/smollm2", body=b"{}")) as answer:
                assert answer.response.status == 200
            await serving.aclose()
            assert server.seen[-1] == ("POST", "/engines/v1/chat/completions")
            assert server.authorizations == ["Bearer hunter2"]

    asyncio.run(run())


def test_a_model_that_a_lookalike_does_not_hold_in_memory_is_not_asked_to_speak() -> None:
    async def run() -> None:
        with lookalike("LocalAI") as server:
            server.answers["POST", "/v1/chat/completions"] = Answer.of({"choices": [{"index": 0}]})
            scanner = Scanner(urls=[server.url], detect=False)
            await scanner.scan_once()
            [engine] = scanner.engines()
            assert await engine.speaks("gpt-4")
            with pytest.raises(BackendError, match="not in memory"):
                await engine.speaks("bert")

    asyncio.run(run())


def test_a_refusal_by_a_model_of_which_nothing_is_known_is_no_silence() -> None:
    async def run() -> None:
        with lookalike("SGLang") as server:
            scanner = Scanner(urls=[server.url], detect=False)
            await scanner.scan_once()
            [engine] = scanner.engines()
            for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"):
                server.answers["POST", path] = Answer.of({"error": {"message": "not for this model"}}, 400)
            with pytest.raises(BackendError, match="not for this model") as refused:
                await engine.speaks("m")
            assert not refused.value.retryable
            server.answers["POST", "/v1/embeddings"] = Answer.of({"data": [{"embedding": [0.1]}]})
            assert await engine.speaks("m")

    asyncio.run(run())
