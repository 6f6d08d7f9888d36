"""Telling llama.cpp what to do, which only its router mode understands.

Loading, unloading, downloading and removing are started by a request and go on by themselves; the model list says how
far they are. Certain, from the server's documentation and code: the routes, `status.value` and `failed`, that a
download is cancelled by `/models/unload`, that only what lies in the server's cache can be removed. Not certain, for
builds differ: whether the list counts the bytes of a download, and whether a download that failed stays in the list. A
download that is gone from the list without leaving a model therefore counts as failed.
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

    from fleet_app.errors import BackendError
    from fleet_app.presence import Verb

ROUTER_VERBS: tuple[Verb, ...] = ("pull", "cancel", "delete", "load", "unload")
VALIDATION_TIMEOUT_S = 60.0
"""How long a router may take to look a model up before it begins to download."""

DOWNLOAD_POLL_S = 1.0
ABSENCES_MAX = 3
"""How many looks a download may be in no list, between its end and the model's appearance."""


class LlamaCppEngine(Adapter):
    """One llama.cpp server. A single one and a router may follow each other at one address."""

    instead = "it serves the model it was started with; start `llama-server` with --models-dir and without --model"
    speak_query = "?autoload=false"

    async def pull(self, model: str) -> AsyncGenerator[Progress]:
        """See `Engine`. A download goes on when nobody listens."""
        self._must("pull", model)
        entry = await self._entry(model)
        if entry is not None and _value(entry) != "downloading":
            return
        if entry is None:
            await self._begin(model)
        absences = 0
        while (entry := await self._entry(model)) is None or _value(entry) == "downloading":
            absences = absences + 1 if entry is None else 0
            if absences > ABSENCES_MAX:
                raise await self._lost(model)
            yield _progress(entry)
            await asyncio.sleep(DOWNLOAD_POLL_S)
        if as_object(entry.get("status")).get("failed") is True:
            raise failure(f"the download of {model} failed; the server's log says why", retryable=True)

    async def _begin(self, model: str) -> None:
        """Start a download, or find that somebody else just did."""
        reply = await self._wire.ask("POST", "/models", {"model": model}, timeout_s=VALIDATION_TIMEOUT_S)
        if reply.status != 200 and await self._entry(model) is None:
            raise self._wire.refusal(reply)

    async def cancel(self, model: str) -> None:
        """See `Engine`. A single server downloads nothing."""
        if "cancel" not in self.seen.can:
            return
        if (entry := await self._entry(model)) is not None and _value(entry) == "downloading":
            await self._wire.tell("POST", "/models/unload", {"model": model})

    async def delete(self, model: str) -> None:
        """See `Engine`."""
        self._must("delete", model)
        entry = await self._entry(model)
        if entry is None:
            return
        if entry.get("can_remove") is False:
            where = "it lies in the server's --models-dir or preset, and only its cache can be changed"
            raise failure(f"llamacpp cannot delete {model}: {where}; remove the file", retryable=False)
        await self.unload(model)
        await self._wire.tell("DELETE", f"/models?model={quote(model, safe='')}")

    async def load(self, model: str, settings: Mapping[str, object]) -> None:
        """See `Engine`. How a model is loaded stands in the router's preset; no request can change it."""
        self._must("load", model)
        if settings:
            hint = f"such as {min(settings)!r}; write them into its --models-preset"
            raise failure(f"llamacpp takes no settings for loading, {hint}", retryable=False)
        reply = await self._wire.ask("POST", "/models/load", {"model": model})
        if reply.status == 404:
            raise failure(f"llamacpp does not know {model}; pull it, or put it into --models-dir", retryable=False)
        if reply.status != 200 and _value(await self._entry(model)) not in {"loading", "loaded"}:
            raise self._wire.refusal(reply)

        async def loaded() -> bool:
            entry = await self._entry(model)
            status = as_object((entry or {}).get("status"))
            if status.get("failed") is True:
                code = status.get("exit_code")
                raise failure(f"{model} did not start: its server ended with {code}", retryable=True)
            return status.get("value") == "loaded"

        await self._until(loaded, LOAD_TIMEOUT_S, f"{model} is not loaded")

    async def unload(self, model: str) -> None:
        """See `Engine`."""
        self._must("unload", model)
        if _value(await self._entry(model)) not in {"loading", "loaded", "sleeping"}:
            return
        reply = await self._wire.ask("POST", "/models/unload", {"model": model})

        async def unloaded() -> bool:
            return _value(await self._entry(model)) not in {"loading", "loaded", "sleeping"}

        if reply.status != 200 and not await unloaded():
            raise self._wire.refusal(reply)
        await self._until(unloaded, UNLOAD_TIMEOUT_S, f"{model} is still in memory")

    async def _in_memory(self, model: str) -> bool:  # noqa: ARG002 - a single server has only one
        """A router is asked so that it refuses instead of loading; a single server loads when it is woken."""
        return bool(self.seen.can) or (await self._wire.tell("GET", "/props")).get("is_sleeping") is not True

    async def _entry(self, model: str) -> JsonObject | None:
        """The model in the router's list; None when it is not there."""
        return next((entry for entry in await self._entries() if entry.get("id") == model), None)

    async def _entries(self) -> list[JsonObject]:
        return as_objects((await self._wire.tell("GET", "/v1/models")).get("data"))

    async def _lost(self, model: str) -> BackendError:
        """What to say of a download that is over without the model."""
        names = (as_name(entry.get("id")) or "" for entry in await self._entries())
        if longer := next((name for name in names if name.startswith(f"{model}:")), None):
            return failure(f"llamacpp keeps it as {longer}; declare it by that name", retryable=False)
        return failure(f"the download of {model} ended without it; the server's log says why", retryable=True)

    def _must(self, verb: Verb, model: str) -> None:
        """Refuse what this server has not.

        Raises:
            BackendError: It has it not, or not now.
        """
        if self.seen.condition != "ready":
            raise failure(f"llamacpp is {self.seen.condition}: {self.seen.reason}", retryable=True)
        if verb not in self.seen.can:
            raise self._cannot(verb, model)


def _value(entry: JsonObject | None) -> str | None:
    return as_name(as_object((entry or {}).get("status")).get("value"))


def _progress(entry: JsonObject | None) -> Progress:
    """How far the files of a download are, where this build counts them."""
    files = as_object(as_object((entry or {}).get("status")).get("progress")).values()
    done = [as_bytes(as_object(file).get("done")) or 0 for file in files]
    total = [as_bytes(as_object(file).get("total")) or 0 for file in files]
    return Progress(status="downloading", completed_bytes=sum(done), total_bytes=sum(total) or None)
