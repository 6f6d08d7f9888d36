"""Asking an engine, or another node's gateway, and holding its answer open while it is passed on.

One exchange is one POST. Until the response's head is there a failure is an `UnservedError`, which another place may
make good; afterwards it is aiohttp's own error and nobody may ask again. An exchange that ends before its answer did
closes its connection, since that is what tells an engine to stop generating.
"""

from __future__ import annotations

import io
import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from multidict import CIMultiDict

from fleet_app.errors import GatewayError
from fleet_app.gateway.openai_errors import Reason, UnservedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from aiohttp import AddrInfoType
    from yarl import URL

    from fleet_app.gateway.call import Call

CONNECT_WAIT_S = 5.0
"""How long an engine or a node may take to accept a connection."""

SILENCE_S = 3600.0
"""How long an answer may pause. Long on purpose: engines hold the head back while a request is queued."""

_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPALIVE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""Options by name, in seconds and probes: systems have one of the first two, or none."""

_PASSED_ON = frozenset({"content-type", "content-encoding", "content-language", "cache-control", "retry-after"})
_PASSED_ON_PREFIXES = ("x-", "openai-")
_OURS_PREFIX = "x-propagul-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An engine's answer, open: its head has arrived, its body has not been read. `kind` says what engine gave it."""

    response: aiohttp.ClientResponse
    kind: str


def engine_socket(address: AddrInfoType) -> socket.socket:
    """A socket to an engine that notices within half a minute that the machine behind it is gone."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def session_over(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """A session that sends what it is told: no cookies, no proxies of the environment, no decompression."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_WAIT_S, sock_read=SILENCE_S),
    )


@asynccontextmanager
async def exchange(
    session: aiohttp.ClientSession, url: URL, call: Call, *, place: str, key: str | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send `call` to `url` and yield the response once its head is there. Follows no redirect.

    Args:
        session: From `session_over`.
        url: The whole address; nothing in `call` can change it.
        call: What to send; its bytes go out as they are.
        place: Who is asked, for the message of an error.
        key: The engine's own API key, if it wants one.

    Raises:
        UnservedError: No response arrived.
        GatewayError: What arrived is a redirect, a status that is not passed on, or not HTTP.
    """
    response = await _post(session, url, call, place=place, key=key)
    try:
        if not (200 <= response.status < 300 or 400 <= response.status < 600):
            message = f"{place} answered with HTTP status {response.status}, which is not passed on or followed"
            raise GatewayError(message, status=502, kind="api_error", code="backend_redirected")
        with _ending_with_its_connection(response):
            yield response
    finally:
        response.close()  # does nothing after the answer's end: the connection is back in the pool by then


async def _post(
    session: aiohttp.ClientSession, url: URL, call: Call, *, place: str, key: str | None
) -> aiohttp.ClientResponse:
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "propagul"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    try:
        return await session.post(url, data=io.BytesIO(call.body), headers=headers, allow_redirects=False)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise UnservedError(Reason.UNREACHABLE, place) from None
    except TimeoutError:
        raise UnservedError(Reason.SILENT, place) from None
    except aiohttp.ClientResponseError:  # bytes of an answer arrived: nobody else may be asked
        raise GatewayError(
            f"{place} gave an answer that is not HTTP", status=502, kind="api_error", code="backend_garbled"
        ) from None
    except (aiohttp.ClientError, OSError):
        raise UnservedError(Reason.BROKEN, place) from None


@contextmanager
def _ending_with_its_connection(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Break the body when the connection is lost before its end.

    aiohttp does so itself, except where its parser gave the body up at a chunk that is none: a reader would wait on.
    """

    def lost(connection: asyncio.Future[None]) -> None:
        failure = connection.exception()  # asked for, or asyncio would complain that nobody did
        if not response.content.is_eof() and response.content.exception() is None:
            response.content.set_exception(failure or aiohttp.ClientPayloadError("the connection was lost"))

    protocol = response.connection.protocol if response.connection is not None else None
    closed = protocol.closed if protocol is not None else None
    if closed is not None:
        closed.add_done_callback(lost)
    try:
        yield
    finally:
        if closed is not None:
            closed.remove_done_callback(lost)


def passed_on(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The response headers that reach the client: an allow-list, so no cookie, redirect, CORS or hop-by-hop one.

    Content-Length is kept unless the body came chunked, so that the client sees a short body as short.
    """
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        low = name.lower()
        if low in _PASSED_ON or (low.startswith(_PASSED_ON_PREFIXES) and not low.startswith(_OURS_PREFIX)):
            kept.add(name, value)
    if "Content-Length" in headers and "Transfer-Encoding" not in headers:
        kept["Content-Length"] = headers["Content-Length"]
    return kept


@asynccontextmanager
async def first_answer(
    places: Iterable[Callable[[], AbstractAsyncContextManager[Answer]]],
) -> AsyncIterator[Answer]:
    """Ask one place after the other until one answers, and yield that answer.

    A place where nothing was sent costs nothing, so the next one is asked. A request that may have begun somewhere is
    sent once more and no further: a prompt that kills its engine must not walk through the fleet.

    Raises:
        UnservedError: The last place's, when none answered.
    """
    last = UnservedError(Reason.NOT_HERE, "this fleet")
    sent = False
    for place in places:
        async with AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(place())
            except UnservedError as unserved:
                last = unserved
                if sent and unserved.sent:
                    break
                sent = sent or unserved.sent
                continue
            yield answer
            return
    raise last
