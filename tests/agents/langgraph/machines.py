"""Two machines that share threads, on a network in memory that can be cut, in virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from propagul_langgraph import PropagulSaver

from tests.store.world import Island, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Machines:
    """Savers `a` and `b`, each on a store of its own."""

    def __init__(self, island: Island, a: PropagulSaver, b: PropagulSaver) -> None:
        self._island, self.a, self.b = island, a, b

    def cut(self) -> None:
        """From now on neither hears of the other."""
        self._island.network.cut("a", "b")

    async def heal(self) -> None:
        """They hear of each other again, and have heard all when this returns."""
        self._island.network.heal("a", "b")
        await self.settle()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        await self._island.clock.advance(seconds)

    async def settle(self) -> None:
        """Let both have what the other one has."""
        for _ in range(400):
            await self._island.clock.advance(0.1)
            if dict(self.a.store.items()) == dict(self.b.store.items()):
                return
        raise AssertionError("the two machines did not come to hold the same rows")


@asynccontextmanager
async def machines(**settings: Any) -> AsyncIterator[Machines]:
    """Two linked machines; settings are for their savers."""
    island = Island()
    try:
        a, b = await island.start("a"), await island.start("b", "a")
        yield Machines(island, PropagulSaver(a, **settings), PropagulSaver(b, **settings))
    finally:
        await island.stop()


def on_two(scenario: Callable[[Machines], Awaitable[None]], **settings: Any) -> None:
    """Run a scenario on two machines."""

    async def main() -> None:
        async with machines(**settings) as both:
            await scenario(both)

    run(main)
