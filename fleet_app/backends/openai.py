"""Servers of the OpenAI API that are seen and used, and told nothing: each known by a mark, or by none.

LocalAI, SGLang, Docker Model Runner, Lemonade and KoboldCpp all answer Ollama's paths, and SGLang looks like vLLM, so a
mark is something that one server says of itself and nobody else: an owner in its model list, or the body of a path of
its own. A list without any mark is a plain server, believed on an address a person named, and on a scanned port only
when every entry is well-formed.

Some have their API behind a prefix; it becomes part of the address that is shown, since requests go there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.shape import JsonObject, as_count, as_name, as_object, as_objects, owners
from fleet_app.backends.signature import NO_KEY, seen
from fleet_app.presence import BackendKind, BackendPresence, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleet_app.backends.conversation import Conversation, Reply
    from fleet_app.backends.wire import Wire

_LIST = "/v1/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A server known by a mark.

    Attributes:
        kind: Which.
        path: Where its mark is.
        fits: Whether an answer from there is its.
        prefix: What stands before `/v1` in its own API.
        version: Its version in the answer with the mark.
        loaded: The names in memory by the answer with the mark, None where it does not tell.
    """

    kind: BackendKind
    path: str
    fits: Callable[[Reply], bool]
    prefix: str = ""
    version: Callable[[JsonObject], object] = lambda _: None
    loaded: Callable[[JsonObject], set[str] | None] = lambda _: None

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        mark = await talk.try_get(self.path)
        if not self.fits(mark):
            return None
        said, url = as_object(mark.content), talk.url + self.prefix
        reply = await talk.get(self.prefix + _LIST)
        if reply.status in {401, 403}:
            return seen(self.kind, url, condition="needs_key", reason=NO_KEY)
        if not isinstance(as_object(reply.content).get("data"), list):
            reason = f"its list of models answers with HTTP {reply.status}"
            return seen(self.kind, url, condition="unhealthy", reason=reason)
        models = _models(reply.content, self.loaded(said))
        return seen(self.kind, url, models=models, version=self.version(said))

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return Adapter(wire, presence)


class Plain:
    """A server that lists models and says nothing of itself. Another engine may have a list like it."""

    def __init__(self, *, named: bool) -> None:
        self._named = named

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        reply = await talk.get(_LIST)
        if self._named and reply.status in {401, 403}:
            return seen("openai", talk.url, condition="needs_key", reason=NO_KEY)
        entries = as_object(reply.content).get("data")
        listed = isinstance(entries, list) and bool(entries) if self._named else _is_well_formed(reply.content)
        return seen("openai", talk.url, models=_models(reply.content, None)) if listed else None

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`."""
        return Adapter(wire, presence)


def _is_well_formed(listing: object) -> bool:
    entries = as_object(listing).get("data")
    return (
        as_object(listing).get("object") == "list"
        and isinstance(entries, list)
        and bool(entries)
        and all(as_name(as_object(entry).get("id")) and as_object(entry).get("object") == "model" for entry in entries)
    )


def _models(listing: object, loaded: set[str] | None) -> Iterator[Model]:
    for entry in as_objects(as_object(listing).get("data")):
        if name := as_name(entry.get("id")):
            context = as_count(entry.get("max_model_len"))
            yield Model(name=name, loaded=None if loaded is None else name in loaded, context=context)


def _owned_by(owner: str) -> Callable[[Reply], bool]:
    return lambda reply: {*owners(reply.content)} == {owner}


def _software(name: str) -> Callable[[Reply], bool]:
    return lambda reply: as_object(as_object(reply.content).get("software")).get("name") == name


def _has(*keys: str) -> Callable[[Reply], bool]:
    return lambda reply: {*keys} <= as_object(reply.content).keys()


def _is_koboldcpp(reply: Reply) -> bool:
    """TabbyAPI and Aphrodite answer the same result and version, and nothing else."""
    said = as_object(reply.content)
    return said.get("result") == "KoboldCpp" and {"llm", "protected"} <= said.keys()


def _is_jan(reply: Reply) -> bool:
    title = as_name(as_object(as_object(reply.content).get("info")).get("title"))
    return title is not None and "Jan API" in title


def _is_mlx(reply: Reply) -> bool:
    """Python's own web server, and entries of three fields."""
    entries = as_object(reply.content).get("data")
    return (
        reply.server.startswith("BaseHTTP/")
        and isinstance(entries, list)
        and all(as_object(entry).keys() == {"id", "object", "created"} for entry in entries)
    )


def _names(key: str, field: str) -> Callable[[JsonObject], set[str]]:
    return lambda said: {name for entry in as_objects(said.get(key)) if (name := as_name(entry.get(field)))}


def _version(said: JsonObject) -> object:
    return said.get("version")


BY_MODEL_LIST = (
    Marked(kind="sglang", path=_LIST, fits=_owned_by("sglang")),
    Marked(kind="docker", path=_LIST, fits=_owned_by("docker")),
    Marked(kind="koboldcpp", path=_LIST, fits=_owned_by("koboldcpp")),
    Marked(kind="tabbyapi", path=_LIST, fits=_owned_by("tabbyAPI")),
)
BY_OWN_PATHS = (
    Marked(kind="tabbyapi", path="/.well-known/serviceinfo", fits=_software("TabbyAPI")),
    Marked(kind="koboldcpp", path="/.well-known/serviceinfo", fits=_software("KoboldCpp")),
    Marked(kind="koboldcpp", path="/api/extra/version", fits=_is_koboldcpp, version=_version),
    Marked(
        kind="lemonade",
        path="/api/v1/health",
        fits=_has("status", "version", "all_models_loaded"),
        prefix="/api",
        version=_version,
        loaded=_names("all_models_loaded", "model_name"),
    ),
    Marked(
        kind="localai", path="/system", fits=_has("backends", "loaded_models"), loaded=_names("loaded_models", "id")
    ),
    Marked(kind="docker", path="/engines/v1/models", fits=_owned_by("docker"), prefix="/engines"),
    Marked(kind="jan", path="/openapi.json", fits=_is_jan),
)
BY_LITTLE = (Marked(kind="mlx", path=_LIST, fits=_is_mlx),)
"""A mark that is weak, so it is looked for when everybody else was."""

PLAIN, PLAIN_NAMED = Plain(named=False), Plain(named=True)
