"""llama.cpp's server: one model, or in router mode many.

Known by `owned_by: "llamacpp"` in its model list or by its `Server` header; the header also tells a server that is
still loading (503) or wants a key (401) from any other. `/props` is asked without a model: `/props?model=x` would make
a router load x. A single server ignores the name in a request, so its one model is listed as it calls itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.shape import JsonObject, as_bytes, as_name, as_object, as_objects, owners
from fleet_app.backends.signature import seen
from fleet_app.presence import BackendPresence, Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet_app.backends.conversation import Conversation, Reply
    from fleet_app.backends.wire import Wire


class LlamaCpp:
    """llama.cpp's `llama-server`, single or router."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        reply = await talk.get("/v1/models")
        waiting = _waiting(reply, talk.url)
        if waiting is not None:
            return waiting
        if not _is_listing(reply):
            return None
        props = as_object((await talk.try_get("/props")).content)
        return seen("llamacpp", talk.url, models=models(reply.content, props), version=_version(props))

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return Adapter(wire, presence)


def _is_listing(reply: Reply) -> bool:
    named = {*owners(reply.content)}
    if named:
        return named == {"llamacpp"}
    return reply.server == "llama.cpp" and isinstance(as_object(reply.content).get("data"), list)


def _waiting(reply: Reply, url: str) -> BackendPresence | None:
    """A server that answers every path with 503 until its model is loaded, or with 401 without a key."""
    error = as_object(as_object(reply.json).get("error"))
    if reply.server != "llama.cpp":
        return None
    if reply.status == 503 and error.get("type") == "unavailable_error":
        return seen("llamacpp", url, condition="loading", reason="it is loading its model")
    if reply.status == 401 and error.get("type") == "authentication_error":
        return seen("llamacpp", url, condition="needs_key", reason="it wants an API key, and ours is missing or wrong")
    return None


def models(listing: object, props: JsonObject) -> tuple[Model, ...]:
    """The models in `/v1/models`; `props` tells a router and a model that sleeps until it is asked."""
    entries = as_objects(as_object(listing).get("data"))
    if props.get("role") == "router":
        return tuple(_routed(entries, autoload=props.get("models_autoload") is not False))
    loaded = props.get("is_sleeping") is not True
    return tuple(_model(name, entry, loaded=loaded) for entry in entries if (name := as_name(entry.get("id"))))


def _routed(entries: list[JsonObject], *, autoload: bool) -> Iterator[Model]:
    """Those a router can serve: not while a file is still being downloaded, and unloaded ones only with autoload."""
    for entry in entries:
        name, value = as_name(entry.get("id")), as_name(as_object(entry.get("status")).get("value"))
        loaded = value in {"loaded", "sleeping"}
        if name and value != "downloading" and (loaded or autoload):
            yield _model(name, entry, loaded=value == "loaded")


def _model(name: str, entry: JsonObject, *, loaded: bool) -> Model:
    return Model(name=name, loaded=loaded, size_bytes=as_bytes(as_object(entry.get("meta")).get("size")))


def _version(props: JsonObject) -> str | None:
    """The build as it names itself; builds outside a repository call themselves unknown."""
    build = as_name(props.get("build_info"))
    return None if build is None or build.endswith("unknown") else build
