"""Which engine is at an address: the signatures in the order that is safe for every server.

`/v1/models` comes first, because it names its owner and disturbs nobody; then what only one server has; then Ollama,
because so many imitate it; last a plain list of models, which nearly all of them have. LM Studio logs every path it
does not know, so on its port its own list comes first. The first match ends the look.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from fleet_app.backends.conversation import Conversation, Silence, Unanswered
from fleet_app.backends.engine_url import normalise_url, port_of
from fleet_app.backends.llamacpp import LlamaCpp
from fleet_app.backends.lmstudio import LmStudio, LmStudioV0
from fleet_app.backends.ollama import Ollama
from fleet_app.backends.openai import BY_LITTLE, BY_MODEL_LIST, BY_OWN_PATHS, PLAIN, PLAIN_NAMED, Plain
from fleet_app.backends.tgi import Tgi
from fleet_app.backends.vllm import Vllm

if TYPE_CHECKING:
    import aiohttp

    from fleet_app.backends.conversation import Reply
    from fleet_app.backends.signature import Signature
    from fleet_app.presence import BackendPresence

LM_STUDIO_PORT = 1234
LOOK_TIMEOUT_S = 5.0
"""One look at one address, all its requests together."""

_OPENAI: tuple[Signature, ...] = (LlamaCpp(), Vllm(), *BY_MODEL_LIST)
_LM_STUDIO: tuple[Signature, ...] = (LmStudio(), LmStudioV0())
_REST: tuple[Signature, ...] = (Tgi(), *BY_OWN_PATHS, Ollama(), *BY_LITTLE)


class Finding(NamedTuple):
    """What was recognised, and by which signature: the next look asks that one first."""

    presence: BackendPresence
    signature: Signature


async def identify(
    session: aiohttp.ClientSession, url: str, *, api_key: str | None = None, named: bool = False
) -> BackendPresence | None:
    """What serves models at `url` now; None when no engine answers there.

    Never raises for what the server does or sends.

    Args:
        session: What the requests are made with.
        url: Where to look.
        api_key: Sent to that address and kept nowhere.
        named: Whether a person said that there is an engine: then a list of models is enough to believe it.

    Raises:
        ConfigError: `url` is not the address of an engine.
    """
    try:
        return (await look(Conversation(session, normalise_url(url), api_key=api_key), named=named)).presence
    except Unanswered:
        return None


async def look(talk: Conversation, *, known: Signature | None = None, named: bool = False) -> Finding:
    """Recognise the engine `talk` is with; `known` is the signature that matched last time.

    Raises:
        Unanswered: No engine answers there; the reason says what does.
    """
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            return await _first_match(talk, known, PLAIN_NAMED if named else PLAIN)
    except TimeoutError:
        raise Unanswered(Silence.HUNG, f"its answers took longer than {LOOK_TIMEOUT_S:g} s together") from None


async def _first_match(talk: Conversation, known: Signature | None, plain: Plain) -> Finding:
    for signature in _order(talk.url, known, plain):
        presence = await signature.recognise(talk)
        if presence is not None:
            return Finding(presence, signature)
    raise _stranger(await talk.get("/v1/models"))


def _order(url: str, known: Signature | None, plain: Plain) -> tuple[Signature, ...]:
    usual = (*_LM_STUDIO, *_OPENAI) if port_of(url) == LM_STUDIO_PORT else (*_OPENAI, *_LM_STUDIO)
    first = (*_OPENAI, plain) if known is plain else (known,) if known else ()
    return (*first, *usual, *_REST, plain)


def _stranger(reply: Reply) -> Unanswered:
    """Something that answers HTTP; worth asking again soon only if it failed or asked for a key."""
    match reply.status // 100, reply.status:
        case 3, _:
            reason = "it answers with a redirect; give the address it leads to"
        case _, 401 | 403:
            reason = "it wants a key and does not say which engine it is"
        case 5, status:
            return Unanswered(Silence.STRANGER, f"it answers with HTTP {status}")
        case _:
            reason = "it answers, but not as an engine known here"
    return Unanswered(Silence.STRANGER, reason, retryable=False)
