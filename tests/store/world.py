"""Stores for tests: on loopback with real links, or on a network in memory with a clock of its own."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from propagul import AgentStateStore, GossipConfig
from propagul.testing import MemoryNetwork, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
    from pathlib import Path

ROOM = "my-project"
SECRET = "correct-horse-battery-staple-9"
OTHER_SECRET = "incorrect-horse-battery-staple"
FAST = GossipConfig.test()


def run(scenario: Callable[[], Coroutine[None, None, None]], *, within_s: float = 60.0) -> None:
    """Run a scenario in an event loop of its own; no task may outlive it."""

    async def main() -> None:
        async with asyncio.timeout(within_s):
            await scenario()
            await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())


async def until(condition: Callable[[], object], deadline_s: float = 20.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.002)


@contextmanager
def often_switching() -> Iterator[None]:
    """Threads that meet in the middle of things."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def loopback(
    label: str | int = 1,
    *,
    path: Path | None = None,
    secret: str | None = SECRET,
    room: str = ROOM,
    port: int | None = 0,
    config: GossipConfig = FAST,
) -> AgentStateStore:
    """A store on 127.0.0.1 with real links."""
    return AgentStateStore(room, label, port, "127.0.0.1", path=path, secret=secret, config=config)


def address(store: AgentStateStore) -> tuple[str, int]:
    """Where a started store listens."""
    host, port = store.addresses[0]
    return host, port


@asynccontextmanager
async def pair(*, path: Path | None = None) -> AsyncIterator[tuple[AgentStateStore, AgentStateStore]]:
    """Two linked stores on loopback."""
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(loopback("a", path=path))
        b = loopback("b")
        await b.start(peers=[address(a)])
        stack.push_async_callback(b.stop)
        yield a, b


@asynccontextmanager
async def waiting(durability: str, path: Path) -> AsyncIterator[AgentStateStore]:
    """A store whose writes wait for its disk or for a peer, which is there."""
    store = AgentStateStore(ROOM, 1, 0, "127.0.0.1", path=path, secret=SECRET, durability=durability)
    async with loopback("peer") as peer, store:
        store.add_peer(*address(peer))
        yield store


class Island:
    """Stores on a network in memory, in virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = MemoryNetwork(self.clock)
        self.stores: list[AgentStateStore] = []

    def make(
        self,
        name: str,
        *,
        label: str | None = None,
        path: Path | None = None,
        leaf: bool = False,
        config: GossipConfig | None = None,
        verify: str | None = None,
    ) -> AgentStateStore:
        """A store that is not started yet."""
        transport, label = self.network.transport(name), label or name
        store = AgentStateStore(
            ROOM, label, transport=transport, clock=self.clock, path=path, leaf=leaf, config=config, verify=verify
        )
        self.stores.append(store)
        return store

    async def start(
        self, name: str, *peers: str, label: str | None = None, verify: str | None = None
    ) -> AgentStateStore:
        """A store that runs and has caught up with those peers."""
        store = self.make(name, label=label, verify=verify)
        await store.start(peers=[(peer, 9000) for peer in peers])
        return store

    async def stop(self) -> None:
        """Stop every store, letting time pass for those whose peers are gone."""
        for store in self.stores:
            await self.finish(store.stop())

    async def finish(self, work: Awaitable[None]) -> None:
        """Await something that needs time to pass."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.clock.advance(0.1)
        await task


@asynccontextmanager
async def apart(island: Island) -> AsyncIterator[None]:
    """Nothing said by `a` or `b` is heard by the other before the end."""
    await island.clock.advance(30)
    island.network.cut("a", "b")
    yield
    island.network.heal("a", "b")
    await island.clock.advance(30)


def on_island(scenario: Callable[[Island], Awaitable[None]]) -> None:
    """Run a scenario on an island."""

    async def main() -> None:
        island = Island()
        try:
            await scenario(island)
        finally:
            await island.stop()

    run(main)
