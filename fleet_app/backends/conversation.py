"""One look at one address: bounded requests that change nothing, each path asked at most once.

What changes an engine is sent by `wire`. A look follows no redirect, waits 2 s for an answer, reads at most 4 MB of it
and closes each connection, because llama.cpp gives a worker thread to every open one. What went wrong becomes an
`Unanswered` with a reason in words; a gateway of ours is recognised before any engine could be.
"""

from __future__ import annotations

import asyncio
import enum
import socket
from dataclasses import dataclass

import aiohttp

from fleet_app.backends.shape import JsonObject, parse
from fleet_app.errors import BackendError

ANSWER_TIMEOUT_S = 2.0
BODY_BYTES_MAX = 4_000_000
"""Room for a list of 5,000 models."""

GATEWAY_HEADER = "X-Propagul-Gateway"
"""Every response of a gateway of ours carries it, so that no fleet enrols itself."""


class Silence(enum.Enum):
    """Why an address is not an engine to us now."""

    REFUSED = "nothing listens there"
    HUNG = "listens, and did not answer in time"
    BROKEN = "cannot be reached, or broke off"
    STRANGER = "answers as something else"
    GATEWAY = "is a gateway of ours"


class Unanswered(BackendError):  # noqa: N818 - reads as a statement, like the other errors here
    """An address did not answer as an engine.

    Attributes:
        silence: Which kind of no.
    """

    def __init__(self, silence: Silence, reason: str, *, retryable: bool = True) -> None:
        self.silence = silence
        super().__init__(reason, retryable=retryable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back.

    Attributes:
        status: HTTP status; 0 for no answer. It proves nothing by itself.
        server: The `Server` header.
        powered_by: The `X-Powered-By` header.
        text: The body, as far as it is UTF-8.
        json: The body as JSON, whatever the status; None when it is none.
    """

    status: int = 0
    server: str = ""
    powered_by: str = ""
    text: str = ""
    json: object = None

    @property
    def content(self) -> object:
        """The JSON of a 200 answer, else None."""
        return self.json if self.status == 200 else None


class Conversation:
    """The requests of one look at `url`, a kept address; `api_key` is sent with each."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, api_key: str | None = None) -> None:
        self.url = url
        self._session = session
        self._headers = request_headers(api_key)
        self._replies: dict[str, Reply] = {}

    async def get(self, path: str) -> Reply:
        """The answer to GET `path`.

        Raises:
            Unanswered: There was none, or a gateway of ours answered.
        """
        if path not in self._replies:
            self._replies[path] = await self._fetch(path)
        return self._replies[path]

    async def try_get(self, path: str) -> Reply:
        """As `get`, for what an engine need not have: no answer is an empty reply.

        Raises:
            Unanswered: A gateway of ours answered.
        """
        try:
            return await self.get(path)
        except Unanswered as error:
            if error.silence is Silence.GATEWAY:
                raise
            return self._replies.setdefault(path, Reply())

    async def try_post(self, path: str, question: JsonObject) -> Reply:
        """As `try_get`, for what an engine tells only when it is asked by POST. Never remembered.

        Raises:
            Unanswered: A gateway of ours answered.
        """
        try:
            return await self._fetch(path, question)
        except Unanswered as error:
            if error.silence is Silence.GATEWAY:
                raise
            return Reply()

    async def _fetch(self, path: str, question: JsonObject | None = None) -> Reply:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        method, body = ("GET", None) if question is None else ("POST", dict(question))
        try:
            async with self._session.request(
                method, self.url + path, json=body, headers=self._headers, allow_redirects=False, timeout=timeout
            ) as response:
                if GATEWAY_HEADER in response.headers:
                    raise Unanswered(
                        Silence.GATEWAY, "a Propagul gateway answers there, not an engine", retryable=False
                    )
                return await read_reply(response)
        except LOST as error:  # as a cause it would carry our key
            raise unanswered(error, f"no answer within {ANSWER_TIMEOUT_S:g} s") from None


async def knock(port: int) -> None:
    """Return when something listens on this machine's `port`; much cheaper than a request where nothing does.

    Raises:
        Unanswered: Nothing does, or it cannot be told.
    """
    with socket.socket() as door:
        door.setblocking(False)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(door, ("127.0.0.1", port))
        except OSError:
            raise Unanswered(Silence.REFUSED, "nothing listens there") from None


def request_headers(api_key: str | None) -> dict[str, str]:
    """What every request to an engine carries."""
    headers = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "propagul"}
    return headers | ({"Authorization": f"Bearer {api_key}"} if api_key else {})


async def read_reply(response: aiohttp.ClientResponse) -> Reply:
    """The whole answer.

    Raises:
        Unanswered: It is longer than `BODY_BYTES_MAX`.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            reason = f"an answer of it is over {BODY_BYTES_MAX // 1_000_000} MB, more than is read"
            raise Unanswered(Silence.STRANGER, reason, retryable=False)
    return Reply(
        status=response.status,
        server=response.headers.get("Server", ""),
        powered_by=response.headers.get("X-Powered-By", ""),
        text=body.decode(errors="ignore"),
        json=parse(bytes(body)),
    )


LOST = (aiohttp.ClientError, OSError, ValueError)
"""What a request can raise when its answer does not come; a TimeoutError is an OSError."""

_REASONS: tuple[tuple[type[Exception], Silence, str], ...] = (
    (aiohttp.ClientConnectorDNSError, Silence.BROKEN, "its host name does not resolve"),
    (aiohttp.ClientConnectorCertificateError, Silence.BROKEN, "its TLS certificate is not trusted"),
    (aiohttp.ClientSSLError, Silence.BROKEN, "it does not speak TLS; try http:// instead of https://"),
    (aiohttp.ClientConnectorError, Silence.BROKEN, "the host cannot be reached"),
    (aiohttp.ClientResponseError, Silence.STRANGER, "what answers there is not HTTP"),
    (Exception, Silence.BROKEN, "the connection broke off"),
)
"""The first that fits counts."""


def unanswered(error: Exception, late: str) -> Unanswered:
    """The reason in words, `late` for an answer that came too late. Nothing of the peer's bytes is repeated."""
    if isinstance(error, TimeoutError):
        return Unanswered(Silence.HUNG, late)
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return Unanswered(Silence.REFUSED, "the connection is refused: nothing listens there")
    silence, reason = next((silence, reason) for kind, silence, reason in _REASONS if isinstance(error, kind))
    return Unanswered(silence, reason, retryable=silence is not Silence.STRANGER)
