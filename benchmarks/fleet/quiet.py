"""What a node costs while nothing happens: processor time, memory, bytes on its links; watched and not."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.fleet.carried import IS_TOLD, Carried
from benchmarks.fleet.company import company, heard_s
from fleet_app.presence.demand import LINGER_S
from fleet_app.presence.voice import UNWATCHED_S, UNWATCHED_S_MAX, WATCHED_S, WATCHED_S_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.fleet.box import Box

_LOOK_S = 2.0
_WARM_S = 6.0
"""After who watches has changed: by then all have heard of it, and have said what they say then."""


def rest(*, boxes: int, rounds: int, settle_s: float, look_s: tuple[float, float], scratch: str) -> Mapping[str, float]:
    """Look at a node of such a fleet while nobody watches and while somebody at another one does, in turn.

    The looks take `look_s` seconds: the one and the other.
    """
    return asyncio.run(_rest(boxes, rounds, settle_s, look_s, scratch))


async def _rest(
    boxes: int, rounds: int, settle_s: float, look_s: tuple[float, float], scratch: str
) -> dict[str, float]:
    found: dict[str, float] = {}
    async with company(boxes, scratch, settle_s) as fleet:
        ports = [address.port for member in fleet.members for address in member.store.addresses]
        carried = Carried(fleet.node.process.pid, fleet.node.listen.port, ports) if IS_TOLD else None
        for number in range(rounds):
            await asyncio.sleep(LINGER_S + _WARM_S if number else _WARM_S)
            found |= await _look(f"unwatched_{number}", fleet.node, carried, look_s[0])
            found |= await _proven(f"unwatched_{number}", fleet.node, boxes, UNWATCHED_S + UNWATCHED_S_MAX)
            with fleet.members[0].speech.demand.watching():
                await asyncio.sleep(LINGER_S + _WARM_S)  # to ask the node was to watch there
                found |= await _look(f"watched_{number}", fleet.node, carried, look_s[1])
                found |= await _proven(f"watched_{number}", fleet.node, boxes, WATCHED_S + WATCHED_S_MAX)
    return found


async def _look(when: str, node: Box, carried: Carried | None, seconds: float) -> dict[str, float]:
    """What the node takes in so many seconds."""
    carried_bytes = carried.bytes() if carried else 0
    cpu_s, begin, rss_mb = node.cpu_s(), time.monotonic(), [node.rss_mb()]
    while time.monotonic() - begin < seconds:
        await asyncio.sleep(_LOOK_S)
        rss_mb.append(node.rss_mb())
        if carried:
            carried.bytes()
    took_s = time.monotonic() - begin
    found = {f"cpu_pct_{when}": 100 * (node.cpu_s() - cpu_s) / took_s, f"rss_mb_{when}": max(rss_mb)}
    if carried:
        found |= {f"bytes_per_s_{when}": (carried.bytes() - carried_bytes) / took_s, f"links_{when}": carried.links}
    return found


async def _proven(when: str, node: Box, boxes: int, oldest_s: float) -> dict[str, float]:
    """How old the others' figures are there: that they came is what the bytes were for.

    Raises:
        AssertionError: Some box has said nothing for longer than its voice is ever silent.
    """
    ages = await heard_s(node, boxes)
    assert max(ages) <= oldest_s, f"figures are {max(ages):.0f} s old, while every box speaks within {oldest_s:.0f} s"
    return {f"figures_age_s_{when}": statistics.median(ages), f"oldest_figures_s_{when}": max(ages)}
