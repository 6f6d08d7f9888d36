"""Ten join at once: four are served at a time, all in the end, and short news waits for none of them."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from propagul.gossip import Effect, Event, InThread, LinkDown, LinkKey, Received
from propagul.gossip.decoding import decode
from propagul.gossip.messages import Delta, Digest
from propagul.gossip.turns import AT_ONCE
from tests.store.world import Island, on_island

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul import AgentStateStore

JOINERS = [f"joiner{number}" for number in range(10)]  # two more, and they would crowd each other out
ROWS = 1500
VALUE = "x" * 300


class Served:
    """Watches to whom a store sends long streams: from a first chunk that is not the last until that is acknowledged.

    The first four are held: nothing that they say arrives, so that they are served until they are let go, and whoever
    looks meanwhile sees all four.

    Attributes:
        now: On which links.
        most: On how many at once, at most.
        ever: On how many in all.
    """

    def __init__(self, island: Island, store: AgentStateStore) -> None:
        assert store._network is not None
        self.now: set[LinkKey] = set()
        self.ever: set[LinkKey] = set()
        self.most = 0
        self._network, self._mesh = island.network, store._network.mesh
        self._held: set[str] = set()
        node = self._mesh.node
        self._outgoing, self._handle = node.outgoing, node.handle
        node.outgoing, node.handle = self.outgoing, self.handle  # type: ignore[method-assign]

    def outgoing(self, link: LinkKey) -> Iterator[bytes | InThread]:
        for frame in self._outgoing(link):
            message = decode(frame) if isinstance(frame, bytes) else None
            if isinstance(message, Delta) and message.space == 0 and not message.last:
                self._hold(link)
                self.now.add(link)
                self.ever.add(link)
                self.most = max(self.most, len(self.now))
            yield frame

    def handle(self, event: Event, now: float) -> list[Effect]:
        message = decode(event.frame) if isinstance(event, Received) else None
        if isinstance(event, Received) and isinstance(message, Digest) and message.space == 0 and message.applied:
            self.now.discard(event.link)
        if isinstance(event, LinkDown):
            self.now.discard(event.link)
        return self._handle(event, now)

    def let_go(self) -> None:
        while self._held:
            self._network.unclog(self._held.pop(), "hub")

    def _hold(self, link: LinkKey) -> None:
        if link not in self.ever and len(self.ever) < AT_ONCE:
            joiner = self._mesh._open[link].link.remote.host
            self._held.add(joiner)
            self._network.clog(joiner, "hub")


async def joined_by_ten(island: Island) -> tuple[AgentStateStore, AgentStateStore, Served]:
    """A store with many rows, one that has them, and ten that begin to ask for them over slow links."""
    hub = await island.start("hub")
    with hub.transaction():
        for number in range(ROWS):
            hub.set(f"k{number}", VALUE)
    neighbour = await started(island, "neighbour")
    while not neighbour.get(f"k{ROWS - 1}"):
        await island.clock.advance(0.1)
    for a, b in combinations([*JOINERS, "neighbour"], 2):
        island.network.cut(a, b)
    served = Served(island, hub)
    for name in JOINERS:
        island.network.delay("hub", name, 0.2)
        await started(island, name)
    await until(island, lambda: len(served.now) == AT_ONCE)
    return hub, neighbour, served


async def started(island: Island, name: str) -> AgentStateStore:
    """A store that is linked with the hub soon, and waits for nothing."""
    store = island.make(name)

    async def start() -> None:
        await store.start(peers=[("hub", 9000)], sync_timeout_s=0.01)

    await island.finish(start())
    return store


async def until(island: Island, condition: Callable[[], bool]) -> None:
    """Let time pass."""
    for _ in range(2000):
        if condition():
            return
        await island.clock.advance(0.05)
    pytest.fail("not within 100 s")


def test_at_most_four_are_served_at_once_and_all_in_the_end() -> None:
    async def scenario(island: Island) -> None:
        hub, _, served = await joined_by_ten(island)
        joiners = island.stores[2:]
        served.let_go()
        await until(island, lambda: all(joiner.get_all() == hub.get_all() for joiner in joiners))
        assert len(served.ever) >= len(JOINERS)
        assert served.most == AT_ONCE

    on_island(scenario)


def test_short_news_waits_for_no_join() -> None:
    async def scenario(island: Island) -> None:
        hub, neighbour, served = await joined_by_ten(island)
        hub.set("news", 1)
        await island.clock.advance(0.05)
        assert neighbour.get("news") == 1
        assert len(served.now) == AT_ONCE

    on_island(scenario)
