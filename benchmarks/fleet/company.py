"""The fleet that figures are measured in: a real node with an engine, a real one where people sit, and the rest."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.fleet.box import Box, box
from benchmarks.fleet.engine import Engine
from benchmarks.fleet.members import Member, members
from benchmarks.gossip.company import until
from benchmarks.gossip.relay import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class Company:
    """A fleet that has formed.

    Attributes:
        node: What is measured.
        engine: The engine beside it.
        desk: Where declarations are made, if there is such a box; it has no engine.
        members: The others.
    """

    node: Box
    engine: Engine
    desk: Box | None
    members: list[Member]


@contextlib.asynccontextmanager
async def company(boxes: int, scratch: str, settle_s: float, *, with_desk: bool = False) -> AsyncIterator[Company]:
    """So many boxes that have known each other for so long."""
    secret = secrets.token_urlsafe(32)
    async with contextlib.AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
        engine = await stack.enter_async_context(Engine())
        beside = f"http://{LOOPBACK}:{engine.port}"
        node = await stack.enter_async_context(box("node", home, secret, "--backend", beside))
        desk = await stack.enter_async_context(box("desk", home, secret)) if with_desk else None
        others = await stack.enter_async_context(members(boxes - 1 - with_desk, secret, node.listen))
        if desk is not None:
            others[-1].store.add_peer(*desk.listen)
        stores = [other.store for other in others]
        await until(lambda: all(len(store.members()) == boxes - 1 for store in stores), "all know all", pause_s=0.5)
        await asyncio.sleep(settle_s)
        yield Company(node, engine, desk, others)


async def heard_s(node: Box, boxes: int) -> list[float]:
    """How old the figures of every other box are at a node, by its own word.

    Raises:
        AssertionError: Some box is away, or has said nothing.
    """
    others = [other for other in (await node.nodes()).values() if other["reach"] != "here"]
    assert len(others) == boxes - 1, f"{len(others)} others"
    silent = [other["name"] for other in others if other["state"] != "up" or other["figures_s"] is None]
    assert not silent, f"nothing is heard of {silent}"
    return [other["figures_s"] for other in others]
