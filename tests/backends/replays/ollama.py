"""A stateful Ollama: tags, ps, show, pull in layers that resume, delete, load and unload, generate and embed."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from tests.backends.replays.replay import Replay, Request, Response, Weights, answers, line, shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

WORDS = {"chat": "completion", "embeddings": "embedding", "vision": "vision", "tools": "tools"}
"""Ollama's words for what a model can do."""


class OllamaReplay(Replay):
    """An Ollama without a single weight.

    Attributes:
        tells_abilities: Whether the list says what a model can do, as since 0.12; before, only `/api/show` does.
    """

    kind = "ollama"
    unknown = "ollama/unknown_path"
    tells_abilities = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._downloads: dict[str, _Download] = {}

    # --- looking -------------------------------------------------------------------------------------------------

    @answers("GET", "/", "ollama/root")
    async def root(self, _: Request) -> Response:
        return shape("ollama/root").response()

    @answers("GET", "/api/version", "ollama/version")
    async def version(self, _: Request) -> Response:
        return shape("ollama/version").response()

    @answers("GET", "/api/tags", "ollama/tags")
    async def tags(self, _: Request) -> Response:
        return shape("ollama/tags").response({"models": [self._tag(name) for name in sorted(self.models)]})

    @answers("GET", "/api/ps", "ollama/ps")
    async def ps(self, _: Request) -> Response:
        [recorded] = shape("ollama/ps").json()["models"]
        entries = []
        for name, options in self.loaded.items():
            held = self.models[name]
            facts = {"name": name, "model": name, "size": held.size, "size_vram": held.size, "digest": _digest(name)}
            context = options.get("num_ctx", min(held.context, 4096))
            entries.append({**recorded, **facts, "context_length": context})
        return shape("ollama/ps").response({"models": entries})

    @answers("GET", "/v1/models", "ollama/v1_models")
    async def v1_models(self, _: Request) -> Response:
        [recorded] = shape("ollama/v1_models").json()["data"]
        entries = [{**recorded, "id": name} for name in sorted(self.models)]
        return shape("ollama/v1_models").response({"object": "list", "data": entries or None})

    @answers("POST", "/api/show", "ollama/show", "ollama/show_404")
    async def show(self, asked: Request) -> Response:
        name = _named(asked.body)
        if name not in self.models:
            return _missing(name)
        held, recorded = self.models[name], shape("ollama/show").json()
        facts = {"llama.context_length": held.context}
        recorded |= {"capabilities": _words(held), "model_info": recorded["model_info"] | facts}
        return shape("ollama/show").response(recorded)

    def _tag(self, name: str) -> dict[str, Any]:
        [recorded] = shape("ollama/tags").json()["models"]
        held = self.models[name]
        entry = {**recorded, "name": name, "model": name, "size": held.size, "digest": _digest(name)}
        if self.tells_abilities:
            details = recorded["details"] | {"context_length": held.context}
            return entry | {"capabilities": _words(held), "details": details}
        del entry["capabilities"]
        return entry

    # --- pulling -------------------------------------------------------------------------------------------------

    @answers("POST", "/api/pull", "ollama/pull_stream", "ollama/pull_stream_error")
    async def pull(self, asked: Request) -> Response:
        return shape("ollama/pull_stream").stream(self._numbered(self._pull(_named(asked.body))))

    async def _numbered(self, lines: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
        """The lines of a pull, until the one that is to fail."""
        number = 0
        async for content in lines:
            number += 1
            if self.fail_pull_at is not None and number >= self.fail_pull_at[0]:
                words, self.fail_pull_at = self.fail_pull_at[1], None
                yield line({"error": words})
                return
            yield line(content)

    async def _pull(self, name: str) -> AsyncIterator[dict[str, Any]]:
        _, start, part, verify, write, success = shape("ollama/pull_stream").lines()
        yield {"status": "pulling manifest"}
        if name not in self.library:
            _, failed = shape("ollama/pull_stream_error").lines()
            yield failed
            return
        for digest, total in self.library[name].layers(name).items():
            facts = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": total}
            yield {**start, **facts}
            async with self._download(digest, total) as download:
                async for completed in download.steps():
                    yield {**part, **facts, "completed": completed}
            if download.trouble:
                yield {"error": download.trouble}
                return
        yield verify
        yield write
        for digest in self.library[name].layers(name):
            self.parts.pop(digest, None)
        self.models[name] = self.library[name]
        self.save()
        yield success

    @asynccontextmanager
    async def _download(self, digest: str, total: int) -> AsyncIterator[_Download]:
        """The one download of this digest, shared by all who pull it; it stops when the last of them leaves."""
        if digest not in self._downloads:
            self._downloads[digest] = _Download(self, digest, total)
        download = self._downloads[digest]
        download.listeners += 1
        try:
            yield download
        finally:
            download.listeners -= 1
            if not download.listeners:
                download.task.cancel()
                self._downloads.pop(digest, None)

    # --- the rest ------------------------------------------------------------------------------------------------

    @answers("DELETE", "/api/delete", "ollama/delete", "ollama/show_404")
    async def delete(self, asked: Request) -> Response:
        name = _named(asked.body)
        if name not in self.models:
            return _missing(name)
        del self.models[name]
        self.loaded.pop(name, None)
        self.save()
        return shape("ollama/delete").response()

    @answers(
        "POST",
        "/api/generate",
        *(f"ollama/{name}" for name in ("generate", "generate_load", "generate_unload", "generate_400", "load_500")),
    )
    async def generate(self, asked: Request) -> Response:
        name, keep = _named(asked.body), asked.body.get("keep_alive")
        if name not in self.models:
            return _missing(name)
        if not asked.body.get("prompt") and keep == 0:
            self.loaded.pop(name, None)
            return _about(name, "ollama/generate_unload")
        if "chat" not in self.models[name].abilities:
            return shape("ollama/generate_400").response({"error": f'"{name}" does not support generate'})
        if refused := await self._in_memory(name, asked.body.get("options") or {}):
            return refused
        if asked.body.get("prompt"):
            return _about(name, "ollama/generate", response=self.models[name].words)
        return _about(name, "ollama/generate_load")

    @answers("POST", "/api/embed", "ollama/embed", "ollama/embed_load", "ollama/load_500")
    async def embed(self, asked: Request) -> Response:
        name = _named(asked.body)
        if name not in self.models:
            return _missing(name)
        if refused := await self._in_memory(name, asked.body.get("options") or {}):
            return refused
        return _about(name, "ollama/embed" if asked.body.get("input") else "ollama/embed_load")

    @answers("POST", "/v1/chat/completions", "ollama/v1_chat", "ollama/v1_chat_stream", "ollama/v1_404")
    async def v1_chat(self, asked: Request) -> Response:
        name = _named(asked.body)
        if name not in self.models:
            return shape("ollama/v1_404").response()
        if refused := await self._in_memory(name, {}):
            return refused
        if asked.body.get("stream"):
            return shape("ollama/v1_chat_stream").response()
        recorded = shape("ollama/v1_chat").json()
        recorded["choices"][0]["message"]["content"] = self.models[name].words
        return _about(name, "ollama/v1_chat", choices=recorded["choices"])

    async def _in_memory(self, name: str, options: dict[str, Any]) -> Response | None:
        """Load it, anew if the options are other ones, as Ollama does before every answer."""
        runner = {key: value for key, value in options.items() if key != "num_predict"}
        if name not in self.loaded or (runner and runner != self.loaded[name]):
            await self.loads.passed()
            if not self.fits_in_memory(name):
                return shape("ollama/load_500").response()
            self.loaded[name] = runner
        return None


class _Download:
    """One layer on its way."""

    def __init__(self, replay: Replay, digest: str, total: int) -> None:
        self._replay, self._digest, self._total = replay, digest, total
        self._changed = asyncio.Event()
        self._completed = replay.parts.get(digest, 0)
        self.listeners = 0
        self.trouble = ""
        self.task = asyncio.create_task(self._run())

    async def steps(self) -> AsyncIterator[int]:
        """Bytes that are there, again and again until all are, or until there is trouble."""
        while True:
            changed, completed = self._changed, self._completed
            if completed:
                yield completed
            if completed >= self._total or self.trouble:
                return
            await changed.wait()

    async def _run(self) -> None:
        replay, parts = self._replay, self._replay.parts
        while self._completed < self._total and not self.trouble:
            await replay.pulls.passed()
            await asyncio.sleep(replay.pace_s)
            step = min(replay.chunk_bytes, self._total - self._completed)
            if replay.disk is not None and replay.used() + step > replay.disk:
                self.trouble = f"write blobs/sha256-{self._digest[:12]}-partial: no space left on device"
            else:
                self._completed += step
                parts[self._digest] = self._completed
                replay.save()
            self._changed.set()
            self._changed = asyncio.Event()


def _words(held: Weights) -> list[str]:
    return [WORDS[ability] for ability in held.abilities]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _named(body: Mapping[str, Any]) -> str:
    name = str(body.get("model") or body.get("name") or "")
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def _about(name: str, fixture: str, **changes: Any) -> Response:
    """A recorded answer about this model."""
    recorded: dict[str, Any] = shape(fixture).json()
    return shape(fixture).response(recorded | {"model": name} | changes)


def _missing(name: str) -> Response:
    return shape("ollama/show_404").response({"error": f"model '{name}' not found"})


@contextmanager
def ollama_replay(
    models: Mapping[str, Weights] | None = None, library: Mapping[str, Weights] | None = None, **knobs: Any
) -> Iterator[OllamaReplay]:
    """Run one; `models` it holds, `library` it can pull, further knobs as `Replay` takes them."""
    with OllamaReplay(models, library, **knobs) as engine:
        yield engine
