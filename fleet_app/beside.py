"""The engines beside a node: looked at all the time, exchanged when the settings name others, checked for exposure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleet_app.backends import Scanner
from fleet_app.exposure import ExposureWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleet_app.config import Settings
    from fleet_app.engine import Engine
    from fleet_app.exposure import Exposure
    from fleet_app.presence import BackendPresence


class Beside:
    """What runs beside this node. `run` it in one task.

    Args:
        settings: Which addresses to look at.
        changed: Called in the loop whenever an engine is seen to be another.
    """

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._scanner = _scanner(settings)
        self._exposure = ExposureWatch(self.seen, keyed=self._keyed)
        self._replaced = asyncio.Event()

    def seen(self) -> tuple[BackendPresence, ...]:
        """What the newest looks saw."""
        return self._scanner.current()

    def engines(self) -> Sequence[Engine]:
        """The same, to be told what to do."""
        return self._scanner.engines()

    def exposures(self) -> tuple[Exposure, ...]:
        """What others can reach here without a key."""
        return self._exposure.exposures()

    def key_of(self, url: str) -> str | None:
        """The API key of an engine, if it has one."""
        return self._scanner.key_of(url)

    async def look(self) -> None:
        """Look at every address once."""
        await self._scanner.scan_once()

    async def look_at(self, url: str) -> None:
        """Look at one engine again: what was done to it is seen from then on."""
        await self._scanner.look_at(url)

    async def take(self, settings: Settings) -> None:
        """Look at other addresses from now on. The former ones go when those were seen: no engine is gone meanwhile.

        Raises:
            ConfigError: An address is wrong; all is as it was.
        """
        scanner = _scanner(settings)
        await scanner.scan_once()
        self._scanner = scanner
        self._replaced.set()
        self._changed()

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._exposure.run())
            while True:
                self._replaced.clear()
                self._scanner.add_listener(lambda _: self._changed())
                looking = group.create_task(self._scanner.run())
                await self._replaced.wait()
                looking.cancel()

    def _keyed(self) -> tuple[str, ...]:
        return tuple(engine.url for engine in self.seen() if self.key_of(engine.url))


def _scanner(settings: Settings) -> Scanner:
    own_ports = {settings.gateway.port, settings.listen.port}
    keys = {url: key.get_secret_value() for url, key in settings.backend_keys.items()}
    return Scanner(urls=settings.backends, detect=settings.detect, ignore_ports=own_ports, api_keys=keys)
