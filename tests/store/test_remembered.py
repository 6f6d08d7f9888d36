"""A store that was in a room finds it again by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul import AgentStateStore
from tests.store.world import ROOM, Island, on_island

if TYPE_CHECKING:
    from pathlib import Path


def test_after_a_restart_members_are_dialled_where_they_were(tmp_path: Path) -> None:
    async def scenario(island: Island) -> None:
        def deaf() -> AgentStateStore:
            """It listens nowhere, so nobody dials it."""
            transport = island.network.transport("a")
            store = AgentStateStore(ROOM, "a", None, transport=transport, clock=island.clock, path=tmp_path)
            island.stores.append(store)
            return store

        b = await island.start("b")
        first = deaf()
        await first.start(peers=[("b", 9000)])
        await island.clock.advance(5)
        assert first.linked() == {b.node}
        await island.finish(first.stop())
        b.set("meanwhile", 1)
        again = deaf()
        await again.start()  # no peers are named
        await island.clock.advance(5)
        assert again.linked() == {b.node}
        assert again.get("meanwhile") == 1

    on_island(scenario)


def test_what_is_remembered_is_no_row_of_the_room(tmp_path: Path) -> None:
    async def scenario(island: Island) -> None:
        a = island.make("a", path=tmp_path / "a")
        await a.start()
        b = await island.start("b", "a")
        await island.clock.advance(5)
        assert a._spaces["own"].row("peers").winner is not None
        assert b._spaces["own"].row("peers").winner is not None
        assert a.get_all() == b.get_all() == {}
        assert len(a) == 0

    on_island(scenario)


def test_a_disk_that_cannot_tell_makes_it_forget_and_no_more(tmp_path: Path) -> None:
    store = AgentStateStore(ROOM, port=None, path=tmp_path)
    store._spaces["own"].put("peers", "no row of members")
    store.start_background()
    assert store.members() == []
    store.close()
