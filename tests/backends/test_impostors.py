"""Servers that look like an engine we adopt are not taken for it."""

from __future__ import annotations

import json

import pytest

from fleet_app.backends import Scanner
from tests.backends.looks import identify_now, scan
from tests.engines import Answer, Exchange, ReplayServer

OLLAMA = ("ollama/version", "ollama/root", "ollama/tags", "ollama/ps", "ollama/v1_models")

IMPOSTORS = {
    "SGLang": "others/sglang_v1_models",
    "Docker Model Runner": "others/docker_model_runner_models",
    "KoboldCpp": "others/koboldcpp_extra_version",
    "TabbyAPI": "others/tabbyapi_serviceinfo",
}


@pytest.mark.parametrize("name", sorted(IMPOSTORS))
def test_a_server_that_imitates_all_of_ollama_is_called_by_its_own_name(name: str) -> None:
    with ReplayServer.playing(*OLLAMA, IMPOSTORS[name]) as server:
        assert identify_now(server.url) is None
        [shown] = scan(Scanner(urls=[server.url], detect=False))
        assert (shown.kind, shown.condition, shown.models) == ("unknown", "unhealthy", ())
        assert shown.reason == f"{name} answers there, which is not supported yet"


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        ("LocalAI", "/system", {"backends": [], "loaded_models": []}),
        ("Lemonade", "/api/v1/health", {"status": "ok", "version": "9", "all_models_loaded": []}),
        ("KoboldCpp", "/.well-known/serviceinfo", {"software": {"name": "KoboldCpp"}}),
    ],
)
def test_impostors_known_by_a_path_of_their_own(name: str, path: str, body: dict[str, object]) -> None:
    with ReplayServer.playing(*OLLAMA) as server:
        server.get(path, Answer.of(body))
        [shown] = scan(Scanner(urls=[server.url], detect=False))
        assert (shown.kind, shown.reason) == ("unknown", f"{name} answers there, which is not supported yet")


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
        assert identify_now(server.url)
        server.get(path, answer)
        assert identify_now(server.url) is None


def test_a_bare_openai_server_on_vllms_port_is_not_vllm() -> None:
    with ReplayServer.of("vllm") as server:
        listing = json.loads(Exchange.load("vllm/get_v1_models").answer.body)
        for key in ("owned_by", "root", "max_model_len", "permission"):
            entry = {name: value for name, value in listing["data"][0].items() if name != key}
            server.get("/v1/models", Answer.of({"object": "list", "data": [entry]}))
            assert identify_now(server.url) is None, key


def test_a_gateway_over_several_engines_is_none_of_them() -> None:
    lists = [json.loads(Exchange.load(name).answer.body) for name in ("vllm/get_v1_models", "llamacpp/get_v1_models")]
    merged = {"object": "list", "data": [entry for listing in lists for entry in listing["data"]]}
    with ReplayServer() as server:
        server.get("/v1/models", Answer.of(merged))
        assert identify_now(server.url) is None


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
