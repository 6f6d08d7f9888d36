"""vLLM and TGI, which serve the model they were started with: what they say of it, their keys, their answers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.backends.replays.replay import Replay, Request, Response, Weights, answers, shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class VllmReplay(Replay):
    """A vLLM. Its keys guard `/v1` alone.

    Attributes:
        running: Requests that it works on.
        queued: Requests that wait in it.
    """

    kind = "vllm"
    unknown = "vllm/err_404"
    running = queued = 0

    def refuse(self, asked: Request) -> Response | None:
        return shape("vllm/key_401").response() if asked.path.startswith("/v1") else None

    @answers("GET", "/v1/models", "vllm/get_v1_models")
    async def list(self, _: Request) -> Response:
        [recorded] = shape("vllm/get_v1_models").json()["data"]
        facts = [
            {"id": name, "root": f"models/{name}", "max_model_len": held.context} for name, held in self.models.items()
        ]
        return shape("vllm/get_v1_models").response({"object": "list", "data": [recorded | fact for fact in facts]})

    @answers("GET", "/version", "vllm/get_version")
    async def version(self, _: Request) -> Response:
        return shape("vllm/get_version").response()

    @answers("GET", "/openapi.json", "vllm/get_openapi_json")
    async def openapi(self, _: Request) -> Response:
        recorded = shape("vllm/get_openapi_json").json()
        if all("embeddings" in held.abilities for held in self.models.values()):
            talks = ("/v1/chat", "/v1/completions")
            paths = {path: verbs for path, verbs in recorded["paths"].items() if not path.startswith(talks)}
            recorded["paths"] = paths | {"/v1/embeddings": {"post": {}}}
        return shape("vllm/get_openapi_json").response(recorded)

    @answers("GET", "/metrics", "vllm/get_metrics")
    async def metrics(self, _: Request) -> Response:
        text = shape("vllm/get_metrics").body
        for name, value in (("running", self.running), ("waiting", self.queued)):
            text = text.replace(
                f'vllm:num_requests_{name}{{engine="0",model_name="tiny-vllm"}} 0.0',
                f'vllm:num_requests_{name}{{engine="0",model_name="tiny-vllm"}} {value:.1f}',
            )
        return shape("vllm/get_metrics").response(text=text)

    @answers("POST", "/v1/chat/completions", "vllm/chat", "vllm/err_unknown_model")
    async def chat(self, asked: Request) -> Response:
        return self._answered("vllm/chat", asked)

    @answers("POST", "/v1/completions", "vllm/completion", "vllm/err_unknown_model")
    async def completions(self, asked: Request) -> Response:
        return self._answered("vllm/completion", asked)

    @answers("POST", "/v1/embeddings", "lmstudio/embeddings", "vllm/embeddings_unsupported")
    async def embeddings(self, asked: Request) -> Response:
        held = self.models.get(str(asked.body.get("model")), Weights())
        if "embeddings" not in held.abilities:
            return shape("vllm/embeddings_unsupported").response()
        return self._answered("lmstudio/embeddings", asked)

    def _answered(self, fixture: str, asked: Request) -> Response:
        name = asked.body.get("model")
        if name not in self.models:
            return shape("vllm/err_unknown_model").response()
        return shape(fixture).response(shape(fixture).json() | {"model": name})


class TgiReplay(Replay):
    """A TGI.

    Attributes:
        healthy: What its own health check says.
    """

    kind = "tgi"
    unknown = "tgi/unknown_path"
    healthy = True

    @answers("GET", "/info", "tgi/info")
    async def info(self, _: Request) -> Response:
        [(name, held)] = self.models.items()
        facts = {"model_id": name, "max_total_tokens": held.context}
        return shape("tgi/info").response(shape("tgi/info").json() | facts)

    @answers("GET", "/health", "tgi/health", "tgi/health_503")
    async def health(self, _: Request) -> Response:
        return shape("tgi/health" if self.healthy else "tgi/health_503").response()

    @answers("GET", "/", "tgi/health")
    async def root(self, asked: Request) -> Response:
        return await self.health(asked)

    @answers("GET", "/metrics", "tgi/metrics")
    async def metrics(self, _: Request) -> Response:
        return shape("tgi/metrics").response()

    @answers("GET", "/v1/models", "tgi/v1_models")
    async def list(self, _: Request) -> Response:
        [recorded] = shape("tgi/v1_models").json()["data"]
        [name] = self.models
        return shape("tgi/v1_models").response({"object": "list", "data": [recorded | {"id": name, "owned_by": name}]})

    @answers("POST", "/v1/chat/completions", "tgi/chat")
    async def chat(self, _: Request) -> Response:
        return shape("tgi/chat").response()


@contextmanager
def vllm_replay(models: Mapping[str, Weights], **knobs: Any) -> Iterator[VllmReplay]:
    """Run a vLLM with these served names."""
    with VllmReplay(models, **knobs) as engine:
        yield engine


@contextmanager
def tgi_replay(models: Mapping[str, Weights], **knobs: Any) -> Iterator[TgiReplay]:
    """Run a TGI with this one model."""
    with TgiReplay(models, **knobs) as engine:
        yield engine
