"""Laws of the replicated map over states that replicas really reach."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import EMPTY, Origin, Replica, Row, VersionVector, join, stamp_of_ns
from tests.crdt.histories import CLOCKS_NS, KEYS, Step, play, rows_of, shape, steps, take, whole

WALL = stamp_of_ns(CLOCKS_NS[0])


def rows_under(history: list[Step], key: str) -> list[Row]:
    return [replica.row(key) for replica in play(history)]


@given(steps, st.sampled_from(KEYS))
def test_join_is_commutative(history: list[Step], key: str) -> None:
    for a, b in permutations(rows_under(history, key), 2):
        assert shape(join(a, b)) == shape(join(b, a))


@given(steps, st.sampled_from(KEYS))
def test_join_is_associative(history: list[Step], key: str) -> None:
    for a, b, c in permutations(rows_under(history, key), 3):
        assert shape(join(join(a, b), c)) == shape(join(a, join(b, c)))


@given(steps, st.sampled_from(KEYS))
def test_join_is_idempotent_and_returns_what_is_held_when_nothing_is_new(history: list[Step], key: str) -> None:
    for a, b in permutations(rows_under(history, key), 2):
        joined = join(a, b)
        assert join(joined, a) is joined
        assert join(joined, b) is joined
        assert join(EMPTY, a) is a or shape(join(EMPTY, a)) == shape(a)


@given(steps, st.permutations([0, 1, 2]))
def test_the_order_of_merges_does_not_matter(history: list[Step], order: list[int]) -> None:
    replicas = play(history)
    forwards, otherwise = Replica(Origin(7)), Replica(Origin(8))
    for number in range(3):
        take(forwards, whole(replicas[number]), WALL)
    for number in order:
        take(otherwise, whole(replicas[number]), WALL)
        take(otherwise, whole(replicas[number]), WALL)
    assert rows_of(forwards) == rows_of(otherwise)
    assert forwards.vector == otherwise.vector


@given(steps)
def test_the_vector_covers_exactly_what_is_in_the_rows(history: list[Step]) -> None:
    for replica in play(history):
        backed = VersionVector(entry for _, row in replica for entry in row.context.items())
        assert backed == replica.vector
        assert all(row.context.get(s.dot.origin, 0) >= s.dot.stamp for _, row in replica for s in row.siblings)


@given(steps, steps)
def test_a_cut_for_a_peer_brings_it_everything_and_nothing_it_has(before: list[Step], after: list[Step]) -> None:
    """What changed since a place, less what the peer's vector covers, is enough; and all of it is news."""
    replicas = play(before + after)
    for sender, receiver in permutations(replicas, 2):
        cut = sender.cut(after=0, known=VersionVector(receiver.vector), told=0)
        assert not any(row.covered_by(receiver.vector) for _, row in cut.rows)
        reached = Replica(Origin(9))
        take(reached, whole(receiver), WALL)
        take(reached, cut, WALL)
        full = Replica(Origin(9))
        take(full, whole(receiver), WALL)
        take(full, whole(sender), WALL)
        assert rows_of(reached) == rows_of(full)


@given(steps)
def test_equal_rows_show_the_same_winner_whatever_the_clocks_say(history: list[Step]) -> None:
    """Three replicas with clocks ten years apart, all told everything: one winner."""
    replicas = play(history)
    everything = [whole(replica) for replica in replicas]
    for replica, wall_ns in zip(replicas, CLOCKS_NS, strict=True):
        for cut in everything:
            take(replica, cut, stamp_of_ns(wall_ns))
    for key in KEYS:
        winners = {replica.row(key).winner for replica in replicas}
        assert len(winners) == 1


def test_a_write_that_saw_the_old_value_wins_though_its_clock_is_ten_years_behind() -> None:
    ahead, behind = Replica(Origin(1)), Replica(Origin(2))
    ahead.apply_write(ahead.prepare("k", 0, b"old", stamp_of_ns(CLOCKS_NS[1])))
    take(behind, whole(ahead), stamp_of_ns(CLOCKS_NS[2]))
    behind.apply_write(behind.prepare("k", 0, b"new", stamp_of_ns(CLOCKS_NS[2])))
    take(ahead, whole(behind), stamp_of_ns(CLOCKS_NS[1]))
    for replica in (ahead, behind):
        assert [s.payload for s in replica.row("k").siblings] == [b"new"]


def test_concurrent_writes_are_kept_and_the_newer_stamp_leads() -> None:
    one, two = Replica(Origin(9)), Replica(Origin(2))
    one.apply_write(one.prepare("k", 0, b"older", stamp_of_ns(CLOCKS_NS[0])))
    two.apply_write(two.prepare("k", 0, b"newer", stamp_of_ns(CLOCKS_NS[0] + 5_000_000)))
    take(one, whole(two), WALL)
    assert [s.payload for s in one.row("k").siblings] == [b"newer", b"older"]  # not the higher origin


def test_a_delete_leaves_a_concurrent_write_alone_and_removes_what_it_saw() -> None:
    one, two = Replica(Origin(1)), Replica(Origin(2))
    one.apply_write(one.prepare("k", 0, b"seen", WALL))
    take(two, whole(one), WALL)
    one.apply_write(one.prepare("k", 0, b"unseen", WALL))
    two.apply_write(two.prepare("k", 0, None, WALL))
    take(one, whole(two), WALL)
    take(two, whole(one), WALL)
    assert [s.payload for s in two.row("k").siblings] == [b"unseen"]
    assert rows_of(one) == rows_of(two)


def test_a_removal_of_a_row_never_held_is_recorded_and_passed_on() -> None:
    """Its author may be lost for ever: whoever heard of the removal must be able to tell it."""
    author, witness, late = Replica(Origin(1)), Replica(Origin(2)), Replica(Origin(3))
    author.apply_write(author.prepare("k", 0, b"v", WALL))
    take(late, whole(author), WALL)
    author.apply_write(author.prepare("k", 0, None, WALL))
    take(witness, whole(author), WALL)
    assert witness.row("k").siblings == ()
    take(late, whole(witness), WALL)
    assert late.row("k").siblings == ()


def test_what_changed_since_costs_the_changes_and_not_the_rows() -> None:
    replica = Replica(Origin(1))
    for number in range(2_000):
        replica.apply_write(replica.prepare(f"k{number}", 0, b"v", WALL))
    place, told = replica.arrival, replica.vector.mark
    replica.apply_write(replica.prepare("k7", 0, b"w", WALL))
    cut = replica.cut(after=place, known=VersionVector(), told=told)
    assert [key for key, _ in cut.rows] == ["k7"]
    assert len(cut.entries) == 1
