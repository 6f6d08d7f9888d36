"""Telling an engine to do something: requests that may take long, and answers that come line by line.

`conversation` only looks, in two seconds; a pull may run for hours, so here silence is what is bounded. No redirect is
followed, no answer over 4 MB and no line over 64 KB is read, and every connection is closed. An engine's words for what
went wrong pass through `words_of`, on one line, cut, and without our key.
"""

from __future__ import annotations

import asyncio
import unicodedata
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from fleet_app.backends.conversation import LOST, Reply, read_reply, request_headers, unanswered
from fleet_app.backends.shape import JsonObject, as_object, parse
from fleet_app.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

ANSWER_TIMEOUT_S = 15.0
IDLE_TIMEOUT_S = 600.0
"""How long a stream may say nothing: an engine is silent while it checks the digest of a large model."""

LINE_BYTES_MAX = 65_536
WORDS_CHARS_MAX = 256
RETRY_STATUSES = frozenset({408, 409, 425, 429, *range(500, 600)})


class Wire:
    """Requests to the engine at `url`; `api_key` goes with each and stands in no error."""

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        self.url = url
        self._api_key = api_key

    async def ask(
        self, method: str, path: str, body: JsonObject | None = None, *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> Reply:
        """The answer, whatever its status.

        Raises:
            BackendError: There was none within `timeout_s`.
        """
        limits = aiohttp.ClientTimeout(total=timeout_s)
        async with self._request(method, path, body, limits, f"no answer within {timeout_s:g} s") as response:
            return await read_reply(response)

    async def tell(
        self, method: str, path: str, body: JsonObject | None = None, *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> JsonObject:
        """The JSON object with which the engine agrees; empty when it agrees without one.

        Raises:
            BackendError: There was no answer, or it was a refusal.
        """
        return self.agreed(await self.ask(method, path, body, timeout_s=timeout_s))

    async def lines(self, path: str, body: JsonObject) -> AsyncGenerator[JsonObject]:
        """The JSON objects that a POST is answered with, one a line, until the engine ends the stream.

        Raises:
            BackendError: It refused, broke off, said nothing for `IDLE_TIMEOUT_S`, or sent what is no line of JSON.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S)
        late = f"it said nothing for {IDLE_TIMEOUT_S:g} s"
        async with self._request("POST", path, body, limits, late) as response:
            if response.status != 200:
                raise self.refusal(await read_reply(response))
            async with aclosing(_lines(response)) as lines:
                async for line in lines:
                    yield line

    def agreed(self, reply: Reply) -> JsonObject:
        """The JSON object in an answer; empty when it has none.

        Raises:
            BackendError: The answer is a refusal.
        """
        if reply.status // 100 != 2 or "error" in as_object(reply.json):
            raise self.refusal(reply)
        return as_object(reply.json)

    def refusal(self, reply: Reply) -> BackendError:
        """What a refusal says, as an error."""
        return self.error(reply.json, f"HTTP {reply.status}", retryable=reply.status in RETRY_STATUSES)

    def error(self, answer: object, otherwise: str, *, retryable: bool) -> BackendError:
        """The engine's words in `answer`, or `otherwise` where it has none, as an error."""
        words = words_of(answer)
        if self._api_key:
            words = words.replace(self._api_key, "***")
        return failure(words or otherwise, retryable=retryable)

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: JsonObject | None, limits: aiohttp.ClientTimeout, late: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = request_headers(self._api_key)
        try:
            async with (
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=limits, headers=headers) as session,
                session.request(method, self.url + path, json=_plain(body), allow_redirects=False) as response,
            ):
                yield response
        except LOST as error:  # as a cause it would carry our key
            raise unanswered(error, late) from None


def _plain(body: Mapping[str, object] | None) -> dict[str, object] | None:
    return None if body is None else dict(body)


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[JsonObject]:
    """The lines of a body that hold JSON objects."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        *whole, last = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield _object(line)
        rest = bytearray(last)
        if len(rest) > LINE_BYTES_MAX:
            raise BackendError(f"it sent a line of over {LINE_BYTES_MAX} bytes", retryable=True)
        await asyncio.sleep(0)  # a fast engine must not keep the loop to itself
    if rest.strip():
        yield _object(rest)


def _object(line: bytes | bytearray) -> JsonObject:
    value = parse(bytes(line))
    if not isinstance(value, dict):
        raise BackendError("it sent a line that is no JSON object", retryable=True)
    return value


def failure(text: str, *, retryable: bool) -> BackendError:
    """An error of our own words about an engine; names in them may be long."""
    return BackendError(text[:WORDS_CHARS_MAX], retryable=retryable)


def words_of(answer: object) -> str:
    """An engine's words for what went wrong, on one line of printable characters; empty where there are none."""
    for key in ("error", "message", "detail"):
        inner = as_object(answer).get(key)
        if isinstance(inner, dict):
            return words_of(inner)
        if isinstance(inner, str) and inner.strip():
            spaced = (" " if unicodedata.category(char)[0] in "CZ" else char for char in inner[: 4 * WORDS_CHARS_MAX])
            return " ".join("".join(spaced).split())
    return ""
