"""Telling LM Studio 0.4 and later what to do.

A download is a job that goes on by itself. Asking for it again while it runs is taken to answer with the same job, as
the documentation gives no list of jobs; it is not certain. A model may have several instances in memory, and a second
load makes a second one, so what is loaded is looked at first. Nothing ends a download or removes a model.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

from fleet_app.backends.adapter import LOAD_TIMEOUT_S, UNLOAD_TIMEOUT_S, Adapter
from fleet_app.backends.shape import JsonObject, as_bytes, as_name, as_object, as_objects
from fleet_app.backends.wire import failure
from fleet_app.engine import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from fleet_app.backends.wire import Wire
    from fleet_app.presence import BackendPresence, Verb

VERBS: tuple[Verb, ...] = ("pull", "load", "unload")
DOWNLOAD_POLL_S = 1.0
DOWNLOAD_TIMEOUT_S = 60.0
"""How long LM Studio may take to look a model up before it begins to download."""

SETTINGS = ("context_length", "eval_batch_size", "flash_attention", "num_experts", "offload_kv_cache_to_gpu")
_ALSO_CALLED = {"num_ctx": "context_length"}
"""Ollama's word is understood, so that one declaration fits both."""


class LmStudioEngine(Adapter):
    """One LM Studio."""

    instead = "do it in LM Studio, under My Models"

    def __init__(self, wire: Wire, seen: BackendPresence) -> None:
        super().__init__(wire, seen)
        self._jobs: dict[str, str] = {}

    async def pull(self, model: str) -> AsyncGenerator[Progress]:
        """See `Engine`. A download goes on when nobody listens."""
        job = await self._wire.tell("POST", "/api/v1/models/download", {"model": model}, timeout_s=DOWNLOAD_TIMEOUT_S)
        while (status := as_name(job.get("status"))) == "downloading":
            if (job_id := as_name(job.get("job_id"))) is None:
                raise failure("LM Studio names no job, so the download cannot be followed", retryable=True)
            self._jobs[model] = job_id  # until it is over, also when nobody follows it any more
            yield _progress(job)
            await asyncio.sleep(DOWNLOAD_POLL_S)
            job = await self._status(job_id)
        self._jobs.pop(model, None)
        match status:
            case "completed" | "already_downloaded":
                await self._check_name(model)
            case "paused":
                raise failure("the download is paused; resume it in LM Studio, under Downloads", retryable=True)
            case _:
                raise self._wire.error(job, f"the download ended as {status}", retryable=True)

    async def cancel(self, model: str) -> None:
        """See `Engine`."""
        job_id = self._jobs.get(model)
        if job_id and (await self._status(job_id)).get("status") == "downloading":
            what = "no request ends a download of LM Studio; stop it there, under Downloads"
            raise failure(what, retryable=False)

    async def load(self, model: str, settings: Mapping[str, object]) -> None:
        """See `Engine`. One that is loaded otherwise is loaded anew."""
        self._known(settings, (*SETTINGS, *_ALSO_CALLED))
        wanted = {_ALSO_CALLED.get(key, key): value for key, value in settings.items()}
        instances = await self._instances(model)
        if instances and all(wanted.items() <= as_object(one.get("config")).items() for one in instances):
            return
        await self._drop(instances)
        await self._wire.tell("POST", "/api/v1/models/load", {"model": model, **wanted}, timeout_s=LOAD_TIMEOUT_S)

    async def unload(self, model: str) -> None:
        """See `Engine`. Every instance goes."""
        await self._drop(await self._instances(model))

    async def _in_memory(self, model: str) -> bool:
        return bool(await self._instances(model))

    async def _instances(self, model: str) -> list[JsonObject]:
        entries = await self._entries()
        return [
            one for entry in entries if entry.get("key") == model for one in as_objects(entry.get("loaded_instances"))
        ]

    async def _entries(self) -> list[JsonObject]:
        return as_objects((await self._wire.tell("GET", "/api/v1/models")).get("models"))

    async def _drop(self, instances: list[JsonObject]) -> None:
        for instance in instances:
            body = {"instance_id": instance.get("id")}
            await self._wire.tell("POST", "/api/v1/models/unload", body, timeout_s=UNLOAD_TIMEOUT_S)

    async def _status(self, job_id: str) -> JsonObject:
        reply = await self._wire.ask("GET", f"/api/v1/models/download/status/{quote(job_id, safe='')}")
        if reply.status != 200 or "error" in as_object(reply.json):  # LM Studio was started anew: a new job goes on
            raise self._wire.error(reply.json, "LM Studio knows nothing of the download any more", retryable=True)
        return as_object(reply.json)

    async def _check_name(self, model: str) -> None:
        """A download by the address of a repository is kept under another name.

        Raises:
            BackendError: It is.
        """
        if all(entry.get("key") != model for entry in await self._entries()):
            hint = "declare it by the key that `lms ls` shows"
            raise failure(f"LM Studio keeps {model} under another name; {hint}", retryable=False)


def _progress(job: JsonObject) -> Progress:
    completed, total = as_bytes(job.get("downloaded_bytes")), as_bytes(job.get("total_size_bytes"))
    return Progress(status="downloading", completed_bytes=completed or 0, total_bytes=total)
