"""Workload: what one changed key among many costs three stores, with every byte of all their links.

Of propagul 0.9.0 the public face is driven, with its caps lifted, for it keeps 4,096 keys and refuses messages over
1 MB. It answers to the address a message comes from, at the port that the message names; so each of its stores
listens on a loopback address of its own, and its relay on the common one at the same port.
"""

from __future__ import annotations

import asyncio
import importlib
import statistics
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from benchmarks import material
from benchmarks.gossip.company import ROOM, SECRET, company, settled, until, until_equal
from benchmarks.gossip.relay import LOOPBACK, Relay, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STORES = 3
QUIET_S = 1.0

_NO_LIMIT = 1 << 30


def one_change(contender: str, size: int, changes: int, seed: int) -> dict[str, float]:
    """Bytes on all links until three stores have one changed key, and until a second later; of many, the median."""
    return asyncio.run((_theirs if contender == "v090" else _ours)(size, changes, seed))


async def _ours(size: int, changes: int, seed: int) -> dict[str, float]:
    rows = material.rows(size, seed)
    async with company(STORES, rows) as found:
        await until(lambda: found.links == STORES, "all are linked")
        await until_equal(found.stores, rows)
        await settled(found.stores, QUIET_S)
        return await _changed(found.stores, rows, lambda: found.carried, changes, seed)


async def _theirs(size: int, changes: int, seed: int) -> dict[str, float]:
    importlib.import_module("propagul.crdt").MAX_KEYS = _NO_LIMIT  # type: ignore[attr-defined]  # of 0.9.0
    importlib.import_module("propagul.transport").MAX_MESSAGE_SIZE = _NO_LIMIT  # type: ignore[attr-defined]  # too
    theirs: Any = importlib.import_module("propagul")
    address_of: Any = importlib.import_module("propagul.types").PeerAddress
    rows = material.rows(size, seed)
    relays, stores = list[Relay](), list[Any]()
    async with AsyncExitStack() as stack:
        for number in range(1, STORES + 1):
            host = f"127.0.0.{number + 1}"
            relay = await stack.enter_async_context(_relay_to(host))
            stores.append(theirs.AgentStateStore(ROOM, number, relay.port, host, gossip_secret=SECRET))
            relays.append(relay)
        for key, value in rows.items():
            stores[0].set(key, value)
        for number, one in enumerate(stores):
            await one.start()
            stack.push_async_callback(one.stop)
            for other in range(STORES):
                if other != number:
                    one.add_peer(address_of(LOOPBACK, relays[other].port))
        await until_equal(stores, rows)
        return await _changed(stores, rows, lambda: sum(relay.carried for relay in relays), changes, seed)


def _relay_to(host: str) -> Relay:
    port = free_port()
    return Relay((host, port), port)


async def _changed(
    stores: Sequence[Any], rows: dict[str, str], carried: Callable[[], int], changes: int, seed: int
) -> dict[str, float]:
    """Change keys, one after another, and compare everything in the end."""
    step = max(1, len(rows) // changes)
    until_there, until_quiet = [], []
    for key, value in zip(list(rows)[::step], material.values(changes, seed + 1), strict=False):
        before = carried()
        rows[key] = value
        stores[0].set(key, value)
        await until(lambda k=key, v=value: all(one.get(k) == v for one in stores), "all have a change")  # type: ignore[misc]
        until_there.append(carried() - before)
        await asyncio.sleep(QUIET_S)
        until_quiet.append(carried() - before)
    await until_equal(stores, rows)
    return {"until_there_b": statistics.median(until_there), "bytes": statistics.median(until_quiet)}
