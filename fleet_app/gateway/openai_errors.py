"""Every answer the gateway makes itself, in OpenAI's error shape: `{"error": {message, type, param, code}}`.

The rule of the file: a message says what is wrong and what to do, in our own words. It holds no byte of a body, a
header, a secret or an engine's answer, so that whatever a client sends or an engine says can appear in none of them.

`UnservedError` is the one error with a second reader: a gateway that asked this node over a tunnel learns from
`X-Propagul-Unserved` that no engine answered, and whether one may have begun, and so whether it may ask another node.
"""

from __future__ import annotations

import enum
import functools
import json
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from fleet_app.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_RequestT = TypeVar("_RequestT", bound=web.BaseRequest)

UNSERVED_HEADER = "X-Propagul-Unserved"
MODELS_NAMED_MAX = 20
RETRY_AFTER_S = 2


class RequestError(GatewayError):
    """The client's request is at fault.

    Attributes:
        param: The field that is wrong, or None when it is the whole body.
    """

    def __init__(self, message: str, *, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        self.param = param
        super().__init__(message, status=status, kind="invalid_request_error", code=code)


class Reason(enum.StrEnum):
    """Why no engine answered. The words travel between gateways; an unknown one is read as `BROKEN`."""

    DRAINING = "draining"
    NOT_HERE = "not_here"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"
    SILENT = "silent"


_UNSERVED: dict[Reason, tuple[int, str]] = {
    Reason.DRAINING: (503, "is draining and takes no new requests"),
    Reason.NOT_HERE: (404, "does not serve this model now"),
    Reason.UNREACHABLE: (503, "could not be reached"),
    Reason.BROKEN: (502, "closed the connection before it answered"),
    Reason.SILENT: (504, "did not answer in time"),
}


class UnservedError(GatewayError):
    """No byte of an engine's answer arrived.

    Attributes:
        reason: Why.
        sent: Whether an engine may have begun to work on the request.
    """

    def __init__(self, reason: Reason, place: str) -> None:
        status, words = _UNSERVED[reason]
        self.reason, self.sent = reason, reason in (Reason.BROKEN, Reason.SILENT)
        code = "model_not_found" if reason is Reason.NOT_HERE else f"backend_{reason}"
        kind = "invalid_request_error" if status == 404 else "api_error"
        retry_after_s = None if status == 404 else RETRY_AFTER_S
        super().__init__(f"{place} {words}", status=status, kind=kind, code=code, retry_after_s=retry_after_s)


def model_not_found(models: Iterable[str]) -> RequestError:
    """The error for a model that no node of the fleet serves; names at most `MODELS_NAMED_MAX` that there are."""
    names = sorted(models)
    there_are = ", ".join(names[:MODELS_NAMED_MAX]) or "none yet"
    more = f" and {len(names) - MODELS_NAMED_MAX} more" if len(names) > MODELS_NAMED_MAX else ""
    message = f"no node of this fleet serves the requested model; models there are: {there_are}{more}"
    return RequestError(message, param="model", status=404, code="model_not_found")


def error_response(error: GatewayError) -> web.Response:
    """The response that carries `error`."""
    param = error.param if isinstance(error, RequestError) else None
    body = {"error": {"message": str(error), "type": error.kind, "param": param, "code": error.code}}
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, UnservedError):
        headers[UNSERVED_HEADER] = error.reason.value
    return web.Response(
        status=error.status, body=json.dumps(body).encode(), headers=headers, content_type="application/json"
    )


def answering_errors(
    handler: Callable[[_RequestT], Awaitable[web.StreamResponse]],
) -> Callable[[_RequestT], Awaitable[web.StreamResponse]]:
    """Wrap a handler so that a `GatewayError` becomes its response."""

    @functools.wraps(handler)
    async def answer(request: _RequestT) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError as error:
            return error_response(error)

    return answer
