"""Text Generation Inference: one model a process, known by `router: "text-generation-router"` in `/info`.

Text Embeddings Inference has an `/info` too, with `model_type` instead of `router`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.shape import as_name, as_object
from fleet_app.backends.signature import seen
from fleet_app.presence import BackendPresence, Model

if TYPE_CHECKING:
    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire


class Tgi:
    """Hugging Face's text-generation-inference."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        listing = as_object((await talk.get("/info")).content)
        if listing.get("router") != "text-generation-router":
            return None
        version = listing.get("version")
        health = await talk.try_get("/health")
        if health.status == 503 and as_object(health.json).get("error_type") == "healthcheck":
            reason = "its own health check fails"
            return seen("tgi", talk.url, version=version, condition="unhealthy", reason=reason)
        return seen("tgi", talk.url, models=models(listing), version=version)

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return Adapter(wire, presence)


def models(listing: object) -> tuple[Model, ...]:
    """The one model in `/info`."""
    name = as_name(as_object(listing).get("model_id"))
    return (Model(name=name, loaded=True),) if name else ()
