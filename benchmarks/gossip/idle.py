"""Workload: what linked stores say to each other while there is nothing to say."""

from __future__ import annotations

import asyncio

from benchmarks.gossip.company import Company, company, settled

_ROWS = {"news": "old"}


def idle(stores: int, seconds: float, quiet_s: float, pulse_s: float) -> dict[str, float]:
    """Bytes on all links of idle stores, over so many seconds, once no link was opened or ended for `quiet_s`."""
    return asyncio.run(_idle(stores, seconds, quiet_s, pulse_s))


async def _idle(stores: int, seconds: float, quiet_s: float, pulse_s: float) -> dict[str, float]:
    async with company(stores, _ROWS, pulse_interval_s=pulse_s) as found:
        await settled(found.stores, quiet_s)
        if any(one.get_all() != _ROWS for one in found.stores):
            raise AssertionError("a linked store lacks what the first one wrote")
        links, before, frames = found.links, found.carried, found.frames
        await asyncio.sleep(seconds)
        measured = _measured(found, before, frames)
        if found.links != links:
            raise AssertionError("a link ended or opened while nothing was to be said")
    return {**measured, "links": links, "bytes_a_link_s": measured["bytes"] / links / seconds}


def _measured(found: Company, before: int, frames: int) -> dict[str, float]:
    """An exchange is one pulse each way: two frames."""
    carried, said = found.carried - before, found.frames - frames
    if not said:
        raise AssertionError("an idle link said nothing at all")
    return {"bytes": carried, "frames": said, "bytes_an_exchange": carried / (said / 2)}
