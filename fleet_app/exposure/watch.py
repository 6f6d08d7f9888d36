"""Looking again every half minute, in a thread: going through the sockets of a busy box takes a moment."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from fleet_app.exposure.examine import examine, ports_of
from fleet_app.exposure.sockets import listening, own_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from fleet_app.exposure.examine import Seen
    from fleet_app.exposure.kind import Exposure

INTERVAL_S = 30.0

_log = logging.getLogger(__name__)


class ExposureWatch:
    """Knows what is exposed on this box. `run` it in one task.

    Args:
        engines: What is seen now.
        keyed: Addresses of engines that are looked at with a key.
        interval_s: Between two looks.
    """

    def __init__(
        self,
        engines: Callable[[], Sequence[Seen]],
        *,
        keyed: Callable[[], Collection[str]] = tuple,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._engines, self._keyed, self._interval_s = engines, keyed, interval_s
        self._found: tuple[Exposure, ...] = ()
        self._told: set[str] = set()

    def exposures(self) -> tuple[Exposure, ...]:
        """What the last look found, the worst first; costs nothing."""
        return self._found

    async def run(self) -> None:
        """Look again and again until cancelled; each new exposure is logged once."""
        while True:
            engines = self._engines()
            found = await asyncio.to_thread(look, engines, self._keyed())
            for exposure in found:
                if exposure.words not in self._told:
                    self._told.add(exposure.words)
                    _log.warning("exposed: %s; %s", exposure.words, exposure.remedy)
            self._found = found
            await asyncio.sleep(self._interval_s)


def look(engines: Sequence[Seen], keyed: Collection[str] = ()) -> tuple[Exposure, ...]:
    """Look once; blocks. Where the system does not tell what listens, only engines over the network are judged."""
    if not engines:
        return ()
    return examine(engines, listening(ports_of(engines)) or (), own_addresses(), keyed=keyed)
