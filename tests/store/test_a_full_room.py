"""A room with more members than links becomes sparse; everybody still sees everybody and hears of everything."""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING

import pytest

from propagul import GossipConfig
from tests.scenarios.simulated import no_chance
from tests.store.world import Island, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul import AgentStateStore

IS_LONG = os.environ.get("LONG_TESTS") == "1"
MEMBERS = 40 if IS_LONG else 20
CONFIG = GossipConfig()


async def room_of(island: Island) -> list[AgentStateStore]:
    """Stores that each know the first one's address."""
    stores = [await island.start("n0")]
    for number in range(1, MEMBERS):
        store = island.make(f"n{number}")
        await store.start(peers=[("n0", 9000)])
        stores.append(store)
    for number, store in enumerate(stores):
        store.presence.set(f"at/{number}", number)
    return stores


def whom(store: AgentStateStore) -> set[str]:
    return {member.label for member in store.members()}


def what(store: AgentStateStore) -> set[str]:
    return set(store.presence.get_all("at/"))


async def within(island: Island, seconds: float, condition: Callable[[], bool]) -> None:
    until = island.clock.monotonic() + seconds
    while not condition():
        assert island.clock.monotonic() < until, f"not within {seconds} s"
        await island.clock.advance(1.0)


def all_see(stores: list[AgentStateStore]) -> bool:
    """Whether each of these sees the others of them, and their presence, and nobody else."""
    names = {store.label for store in stores}
    rows = {f"at/{name.removeprefix('n')}" for name in names}
    return all(whom(store) == names - {store.label} and what(store) == rows for store in stores)


@pytest.mark.timeout(600)
def test_a_room_of_many_has_few_links_sees_itself_and_heals_from_a_partition() -> None:
    async def scenario() -> None:
        island = Island()
        stores = await room_of(island)
        await within(island, 120, lambda: all_see(stores))
        await within(island, 120, lambda: all(5 <= len(store.linked()) <= 12 for store in stores))
        assert all(store._network is not None and store._network._node.sparse for store in stores)

        stores[7].set("k", "to all")
        await within(island, 3, lambda: all(store.get("k") == "to all" for store in stores))

        half, rest = stores[: MEMBERS // 2], stores[MEMBERS // 2 :]
        for a, b in product(half, rest):
            island.network.cut(a.label, b.label)
        half[0].set("k", "of one half")
        rest[0].set("k", "of the other")
        await island.clock.advance(CONFIG.presence_ttl_s + 2 * CONFIG.presence_interval_s)
        assert all_see(half)
        assert all_see(rest)

        for a, b in product(half, rest):
            island.network.heal(a.label, b.label)
        await within(island, 60, lambda: all_see(stores))
        await within(island, 10, lambda: all(len(store.get_conflicts("k")) == 2 for store in stores))
        assert {tuple(map(str, store.get_conflicts("k"))) for store in stores} == {
            tuple(map(str, stores[0].get_conflicts("k")))
        }
        await within(island, 120, lambda: all(5 <= len(store.linked()) <= 12 for store in stores))

        await island.stop()

    with no_chance(1):
        run(scenario, within_s=500)
