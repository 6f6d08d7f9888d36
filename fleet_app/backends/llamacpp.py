"""llama.cpp's server: one model, or in router mode many.

Known by `owned_by: "llamacpp"` in its model list or by its `Server` header; the header also tells a server that is
still loading (503) or wants a key (401) from any other. `/props` is asked without a model: `/props?model=x` would make
a router load x. A single server ignores the name in a request, so its one model is listed as it calls itself.

No list tells whether a server embeds or ranks. It refuses an empty question by whether it could answer at all (501) or
by what is missing in it (400), without working; that is asked once, of a server that does not sleep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.backends.llamacpp_engine import ROUTER_VERBS, LlamaCppEngine
from fleet_app.backends.shape import (
    REQUESTS_MAX,
    JsonObject,
    as_bytes,
    as_count,
    as_name,
    as_object,
    as_objects,
    gauge,
    owners,
)
from fleet_app.backends.signature import NO_KEY, Load, seen
from fleet_app.presence import BackendPresence, Capability, Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet_app.backends.conversation import Conversation, Reply
    from fleet_app.backends.wire import Wire

SERVERS_MAX = 256
"""How many servers' answers to the empty questions are kept."""

_EMPTY_QUESTIONS: tuple[tuple[str, Capability], ...] = (("/v1/rerank", "rerank"), ("/v1/embeddings", "embeddings"))
_FLAGS: tuple[tuple[str, Capability], ...] = (
    ("--reranking", "rerank"),
    ("--rerank", "rerank"),
    ("--embeddings", "embeddings"),
    ("--embedding", "embeddings"),
)


class LlamaCpp:
    """llama.cpp's `llama-server`, single or router."""

    def __init__(self) -> None:
        self._specials: dict[tuple[str, str], Capability | None] = {}

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        reply = await talk.get("/v1/models")
        waiting = _waiting(reply, talk.url)
        if waiting is not None:
            return waiting
        if not _is_listing(reply):
            return None
        props = as_object((await talk.try_get("/props")).content)
        entries = as_objects(as_object(reply.content).get("data"))
        if props.get("role") == "router":
            models = _routed(entries, autoload=props.get("models_autoload") is not False)
            return seen("llamacpp", talk.url, models=models, version=_version(props), can=ROUTER_VERBS)
        special = await self._special(talk, props)
        return seen(
            "llamacpp",
            talk.url,
            models=_single(entries, props, special),
            version=_version(props),
            load=await _load(talk, props),
        )

    def adapter(self, wire: Wire, presence: BackendPresence) -> LlamaCppEngine:
        """See `Signature`."""
        return LlamaCppEngine(wire, presence)

    async def _special(self, talk: Conversation, props: JsonObject) -> Capability | None:
        """Whether the server embeds or ranks instead of talking."""
        server = talk.url, f"{props.get('model_path')} {props.get('media_marker')}"
        if server not in self._specials and props.get("is_sleeping") is False:
            if len(self._specials) >= SERVERS_MAX:
                self._specials.clear()
            answers = [(await talk.try_post(path, {}), ability) for path, ability in _EMPTY_QUESTIONS]
            self._specials[server] = next((ability for reply, ability in answers if reply.status == 400), None)
        return self._specials.get(server)


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
        return seen("llamacpp", url, condition="needs_key", reason=NO_KEY)
    return None


async def _load(talk: Conversation, props: JsonObject) -> Load:
    """By the metrics where they are on, else by the slots. A server that sleeps is not asked, which might wake it."""
    slots = as_count(props.get("total_slots"), REQUESTS_MAX)
    if props.get("is_sleeping") is not False:
        return Load(slots)
    if props.get("endpoint_metrics") is True:
        text = (await talk.try_get("/metrics")).text
        return Load(slots, gauge(text, "llamacpp:requests_processing"), gauge(text, "llamacpp:requests_deferred"))
    if props.get("endpoint_slots") is True:
        working = as_objects((await talk.try_get("/slots")).content)
        return Load(slots, sum(slot.get("is_processing") is True for slot in working) if working else None)
    return Load(slots)


def _single(entries: list[JsonObject], props: JsonObject, special: Capability | None) -> Iterator[Model]:
    """The one model; `props` tells whether it sleeps until it is asked, and what it can do."""
    abilities = (special,) if special else tuple(_abilities(props))
    for entry in entries:
        if name := as_name(entry.get("id")):
            yield _model(name, entry, loaded=props.get("is_sleeping") is not True, abilities=abilities)


def _abilities(props: JsonObject) -> Iterator[Capability]:
    if props.get("chat_template"):
        yield "chat"
    if props:
        yield "completions"
    if as_object(props.get("modalities")).get("vision") is True:
        yield "vision"
    if as_object(props.get("chat_template_caps")).get("supports_tools") is True:
        yield "tools"


def _routed(entries: list[JsonObject], *, autoload: bool) -> Iterator[Model]:
    """Those a router can serve: not while a file is still being downloaded, and unloaded ones only with autoload."""
    for entry in entries:
        name, status = as_name(entry.get("id")), as_object(entry.get("status"))
        value = as_name(status.get("value"))
        if name and value != "downloading" and (autoload or value in {"loaded", "sleeping"}):
            abilities = tuple(_abilities_of_child(entry, status))
            yield _model(name, entry, loaded=value == "loaded", abilities=abilities)


def _abilities_of_child(entry: JsonObject, status: JsonObject) -> Iterator[Capability]:
    """By how the router starts the model's own server."""
    arguments = status.get("args")
    flags = arguments if isinstance(arguments, list) else []
    special = next((ability for flag, ability in _FLAGS if flag in flags), None)
    modalities = as_object(entry.get("architecture")).get("input_modalities")
    if special:
        yield special
        return
    yield from ("chat", "completions")
    if isinstance(modalities, list) and "image" in modalities:
        yield "vision"


def _model(name: str, entry: JsonObject, *, loaded: bool, abilities: tuple[Capability, ...]) -> Model:
    meta = as_object(entry.get("meta"))
    context = as_count(meta.get("n_ctx")) or as_count(meta.get("n_ctx_train"))
    size = as_bytes(meta.get("size"))
    return Model(name=name, loaded=loaded, size_bytes=size, context=context, capabilities=abilities)


def _version(props: JsonObject) -> str | None:
    """The build as it names itself; builds outside a repository call themselves unknown."""
    build = as_name(props.get("build_info"))
    return None if build is None or build.endswith("unknown") else build
