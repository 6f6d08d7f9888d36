"""A leaf behind its hubs: it has the room's state, the room has its presence, and the room's telemetry passes it by."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, GossipConfig
from tests.store.world import FAST, ROOM, SECRET, Island, address, loopback, on_island, run, until

if TYPE_CHECKING:
    from pathlib import Path


CONFIG = GossipConfig()


async def leaf_of(
    island: Island, *hubs: str, name: str = "leaf", path: Path | None = None, config: GossipConfig | None = None
) -> AgentStateStore:
    """A leaf that runs and has caught up with those hubs."""
    store = island.make(name, path=path, leaf=True, config=config)
    await store.start(peers=[(hub, 9000) for hub in hubs])
    return store


async def room_of(island: Island, count: int, config: GossipConfig | None = None) -> list[AgentStateStore]:
    """Stores that each know the first one's address."""
    stores = [island.make(f"n{number}", config=config) for number in range(count)]
    for store in stores:
        await store.start(peers=[("n0", 9000)] if store is not stores[0] else [])
    return stores


def labels(store: AgentStateStore) -> set[str]:
    return {member.label for member in store.members()}


def said(store: AgentStateStore) -> set[str]:
    return set(store.presence.get_all("at/"))


def test_a_leaf_has_the_state_of_the_room_and_is_seen_in_it_through_its_hub() -> None:
    async def scenario(island: Island) -> None:
        stores = await room_of(island, 4)
        leaf = await leaf_of(island, "n0")
        for number, store in enumerate([*stores, leaf]):
            store.presence.set(f"at/{number}", number)
        await island.clock.advance(10)
        assert leaf.linked() == {stores[0].node}
        assert all(leaf.node not in store.linked() for store in stores[1:])
        assert all("leaf" in labels(store) and said(store) == {f"at/{n}" for n in range(5)} for store in stores)
        (seen,) = [member for member in stores[2].members() if member.node == leaf.node]
        assert (seen.leaf, seen.linked) == (True, False)
        assert not any(member.leaf for member in stores[2].members() if member.node != leaf.node)
        assert labels(leaf) == {"n0"}
        assert said(leaf) == {"at/4"}
        stores[3].set("far", 1)
        leaf.set("near", 2)
        await island.clock.advance(1)
        assert leaf.get("far") == 1
        assert all(store.get("near") == 2 for store in stores)
        flushed = leaf.flush(peers=1)
        await island.finish(flushed)

    on_island(scenario)


def test_a_leaf_that_says_goodbye_is_gone_at_once_and_so_is_what_it_said() -> None:
    async def scenario(island: Island) -> None:
        stores = await room_of(island, 3)
        leaf = await leaf_of(island, "n0")
        leaf.presence.set("at/leaf", 1)
        await island.clock.advance(5)
        assert all("leaf" in labels(store) for store in stores)
        began = island.clock.monotonic()
        await island.finish(leaf.stop())
        assert island.clock.monotonic() - began < 1, "it waits for its hub alone, and that answers"
        await island.clock.advance(2)
        assert not any("leaf" in labels(store) or said(store) for store in stores)

    on_island(scenario)


def test_a_hub_does_not_wait_for_its_leaf_to_hear_its_goodbye() -> None:
    async def scenario(island: Island) -> None:
        hub = await island.start("hub")
        await leaf_of(island, "hub")
        await island.clock.advance(5)
        began = island.clock.monotonic()
        await island.finish(hub.stop())
        assert island.clock.monotonic() - began < 1

    on_island(scenario)


def test_an_idle_leaf_is_spared_the_telemetry_of_the_room_and_hears_of_its_state() -> None:
    async def scenario(island: Island) -> None:
        stores = await room_of(island, 8)
        leaf, other = await leaf_of(island, "n0", "n1"), stores[7]
        await island.clock.advance(10)

        async def telemetry(rounds: int) -> None:
            for number in range(rounds):
                for at, store in enumerate(stores):
                    store.presence.set(f"at/{at}", {"round": number, "load": [0.5] * 10})
                await island.clock.advance(0.1)

        before, theirs, seconds = leaf.stats.bytes_in, other.stats.bytes_in, 1
        await telemetry(10 * seconds)
        assert (other.stats.bytes_in - theirs) / seconds > 5000, "who is no leaf hears all of it"
        assert (leaf.stats.bytes_in - before) / seconds < 10  # measured: at most 4, which are pulses
        assert said(other) == {f"at/{number}" for number in range(8)}
        assert said(leaf) == set()
        for store in stores:
            store.set(f"news of {store.label}", 1)
        await telemetry(3)
        assert len(leaf) == 8

    on_island(scenario)


