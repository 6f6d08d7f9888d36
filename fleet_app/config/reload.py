"""Reading the config file again while the node runs.

The file is looked at every two seconds (its time, length and inode; it is read only if these changed) and at SIGHUP.
Whoever can take a new value at once subscribes to its key; every other key that changed needs a restart, and that is
said. A file that cannot be read changes nothing: what was in force stays, and the reason is told with its line. Flags
and variables outrank the file as they did at the start. No message holds a value.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fleet_app.errors import ConfigError
from propagul.errors import PropagulError

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.config import Settings

INTERVAL_S = 2.0

Apply = Callable[["Settings"], "Awaitable[None] | None"]
"""Puts new values in force. Raises PropagulError or OSError where they cannot be; then the old ones must still be."""

_log = logging.getLogger(__name__)

_KEYS = (
    "name",
    "data_dir",
    "listen",
    "gateway",
    "secret",
    "backends",
    "detect",
    "desired",
    "watch",
    "mdns",
    "log_format",
)
"""What a file can change for a node that is a member already."""


class Reload:
    """Keeps a node's settings those of its file.

    Args:
        settings: What is in force.
        read: Reads everything again. Raises ConfigError.
        path: The file; it need not exist.
        interval_s: Between two looks at the file.
    """

    def __init__(
        self, settings: Settings, read: Callable[[], Settings], path: Path, *, interval_s: float = INTERVAL_S
    ) -> None:
        self._now = self._fresh = settings
        self._read, self._path, self._interval_s = read, path, interval_s
        self._subscribers: list[tuple[frozenset[str], Apply]] = []
        self._seen = _signature(path)
        self._asked = asyncio.Event()
        self._trouble = ""
        self._refused: dict[str, str] = {}

    def subscribe(self, *keys: str, apply: Apply) -> None:
        """Call `apply` once whenever one of these keys has changed; several may subscribe to one key."""
        self._subscribers.append((frozenset(keys), apply))

    def ask(self) -> None:
        """Have the file read again now, changed or not."""
        self._asked.set()

    def notices(self) -> tuple[str, ...]:
        """What a person should know: why the file is not in force, and what of it is not."""
        differing = self._differing(self._fresh)
        waiting = [key for key in _KEYS if key in differing and key not in self._refused]
        restart = f"{self._path}: what it says of {', '.join(waiting)} needs a restart of this node" if waiting else ""
        refused = [f"{self._path}: {key} is as it was: {why}" for key, why in self._refused.items()]
        return tuple(filter(None, (self._trouble, *refused, restart)))

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._asked.wait()
            except TimeoutError:
                pass
            await self.look()

    async def look(self) -> None:
        """Read the file if it changed or somebody asked, and put in force what can be."""
        signature = _signature(self._path)
        if signature == self._seen and not self._asked.is_set():
            return
        self._seen = signature
        self._asked.clear()
        try:
            self._fresh = await asyncio.to_thread(self._read)
        except ConfigError as error:
            self._trouble = f"the config file was changed and cannot be read, so what was in force stays: {error}"
            _log.warning("%s", self._trouble)
            return
        self._trouble = ""
        applied = await self._apply(self._fresh)
        self._tell(applied)

    async def _apply(self, fresh: Settings) -> list[str]:
        changed, self._refused = self._differing(fresh), {}
        for keys, apply in self._subscribers:
            concerned = keys & changed
            if not concerned:
                continue
            try:
                outcome = apply(fresh)
                if inspect.isawaitable(outcome):
                    await outcome
            except (PropagulError, OSError) as error:
                self._refused |= dict.fromkeys(sorted(concerned), str(error))
        known = frozenset().union(*(keys for keys, _ in self._subscribers))
        done = [key for key in _KEYS if key in changed & known and key not in self._refused]
        self._now = self._now.model_copy(update={key: getattr(fresh, key) for key in done})
        return done

    def _differing(self, fresh: Settings) -> frozenset[str]:
        return frozenset(key for key in _KEYS if getattr(fresh, key) != getattr(self._now, key))

    def _tell(self, applied: list[str]) -> None:
        in_force = f"in force: {', '.join(applied)}" if applied else "nothing new is in force"
        notices = "; ".join(self.notices())
        _log.warning("config file read again, %s%s", in_force, f"; {notices}" if notices else "")


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
