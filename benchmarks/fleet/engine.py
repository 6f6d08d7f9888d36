"""An Ollama as far as a fleet asks it: it lists what `models.json` says, and takes pulls, which are done at once."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from aiohttp import web

from benchmarks.gossip.relay import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType


class Listed(NamedTuple):
    """A model as `models.json` tells of it."""

    name: str
    size: int
    context: int
    words: list[str]
    is_loaded: bool


MODELS = [Listed(*told) for told in json.loads(Path(__file__).with_name("models.json").read_text())["models"]]

VERSION = "0.12.3"
LOADED_CONTEXT = 4096
"""Tokens that a loaded model takes, whatever it could."""


class Engine:
    """Serves while its block runs.

    Args:
        port: Where; 0 lets the system choose.

    Attributes:
        port: Where, once it serves.
        pulled_at: When each model was first asked for, by the monotonic clock.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.pulled_at: dict[str, float] = {}
        self._models = {model.name: model for model in MODELS}
        app = web.Application()
        app.add_routes(
            [
                web.get("/", _says("Ollama is running")),
                web.get("/api/version", _says({"version": VERSION})),
                web.get("/api/tags", self._tags),
                web.get("/api/ps", self._running),
                web.post("/api/show", self._show),
                web.get("/v1/models", self._listed),
                web.post("/api/pull", self._pull),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _tags(self, _: web.Request) -> web.Response:
        return web.json_response({"models": list(map(_entry, self._models.values()))})

    async def _running(self, _: web.Request) -> web.Response:
        loaded = [
            {**_entry(model), "size_vram": model.size, "context_length": LOADED_CONTEXT}
            for model in self._models.values()
            if model.is_loaded
        ]
        return web.json_response({"models": loaded})

    async def _show(self, request: web.Request) -> web.Response:
        model = self._models.get((await request.json())["model"])
        if model is None:
            return web.json_response({"error": "model not found"}, status=404)
        known = {"general.architecture": "llama", "llama.context_length": model.context}
        return web.json_response({"capabilities": model.words, "model_info": known})

    async def _listed(self, _: web.Request) -> web.Response:
        entries = [
            {"id": name, "object": "model", "created": 1_764_000_000, "owned_by": "library"} for name in self._models
        ]
        return web.json_response({"object": "list", "data": entries})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        name = (await request.json())["model"]
        self.pulled_at.setdefault(name, time.monotonic())
        self._models[name] = Listed(name, 400_000, 4096, ["completion"], is_loaded=False)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b'{"status":"pulling manifest"}\n{"status":"success"}\n')
        return response


def _says(what: object) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=what) if isinstance(what, str) else web.json_response(what)

    return answer


def _entry(model: Listed) -> dict[str, object]:
    details = {"format": "gguf", "family": "llama", "quantization_level": "Q4_K_M", "context_length": model.context}
    facts = {"size": model.size, "digest": _digest(model.name), "modified_at": "2026-08-21T18:48:22Z"}
    return {"name": model.name, "model": model.name, "capabilities": model.words, "details": details, **facts}


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
