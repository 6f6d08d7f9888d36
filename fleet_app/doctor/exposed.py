"""Which engines of this box answer others without a key; see `fleet_app.exposure`. It stops no link."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleet_app.backends import detect
from fleet_app.doctor.findings import Finding, note, ok, unknown
from fleet_app.exposure import examine, listening, own_addresses
from fleet_app.exposure.examine import ports_of

if TYPE_CHECKING:
    from fleet_app.doctor.box import Box
    from fleet_app.presence import BackendPresence


async def exposed(box: Box) -> list[Finding]:
    """Judge the engines that the running node sees, or that are found now; empty if there are none."""
    engines = await _engines(box)
    if not engines:
        return []
    sockets = await asyncio.to_thread(listening, ports_of(engines))
    found = [note("exposure", item.words, item.remedy) for item in examine(engines, sockets or (), own_addresses())]
    if sockets is None:
        found.append(unknown("exposure", "where engines listen only root can see", "sudo propagul doctor"))
    return found or [ok("exposure", "no engine here answers others without a key")]


async def _engines(box: Box) -> tuple[BackendPresence, ...]:
    if box.node is None:
        return await detect(box.settings.backends, box.settings.detect)
    here = next((member.presence for member in box.members if member.reach == "here"), None)
    return () if here is None else here.backends
