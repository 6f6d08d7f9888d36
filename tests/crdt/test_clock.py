"""The hybrid clock: strictly rising, following peers but never far."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import HybridClock, Origin, Replica, Stamp, seconds_between, stamp_of_ns
from propagul.crdt.dot import STAMP_MAX

stamps = st.integers(0, STAMP_MAX).map(Stamp)


@given(st.lists(st.tuples(st.booleans(), stamps, stamps), max_size=40))
def test_every_stamp_is_higher_than_the_last_and_at_most_ten_seconds_ahead(
    events: list[tuple[bool, Stamp, Stamp]],
) -> None:
    clock, walls, minted = HybridClock(), [Stamp(0)], 0
    for ticks, seen, wall in events:
        walls.append(wall)
        before = clock.last
        if ticks:
            minted += 1
            assert clock.tick(wall) > before
        else:
            clock.observe(seen, wall)
        assert clock.last >= before
        assert seconds_between(clock.last, max(walls)) <= 10.001 + minted * 2e-6


def test_a_peer_years_ahead_pulls_the_clock_by_ten_seconds() -> None:
    clock, wall = HybridClock(), stamp_of_ns(1_790_000_000 * 10**9)
    clock.observe(Stamp(STAMP_MAX), wall)
    assert 9.9 < seconds_between(clock.last, wall) <= 10.0
    assert clock.tick(wall) > wall


def test_a_write_after_a_seen_one_ranks_above_it() -> None:
    clock, wall = HybridClock(), stamp_of_ns(1_790_000_000 * 10**9)
    seen = Stamp(wall + 3_000_000)
    clock.observe(seen, wall)
    assert clock.tick(wall) > seen


def test_a_replica_that_took_a_write_mints_above_it_if_it_is_not_far_ahead() -> None:
    """So that what is written here after seeing it also ranks above it, beside writes that are concurrent to both."""
    wall = stamp_of_ns(1_790_000_000 * 10**9)
    for ahead, follows in ((5_000_000, True), (10_000_000, False)):  # about 5 s and 10.2 s
        replica = Replica(Origin(1))
        replica.merge([], [(Origin(2), Stamp(wall + ahead))], wall)
        assert (replica.prepare([], wall).dot.stamp > wall + ahead) is follows
        replica.merge([], [(Origin(2), Stamp(wall + ahead))], Stamp(wall + ahead))  # no news: not looked at
        assert (replica.prepare([], wall).dot.stamp > wall + ahead) is follows


def test_wall_time_outside_the_range_is_brought_into_it() -> None:
    assert stamp_of_ns(-5) == 0
    assert stamp_of_ns(2**80) == STAMP_MAX
