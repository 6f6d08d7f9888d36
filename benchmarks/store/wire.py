"""Workloads between two linked stores: real stores, the real protocol, frames counted by `stats`, a network in memory.

Bytes are what the stores hand to their links, before encryption. One change is counted at an instant in which virtual
time stands still, so that it holds the push and its answer, and no sign of life that was due anyway.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks import material
from benchmarks.store.contenders import ROOM
from benchmarks.store.tap import TappedTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from propagul import AgentStateStore
    from propagul.testing import VirtualClock

CHANGES = 21
QUIET_S = 60.0
"""Virtual seconds until two linked stores send nothing but signs of life."""

DEADLINE_S = 120.0

_TEXT_HEADER_B, _BYTES_HEADER_B = 1, 2
"""What msgpack puts before the name of the namespace, which is empty, and before its digest."""


def one_change(size: int, seed: int) -> dict[str, float]:
    """Bytes on the link, both ways, for one overwritten key between stores that hold `size` keys."""
    return asyncio.run(_one_change(size, seed))


def cold_join(size: int, seed: int) -> dict[str, float]:
    """Bytes on the link, both ways, until an empty store holds what another has."""
    return asyncio.run(_cold_join(size, seed))


def equal_vectors(visitors: int, scratch: str) -> dict[str, float]:
    """Bytes that two version vectors cost when stores link that know the same `visitors` origins and lack nothing.

    Of a hello what it says of this namespace, and whole the digests that follow; signs of life are not in it.
    """
    return asyncio.run(_equal_vectors(visitors, scratch))


async def _one_change(size: int, seed: int) -> dict[str, float]:
    from propagul.testing import VirtualClock  # noqa: PLC0415 - peers' interpreters import this module too

    clock = VirtualClock()
    keys, fresh = material.keys(size), material.values(CHANGES, seed + 1)
    async with _linked(size, seed, clock) as (sender, receiver):
        await clock.advance(QUIET_S)
        counted = []
        for key, value in zip(keys[:: max(1, size // CHANGES)], fresh, strict=False):
            before = _sent(sender), _sent(receiver)
            sender.set(key, value)
            await clock.settle()
            if receiver.get(key) != value:
                raise AssertionError("a change did not arrive at once")
            counted.append((_sent(sender) - before[0], _sent(receiver) - before[1]))
            await clock.advance(QUIET_S)
    useful = material.KEY_CHARS + material.VALUE_CHARS
    sent, answered = (statistics.median(column) for column in zip(*counted, strict=True))
    return {"sent_b": sent, "answered_b": answered, "over_b": sent + answered - useful}


async def _cold_join(size: int, seed: int) -> dict[str, float]:
    began = time.perf_counter()
    async with _linked(size, seed) as (full, joined):
        wall_s = time.perf_counter() - began
        sent, answered = _sent(full), _sent(joined)
    theory = material.text_bytes(material.rows(size, seed))
    return {"bytes": sent + answered, "answered_b": answered, "theory_b": theory, "wall_s": wall_s}


async def _equal_vectors(visitors: int, scratch: str) -> dict[str, float]:
    from propagul import AgentStateStore  # noqa: PLC0415 - peers' interpreters import this module too
    from propagul.testing import MemoryNetwork, VirtualClock  # noqa: PLC0415

    clock = VirtualClock()
    network = MemoryNetwork(clock)
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        async with AgentStateStore(ROOM, "hub", transport=network.transport("hub"), clock=clock) as hub:
            for number in range(visitors):
                transport = network.transport(f"visitor{number}")
                visitor = AgentStateStore(ROOM, "visitor", port=None, transport=transport, clock=clock)
                visitor.set(f"visitors/{number}", number)
                await _visit(visitor, clock)
            for _ in range(2):  # the second time it knows what the hub knows
                tap = TappedTransport(network.transport("again"))
                again = AgentStateStore(ROOM, "again", port=None, path=directory, transport=tap, clock=clock)
                await _visit(again, clock)
                await clock.advance(QUIET_S)
            origins = hub.stats.origins
    return {"bytes": _vector_bytes(tap.frames), "link_up_b": sum(map(len, tap.frames)), "origins": origins}


async def _visit(store: AgentStateStore, clock: VirtualClock) -> None:
    """Link with the hub, be equal, leave."""
    report = await store.start(peers=[("hub", 9000)])
    await clock.settle()
    if not report.complete:
        raise AssertionError("a visitor did not catch up")
    await store.stop()


def _vector_bytes(frames: Sequence[bytes]) -> int:
    """What frames spend on the state's version vector: of hellos its digest and name, of other messages all.

    Raises:
        AssertionError: One carries rows, or entries: the vectors were not equal. Or the hellos name other namespaces.
    """
    from propagul.gossip.decoding import decode  # noqa: PLC0415 - peers' interpreters import this module too
    from propagul.gossip.messages import Digest, Hello, Pulse  # noqa: PLC0415 - likewise

    messages = [(decode(frame), len(frame)) for frame in frames]
    hellos = [message for message, _ in messages if isinstance(message, Hello)]
    (names,) = {tuple(hello.digests) for hello in hellos}
    spent = sum(_TEXT_HEADER_B + _BYTES_HEADER_B + len(hello.digests[""]) for hello in hellos)
    for message, size in messages:
        if message is None or isinstance(message, Hello | Pulse) or message.space != names.index(""):
            continue
        if not isinstance(message, Digest) or message.entries:
            raise AssertionError("something was told between stores that are equal")
        spent += size
    return spent


@asynccontextmanager
async def _linked(
    size: int, seed: int, clock: VirtualClock | None = None
) -> AsyncIterator[tuple[AgentStateStore, AgentStateStore]]:
    """A store that holds `size` keys, and one that joined it empty and now holds the same."""
    from propagul import AgentStateStore  # noqa: PLC0415 - peers' interpreters import this module too
    from propagul.testing import MemoryNetwork  # noqa: PLC0415

    network = MemoryNetwork(clock)
    full = AgentStateStore(ROOM, "full", transport=network.transport("full"), clock=clock)
    joined = AgentStateStore(ROOM, "joined", transport=network.transport("joined"), clock=clock)
    for key, value in material.rows(size, seed).items():
        full.set(key, value)
    async with full:
        await joined.start(peers=[("full", 9000)])
        try:
            await _equal(full, joined)
            yield full, joined
        finally:
            await joined.stop()


async def _equal(one: AgentStateStore, other: AgentStateStore) -> None:
    deadline = time.monotonic() + DEADLINE_S
    expected = one.get_all()
    while other.get_all() != expected:
        if time.monotonic() > deadline:
            raise AssertionError("the stores did not become equal")
        await asyncio.sleep(0.01)


def _sent(store: AgentStateStore) -> int:
    return store.stats.bytes_out
