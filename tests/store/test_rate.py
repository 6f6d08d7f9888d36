"""What a store sends in all is capped, and says so."""

from __future__ import annotations

from propagul import AgentStateStore, GossipConfig
from tests.store.world import ROOM, Island, on_island


def test_what_a_store_sends_in_all_is_capped_and_the_wait_is_told() -> None:
    async def scenario(island: Island) -> None:
        transport, config = island.network.transport("slow"), GossipConfig(bytes_per_s_max=10_000)
        slow = AgentStateStore(ROOM, "slow", transport=transport, clock=island.clock, config=config)
        island.stores.append(slow)
        await slow.start()
        other = await island.start("other", "slow")
        slow.set("much", "x" * 50_000)
        await island.clock.advance(2.5)
        assert "much" not in other
        await island.clock.advance(4.0)
        assert "much" in other
        assert 3.0 < slow.stats.throttled_s < 6.0
        assert other.stats.throttled_s == 0.0

    on_island(scenario)
