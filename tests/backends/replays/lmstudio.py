"""A stateful LM Studio 0.4: its list, downloads as jobs, instances in memory, and 200 for paths it does not know."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.backends.replays.replay import Replay, Request, Response, Weights, answers, shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class LmStudioReplay(Replay):
    """An LM Studio.

    Attributes:
        jobs: Downloads by id: model, status and bytes.
        instances: What is in memory: instance id to model and how it was loaded.
    """

    kind = "lmstudio"
    unknown = "lmstudio/unknown_path"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.instances: dict[str, tuple[str, dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        super().stop()
        self.jobs.clear()
        self.instances.clear()

    @answers("GET", "/api/v1/models", "lmstudio/v1_models_native")
    async def models_native(self, _: Request) -> Response:
        entries = [self._entry(name, held) for name, held in sorted(self.models.items())]
        return shape("lmstudio/v1_models_native").response({"models": entries})

    @answers("GET", "/api/v0/models", "lmstudio/v0_models")
    async def models_v0(self, _: Request) -> Response:
        [recorded] = shape("lmstudio/v0_models").json()["data"]
        entries = [{**recorded, "id": name} for name in sorted(self.models)]
        return shape("lmstudio/v0_models").response({"object": "list", "data": entries})

    @answers("GET", "/v1/models", "lmstudio/openai_models")
    async def openai_models(self, _: Request) -> Response:
        [recorded] = shape("lmstudio/openai_models").json()["data"]
        entries = [{**recorded, "id": name} for name in sorted(self.models)]
        return shape("lmstudio/openai_models").response({"object": "list", "data": entries})

    def _entry(self, name: str, held: Weights) -> dict[str, Any]:
        [recorded] = shape("lmstudio/v1_models_native").json()["models"]
        [instance] = recorded["loaded_instances"]
        loaded = [
            {**instance, "id": instance_id, "config": instance["config"] | config}
            for instance_id, (model, config) in self.instances.items()
            if model == name
        ]
        facts = {"key": name, "size_bytes": held.size, "max_context_length": held.context, "loaded_instances": loaded}
        facts["type"] = "embedding" if "embeddings" in held.abilities else "llm"
        facts["capabilities"] = {
            "vision": "vision" in held.abilities,
            "trained_for_tool_use": "tools" in held.abilities,
        }
        entry: dict[str, Any] = recorded | facts
        return entry

    # --- downloads -----------------------------------------------------------------------------------------------

    @answers("POST", "/api/v1/models/download", "lmstudio/v1_download", "lmstudio/v1_error")
    async def download(self, asked: Request) -> Response:
        name = str(asked.body.get("model"))
        recorded = shape("lmstudio/v1_download").json()
        if name in self.models:
            return shape("lmstudio/v1_download").response({"status": "already_downloaded"})
        if name not in self.library:
            return _error("model_not_found", f"Model not found: {name}")
        job_id = next((key for key, job in self.jobs.items() if job["model"] == name), None)
        if job_id is None or self.jobs[job_id]["status"] != "downloading":
            job_id = f"job_{len(self.jobs):010x}"
            self.jobs[job_id] = {"model": name, "status": "downloading"}
            task = asyncio.create_task(self._run(job_id, name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        facts = {"job_id": job_id, "total_size_bytes": self.library[name].size}
        return shape("lmstudio/v1_download").response(recorded | facts)

    @answers("GET", "/api/v1/models/download/status/*", "lmstudio/v1_download_status", "lmstudio/v1_error")
    async def status(self, asked: Request) -> Response:
        job_id = asked.path.rsplit("/", 1)[1]
        if job_id not in self.jobs:
            return _error("job_not_found", f"Job not found: {job_id}")
        job = self.jobs[job_id]
        name = job["model"]
        recorded = shape("lmstudio/v1_download_status").json()
        facts = {"job_id": job_id, "status": job["status"], "total_size_bytes": self.library[name].size}
        done = self.library[name].size if name in self.models else self.parts.get(name, 0)
        if job["status"] != "completed":
            del recorded["completed_at"]
        return shape("lmstudio/v1_download_status").response(recorded | facts | {"downloaded_bytes": done})

    async def _run(self, job_id: str, name: str) -> None:
        """A download, which goes on whoever asks for it."""
        self.jobs[job_id]["status"] = "completed" if await self.fetched(name) else "failed"

    # --- memory --------------------------------------------------------------------------------------------------

    @answers("POST", "/api/v1/models/load", "lmstudio/v1_load", "lmstudio/v1_error")
    async def load(self, asked: Request) -> Response:
        name = str(asked.body.get("model"))
        if name not in self.models:
            return _error("model_not_found", f"Model not found: {name}")
        await self.loads.passed()
        in_memory = sum(self.models[model].size for model, _ in self.instances.values())
        if self.memory is not None and in_memory + self.models[name].size > self.memory:
            return _error("model_load_failed", "Failed to load model: insufficient system resources", status=500)
        number = sum(model == name for model, _ in self.instances.values())
        instance_id = f"{name}:{number + 1}" if number else name
        self.instances[instance_id] = (name, {key: value for key, value in asked.body.items() if key != "model"})
        return shape("lmstudio/v1_load").response(shape("lmstudio/v1_load").json() | {"instance_id": instance_id})

    @answers("POST", "/api/v1/models/unload", "lmstudio/v1_unload", "lmstudio/v1_error")
    async def unload(self, asked: Request) -> Response:
        instance_id = str(asked.body.get("instance_id"))
        if self.instances.pop(instance_id, None) is None:
            return _error("model_not_found", f"Instance not found: {instance_id}")
        return shape("lmstudio/v1_unload").response({"instance_id": instance_id})

    # --- inference -----------------------------------------------------------------------------------------------

    @answers("POST", "/v1/chat/completions", "lmstudio/chat")
    async def chat(self, asked: Request) -> Response:
        return self._just_in_time("lmstudio/chat", asked)

    @answers("POST", "/v1/embeddings", "lmstudio/embeddings")
    async def embeddings(self, asked: Request) -> Response:
        return self._just_in_time("lmstudio/embeddings", asked)

    def _just_in_time(self, fixture: str, asked: Request) -> Response:
        """An answer by the model, which a request loads."""
        name = str(asked.body.get("model"))
        if name not in self.models:
            return _error("model_not_found", f"Model not found: {name}")
        if all(model != name for model, _ in self.instances.values()):
            self.instances[name] = (name, {})
        return shape(fixture).response(shape(fixture).json() | {"model": name})


def _error(kind: str, words: str, *, status: int | None = None) -> Response:
    return shape("lmstudio/v1_error").response({"error": {"type": kind, "message": words}}, status=status)


@contextmanager
def lmstudio_replay(
    models: Mapping[str, Weights] | None = None, library: Mapping[str, Weights] | None = None, **knobs: Any
) -> Iterator[LmStudioReplay]:
    """Run one; `models` it holds, `library` it can download, further knobs as `Replay` takes them."""
    with LmStudioReplay(models, library, **knobs) as engine:
        yield engine
