"""The open event streams: the only file of this room that waits on sockets.

Every stream is one request handler that sends the newest frame whenever there is one, and a beat when there is none
for a while. Nothing is queued for anybody: while a subscriber still has bytes waiting in this process it is given
nothing more, and then the newest. The number of streams is bounded, and one that takes nothing for `stall_s` is cut.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from fleet_app.dashboard.frames import BEAT, START
from fleet_app.dashboard.pages import HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet_app.dashboard.frames import Frames

STREAMS_MAX = 64
CLOSE_GRACE_S = 1.0
"""How long a stream may take to end by itself at `aclose`; then its connection is cut."""


class EventStreams:
    """Answers `GET /events`.

    Args:
        frames: Where the newest state is taken from.
        refresh: Called before the first subscriber after nobody is served, so that it sees the present.
        beat_s: Silence after which a beat is sent, in seconds.
        stall_s: A subscriber that takes nothing for this long is cut, in seconds.
    """

    def __init__(
        self, frames: Frames, *, refresh: Callable[[], None], beat_s: float = 3.0, stall_s: float = 20.0
    ) -> None:
        self._frames, self._refresh, self._beat_s, self._stall_s = frames, refresh, beat_s, stall_s
        self._open: set[asyncio.Transport] = set()
        self._news = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def wake(self) -> None:
        """Let every stream look at the newest state."""
        self._news.set()
        self._news = asyncio.Event()

    async def aclose(self) -> None:
        """End all streams and refuse new ones; returns when the last handler is through. Idempotent."""
        self._closed = True
        self.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_GRACE_S):
                await self._empty.wait()
        for transport in self._open:
            transport.abort()
        await self._empty.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one subscriber until it leaves, stalls, or this object is closed."""
        if self._closed or len(self._open) >= STREAMS_MAX:
            return _refusal("closing" if self._closed else f"{STREAMS_MAX} streams are open already")
        transport = request.transport
        if transport is None:
            return _refusal("the connection is gone")
        if not self._open:
            self._refresh()
        self._open.add(transport)
        self._empty.clear()
        try:
            return await self._serve(request, transport)
        finally:
            self._open.discard(transport)
            if not self._open:
                self._empty.set()

    async def _serve(self, request: web.Request, transport: asyncio.Transport) -> web.StreamResponse:
        """Send frames; a subscriber that leaves ends it, and that is no error."""
        headers = {**HEADERS, "Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers={**headers, "X-Accel-Buffering": "no"})
        response.force_close()
        with suppress(ConnectionError):
            await response.prepare(request)
            try:
                await self._pump(transport, response)
            except TimeoutError:
                transport.abort()
        return response

    async def _pump(self, transport: asyncio.Transport, response: web.StreamResponse) -> None:
        """Write the newest frame, wait for news, and so on.

        Raises:
            ConnectionError: The subscriber left.
            TimeoutError: It took nothing for `stall_s`.
        """
        position = START
        news = True
        while not (self._closed or transport.is_closing()):
            await self._drained(transport)
            waiting = self._news
            newest = self._frames.newest
            if newest.sequence > position.sequence or not news:
                frame = self._frames.since(position) if newest.sequence > position.sequence else BEAT
                position = newest
                async with asyncio.timeout(self._stall_s):
                    await response.write(frame)
            news = await _happens(waiting, self._beat_s)

    async def _drained(self, transport: asyncio.Transport) -> None:
        """Wait until the subscriber has taken all it was sent; news meanwhile are skipped, not kept.

        Raises:
            TimeoutError: It did not within `stall_s`.
        """
        async with asyncio.timeout(self._stall_s):
            while transport.get_write_buffer_size() and not (self._closed or transport.is_closing()):
                await _happens(self._news, self._beat_s)


async def _happens(event: asyncio.Event, limit_s: float) -> bool:
    """Wait for an event for at most `limit_s` seconds; say whether it came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()
    return event.is_set()


def _refusal(reason: str) -> web.Response:
    """503 with a reason for people; the page tries again later by itself."""
    headers = {**HEADERS, "Retry-After": "5", "Cache-Control": "no-store"}
    return web.Response(status=503, text=f"no event stream: {reason}\n", headers=headers)
