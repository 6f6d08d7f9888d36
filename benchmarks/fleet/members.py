"""The rest of the fleet: replicas in one process that say what nodes say, at the pace at which nodes say it.

Each has a store of its own with the settings of a node's, linked over loopback TCP with TLS, and a node's own voice: it
beats faster while somebody watches, anywhere. One in five works: all that moves of it moves all the time. The others
rest, with the noise that sensors of a resting box have.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from random import Random
from typing import TYPE_CHECKING

from benchmarks.fleet.engine import LOADED_CONTEXT, MODELS, VERSION
from benchmarks.gossip.company import until
from benchmarks.gossip.relay import LOOPBACK, free_port
from fleet_app.home import ROOM
from fleet_app.presence import BackendPresence, Capability, Cpu, Gpu, Model, NodePresence, Usage
from fleet_app.presence.voice import UNWATCHED_S
from fleet_app.replica import GOSSIP, introduce
from fleet_app.roster import NODES
from fleet_app.speech import Speech
from propagul import AgentStateStore, __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from propagul.link import Address

_MIB, _GIB = 2**20, 2**30
BUSY_EVERY = 5

_SYNC_S_MAX = 0.2
"""Nobody waits for a member: the fleet is waited for as a whole."""

_ABILITIES: Mapping[str, tuple[Capability, ...]] = {
    "completion": ("chat", "completions"),
    "embedding": ("embeddings",),
    "vision": ("vision",),
    "tools": ("tools",),
}


class Member:
    """One of them."""

    def __init__(self, number: int, secret: str) -> None:
        self.name = f"member{number:02}"
        self._chance, self._standing = Random(number), member_presence(self.name)
        self._is_busy, self._ram = number % BUSY_EVERY == 0, 20.0 * _GIB
        self.store = AgentStateStore(
            ROOM, self.name, free_port(), LOOPBACK, secret=secret, config=GOSSIP, owned=(NODES,)
        )
        self.speech = Speech(self.store, self._now, lambda: 0)

    async def start(self, peers: Sequence[Address]) -> None:
        """Join the fleet and say who it is."""
        await self.store.start(peers, sync_timeout_s=_SYNC_S_MAX)
        introduce(self.store, self.name)

    async def run(self) -> None:
        """Say what is due until cancelled."""
        await asyncio.sleep(self._chance.uniform(0, UNWATCHED_S))  # boxes do not start together
        await self.speech.run()

    def _now(self) -> NodePresence:
        chance, (gpu,) = self._chance, self._standing.gpus
        self._ram += chance.gauss(0, 8 * _MIB)
        if self._is_busy:
            cpu, load, watts = chance.uniform(20, 60), chance.uniform(50, 100), chance.uniform(250, 400)
            used, celsius, clock = 20 * _GIB, chance.uniform(60, 75), 2500
        else:
            cpu, load, watts = abs(chance.gauss(2, 1)), 0.0, chance.gauss(20, 1.5)
            used, celsius, clock = 300 * _MIB, chance.gauss(38, 0.5), 210
        moving = {
            "percent": load,
            "vram": Usage(used_bytes=used, total_bytes=24 * _GIB),
            "temperature_c": celsius,
            "power_w": watts,
            "clock_mhz": clock,
            "memory_clock_mhz": 10501 if self._is_busy else 405,
        }
        return self._standing.model_copy(
            update={
                "at_s": time.time(),
                "cpu": Cpu(percent=cpu, cores=16),
                "ram": Usage(used_bytes=int(self._ram), total_bytes=64 * _GIB),
                "gpus": (gpu.model_copy(update=moving),),
                "in_flight": chance.randrange(4) if self._is_busy else 0,
            }
        )


def member_presence(name: str) -> NodePresence:
    """What stands of a member; its engine lists what the engine of the benchmark does."""
    models = [
        Model(
            name=model,
            loaded=is_loaded,
            size_bytes=size,
            vram_bytes=size if is_loaded else None,
            context=LOADED_CONTEXT if is_loaded else context,
            capabilities=tuple(ability for word in words for ability in _ABILITIES[word]),
        )
        for model, size, context, words, is_loaded in MODELS
    ]
    engine = BackendPresence(
        kind="ollama",
        url="http://127.0.0.1:11434",
        condition="ready",
        version=VERSION,
        models=tuple(models),
        can=("pull", "delete", "load", "unload"),
    )
    return NodePresence(
        name=name,
        version=__version__,
        platform="linux/x86_64",
        at_s=time.time(),
        started_s=time.time(),
        disk=Usage(used_bytes=200 * _GIB, total_bytes=1000 * _GIB),
        gpus=(Gpu(index=0, name="NVIDIA GeForce RTX 4090", vendor="nvidia", uuid=f"GPU-{name}"),),
        backends=(engine,),
    )


@contextlib.asynccontextmanager
async def members(count: int, secret: str, first: Address) -> AsyncIterator[list[Member]]:
    """So many, each told of `first` or of one before it; they speak once all are there."""
    chance, found = Random(count), list[Member]()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            one = Member(number, secret)
            stack.push_async_callback(one.store.stop)
            await one.start([chance.choice([first, *(other.store.addresses[0] for other in found)])])
            found.append(one)
        await until(lambda: all(len(one.store.members()) >= count for one in found), "all know all", pause_s=0.5)
        tasks = await stack.enter_async_context(_tasks())
        tasks += [asyncio.create_task(one.run()) for one in found]
        yield found


@contextlib.asynccontextmanager
async def _tasks() -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks that end with the block; one that broke breaks it."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
