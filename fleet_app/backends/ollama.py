"""Ollama, the most imitated API of all: asked last, and believed only when everything fits.

A version, the exact text at `/`, 64 hexadecimal digits for each local model's digest, and an owner for each model in
the OpenAI list. A fresh Ollama has no model to show a digest of; then the list of running models must exist too.
Names always carry a tag. Cloud stubs are left out: their prompts would leave the machine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fleet_app.backends.shape import JsonObject, as_bytes, as_name, as_object, as_objects, owners
from fleet_app.backends.signature import seen
from fleet_app.presence import BackendPresence, Model

if TYPE_CHECKING:
    from fleet_app.backends.conversation import Conversation

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Ollama:
    """Ollama's native API."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        version = as_name(as_object((await talk.get("/api/version")).content).get("version"))
        if version is None or (await talk.get("/")).text.strip() != "Ollama is running":
            return None
        tags = (await talk.get("/api/tags")).content
        running = (await talk.try_get("/api/ps")).content
        if not _fits(tags, running) or None in owners((await talk.try_get("/v1/models")).content):
            return None
        return seen("ollama", talk.url, models=models(tags, running), version=version)


def _fits(tags: object, running: object) -> bool:
    local = _local(tags)
    if local:
        return all(_DIGEST.fullmatch(str(entry.get("digest"))) for entry in local)
    return all("models" in as_object(listing) for listing in (tags, running))


def _local(tags: object) -> list[JsonObject]:
    entries = as_objects(as_object(tags).get("models"))
    return [entry for entry in entries if not entry.get("remote_model") and not entry.get("remote_host")]


def models(tags: object, running: object) -> tuple[Model, ...]:
    """The local models in `/api/tags`; `loaded` by `/api/ps`, None when that is not at hand."""
    loaded: set[str] | None = None
    if "models" in as_object(running):
        loaded = {tagged(name).casefold() for entry in _local(running) if (name := as_name(entry.get("name")))}
    return tuple(
        Model(
            name=tagged(name),
            loaded=None if loaded is None else tagged(name).casefold() in loaded,
            size_bytes=as_bytes(entry.get("size")),
        )
        for entry in _local(tags)
        if (name := as_name(entry.get("name"))) and as_name(tagged(name))
    )


def tagged(name: str) -> str:
    """The name with its tag, `:latest` where it has none."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"