def test_a_leaf_whose_hub_dies_and_comes_back_catches_up_and_is_seen_again() -> None:
    async def scenario(island: Island) -> None:
        hub = await island.start("hub")
        other = await island.start("other", "hub")
        leaf = await leaf_of(island, "hub")
        leaf.presence.set("at/leaf", 1)
        await island.clock.advance(5)
        assert said(other) == {"at/leaf"}
        await island.finish(hub.stop())
        other.set("k", "while it was away")
        leaf.set("mine", "too")
        await island.clock.advance(CONFIG.presence_ttl_s + 2 * CONFIG.presence_interval_s)
        assert leaf.linked() == set()
        assert said(other) == set()
        assert "leaf" not in labels(other)
        await island.start("hub", "other")
        await island.clock.advance(3 * CONFIG.redial_s_max)
        assert leaf.get("k") == "while it was away"
        assert other.get("mine") == "too"
        assert said(other) == {"at/leaf"}
        assert "leaf" in labels(other)

    on_island(scenario)


def test_a_leaf_with_two_hubs_is_linked_with_both_and_bears_the_loss_of_one() -> None:
    async def scenario(island: Island) -> None:
        stores = await room_of(island, 4)
        leaf = await leaf_of(island, "n0", "n1")
        leaf.presence.set("at/leaf", 1)
        await island.clock.advance(5)
        assert leaf.linked() == {stores[0].node, stores[1].node}
        await island.finish(stores[0].stop())
        for number in range(15):
            leaf.presence.set("at/leaf", number)
            stores[3].set("k", number)
            await island.clock.advance(1)
            assert all("leaf" in labels(store) and said(store) == {"at/leaf"} for store in stores[1:])
        assert leaf.get("k") == 14
        assert leaf.linked() == {stores[1].node}

    on_island(scenario)


def test_what_lies_behind_a_leaf_is_out_of_reach_for_presence_and_not_for_state() -> None:
    """Its two hubs are cut off from each other: neither may show as fresh what it does not hear of."""

    async def scenario(island: Island) -> None:
        a, b = await room_of(island, 2)
        leaf = await leaf_of(island, "n0", "n1")
        for at, store in {"a": a, "b": b, "leaf": leaf}.items():
            store.presence.set(f"at/{at}", 1)
        await island.clock.advance(5)
        island.network.cut("n0", "n1")
        await island.clock.advance(CONFIG.presence_ttl_s + 2 * CONFIG.presence_interval_s)
        assert (said(a), said(b)) == ({"at/a", "at/leaf"}, {"at/b", "at/leaf"})
        assert labels(a) == labels(b) == {"leaf"}
        a.set("k", "by way of the leaf")
        await island.clock.advance(2)
        assert b.get("k") == "by way of the leaf"
        island.network.heal("n0", "n1")
        await island.clock.advance(20)
        assert said(a) == said(b) == {"at/a", "at/b", "at/leaf"}

    on_island(scenario)


def test_a_member_that_became_a_leaf_is_dialled_no_more(tmp_path: Path) -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        was = island.make("c", path=tmp_path)
        await was.start(peers=[("a", 9000)])
        await island.clock.advance(10)
        assert b.linked() == {a.node, was.node}
        await island.finish(was.stop())
        leaf = await leaf_of(island, "a", name="c", path=tmp_path)
        await island.clock.advance(60)
        assert leaf.linked() == {a.node}
        assert b.linked() == {a.node}
        assert {"a", "c"} == labels(b)

    on_island(scenario)


def test_a_leaf_goes_back_to_those_it_was_given_last_and_dials_no_other_member(tmp_path: Path) -> None:
    async def scenario(island: Island) -> None:
        stores = await room_of(island, 3)

        async def restarted(leaf: AgentStateStore, *hubs: str) -> AgentStateStore:
            await island.finish(leaf.stop())
            again = await leaf_of(island, *hubs, path=tmp_path)
            await island.clock.advance(10)
            return again

        first = await leaf_of(island, "n1", path=tmp_path)
        await island.clock.advance(40)
        unnamed = await restarted(first)
        assert unnamed.linked() == {stores[1].node}
        elsewhere = await restarted(unnamed, "n2")
        assert elsewhere.linked() == {stores[2].node}, "who was named before is none of those named now"
        await island.clock.advance(40)
        assert (await restarted(elsewhere)).linked() == {stores[2].node}

    on_island(scenario)


