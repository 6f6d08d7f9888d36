"""What every adapter shares: an address, what the last look saw, and a refusal of each verb the engine has not.

An adapter is one engine at one address, as `fleet_app.engine.Engine` describes it. It is made by the signature that
recognised the engine and told of every further look; between looks it keeps nothing that a restart could not lose.
"""

from __future__ import annotations

import asyncio
import difflib
import time
from typing import TYPE_CHECKING, ClassVar

from fleet_app.backends.conversation import Silence, Unanswered
from fleet_app.backends.shape import as_count, as_object, as_objects
from fleet_app.backends.wire import failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping

    from fleet_app.backends.conversation import Reply
    from fleet_app.backends.shape import JsonObject
    from fleet_app.backends.wire import Wire
    from fleet_app.engine import Progress
    from fleet_app.errors import BackendError
    from fleet_app.presence import BackendPresence, Capability, Model

SPEAK_TIMEOUT_S = 30.0
LOAD_TIMEOUT_S = 900.0
UNLOAD_TIMEOUT_S = 30.0
POLL_S = 0.25
"""Between two questions about something that an engine does by itself and that ends soon."""

_ROUTES: Mapping[Capability, tuple[str, JsonObject]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}),
    "completions": ("/v1/completions", {"prompt": "hi", "max_tokens": 1}),
    "embeddings": ("/v1/embeddings", {"input": "hi"}),
    "rerank": ("/v1/rerank", {"query": "hi", "documents": ["hi"]}),
}
"""The smallest request of each kind that brings something out."""


class Adapter:
    """An engine that is only looked at; engines that can do more derive from it.

    Attributes:
        seen: What the last look saw.
    """

    instead: ClassVar[str] = "do it with the engine's own tools"
    """What a person does where no verb helps."""

    speak_query: ClassVar[str] = ""
    """What stands behind the routes of `speaks`."""

    def __init__(self, wire: Wire, seen: BackendPresence) -> None:
        self.seen = seen
        self._wire = wire

    @property
    def url(self) -> str:
        """See `Engine`."""
        return self.seen.url

    def named(self, model: str) -> str:
        """See `Engine`. Most engines keep a name as it is."""
        return model

    async def pull(self, model: str) -> AsyncGenerator[Progress]:
        """See `Engine`."""
        raise self._cannot("pull", model)
        yield  # makes this a generator

    async def cancel(self, model: str) -> None:
        """See `Engine`. Most engines have no pull that goes on by itself."""

    async def delete(self, model: str) -> None:
        """See `Engine`."""
        raise self._cannot("delete", model)

    async def load(self, model: str, settings: Mapping[str, object]) -> None:  # noqa: ARG002 - those who can, use it
        """See `Engine`."""
        raise self._cannot("load", model)

    async def unload(self, model: str) -> None:
        """See `Engine`."""
        raise self._cannot("unload", model)

    async def speaks(self, model: str) -> bool:
        """See `Engine`.

        A model is asked for what it can do: one that embeds is never asked to chat. Where the engine does not tell
        what it can do, a refusal leads to the next question, and refusals of all are an error and no silence.
        """
        if not await self._in_memory(model):
            raise failure(f"{model} is not in memory; load it first", retryable=True)
        abilities = self._abilities(model)
        ways = [way for way in _ROUTES if way in abilities][:1] or list(_ROUTES)
        refusals = []
        for route, question in (_ROUTES[way] for way in ways):
            reply = await self._answer(route + self.speak_query, {"model": model, **question})
            if reply is None:
                return False
            if reply.status == 200 and "error" not in as_object(reply.json):
                return _brings_something(as_object(reply.json))
            refusals.append(self._wire.refusal(reply))
            if refusals[-1].retryable:
                break
        raise refusals[-1]

    async def _in_memory(self, model: str) -> bool:
        """Whether asking the model loads nothing, as far as the last look tells."""
        held = self._held(model)
        return held is None or held.loaded is not False

    async def _answer(self, path: str, question: JsonObject) -> Reply | None:
        """The answer to a question that brings out a token; None when it does not come in time."""
        try:
            return await self._wire.ask("POST", path, question, timeout_s=SPEAK_TIMEOUT_S)
        except Unanswered as error:
            if error.silence is Silence.HUNG:
                return None
            raise

    def _held(self, model: str) -> Model | None:
        return next((held for held in self.seen.models if held.name == model), None)

    def _abilities(self, model: str) -> tuple[Capability, ...]:
        held = self._held(model)
        return held.capabilities if held else ()

    def _cannot(self, verb: str, model: str) -> BackendError:
        return failure(f"{self.seen.kind} cannot {verb} {model}: {self.instead}", retryable=False)

    def _known(self, settings: Mapping[str, object], known: Collection[str]) -> None:
        """Refuse settings that this engine has not.

        Raises:
            BackendError: One of them is unknown.
        """
        for key in settings:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(sorted(known))}"
                raise failure(f"{self.seen.kind} has no setting {key!r} for loading; {hint}", retryable=False)

    async def _until(self, done: Callable[[], Awaitable[bool]], limit_s: float, trouble: str) -> None:
        """Return when it is done.

        Raises:
            BackendError: It was not done in time.
        """
        deadline = time.monotonic() + limit_s
        while not await done():
            if time.monotonic() > deadline:
                raise failure(f"{trouble} after {limit_s:g} s", retryable=True)
            await asyncio.sleep(POLL_S)


def _brings_something(answer: JsonObject) -> bool:
    """Whether there is a token, a vector or a score in it; who embeds counts no tokens that it brings out."""
    if as_objects(answer.get("choices")):
        return as_count(as_object(answer.get("usage")).get("completion_tokens")) != 0
    return bool(as_objects(answer.get("data")) or as_objects(answer.get("results")))
