"""vLLM: known by `owned_by: "vllm"` together with the fields only its model list has.

Started with an API key it guards `/v1` and leaves `/metrics` open, whose names begin with `vllm:`. It opens its port
when the engine is ready, so there is no loading state to see.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.shape import as_name, as_object, as_objects, owners
from fleet_app.backends.signature import seen
from fleet_app.presence import BackendPresence, Model

if TYPE_CHECKING:
    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire

_METRIC = re.compile(r"^vllm:num_requests_running\b", re.MULTILINE)


class Vllm:
    """vLLM's OpenAI server."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        reply = await talk.get("/v1/models")
        if reply.status == 401 and _METRIC.search((await talk.try_get("/metrics")).text):
            reason = "it wants an API key, and ours is missing or wrong"
            return seen("vllm", talk.url, condition="needs_key", reason=reason)
        if {*owners(reply.content)} != {"vllm"} or not _has_marks(reply.content):
            return None
        version = as_object((await talk.try_get("/version")).content).get("version")
        return seen("vllm", talk.url, models=models(reply.content), version=version)

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return Adapter(wire, presence)


def _has_marks(listing: object) -> bool:
    return any(
        {"root", "max_model_len"} <= entry.keys() and isinstance(entry.get("permission"), list)
        for entry in as_objects(as_object(listing).get("data"))
    )


def models(listing: object) -> tuple[Model, ...]:
    """The served names, LoRA adapters among them; all are in memory."""
    entries = as_objects(as_object(listing).get("data"))
    return tuple(Model(name=name, loaded=True) for entry in entries if (name := as_name(entry.get("id"))))
