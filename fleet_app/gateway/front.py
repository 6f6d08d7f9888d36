"""The front port's aiohttp application and runner, with the settings that the gateway's promises rest on.

A handler is cancelled when its client leaves (that is what frees an engine's slot) and no access log is written (a
query string may hold a secret). aiohttp quotes a malformed request in its answer and in its log, and a malformed
header may be a key: both are replaced by words of ours.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from fleet_app.errors import GatewayError
from fleet_app.gateway.access import loopback_guard, mark_responses, marks_of
from fleet_app.gateway.openai_errors import RequestError, error_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link.base import NodeId

_log = logging.getLogger(__name__)

SHUTDOWN_S = 2.0
"""How long open requests and event streams may go on while the port closes; `ServingSide.drain` comes before."""


def front_application(*, node: NodeId, port: int) -> web.Application:
    """An empty application behind the guard; gateway, dashboard and admin add their routes to it."""
    app = web.Application(middlewares=[loopback_guard(port=port)])
    mark_responses(app, node=node)
    return app


def front_runner(app: web.Application, *, node: NodeId) -> web.AppRunner:
    """The runner to serve `app` with."""
    return _FrontRunner(app, node)


class _FrontRunner(web.AppRunner):
    """aiohttp's runner with our server in place of its own."""

    def __init__(self, app: web.Application, node: NodeId) -> None:
        super().__init__(app, shutdown_timeout=SHUTDOWN_S)
        self._node = node

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return HttpServer(made.request_handler, marks=marks_of(self._node), request_factory=made.request_factory)


class HttpServer(web.Server):
    """aiohttp's server, for the front port and for tunnels.

    Args:
        handler: Answers a request.
        marks: Headers for the answers that no handler makes.
        options: aiohttp's own.
    """

    def __init__(
        self,
        handler: Callable[[Any], Awaitable[web.StreamResponse]],
        *,
        marks: Mapping[str, str],
        request_factory: Callable[..., web.BaseRequest] | None = None,
        **options: object,
    ) -> None:
        super().__init__(handler, request_factory=request_factory, handler_cancellation=True)
        self._marks = marks
        self._options: dict[str, Any] = {"access_log": None, **options}

    def __call__(self) -> web.RequestHandler:
        """Serve one more connection."""
        return _Connection(self, loop=self._loop, marks=self._marks, **self._options)


class _Connection(web.RequestHandler):
    __slots__ = ("_marks",)

    def __init__(self, server: web.Server, *, marks: Mapping[str, str], **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(server, **options)
        self._marks = marks

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Answer what is not HTTP, and a handler's defect, without a word of the request or the exception."""
        malformed = isinstance(exc, HttpProcessingError)
        level = logging.DEBUG if malformed else logging.ERROR
        _log.log(level, "gateway.http_error status=%d kind=%s at=%s", status, type(exc).__name__, _place(exc))
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun, so no other can be sent")  # ends this connection
        failure = GatewayError("this node failed at the request; its log says where", status=status, kind="api_error")
        response = error_response(RequestError("the request is not well-formed HTTP") if malformed else failure)
        response.headers.update(self._marks)
        response.force_close()
        return response


def _place(exc: BaseException | None) -> str:
    """File and line where an exception was raised: its text may quote what a client or an engine sent."""
    trace = exc.__traceback__ if exc is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "-"
