"""One inference request, read and checked once: the path, the bytes as they came, and the model they name.

The body is parsed to look at it and never written again: what is forwarded is what arrived. What a gateway reads and
what an engine reads must be the same model, so a body in which the two could differ (`model` twice, or spelt `Model`,
which some engines take for the same field) is refused.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet_app.gateway.openai_errors import RequestError

if TYPE_CHECKING:
    from aiohttp import web

CHAT_PATH = "/v1/chat/completions"
INFERENCE_PATHS = frozenset({CHAT_PATH, "/v1/completions", "/v1/embeddings"})

BODY_BYTES_MAX = 32 * 1024 * 1024
"""Largest request body. Raising it costs that much memory a request at both ends of a tunnel."""

BODY_WAIT_S = 300.0
"""How long a whole body may take to arrive."""

MODEL_CHARS_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An inference request. The body stays out of `repr`, so that no log line can hold a prompt."""

    path: str
    model: str
    body: bytes = field(repr=False)


async def read_call(request: web.BaseRequest, *, body_bytes_max: int = BODY_BYTES_MAX) -> Call:
    """Read and check the request.

    Raises:
        RequestError: The body is too large, late, encoded, not a JSON object or names no model; it says which.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RequestError("compressed request bodies are not accepted; send it without Content-Encoding", status=415)
    body = await _read_body(request, body_bytes_max)
    fields = _json_object(body)
    _check_fields(request.path, fields)
    return Call(path=request.path, model=str(fields["model"]), body=body)


async def _read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body, or a refusal as soon as it is known to be longer than `limit` bytes."""
    too_large = RequestError(f"the request body is over {limit} bytes", status=413, code="request_too_large")
    if (request.content_length or 0) > limit:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > limit:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        raise RequestError(f"the request body did not arrive within {BODY_WAIT_S:.0f} s", status=408) from None
    return b"".join(chunks)


def _json_object(body: bytes) -> dict[str, object]:
    """Parse the body; its outermost object must name one model, once and spelt `model`."""
    outermost: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> dict[str, object]:
        outermost[:] = [name for name, _ in pairs]  # the outermost object is the last to be closed
        return dict(pairs)

    try:
        parsed = json.loads(body.decode("utf-8"), object_pairs_hook=note)
    except (ValueError, RecursionError):
        raise RequestError("the request body is not JSON in UTF-8") from None
    if not isinstance(parsed, dict):
        raise RequestError("the request body is not a JSON object")
    if [name for name in outermost if name.lower() == "model"] not in ([], ["model"]):
        raise RequestError("the request body names its model more than once", param="model")
    return parsed


def _check_fields(path: str, fields: dict[str, object]) -> None:
    model = fields.get("model")
    if model is None:
        raise RequestError("the request body has no `model`; GET /v1/models lists them", param="model")
    if not isinstance(model, str) or not 0 < len(model) <= MODEL_CHARS_MAX:
        raise RequestError(f"`model` is not a string of 1 to {MODEL_CHARS_MAX} characters", param="model")
    if not isinstance(fields.get("stream"), bool | None):
        raise RequestError("`stream` is neither true nor false", param="stream")
    if path == CHAT_PATH and not isinstance(fields.get("messages"), list):
        raise RequestError("`messages` is not a list", param="messages")
