"""How soon a node acts: on an engine that appears beside it, and on what somebody declares elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks import workers
from benchmarks.fleet.company import company
from benchmarks.fleet.desk import declare, plan
from benchmarks.fleet.engine import Engine
from benchmarks.gossip.company import DEADLINE_S, until
from benchmarks.gossip.relay import LOOPBACK
from fleet_app.backends.scanner import DEFAULT_PORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.fleet.box import Box
    from benchmarks.fleet.company import Company

_ASK_S = 0.05
_PHASE_S = 5.0
"""An engine starts at any moment between two looks."""

_UNPRIVILEGED = 1024


def act(*, boxes: int, rounds: int, settle_s: float, scratch: str) -> Mapping[str, float]:
    """Declare, detect and plan in such a fleet, each so often."""
    return asyncio.run(_act(boxes, rounds, settle_s, scratch))


async def _act(boxes: int, rounds: int, settle_s: float, scratch: str) -> dict[str, float]:
    found: dict[str, float] = {}
    async with company(boxes, scratch, settle_s, with_desk=True) as fleet:
        for number in range(rounds):
            found[f"action_s_{number}"] = await _declared(fleet, f"pulled{number}:latest")
        port, chance = _free_usual_port(), Random(rounds)
        if port is not None:
            for number in range(rounds):
                found[f"detect_s_{number}"] = await _detected(fleet.node, port, chance.uniform(0, _PHASE_S))
        assert fleet.desk is not None
        found |= await asyncio.to_thread(
            workers.ours().run, plan, data_dir=str(fleet.desk.data_dir), boxes=boxes, rounds=rounds
        )
    return found


async def _declared(fleet: Company, model: str) -> float:
    """Seconds from an edit at the desk to the first request for it at the node's engine."""
    assert fleet.desk is not None
    asked = {"data_dir": str(fleet.desk.data_dir), "model": model, "node": fleet.node.name}
    done = await asyncio.to_thread(workers.ours().run, declare, **asked)
    await until(lambda: model in fleet.engine.pulled_at, f"{model} is pulled")
    await _until(fleet.node, lambda said: not said["pulls"])
    return fleet.engine.pulled_at[model] - done["begun_s"]


async def _detected(node: Box, port: int, phase_s: float) -> float:
    """Seconds from an engine's opening of a usual port to its showing at the node."""
    url = f"http://{LOOPBACK}:{port}"

    def is_shown(said: Mapping[str, Any]) -> bool:
        return any(engine["url"] == url and engine["condition"] == "ready" for engine in said["backends"])

    await asyncio.sleep(phase_s)
    async with Engine(port):
        begin = time.monotonic()
        await _until(node, is_shown)
        took_s = time.monotonic() - begin
    await _until(node, lambda said: not is_shown(said))
    return took_s


async def _until(node: Box, condition: Callable[[Mapping[str, Any]], bool]) -> None:
    """Ask the node until it says of itself what it should."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if condition((await node.nodes())[node.name]["presence"]):
                return
            await asyncio.sleep(_ASK_S)


def _free_usual_port() -> int | None:
    """A port where nodes look for engines by themselves, and where nothing is."""
    for port in DEFAULT_PORTS:
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            if port > _UNPRIVILEGED:
                return port
    return None
