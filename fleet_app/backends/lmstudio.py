"""LM Studio, by its own API: `/api/v1/models` since 0.4, `/api/v0/models` before.

It answers every unknown path with status 200 and writes an error line into its owner's log, so on its usual port
these are asked first and nothing else when they match. Reading the list loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.shape import as_bytes, as_name, as_object, as_objects
from fleet_app.backends.signature import seen
from fleet_app.presence import BackendPresence, Model

if TYPE_CHECKING:
    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire


class LmStudio:
    """LM Studio 0.4 and later."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        reply = await talk.get("/api/v1/models")
        listing = as_object(reply.content).get("models")
        known = [entry for entry in as_objects(listing) if _is_model(entry.get("key"), entry.get("loaded_instances"))]
        # Without a single model the list has no mark of its own: the web framework and the older API must agree.
        if known or (listing == [] and reply.powered_by == "Express" and await _lists_v0(talk)):
            return seen("lmstudio", talk.url, models=models(reply.content))
        return None

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return Adapter(wire, presence)


class LmStudioV0:
    """LM Studio before 0.4."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        listing = (await talk.get("/api/v0/models")).content
        if any("compatibility_type" in entry for entry in as_objects(as_object(listing).get("data"))):
            return seen("lmstudio", talk.url, models=models_v0(listing))
        return None

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return Adapter(wire, presence)


async def _lists_v0(talk: Conversation) -> bool:
    listing = as_object((await talk.try_get("/api/v0/models")).content)
    return listing.get("object") == "list" and isinstance(listing.get("data"), list)


def _is_model(key: object, instances: object) -> bool:
    return isinstance(key, str) and isinstance(instances, list)


def models(listing: object) -> tuple[Model, ...]:
    """Every downloaded model by its key; loaded when it has an instance."""
    return tuple(
        Model(name=name, loaded=bool(entry.get("loaded_instances")), size_bytes=as_bytes(entry.get("size_bytes")))
        for entry in as_objects(as_object(listing).get("models"))
        if (name := as_name(entry.get("key"))) and isinstance(entry.get("loaded_instances"), list)
    )


def models_v0(listing: object) -> tuple[Model, ...]:
    """Every downloaded model in the older list."""
    return tuple(
        Model(name=name, loaded=entry.get("state") == "loaded")
        for entry in as_objects(as_object(listing).get("data"))
        if (name := as_name(entry.get("id")))
    )
