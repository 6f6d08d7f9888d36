"""Real stores of one room over loopback TCP with TLS, each behind a relay that counts what its links carry."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.gossip.relay import LOOPBACK, Relay, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from propagul import AgentStateStore

ROOM = "bench"
SECRET = bytes(range(32))
DEADLINE_S = 300.0


@dataclass(slots=True)
class Company:
    """Stores that are linked through relays only."""

    stores: list[AgentStateStore] = field(default_factory=list)
    relays: list[Relay] = field(default_factory=list)

    @property
    def carried(self) -> int:
        """Bytes on all links so far, both ways."""
        return sum(relay.carried for relay in self.relays)

    @property
    def frames(self) -> int:
        """Frames on all links so far, both ways."""
        return sum(store.stats.frames_out for store in self.stores)

    @property
    def links(self) -> int:
        """Links that both ends say are open; a link that one of them does not know counts half."""
        return sum(len(store.linked()) for store in self.stores) // 2


async def settled(stores: Sequence[AgentStateStore], quiet_s: float) -> None:
    """Return when for so long no link was opened or ended, and every store has one."""
    since, before = time.monotonic(), _opened(stores)
    deadline = since + DEADLINE_S
    while time.monotonic() - since < quiet_s:
        if time.monotonic() > deadline:
            raise AssertionError("the links did not settle")
        await asyncio.sleep(0.1)
        opened = _opened(stores)
        if opened != before or not all(opened):
            since, before = time.monotonic(), opened


def _opened(stores: Sequence[AgentStateStore]) -> list[frozenset[str]]:
    return [frozenset(map(str, one.linked())) for one in stores]


def store(name: str, port: int | None, **more: object) -> AgentStateStore:
    """A store of the room with its defaults: TLS under the room's secret, on loopback."""
    from propagul import AgentStateStore  # noqa: PLC0415 - peers' interpreters import this module too

    return AgentStateStore(ROOM, name, port, LOOPBACK, secret=SECRET, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def company(size: int, rows: Mapping[str, str], **config: float) -> AsyncIterator[Company]:
    """So many stores, started one after another, the first one with these rows; each is told of the one before it."""
    from propagul import GossipConfig  # noqa: PLC0415 - peers' interpreters import this module too

    found = Company()
    async with AsyncExitStack() as stack:
        for number in range(size):
            port = free_port()
            relay = await stack.enter_async_context(Relay((LOOPBACK, port)))
            timing = GossipConfig(**config)  # type: ignore[arg-type]  # the numbers among its fields
            one = store(f"store {number}", port, advertise=[(LOOPBACK, relay.port)], config=timing)
            if not number:
                fill(one, rows)
            await one.start(peers=[(LOOPBACK, before.port) for before in found.relays[-1:]])
            stack.push_async_callback(one.stop)
            found.stores.append(one)
            found.relays.append(relay)
        yield found


def fill(one: AgentStateStore, rows: Mapping[str, str]) -> None:
    """Write every row, each as an event of its own."""
    for key, value in rows.items():
        one.set(key, value)


async def until(condition: Callable[[], bool], what: str, *, pause_s: float = 0.001) -> None:
    """Wait for something to become true.

    Raises:
        AssertionError: It did not within `DEADLINE_S`.
    """
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")
        await asyncio.sleep(pause_s)


async def until_equal(stores: Sequence[AgentStateStore], rows: Mapping[str, str]) -> None:
    """Wait until every store holds these rows and no others."""
    await until(lambda: all(one.get_all() == rows for one in stores), "the stores are equal", pause_s=0.05)