def test_what_a_member_remembered_of_others_is_nothing_that_a_leaf_was_given(tmp_path: Path) -> None:
    async def scenario(island: Island) -> None:
        await island.start("a")
        was = island.make("c", path=tmp_path)
        await was.start(peers=[("a", 9000)])
        await island.clock.advance(5)
        await island.finish(was.stop())
        leaf = await leaf_of(island, name="c", path=tmp_path)
        await island.clock.advance(10)
        assert leaf.linked() == set()

    on_island(scenario)


@pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
def test_processes_of_a_leafs_directory_share_their_presence_and_send_it_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loopback("hub") as hub:
            hub.presence.set("at/hub", 1)
            first, second = (
                AgentStateStore(ROOM, name, None, "127.0.0.1", path=tmp_path, secret=SECRET, config=FAST, leaf=True)
                for name in ("first", "second")
            )
            await first.start(peers=[address(hub)])
            await second.start(peers=[address(hub)])
            first.presence.set("at/first", 1)
            second.presence.set("at/second", 1)
            await until(lambda: said(hub) == {"at/hub", "at/first", "at/second"})
            await until(lambda: said(first) == said(second) == {"at/first", "at/second"})
            hub.set("k", 1)
            await until(lambda: second.get("k") == 1)
            assert second.linked() == set()
            await second.stop()
            await first.stop()

    run(scenario)


def test_leaves_take_no_place_in_the_mesh_of_their_hub() -> None:
    """The hub of a sparse room has many of them, and is as well linked with the others as anybody."""
    few = replace(CONFIG, peers_max=5, active_max=3)

    async def scenario(island: Island) -> None:
        stores = await room_of(island, 7, few)
        leaves = [await leaf_of(island, "n0", name=f"leaf{number}", config=few) for number in range(6)]
        for number, leaf in enumerate(leaves):
            leaf.presence.set(f"at/{number}", 1)
        await island.clock.advance(40)
        members = {store.node for store in stores}
        assert all(leaf.linked() == {stores[0].node} for leaf in leaves)
        assert all(len(store.linked() & members) >= 2 for store in stores)
        assert all(store.linked() <= members for store in stores[1:])
        opened = [leaf.stats.links_opened for leaf in leaves]
        stores[6].set("k", 1)
        await island.clock.advance(20)
        assert [leaf.stats.links_opened for leaf in leaves] == opened == [1] * 6, "none was given up for another"
        assert all(leaf.get("k") == 1 for leaf in leaves)
        assert len(said(stores[6])) == 6

    on_island(scenario)


def test_leaves_make_no_room_sparse() -> None:
    few = replace(CONFIG, peers_max=3)

    async def scenario(island: Island) -> None:
        stores = await room_of(island, 3, few)
        for number in range(4):
            await leaf_of(island, "n0", name=f"leaf{number}", config=few)
        await island.clock.advance(10)
        assert len(stores[2].members()) == 6
        assert not any(store._network is not None and store._network._node.sparse for store in stores)

    on_island(scenario)


def test_a_hub_that_is_linked_with_leaves_alone_asks_the_room_to_let_it_in() -> None:
    async def scenario(island: Island) -> None:
        hub, other = await island.start("hub"), await island.start("other")
        for number in range(3):
            await leaf_of(island, "hub", name=f"leaf{number}")
        hub.add_peer("other", 9000)
        await island.clock.advance(2)
        assert other._network is not None
        hello = other._network._node.hello_of(hub.node)
        assert hello is not None
        assert hello.urgent

    on_island(scenario)


def test_a_hub_with_many_leaves_goes_on_looking_for_its_own_peers() -> None:
    few = replace(CONFIG, peers_max=3)

    async def scenario(island: Island) -> None:
        other = await island.start("other")
        hub = island.make("hub", config=few)
        await hub.start(peers=[("other", 9000)])
        for number in range(4):
            await leaf_of(island, "hub", name=f"leaf{number}", config=few)
        await island.finish(other.stop())
        await island.clock.advance(5)
        again = await island.start("other")  # which knows of nobody
        await island.clock.advance(10)
        assert again.linked() == {hub.node}

    on_island(scenario)


