"""Clocks that are wrong, keys that everybody writes, and records that would be kept for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul import AgentStateStore
from propagul.crdt import REGISTER, Op, Origin, Replica, Stamp, VersionVector, stamp_of_ns
from propagul.crdt.row import SIBLINGS_MAX
from tests.store.world import on_island

if TYPE_CHECKING:
    from pathlib import Path

    from tests.store.world import Island

YEARS_NS = 10 * 365 * 24 * 3600 * 10**9


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * 10**9

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return 0.0

    async def wait(self, *_: object) -> bool:
        raise NotImplementedError


def received(store: AgentStateStore, author: Replica) -> None:
    """The store takes in all that another replica has."""
    cut = author.cut(after=0, known=VersionVector(), told=0)
    blocks = []
    while not cut.at_end:
        blocks.append(cut.read(100))
    store._state.receive(None, [], blocks, cut.entries, cut.join)


def author(origin: int, wall_ns: int, **values: object) -> Replica:
    replica = Replica(Origin(origin))
    for key, value in values.items():
        replica.apply(replica.prepare([Op(key, REGISTER, str(value))], stamp_of_ns(wall_ns)))
    return replica


def test_after_the_clock_went_back_the_next_write_has_a_fresh_origin_and_the_time_of_now() -> None:
    clock = Watch()
    store = AgentStateStore("room", port=None, clock=clock)
    store.set("before", 1)
    first = store._state.origin
    clock.now_ns += YEARS_NS
    store.set("poisoned", 1)
    assert store._state.origin == first
    clock.now_ns -= YEARS_NS
    store.set("k", 2)
    assert store._state.origin != first
    winner = store._state.row("k").winner
    assert winner is not None
    assert winner.dot.stamp == stamp_of_ns(clock.now_ns)
    store.set("poisoned", "seen and overwritten")
    assert store.get("poisoned") == "seen and overwritten"
    assert store.get_conflicts("poisoned") == []
    store.close()


def test_a_write_from_the_far_future_is_kept_marked_and_overwritten_like_any_other() -> None:
    clock = Watch()
    store = AgentStateStore("room", port=None, clock=clock)
    received(store, author(7, clock.now_ns + YEARS_NS, poisoned="x"))
    received(store, author(8, clock.now_ns + 2 * 10**9, skewed="y"))
    assert store.get_all() == {"poisoned": "x", "skewed": "y"}
    assert store.quarantined() == ["poisoned"]
    stats = store.stats
    assert stats.quarantined == 1
    assert stats.skew_s > 300_000_000
    store.set("mine", 1)
    mine = store._state.row("mine").winner
    assert mine is not None
    assert mine.dot.stamp <= stamp_of_ns(clock.now_ns + 11 * 10**9)
    store.set("poisoned", "ours")
    assert store.get("poisoned") == "ours"
    assert store.quarantined() == []
    store.close()


def test_a_store_whose_origin_is_used_elsewhere_takes_a_fresh_one() -> None:
    """A copy of the whole machine goes on under our origin; its claims must not cover what we write."""
    clock = Watch()
    store = AgentStateStore("room", port=None, clock=clock)
    store.set("ours", 1)
    origin = store._state.origin
    received(store, author(origin, clock.now_ns + 60 * 10**9, theirs="x"))
    assert store._state.origin != origin
    store.set("ours", 2)
    peer = AgentStateStore("room", port=None, clock=clock)
    received(peer, author(origin, clock.now_ns + 60 * 10**9, theirs="x"))
    received(peer, store._state._replica)
    assert peer.get("ours") == store.get("ours") == 2
    store.close()
    peer.close()


def test_a_key_with_too_many_siblings_is_cut_down_to_the_same_ones_everywhere() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b")
        now_ns = island.clock.time_ns()
        for number in range(SIBLINGS_MAX + 9):
            one = author(1000 + number, now_ns + number * 10**6, crowded=number)
            received(a if number % 2 else b, one)
        a.add_peer("b", 9000)
        await island.clock.advance(5)
        conflicts = a.get_conflicts("crowded")
        assert conflicts == b.get_conflicts("crowded")
        assert conflicts == [str(n) for n in range(SIBLINGS_MAX + 8, 8, -1)]
        assert a.stats.siblings_trimmed + b.stats.siblings_trimmed >= 1
        a.set("crowded", "settled")
        await island.clock.advance(5)
        assert b.get("crowded") == "settled"
        assert b.get_conflicts("crowded") == []

    on_island(scenario)


def test_records_of_removed_keys_go_and_what_they_removed_stays_gone() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b")
        for number in range(300):
            a.set(f"k{number}", number)
        a.add_peer("b", 9000)
        await island.clock.advance(2)
        b.remove_peer("a", 9000)
        island.network.cut("a", "b")
        await island.clock.advance(30)
        for number in range(300):
            a.delete(f"k{number}")
        a.set("kept", 1)
        while a.stats.removal_records:
            a._state.tidy(lambda _: True)
        island.network.heal("a", "b")
        await island.clock.advance(30)
        assert a.get_all() == b.get_all() == {"kept": 1}
        assert b.stats.joins == 1
        assert a.stats.floors_raised >= 1

    on_island(scenario)


def test_a_running_mesh_drops_its_records_by_itself() -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        for number in range(500):
            a.set(f"k{number}", number)
            a.delete(f"k{number}")
            if number % 25 == 0:
                await island.clock.advance(1)
        await island.clock.advance(30)
        assert a.stats.removal_records <= 130
        assert b.stats.removal_records <= 130
        assert a.stats.floors_raised > 2
        assert a.stats.joins == b.stats.joins == 0

    on_island(scenario)


def test_a_store_that_was_never_started_drops_its_records_when_it_is_compacted(tmp_path: Path) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    for number in range(500):
        store.set(f"k{number}", number)
        store.delete(f"k{number}")
    store.compact()
    assert store.stats.removal_records == 0
    store.close()
    again = AgentStateStore("room", port=None, path=tmp_path)
    assert len(again) == again.stats.removal_records == 0
    again.close()


def test_a_clean_restart_goes_on_under_its_origin_and_a_kill_does_not(tmp_path: Path) -> None:
    origins = set()
    for life in range(20):
        store = AgentStateStore("room", port=None, path=tmp_path)
        store.set(f"k{life}", life)
        origins.add(store._state.origin)
        store.close()
    assert len(origins) == 1
    (baton_left,) = origins
    store = AgentStateStore("room", port=None, path=tmp_path)
    assert store._state.origin == baton_left
    store.set("k", 1)
    assert store._state.minted > Stamp(0)
    store.close()


def test_after_many_unclean_restarts_a_key_that_each_wrote_costs_no_more_than_one() -> None:
    replica = Replica(Origin(1))
    for life in range(2, 1002):
        replica.renew(Origin(life))
        replica.apply(replica.prepare([Op("k", REGISTER, "v")], stamp_of_ns(10**18 + life)))
        if life % 100 == 0:
            replica.freeze()
            replica.commit()
            replica.trim()
    replica.freeze()
    replica.commit()
    replica.trim()
    assert len(replica.row("k").context) == 1
    assert len(replica.vector) == 1000
    assert len(replica.vector.hot) == 0
