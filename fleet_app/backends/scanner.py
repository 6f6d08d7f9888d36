"""Watching every address where an engine may be: the usual ports of this machine and what a person named.

The one file of this package that owns tasks. Addresses are looked at in parallel, each by every signature until one
fits; what is seen of an address is shown as soon as its own look ends. Two rounds never overlap.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import aiohttp

from fleet_app.backends.conversation import Conversation, Silence, Unanswered, knock
from fleet_app.backends.engine_url import loopback_port, normalise_url, port_of
from fleet_app.backends.probe import look
from fleet_app.backends.watch import Watch
from fleet_app.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from fleet_app.engine import Engine
    from fleet_app.presence import BackendPresence

logger = logging.getLogger(__name__)

DEFAULT_PORTS = (11434, 8000, 8080, 80, 3000, 1234, 30000, 5001, 5000, 1337, 13305, 12434)
"""Ollama, vLLM, llama.cpp, TGI (80 and 3000), LM Studio, SGLang, KoboldCpp, TabbyAPI, Jan, Lemonade, Docker Model
Runner; whatever answers there is recognised by what it says."""

NAMED_MAX = 48
"""Addresses a person may name; a heartbeat carries 64 engines."""


class Scanner:
    """Keeps `current()` true. `run()` it in one task; `in_flight` is left to those who count requests."""

    def __init__(
        self,
        *,
        urls: Sequence[str],
        detect: bool,
        interval_s: float = 5.0,
        ports: Sequence[int] = DEFAULT_PORTS,
        ignore_ports: Collection[int] = (),
        api_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Watch `urls`, and with `detect` also `ports` of 127.0.0.1.

        Args:
            urls: Addresses a person named; always shown.
            detect: Whether to scan.
            interval_s: From one look at a ready engine to the next, at least 0.1; a new one is found in half of it.
            ports: Where to scan.
            ignore_ports: Where not to: this node's own.
            api_keys: Keys for addresses in `urls`; never sent anywhere else.

        Raises:
            ConfigError: An address is wrong, there are more than 48, or a key belongs to none of them.
        """
        keys = {normalise_url(url): key for url, key in (api_keys or {}).items()}
        self._watches = {
            url: Watch(url=url, named=True, api_key=keys.pop(url, None)) for url in map(normalise_url, urls)
        }
        if keys:
            raise ConfigError(f"there is an API key for {min(keys)}, which is not among the engines' addresses")
        if len(self._watches) > NAMED_MAX:
            raise ConfigError(f"{len(self._watches)} engine addresses are named, at most {NAMED_MAX} can be watched")
        if detect:
            taken = {loopback_port(url) for url in self._watches} | {*ignore_ports}
            scanned = [f"http://127.0.0.1:{port}" for port in ports if port not in taken]
            self._watches |= {url: Watch(url=url) for url in map(normalise_url, scanned)}
        self._interval_s = max(0.1, interval_s)
        self._listeners: list[Callable[[tuple[BackendPresence, ...]], None]] = []
        self._shown: tuple[BackendPresence, ...] = ()
        self._round = asyncio.Lock()

    def current(self) -> tuple[BackendPresence, ...]:
        """What is known now, sorted by address."""
        return self._shown

    def engines(self) -> tuple[Engine, ...]:
        """The engines that `current` shows, each to be told what to do; an engine is the same while its address is."""
        return tuple(watch.engine for _, watch in sorted(self._watches.items()) if watch.engine is not None)

    def key_of(self, url: str) -> str | None:
        """The API key of the engine shown at `url`, if it has one."""
        return next((watch.api_key for watch in self._watches.values() if watch.shown_at(url)), None)

    def add_listener(self, callback: Callable[[tuple[BackendPresence, ...]], None]) -> None:
        """Call `callback(current())` in the scanner's task whenever it has changed."""
        self._listeners.append(callback)

    async def run(self) -> None:
        """Look round after round until cancelled; halfway between two rounds only at what may just have changed."""
        while True:
            for settled in (True, False):
                started = time.monotonic()
                await self.scan_once(settled=settled)
                await asyncio.sleep(max(0.0, started + self._interval_s / 2 - time.monotonic()))

    async def scan_once(self, *, settled: bool = True) -> None:
        """Look at every address that is due once; with `settled` also at engines that were ready at the last look.

        Waits for a round that is under way, then makes its own.
        """
        async with self._round, _session() as session, asyncio.TaskGroup() as looks:
            for watch in self._watches.values():
                if (settled or not watch.settled) and watch.due():
                    looks.create_task(self._look(session, watch))

    async def look_at(self, url: str) -> None:
        """Look at the engine shown at `url` now, whoever else looks: what was done to it is seen at once."""
        async with _session() as session:
            for watch in self._watches.values():
                if watch.shown_at(url):
                    await self._look(session, watch)

    async def _look(self, session: aiohttp.ClientSession, watch: Watch) -> None:
        talk = Conversation(session, watch.url, api_key=watch.api_key)
        try:
            if watch.presence is None and not watch.named:
                await knock(port_of(watch.url))
            watch.saw(await look(talk, known=watch.known(), named=watch.named))
        except Unanswered as error:
            watch.missed(error)
        # supervisor: a fault of ours in reading one engine must not end the watch over all others
        except Exception:
            logger.warning("backend look failed", exc_info=True, extra={"url": watch.url})
            watch.missed(Unanswered(Silence.STRANGER, "its answer could not be read; the log says why"))
        self._publish()

    def _publish(self) -> None:
        shown = tuple(watch.presence for _, watch in sorted(self._watches.items()) if watch.presence is not None)
        if shown == self._shown:
            return
        self._shown = shown
        logger.debug("backends changed", extra={"backends": [(seen.url, seen.kind, seen.condition) for seen in shown]})
        for callback in self._listeners:
            callback(shown)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())


async def detect(
    urls: Sequence[str],
    detect: bool = True,  # noqa: FBT001, FBT002 - a value, not a mode: the same word as the flag and the setting
    *,
    ignore_ports: Collection[int] = (),
    api_keys: Mapping[str, str] | None = None,
) -> tuple[BackendPresence, ...]:
    """Look once at `urls` and, with `detect`, at the usual ports of this machine.

    Raises:
        ConfigError: An address is wrong.
    """
    scanner = Scanner(urls=urls, detect=detect, ignore_ports=ignore_ports, api_keys=api_keys)
    await scanner.scan_once()
    return scanner.current()
