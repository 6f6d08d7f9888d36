"""A stateful llama.cpp router: models that are loaded, unloaded, downloaded and removed, each in its own time."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.backends.replays.replay import Replay, Request, Response, Weights, answers, shape

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping


class RouterReplay(Replay):
    """A router over a cache; what is given as `models` lies in its folder, where nothing can be removed.

    Attributes:
        values: What the list says of each model that is not unloaded.
        failed: Models whose server ended when it was started.
        counts: Whether the list counts the bytes of a download, as newer builds do.
    """

    kind = "llamacpp_router"
    unknown = "llamacpp/err_404"
    counts = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_folder = set(self.models)
        self.values: dict[str, str] = {}
        self.failed: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def stop(self) -> None:
        super().stop()
        self.values.clear()

    @answers("GET", "/props", "llamacpp_router/props")
    async def props(self, _: Request) -> Response:
        return shape("llamacpp_router/props").response()

    @answers(
        "GET",
        "/v1/models",
        "llamacpp_router/v1_models_loaded",
        "llamacpp_router/downloading",
        "llamacpp_router/downloading_counted",
    )
    async def list(self, _: Request) -> Response:
        coming = [name for name, value in self.values.items() if value == "downloading"]
        entries = [*map(self._entry, sorted(self.models)), *map(self._coming, coming)]
        return shape("llamacpp_router/v1_models_loaded").response({"data": entries, "object": "list"})

    def _entry(self, name: str) -> dict[str, Any]:
        loaded, unloaded, _ = shape("llamacpp_router/v1_models_loaded").json()["data"]
        value = self.values.get(name, "unloaded")
        entry = loaded if value == "loaded" else unloaded
        flags = ["--embeddings"] if "embeddings" in self.models[name].abilities else []
        entry["status"] |= {"value": value, "args": ["llama-server", "--alias", name, *flags]}
        if value == "unloaded" and name in self.failed:
            entry["status"] |= {"failed": True, "exit_code": 1}
        source = {"source": "models_dir", "can_remove": False} if name in self._in_folder else {"source": "cache"}
        return {**entry, "id": name, "can_remove": True, **source}

    def _coming(self, name: str) -> dict[str, Any]:
        _, entry = shape("llamacpp_router/downloading").json()["data"]
        if self.counts:
            [url] = shape("llamacpp_router/downloading_counted").json()["progress"]
            file = {"done": self.parts.get(name, 0), "total": self.library[name].size}
            entry["status"] |= {"progress": {url: file}}
        return {**entry, "id": name}

    @answers(
        "POST",
        "/models/load",
        "llamacpp_router/unload_alpha",
        "llamacpp_router/load_again",
        "llamacpp_router/load_unknown",
    )
    async def load(self, asked: Request) -> Response:
        name = str(asked.body.get("model"))
        if name not in self.models:
            return shape("llamacpp_router/load_unknown").response()
        if name in self.values:
            return shape("llamacpp_router/load_again").response()
        self.values[name] = "loading"
        self._start(name, self._load(name))
        return shape("llamacpp_router/unload_alpha").response()

    async def _load(self, name: str) -> None:
        await self.loads.passed()
        self.loaded = {held: {} for held, value in self.values.items() if value == "loaded"}
        if self.fits_in_memory(name):
            self.values[name] = "loaded"
            self.failed.discard(name)
        else:
            self.values.pop(name)
            self.failed.add(name)

    @answers("POST", "/models/unload", "llamacpp_router/unload_alpha", "llamacpp_router/unload_again")
    async def unload(self, asked: Request) -> Response:
        name = str(asked.body.get("model"))
        if name not in self.values:
            return shape("llamacpp_router/unload_again").response()
        if task := self._tasks.pop(name, None):
            task.cancel()
        self.values.pop(name)
        return shape("llamacpp_router/unload_alpha").response()

    @answers("POST", "/models", "llamacpp_router/download", "llamacpp_router/download_400")
    async def download(self, asked: Request) -> Response:
        name = str(asked.body.get("model"))
        if name not in self.library or name in self.models or name in self.values:
            return shape("llamacpp_router/download_400").response()
        self.values[name] = "downloading"
        self._start(name, self._download(name))
        return shape("llamacpp_router/download").response()

    async def _download(self, name: str) -> None:
        await self.fetched(name)
        self.values.pop(name)

    @answers(
        "DELETE",
        "/models",
        "llamacpp_router/delete",
        "llamacpp_router/delete_unknown",
        "llamacpp_router/delete_refused",
    )
    async def delete(self, asked: Request) -> Response:
        name = asked.query.get("model", "")
        if name in self._in_folder:
            return shape("llamacpp_router/delete_refused").response()
        if self.models.pop(name, None) is None:
            return shape("llamacpp_router/delete_unknown", "llamacpp_router/delete_refused").response()
        self.save()
        return shape("llamacpp_router/delete").response()

    @answers("POST", "/v1/chat/completions", "llamacpp_router/chat_alpha", "llamacpp_router/chat_noautoload")
    async def chat(self, asked: Request) -> Response:
        return self._answered("llamacpp_router/chat_alpha", asked)

    @answers("POST", "/v1/embeddings", "llamacpp/emb_embeddings", "llamacpp_router/chat_noautoload")
    async def embeddings(self, asked: Request) -> Response:
        return self._answered("llamacpp/emb_embeddings", asked)

    def _answered(self, fixture: str, asked: Request) -> Response:
        """An answer by a loaded model; one that is not loaded is loaded first unless the request forbids it."""
        name = str(asked.body.get("model"))
        if self.values.get(name) != "loaded":
            if asked.query.get("autoload") == "false":
                return shape("llamacpp_router/chat_noautoload").response()
            self.values[name] = "loaded"
        return shape(fixture).response(shape(fixture).json() | {"model": name})

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks[name] = asyncio.create_task(work)


@contextmanager
def router_replay(
    models: Mapping[str, Weights] | None = None, library: Mapping[str, Weights] | None = None, **knobs: Any
) -> Iterator[RouterReplay]:
    """Run one; `models` lie in its folder, `library` it can download, further knobs as `Replay` takes them."""
    with RouterReplay(models, library, **knobs) as engine:
        yield engine
