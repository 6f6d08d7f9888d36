"""Looking again when engines have changed, and now and then, in a thread: a busy box has many sockets to go through."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from fleet_app.exposure.examine import examine, ports_of
from fleet_app.exposure.sockets import listening, own_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from fleet_app.exposure.examine import Seen
    from fleet_app.exposure.kind import Exposure

INTERVAL_S = 300.0
"""From one look to the next where nothing is seen to change."""

NOTICE_S = 5.0
"""How often engines are asked for: so much later it is seen that there is another."""

_log = logging.getLogger(__name__)


class ExposureWatch:
    """Knows what is exposed on this box. `run` it in one task.

    Args:
        engines: What is seen now.
        keyed: Addresses of engines that are looked at with a key.
        interval_s: Between two looks.
        notice_s: Between two glances at the engines.
    """

    def __init__(
        self,
        engines: Callable[[], Sequence[Seen]],
        *,
        keyed: Callable[[], Collection[str]] = tuple,
        interval_s: float = INTERVAL_S,
        notice_s: float = NOTICE_S,
    ) -> None:
        self._engines, self._keyed, self._interval_s, self._notice_s = engines, keyed, interval_s, notice_s
        self._found: tuple[Exposure, ...] = ()
        self._told: set[str] = set()

    def exposures(self) -> tuple[Exposure, ...]:
        """What the last look found, the worst first; costs nothing."""
        return self._found

    async def run(self) -> None:
        """Look again and again until cancelled; each new exposure is logged once."""
        looked: tuple[object, float] = None, 0.0
        while True:
            engines, keyed, now = self._engines(), self._keyed(), time.monotonic()
            what = [(one.kind, one.url, one.condition, one.version) for one in engines], keyed
            if what != looked[0] or now - looked[1] >= self._interval_s:
                looked = what, now
                self._tell(await asyncio.to_thread(look, engines, keyed))
            await asyncio.sleep(self._notice_s)

    def _tell(self, found: tuple[Exposure, ...]) -> None:
        for exposure in found:
            if exposure.words not in self._told:
                self._told.add(exposure.words)
                _log.warning("exposed: %s; %s", exposure.words, exposure.remedy)
        self._found = found


def look(engines: Sequence[Seen], keyed: Collection[str] = ()) -> tuple[Exposure, ...]:
    """Look once; blocks. Where the system does not tell what listens, only engines over the network are judged."""
    if not engines:
        return ()
    return examine(engines, listening(ports_of(engines)) or (), own_addresses(), keyed=keyed)
