"""Ollama, the most imitated API of all: asked last, and believed only when everything fits.

A version, the exact text at `/`, 64 hexadecimal digits for each local model's digest, and an owner for each model in
the OpenAI list. A fresh Ollama has no model to show a digest of; then the list of running models must exist too.
Names always carry a tag. Cloud stubs are left out: their prompts would leave the machine.

What a model can do is told by `/api/show`, which is asked once a digest, a few models a look; until then the list is
believed, which takes a model that embeds for one that chats.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from fleet_app.backends.adapter import LOAD_TIMEOUT_S, UNLOAD_TIMEOUT_S, Adapter
from fleet_app.backends.engine_url import loopback_port
from fleet_app.backends.shape import JsonObject, as_bytes, as_count, as_name, as_object, as_objects, owners
from fleet_app.backends.signature import seen
from fleet_app.backends.wire import failure
from fleet_app.engine import Progress
from fleet_app.names import short, tagged
from fleet_app.presence import BackendPresence, Capability, Model, Verb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire
    from fleet_app.errors import BackendError

SHOWS_A_LOOK = 8
"""How many models one look asks about; the others wait for the next."""

SHOWN_MAX = 10_000
SETTINGS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
"""The options that decide how a model is loaded; a request with other ones loads it anew."""

_TALK, _EMBED = "/api/generate", "/api/embed"
_VERBS: tuple[Verb, ...] = ("pull", "delete", "load", "unload")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FINAL = re.compile(
    r"does not exist|not found|invalid|no space left|not enough space|unauthorized|denied|requires a newer|unsupported",
    re.IGNORECASE,
)
"""Words after which trying again does not help."""

_ABILITIES: Mapping[str, tuple[Capability, ...]] = {
    "completion": ("chat", "completions"),
    "embedding": ("embeddings",),
    "vision": ("vision",),
    "tools": ("tools",),
}


class Shown(NamedTuple):
    """What `/api/show` says of a model, which its digest decides."""

    capabilities: tuple[Capability, ...] = ()
    context: int | None = None


class Ollama:
    """Ollama's native API."""

    def __init__(self) -> None:
        self._shown: dict[str, dict[str, Shown | None]] = {}

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """See `Signature`."""
        version = as_name(as_object((await talk.get("/api/version")).content).get("version"))
        if version is None or (await talk.get("/")).text.strip() != "Ollama is running":
            return None
        tags = (await talk.get("/api/tags")).content
        running = (await talk.try_get("/api/ps")).content
        if not _fits(tags, running) or None in owners((await talk.try_get("/v1/models")).content):
            return None
        shown = await self._ask_about(talk, _local(tags))
        return seen("ollama", talk.url, models=models(tags, running, shown), version=version, can=_VERBS)

    def adapter(self, wire: Wire, presence: BackendPresence) -> OllamaEngine:
        """See `Signature`."""
        return OllamaEngine(wire, presence)

    async def _ask_about(self, talk: Conversation, entries: Iterable[JsonObject]) -> Mapping[str, Shown | None]:
        """Learn of models that were not asked about yet; nobody is believed of what another address holds."""
        known = self._shown.setdefault(talk.url, {})
        named = {
            digest: name for entry in entries if (digest := _digest(entry)) and (name := as_name(entry.get("name")))
        }
        for digest in [digest for digest in named if digest not in known][:SHOWS_A_LOOK]:
            if len(known) >= SHOWN_MAX:
                break
            reply = await talk.try_post("/api/show", {"model": named[digest]})
            if not reply.status:  # no answer: ask again at the next look
                break
            known[digest] = _shown(as_object(reply.content)) if reply.status == 200 else None
        return known


