"""What a store says of itself stays said, whatever was said by the process before it or under another clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul import AgentStateStore, GossipConfig
from tests.scenarios.world import NodeClock
from tests.store.world import ROOM, on_island

if TYPE_CHECKING:
    from tests.store.world import Island

TTL_S = GossipConfig().presence_ttl_s


def test_a_store_that_was_restarted_keeps_its_rows_although_the_process_before_it_took_them_back() -> None:
    """Its own row, met by that removal, seemed to be heard from elsewhere: it was forgotten when nobody repeated it."""

    async def scenario(island: Island) -> None:
        before = await island.start("a")
        b = await island.start("b", "a")
        before.presence.set("at/a", "before")
        await island.clock.advance(2)
        await island.finish(before.stop())
        assert b.presence.get("at/a") is None
        a = island.make("a")
        a.presence.set("at/a", "now")
        await a.start(peers=[("b", 9000)])
        await island.clock.advance(4 * TTL_S)
        c = await island.start("c", "a")
        await island.clock.advance(1)
        for store in (a, b, c):
            heard = store.presence.get("at/a")
            assert heard is not None
            assert heard.value == "now"
        assert {member.label for member in c.members()} == {"a", "b"}

    on_island(scenario)


def test_after_the_clock_went_back_everything_is_said_again_under_the_fresh_origin() -> None:
    async def scenario(island: Island) -> None:
        clock = NodeClock(island.clock)
        clock.skew_s = 3600.0
        a = AgentStateStore(ROOM, "a", transport=island.network.transport("a"), clock=clock)
        island.stores.append(a)
        await a.start()
        a.presence.set("at/a", "here")
        b = await island.start("b", "a")
        clock.skew_s = 0.0
        c = await island.start("c", "b")  # a is linked with it: it writes its own row anew
        await island.clock.advance(4 * TTL_S)
        for store in (a, b, c):
            assert store.presence.get("at/a") is not None
            assert len(store.members()) == 2

    on_island(scenario)
