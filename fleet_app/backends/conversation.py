"""One look at one address: bounded GET requests, each path asked at most once.

The only file here that sends anything. A look follows no redirect, waits 2 s for an answer, reads at most 1 MB of it
and closes each connection, because llama.cpp gives a worker thread to every open one. What went wrong becomes an
`Unanswered` with a reason in words; a gateway of ours is recognised before any engine could be.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from fleet_app.backends.shape import parse
from fleet_app.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_TIMEOUT_S = 2.0
BODY_BYTES_MAX = 1_000_000
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
        text: The body; empty when it was too long or not UTF-8.
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
        self._headers = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "propagul"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
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

    async def _fetch(self, path: str) -> Reply:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        try:
            async with self._session.get(
                self.url + path, headers=self._headers, allow_redirects=False, timeout=timeout
            ) as response:
                if GATEWAY_HEADER in response.headers:
                    raise Unanswered(
                        Silence.GATEWAY, "a Propagul gateway answers there, not an engine", retryable=False
                    )
                return _read(response.status, response.headers, await _body(response))
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise _unanswered(error) from error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The body, or nothing when it is longer than `BODY_BYTES_MAX`."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return b""
    return bytes(body)


def _read(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    return Reply(
        status=status,
        server=headers.get("Server", ""),
        powered_by=headers.get("X-Powered-By", ""),
        text=body.decode(errors="ignore"),
        json=parse(body),
    )


_REASONS: tuple[tuple[type[Exception], Silence, str], ...] = (
    (TimeoutError, Silence.HUNG, f"no answer within {ANSWER_TIMEOUT_S:g} s"),
    (aiohttp.ClientConnectorDNSError, Silence.BROKEN, "its host name does not resolve"),
    (aiohttp.ClientConnectorCertificateError, Silence.BROKEN, "its TLS certificate is not trusted"),
    (aiohttp.ClientSSLError, Silence.BROKEN, "it does not speak TLS; try http:// instead of https://"),
    (aiohttp.ClientConnectorError, Silence.BROKEN, "the host cannot be reached"),
    (aiohttp.ClientResponseError, Silence.STRANGER, "what answers there is not HTTP"),
    (Exception, Silence.BROKEN, "the connection broke off"),
)
"""The first that fits counts."""


def _unanswered(error: Exception) -> Unanswered:
    """The reason in words. Nothing of the peer's bytes is repeated."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return Unanswered(Silence.REFUSED, "the connection is refused: nothing listens there")
    silence, reason = next((silence, reason) for kind, silence, reason in _REASONS if isinstance(error, kind))
    return Unanswered(silence, reason, retryable=silence is not Silence.STRANGER)
