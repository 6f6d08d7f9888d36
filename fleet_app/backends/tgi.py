"""Text Generation Inference: one model a process, known by `router: "text-generation-router"` in `/info`.

Text Embeddings Inference has an `/info` too, with `model_type` instead of `router`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.shape import REQUESTS_MAX, JsonObject, as_count, as_name, as_object, gauge
from fleet_app.backends.signature import Load, seen
from fleet_app.presence import BackendPresence, Capability, Model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire

_ABILITIES: Mapping[object, tuple[Capability, ...]] = {
    "text-generation": ("chat", "completions"),
    "image-text-to-text": ("chat", "completions", "vision"),
}
"""By the model's pipeline tag."""


class Tgi:
    """Hugging Face's text-generation-inference."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        about = as_object((await talk.get("/info")).content)
        if about.get("router") != "text-generation-router":
            return None
        version = about.get("version")
        health = await talk.try_get("/health")
        if health.status == 503 and as_object(health.json).get("error_type") == "healthcheck":
            reason = "its own health check fails"
            return seen("tgi", talk.url, version=version, condition="unhealthy", reason=reason)
        metrics = (await talk.try_get("/metrics")).text
        running, queued = gauge(metrics, "tgi_batch_current_size"), gauge(metrics, "tgi_queue_size")
        load = Load(as_count(about.get("max_concurrent_requests"), REQUESTS_MAX), running, queued)
        return seen("tgi", talk.url, models=_models(about), version=version, load=load)

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return TgiEngine(wire, presence)


class TgiEngine(Adapter):
    """One TGI."""

    instead = "it serves the model it was started with; start it with --model-id"


def _models(about: JsonObject) -> tuple[Model, ...]:
    """The one model in `/info`."""
    name, task = as_name(about.get("model_id")), as_name(about.get("model_pipeline_tag"))
    if name is None:
        return ()
    context = as_count(about.get("max_total_tokens"))
    return (Model(name=name, loaded=True, context=context, capabilities=_ABILITIES.get(task, ())),)