class OllamaEngine(Adapter):
    """One Ollama."""

    instead = "use `ollama`"

    def __init__(self, wire: Wire, seen: BackendPresence) -> None:
        super().__init__(wire, seen)
        self._options: dict[str, dict[str, object]] = {}

    def named(self, model: str) -> str:
        """The shortest form with its tag; spelt as the engine spells it, which does not mind upper and lower case."""
        name = short(model)
        known = {held.name.casefold(): held.name for held in self.seen.models}
        return known.get(name.casefold(), name)

    async def pull(self, model: str) -> AsyncGenerator[Progress]:
        """See `Engine`. Ollama stops when nobody listens, shares a pull between those who do, and keeps what came."""
        layers: dict[str, tuple[int, int]] = {}
        body = {"model": self.named(model), "stream": True} | ({"insecure": True} if _beside_us(model) else {})
        async with aclosing(self._wire.lines("/api/pull", body)) as lines:
            async for line in lines:
                if "error" in line:
                    raise self._pull_error(line)
                if digest := as_name(line.get("digest")):
                    layers[digest] = (as_bytes(line.get("completed")) or 0, as_bytes(line.get("total")) or 0)
                status = as_name(line.get("status")) or "pulling"
                yield _progress(status, layers)
                if status == "success":
                    return
        raise failure("the pull ended without success", retryable=True)

    async def delete(self, model: str) -> None:
        """See `Engine`."""
        reply = await self._wire.ask("DELETE", "/api/delete", {"model": self.named(model)})
        if reply.status not in {200, 404}:
            raise self._wire.refusal(reply)

    async def load(self, model: str, settings: Mapping[str, object]) -> None:
        """See `Engine`. A model that embeds is loaded by the route that embeds: the other one refuses it."""
        self._known(settings, SETTINGS)
        name, options = self.named(model), dict(settings)
        body = {"model": name, "prompt": "", "input": "", "keep_alive": -1, "stream": False, "options": options}
        reply = None if self._embeds(name) else await self._wire.ask("POST", _TALK, body, timeout_s=LOAD_TIMEOUT_S)
        if reply is None or reply.status == 400:
            reply = await self._wire.ask("POST", _EMBED, body, timeout_s=LOAD_TIMEOUT_S)
        self._wire.agreed(reply)
        self._options[name] = options

    async def unload(self, model: str) -> None:
        """See `Engine`."""
        name = self.named(model)
        body = {"model": name, "prompt": "", "keep_alive": 0, "stream": False}
        reply = await self._wire.ask("POST", _TALK, body, timeout_s=LOAD_TIMEOUT_S)
        if reply.status not in {200, 404}:
            raise self._wire.refusal(reply)
        self._options.pop(name, None)

        async def gone() -> bool:
            return await self._running(name) is None

        await self._until(gone, UNLOAD_TIMEOUT_S, f"{name} is still in memory")

    async def speaks(self, model: str) -> bool:
        """See `Engine`. It asks with the options the model is loaded with: others would load it anew."""
        name = self.named(model)
        held = await self._running(name)
        if held is None:
            raise failure(f"{name} is not in memory; load it first", retryable=True)
        context = as_count(held.get("context_length"))
        options = self._options.get(name) or ({"num_ctx": context} if context else {})
        question = {"model": name, "prompt": "hi", "stream": False, "options": {**options, "num_predict": 1}}
        reply = None if self._embeds(name) else await self._answer(_TALK, question)
        if self._embeds(name) or (reply is not None and reply.status == 400):
            reply = await self._answer(_EMBED, {"model": name, "input": "hi", "options": options})
        if reply is None:
            return False
        answer = self._wire.agreed(reply)
        return bool(answer.get("embeddings") or as_count(answer.get("eval_count")))

    async def _running(self, name: str) -> JsonObject | None:
        running = as_objects((await self._wire.tell("GET", "/api/ps")).get("models"))
        return next((entry for entry in running if tagged(str(entry.get("name"))) == name), None)

    def _embeds(self, name: str) -> bool:
        """Whether it embeds and does nothing else; a model of which nothing is known is taken to chat."""
        abilities = self._abilities(name)
        return "embeddings" in abilities and "chat" not in abilities

    def _pull_error(self, line: JsonObject) -> BackendError:
        error = self._wire.error(line, "the pull failed", retryable=True)
        error.retryable = not _FINAL.search(str(error))
        return error


def _progress(status: str, layers: Mapping[str, tuple[int, int]]) -> Progress:
    completed, total = (sum(sizes) for sizes in zip(*layers.values(), strict=True)) if layers else (0, None)
    return Progress(status=status, completed_bytes=completed, total_bytes=total)


def _beside_us(model: str) -> bool:
    """Whether the model's registry is on this machine, where nothing can be changed on the way: plain HTTP will do."""
    host, slash, _ = model.partition("/")
    return bool(slash) and loopback_port(f"http://{host}") is not None and bool(urlsplit(f"http://{host}").port)


def _fits(tags: object, running: object) -> bool:
    local = _local(tags)
    if local:
        return all(_DIGEST.fullmatch(str(entry.get("digest"))) for entry in local)
    return all("models" in as_object(listing) for listing in (tags, running))


def _local(tags: object) -> list[JsonObject]:
    entries = as_objects(as_object(tags).get("models"))
    return [entry for entry in entries if not entry.get("remote_model") and not entry.get("remote_host")]


def models(tags: object, running: object, shown: Mapping[str, Shown | None]) -> tuple[Model, ...]:
    """The local models in `/api/tags`; what is in memory by `/api/ps`, unknown when that is not at hand."""
    told = "models" in as_object(running)
    memory = {tagged(name).casefold(): entry for entry in _local(running) if (name := as_name(entry.get("name")))}
    found = []
    for entry in _local(tags):
        name = as_name(entry.get("name"))
        if name is None or not as_name(tagged(name)):
            continue
        held = memory.get(tagged(name).casefold())
        facts = _facts(entry, shown)
        model = Model(
            name=tagged(name),
            loaded=held is not None if told else None,
            size_bytes=as_bytes(entry.get("size")),
            vram_bytes=as_bytes(held.get("size_vram")) if held else None,
            context=(as_count(held.get("context_length")) if held else None) or facts.context,
            capabilities=facts.capabilities,
        )
        found.append(model)
    return tuple(found)


def _facts(entry: JsonObject, shown: Mapping[str, Shown | None]) -> Shown:
    """By what was shown of this digest, else by the list itself."""
    context = as_count(as_object(entry.get("details")).get("context_length"))
    return shown.get(_digest(entry) or "") or Shown(_abilities(entry), context)


def _shown(answer: JsonObject) -> Shown:
    facts = as_object(answer.get("model_info"))
    context = next((as_count(value) for key, value in facts.items() if key.endswith(".context_length")), None)
    return Shown(_abilities(answer), context)


def _digest(entry: JsonObject) -> str | None:
    digest = as_name(entry.get("digest"))
    return digest if digest and _DIGEST.fullmatch(digest) else None


def _abilities(entry: JsonObject) -> tuple[Capability, ...]:
    words = entry.get("capabilities")
    told = {word for word in words if isinstance(word, str)} if isinstance(words, list) else set()
    return tuple(ability for word, abilities in _ABILITIES.items() if word in told for ability in abilities)
