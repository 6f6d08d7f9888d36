"""The dashboard as the node runs it: routes, one tick loop, one end.

Each tick reads the fleet once for all subscribers, and not at all when nobody watches, except every second tick, which
takes a sample so that a page opened later has a past to show. The loop ends with `aclose`; nothing outlives it.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from fleet_app.dashboard.frames import Frames
from fleet_app.dashboard.history import History
from fleet_app.dashboard.pages import Pages
from fleet_app.dashboard.stream import EventStreams

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet_app.view import FleetView

TICKS_PER_SAMPLE = 2
"""With the default interval a sample stands for two seconds, which is the heartbeat's own pace."""


class Dashboard:
    """Serves the page and its live stream.

    Create and use it inside one event loop. Before the web application is shut down, `aclose` must be awaited: open
    streams would otherwise keep the shutdown waiting.

    Args:
        view: Returns the fleet as this node sees it now; called on the loop, so it must be quick.
        lately: The same, but a second or two old will do: for the past that a page shows. `view` if it is left out.
        declared: Returns what is declared, one JSON object a model; as quick.
        interval_s: Seconds between ticks: the most a change waits before it is shown. Less costs CPU on every tick.
    """

    def __init__(
        self,
        view: Callable[[], FleetView],
        *,
        lately: Callable[[], FleetView] | None = None,
        declared: Callable[[], list[dict[str, object]]] = list,
        interval_s: float = 1.0,
    ) -> None:
        self._view, self._lately = view, lately or view
        self._declared, self._interval_s = declared, interval_s
        self._pages = Pages()
        self._history = History()
        self._frames = Frames(epoch=secrets.token_hex(8), history=self._history, step_s=interval_s * TICKS_PER_SAMPLE)
        self._streams = EventStreams(self._frames, refresh=self._refresh)
        self._ticks = 0
        self._closed = asyncio.Event()

    def routes(self) -> list[web.AbstractRouteDef]:
        """`GET /`, `GET /static/...` and `GET /events`."""
        return [*self._pages.routes(), web.get("/events", self._streams.handle, allow_head=False)]

    @property
    def watchers(self) -> int:
        """Open event streams."""
        return len(self._streams)

    async def run(self) -> None:
        """Tick until `aclose`; whatever `view` raises ends it."""
        while not self._closed.is_set():
            self._tick()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._closed.wait()

    async def aclose(self) -> None:
        """End the loop and every stream; new streams are refused. Idempotent."""
        self._closed.set()
        await self._streams.aclose()

    def _tick(self) -> None:
        """Sample when it is time, publish when somebody watches."""
        sampling = self._ticks % TICKS_PER_SAMPLE == 0
        self._ticks += 1
        if not sampling and not self._streams:
            return
        view = self._view() if self._streams else self._lately()
        if sampling:
            self._history.sample(view)
        if self._streams and self._frames.update(self._shown(view)):
            self._streams.wake()

    def _refresh(self) -> None:
        """Bring the newest frame up to now, for a subscriber that comes after a time without any."""
        self._frames.update(self._shown(self._view()))

    def _shown(self, view: FleetView) -> dict[str, object]:
        return {**view.to_json(), "declared": self._declared()}
