"""Passing an answer on: status, headers, then the body's bytes as they arrive, at the pace of the slower side.

`write` waits while the client's buffer is full, which stops reading upstream, so memory stays flat whatever the
client does. After the first byte nothing can be taken back: when the answer breaks off, the client's connection is
cut, so that it sees an unfinished body and never one that ends as if complete.
"""

from __future__ import annotations

import logging
import socket
import struct
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from fleet_app.gateway.upstream import passed_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet_app.gateway.upstream import Answer

_log = logging.getLogger(__name__)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


BACKEND_HEADER = "X-Propagul-Backend"
"""On every answer of an engine, in a tunnel and to the client: what kind of engine gave it."""


async def relay(request: web.BaseRequest, answer: Answer, ours: Mapping[str, str]) -> web.StreamResponse:
    """Answer `request` with `answer` and our own headers on top; returns when the last byte was written."""
    upstream = answer.response
    headers = passed_on(upstream.headers)
    headers.update({BACKEND_HEADER: answer.kind, **ours})
    response = web.StreamResponse(status=upstream.status, headers=headers)
    if request.version < aiohttp.HttpVersion11 and response.content_length is None:
        response.force_close()  # only the end of the connection ends such a body; aiohttp would keep it open if asked
    try:
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    except (aiohttp.ClientError, OSError, TimeoutError) as broken:
        _log.debug("gateway.cut kind=%s", type(broken).__name__)
        cut(request)
    return response


def cut(request: web.BaseRequest) -> None:
    """Abort the client's connection. A body without length or chunks is ended by a reset, or it would look whole."""
    transport = request.transport
    if transport is None:
        return
    link: socket.socket | None = transport.get_extra_info("socket")
    if link is not None and request.version < aiohttp.HttpVersion11:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
