"""vLLM: known by `owned_by: "vllm"` together with the fields only its model list has.

Started with an API key it guards `/v1` and leaves `/metrics` open, whose names begin with `vllm:`. It opens its port
when the engine is ready, so there is no loading state to see. What it can be asked for stands in the list of its
routes, which is long and asked for once; older ones have every route whatever they serve, and then nothing is believed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.shape import JsonObject, as_count, as_name, as_object, as_objects, gauge, owners
from fleet_app.backends.signature import NO_KEY, Load, seen
from fleet_app.presence import BackendPresence, Capability, Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire

SERVERS_MAX = 256
"""How many servers' routes are kept."""

_METRIC = re.compile(r"^vllm:num_requests_running\b", re.MULTILINE)
_ROUTES: tuple[tuple[str, Capability], ...] = (
    ("/v1/chat/completions", "chat"),
    ("/v1/completions", "completions"),
    ("/v1/embeddings", "embeddings"),
    ("/v1/rerank", "rerank"),
)


class Vllm:
    """vLLM's OpenAI server."""

    def __init__(self) -> None:
        self._abilities: dict[tuple[str, str], tuple[Capability, ...]] = {}

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        reply = await talk.get("/v1/models")
        if reply.status == 401 and _METRIC.search((await talk.try_get("/metrics")).text):
            return seen("vllm", talk.url, condition="needs_key", reason=NO_KEY)
        entries = as_objects(as_object(reply.content).get("data"))
        if {*owners(reply.content)} != {"vllm"} or not any(map(_has_marks, entries)):
            return None
        version = as_name(as_object((await talk.try_get("/version")).content).get("version"))
        abilities = await self._abilities_of(talk, f"{version} {entries[0].get('root')}")
        metrics = (await talk.try_get("/metrics")).text
        load = Load(None, gauge(metrics, "vllm:num_requests_running"), gauge(metrics, "vllm:num_requests_waiting"))
        return seen("vllm", talk.url, models=_models(entries, abilities), version=version, load=load)

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return VllmEngine(wire, presence)

    async def _abilities_of(self, talk: Conversation, served: str) -> tuple[Capability, ...]:
        known = self._abilities.get((talk.url, served))
        if known is not None:
            return known
        reply = await talk.try_get("/openapi.json")
        routes = as_object(as_object(reply.content).get("paths"))
        found = tuple(ability for route, ability in _ROUTES if route in routes)
        abilities = () if {"chat", "embeddings"} <= {*found} else found
        if reply.status:
            if len(self._abilities) >= SERVERS_MAX:
                self._abilities.clear()
            self._abilities[talk.url, served] = abilities
        return abilities


class VllmEngine(Adapter):
    """One vLLM."""

    instead = "it serves the model it was started with; start it with --model"


def _has_marks(entry: JsonObject) -> bool:
    return {"root", "max_model_len"} <= entry.keys() and isinstance(entry.get("permission"), list)


def _models(entries: list[JsonObject], abilities: tuple[Capability, ...]) -> Iterator[Model]:
    """The served names, LoRA adapters among them; all are in memory."""
    for entry in entries:
        if name := as_name(entry.get("id")):
            context = as_count(entry.get("max_model_len"))
            yield Model(name=name, loaded=True, context=context, capabilities=abilities)
