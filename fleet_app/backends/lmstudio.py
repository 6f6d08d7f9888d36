"""LM Studio, by its own API: `/api/v1/models` since 0.4, `/api/v0/models` before.

It answers every unknown path with status 200 and writes an error line into its owner's log, so on its usual port
these are asked first and nothing else when they match. Reading the list loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.lmstudio_engine import VERBS, LmStudioEngine
from fleet_app.backends.shape import JsonObject, as_bytes, as_count, as_name, as_object, as_objects
from fleet_app.backends.signature import NO_KEY, seen
from fleet_app.presence import BackendPresence, Capability, Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire

_ABILITIES: Mapping[object, tuple[Capability, ...]] = {
    "llm": ("chat", "completions"),
    "vlm": ("chat", "completions", "vision"),
    "embedding": ("embeddings",),
    "embeddings": ("embeddings",),
}
"""By a model's type, in the words of either API."""


class LmStudio:
    """LM Studio 0.4 and later."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        reply = await talk.get("/api/v1/models")
        if reply.status == 401 and "LM Studio" in reply.text:
            return seen("lmstudio", talk.url, condition="needs_key", reason=NO_KEY)
        listing = as_object(reply.content).get("models")
        known = [entry for entry in as_objects(listing) if _is_model(entry)]
        # Without a single model the list has no mark of its own: the web framework and the older API must agree.
        if known or (listing == [] and reply.powered_by == "Express" and await _lists_v0(talk)):
            return seen("lmstudio", talk.url, models=map(_model, known), can=VERBS)
        return None

    def adapter(self, wire: Wire, presence: BackendPresence) -> LmStudioEngine:
        """See `Signature`."""
        return LmStudioEngine(wire, presence)


class LmStudioV0:
    """LM Studio before 0.4."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        listing = (await talk.get("/api/v0/models")).content
        if any("compatibility_type" in entry for entry in as_objects(as_object(listing).get("data"))):
            return seen("lmstudio", talk.url, models=_models_v0(listing))
        return None

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return LmStudioV0Engine(wire, presence)


class LmStudioV0Engine(Adapter):
    """An LM Studio that can only be looked at."""

    instead = "update LM Studio to 0.4 or later, or do it there"


async def _lists_v0(talk: Conversation) -> bool:
    listing = as_object((await talk.try_get("/api/v0/models")).content)
    return listing.get("object") == "list" and isinstance(listing.get("data"), list)


def _is_model(entry: JsonObject) -> bool:
    return as_name(entry.get("key")) is not None and isinstance(entry.get("loaded_instances"), list)


def _model(entry: JsonObject) -> Model:
    """A downloaded model by its key; loaded when it has an instance, with the context of the first."""
    instances = as_objects(entry.get("loaded_instances"))
    config = as_object(instances[0].get("config")) if instances else {}
    return Model(
        name=str(entry["key"]),
        loaded=bool(entry["loaded_instances"]),
        size_bytes=as_bytes(entry.get("size_bytes")),
        context=as_count(config.get("context_length")) or as_count(entry.get("max_context_length")),
        capabilities=tuple(_abilities(entry)),
    )


def _abilities(entry: JsonObject) -> Iterator[Capability]:
    yield from _ABILITIES.get(as_name(entry.get("type")), ())
    told = as_object(entry.get("capabilities"))
    if told.get("vision") is True:
        yield "vision"
    if told.get("trained_for_tool_use") is True:
        yield "tools"


def _models_v0(listing: object) -> Iterator[Model]:
    """Every downloaded model in the older list."""
    for entry in as_objects(as_object(listing).get("data")):
        if name := as_name(entry.get("id")):
            yield Model(
                name=name,
                loaded=entry.get("state") == "loaded",
                context=as_count(entry.get("max_context_length")),
                capabilities=_ABILITIES.get(as_name(entry.get("type")), ()),
            )
