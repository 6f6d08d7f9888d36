"""Who is in a room, what each can do, and where each writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, LocalProtocolError
from propagul.room import Agent, Room
from tests.room.world import room_of
from tests.store.world import SECRET, on_island, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.store.world import Island


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    store = AgentStateStore("room", "me", port=None)
    yield store
    store.close()


def names(agents: list[Agent]) -> list[str]:
    return [agent.name for agent in agents]


# Members.


def test_members_see_each_other_what_they_can_do_and_what_they_say() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b", "a")
        alice, bob = room_of(a, agent="alice", capabilities=["search"]), room_of(b, capabilities=["write", "search"])
        alice.say("reading")
        await island.clock.advance(1)
        for room in (alice, bob):
            assert names(room.members()) == ["alice", "b"]
            assert names(room.members(capable_of=["search"])) == ["alice", "b"]
            assert names(room.members(capable_of=["search", "write"])) == ["b"]
        seen = bob.members()[0]
        assert (seen.status, seen.node, seen.session) == ("reading", a.node, alice.session)
        assert seen.capabilities == {"search"}
        bob.leave()
        await island.clock.advance(1)
        assert names(alice.members()) == ["alice"]

    on_island(scenario)


def test_an_agent_that_crashed_is_no_member_after_its_presence_has_expired() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b", "a")
        alice, bob = room_of(a), room_of(b)
        await island.clock.advance(1)
        island.network.cut("a", "b")
        await island.clock.advance(1)
        assert names(alice.members()) == ["a", "b"]
        await island.clock.advance(30)
        assert names(alice.members()) == ["a"]
        assert names(bob.members()) == ["b"]

    on_island(scenario)


def test_rooms_of_one_store_do_not_see_each_others_members(store: AgentStateStore) -> None:
    with Room(store, "one", agent="a") as one, Room(store, "two", agent="b") as two, Room(store, "one", agent="c"):
        assert names(one.members()) == ["a", "c"]
        assert names(two.members()) == ["b"]
        one.shared.set("k", 1)
        assert "k" not in two.shared
    assert one.members() == []


def test_two_agents_of_one_name_are_two_members(store: AgentStateStore) -> None:
    with Room(store, "r", agent="a") as first, Room(store, "r", agent="a") as second:
        assert [agent.session for agent in first.members()] == sorted([first.session, second.session])


def test_a_stay_begins_and_ends_with_a_block_in_an_event_loop_too(store: AgentStateStore) -> None:
    async def scenario() -> None:
        async with Room(store, "r") as room:
            assert names(room.members()) == ["me"]
        assert room.members() == []

    run(scenario)


def test_what_is_no_member_in_the_presence_is_passed_over(store: AgentStateStore) -> None:
    with Room(store, "r") as room:
        for key, value in (("x", 1), ("n/a/s", "no dict"), ("n/a/s/more", {"capabilities": [], "status": 1})):
            store.presence.set(f"rooms/r/members/{key}", value)
        store.presence.set("rooms/r/members/n/odd/s", {"capabilities": ["can", 5], "status": None})
        assert [(agent.name, sorted(agent.capabilities)) for agent in room.members()] == [("me", []), ("odd", ["can"])]


@pytest.mark.parametrize("name", ["", "a/b", "a\0b", "x" * 101])
def test_a_name_that_is_none_is_refused(store: AgentStateStore, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 100 printable characters without a slash"):
        Room(store, name)
    with pytest.raises(ValueError, match="an agent's name"):
        Room(store, "r", agent=name)
    with pytest.raises(ValueError, match="the name of a queue"):
        Room(store, "r").queue(name)


def test_a_stay_may_outlast_its_store() -> None:
    store = AgentStateStore("room", port=None)
    with Room(store, "r") as room:
        room.queue("q").put(1)
        assert room.queue("q").claim() is not None
        store.close()
    assert not room.members()


# Areas.


def test_areas_are_keys_of_the_store_and_nobodys_but_the_rooms(store: AgentStateStore) -> None:
    room = Room(store, "r")
    room.shared.set("plan/1", "a")
    room.shared.set("plan/2", {"b": 1})
    room.meta.set("goal", "write")
    room.own.set("note", "mine")
    assert room.shared.keys("plan/", reverse=True, limit=1) == ["plan/2"]
    assert dict(room.shared.items()) == {"plan/1": "a", "plan/2": {"b": 1}}
    assert (room.meta.get("goal"), room.meta.get("none", 7)) == ("write", 7)
    assert "plan/1" in room.shared
    assert "goal" not in room.shared
    assert room.shared.delete("plan/1")
    assert not room.shared.delete("plan/1")
    assert sorted(store.keys()) == [
        "rooms/r/meta/goal", f"rooms/r/own/{store.node}/me/note", "rooms/r/shared/plan/2",
    ]  # fmt: skip


def test_what_an_agent_writes_for_itself_others_read() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b", "a")
        alice, bob = room_of(a), room_of(b)
        alice.own.set("note", 1)
        bob.own.set("note", 2)
        await island.clock.advance(1)
        seen = {agent.name: bob.own_of(agent).get("note") for agent in bob.members()}
        assert seen == {"a": 1, "b": 2}

    on_island(scenario)


def test_a_conflict_in_an_area_is_shown_and_resolved() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b", "a")
        alice, bob = room_of(a), room_of(b)
        island.network.cut("a", "b")
        alice.shared.set("hotel", "Ritz")
        await island.clock.advance(1)
        bob.shared.set("hotel", "Ryokan")
        island.network.heal("a", "b")
        await island.clock.advance(20)
        assert alice.shared.get_conflicts("hotel") == bob.shared.get_conflicts("hotel") == ["Ryokan", "Ritz"]
        alice.shared.resolve("hotel", lambda values: values[0])
        assert alice.shared.get("hotel") == "Ryokan"

    on_island(scenario)


def test_an_area_of_its_own_can_be_guarded_by_the_store() -> None:
    prefix = "rooms/r/own/"
    store = AgentStateStore("room", "me", port=None, secret=SECRET, owned=[prefix])
    try:
        room = Room(store, "r")
        room.own.set("note", 1)
        assert room.own.get("note") == 1
        with pytest.raises(LocalProtocolError, match="not this store's to write"):
            store.set(f"{prefix}{'b' * len(store.node)}/other/note", 2)
    finally:
        store.close()