def test_a_leaf_says_what_is_wrong_with_its_hubs() -> None:
    async def scenario(island: Island) -> None:
        alone = await leaf_of(island)
        assert alone.troubles() == [
            "a leaf is linked with the peers it was given, and there are none: name its hub as a peer"
        ]
        other = await leaf_of(island, "leaf", name="other")
        await island.clock.advance(2)
        assert other.troubles() == ["'leaf' is a leaf itself and passes no presence on: name a hub as a peer"]
        await island.start("hub")
        alone.add_peer("hub", 9000)
        await island.clock.advance(5)
        assert labels(alone) == {"hub", "other"}

    on_island(scenario)


def test_the_floor_of_a_hub_rises_though_its_leaf_is_not_served() -> None:
    async def scenario(island: Island) -> None:
        hub = await island.start("hub")
        await leaf_of(island, "hub")
        await island.clock.advance(5)
        assert hub._network is not None
        for number in range(50):
            hub.presence.set(f"at/{number}", 1)
            hub.presence.delete(f"at/{number}")
        await island.clock.advance(5)
        assert hub._network._node.served()["presence"] == hub._spaces["presence"].arrival

    on_island(scenario)


def test_a_leaf_over_tls_shares_state_and_sends_its_presence_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loopback("hub") as hub, loopback("other") as other:
            other.add_peer(*address(hub))
            leaf = AgentStateStore(
                ROOM, "leaf", None, "127.0.0.1", path=tmp_path, secret=SECRET, config=FAST, leaf=True
            )
            report = await leaf.start(peers=[address(hub)])
            assert report.complete
            leaf.set("k", "up")
            leaf.presence.set("at/leaf", 1)
            other.presence.set("at/other", 1)
            await leaf.flush(peers=1)
            await until(lambda: other.get("k") == "up" and said(other) == {"at/other", "at/leaf"})
            other.set("k", "down")
            await until(lambda: leaf.get("k") == "down")
            await until(lambda: labels(other) == {"hub", "leaf"} and labels(leaf) == {"hub"})
            assert said(leaf) == {"at/leaf"}
            assert leaf.linked() == {hub.node}
            await leaf.stop()
            await until(lambda: said(other) == {"at/other"} and labels(other) == {"hub"})

    run(scenario)


def test_a_leaf_does_not_end_the_former_secret_by_itself(tmp_path: Path) -> None:
    """It cannot know who has not followed: only the time, or a word of its user, ends it."""

    async def scenario() -> None:
        async with loopback("hub", path=tmp_path / "hub") as hub:
            leaf = AgentStateStore(
                ROOM, "leaf", None, "127.0.0.1", path=tmp_path / "leaf", secret=SECRET, config=FAST, leaf=True
            )
            await leaf.start(peers=[address(hub)])
            leaf.rotate_secret("another-horse-battery-staple-7")
            await until(lambda: leaf.rotation is not None and not leaf.rotation.missing)
            leaf.set("k", 1)
            await until(lambda: hub.get("k") == 1)
            assert leaf.rotation is not None
            leaf.finish_rotation()
            assert leaf.rotation is None
            await leaf.stop()

    run(scenario)


def test_a_leaf_follows_when_the_secret_is_changed_at_its_hub() -> None:
    async def scenario() -> None:
        async with loopback("hub") as hub:
            leaf = AgentStateStore(ROOM, "leaf", None, "127.0.0.1", secret=SECRET, config=FAST, leaf=True)
            await leaf.start(peers=[address(hub)])
            await until(lambda: labels(hub) == {"leaf"})
            hub.rotate_secret("another-horse-battery-staple-7")
            await until(lambda: hub.rotation is None and leaf.rotation is None)
            assert leaf._credentials is not None
            assert hub._credentials is not None
            assert set(leaf._credentials.ring.trusted) == set(hub._credentials.ring.trusted)
            hub.set("after", 1)
            await until(lambda: leaf.get("after") == 1)
            assert leaf.stats.links_opened == 1
            await leaf.stop()

    run(scenario)
