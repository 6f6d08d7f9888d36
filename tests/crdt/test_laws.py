"""Laws of the replicated map over states that replicas really reach."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import ABSENT, EMPTY, REMOVE, Block, Keep, Op, Origin, Replica, VersionVector, codec, stamp_of_ns
from tests.crdt.histories import (
    CLOCKS_NS,
    KEYS,
    WALL,
    Room,
    Step,
    blocks_of,
    examples,
    lacking,
    merged,
    play,
    raise_floor,
    rows_of,
    shown,
    shown_by,
    steps,
    take,
    twin,
    whole,
)

if TYPE_CHECKING:
    from propagul.crdt import Payload, Stamp


def write(replica: Replica, payload: Payload, wall: Stamp = WALL, key: str = "k") -> None:
    replica.apply(replica.prepare([Op(key, 0, payload)], wall))


def remove(replica: Replica, key: str = "k") -> None:
    replica.apply(replica.prepare([Op(key, 0, REMOVE)], WALL))


def payloads(replica: Replica, key: str = "k") -> list[Payload]:
    return [sibling.payload for sibling in replica.row(key).siblings]


def three(history: list[Step]) -> list[Replica]:
    return play(history).replicas


# What merging promises.


@examples(80)
@given(steps)
def test_merging_is_commutative(history: list[Step]) -> None:
    for a, b in permutations(three(history), 2):
        ab, ba = merged(a, b), merged(b, a)
        assert shown(ab) == shown(ba)
        assert ab.vector == ba.vector


@examples(60)
@given(steps)
def test_merging_is_associative(history: list[Step]) -> None:
    for a, b, c in permutations(three(history), 3):
        one_by_one, both_at_once = merged(a, b, c), merged(a, merged(b, c))
        assert shown(one_by_one) == shown(both_at_once)
        assert one_by_one.vector == both_at_once.vector


@examples(80)
@given(steps)
def test_merging_is_idempotent(history: list[Step]) -> None:
    for a, b in permutations(three(history), 2):
        once, thrice = merged(a, b), merged(a, b, a, b)
        assert rows_of(once) == rows_of(thrice)
        assert once.vector == thrice.vector


@examples(80)
@given(steps)
def test_a_stream_merged_twice_is_no_news(history: list[Step]) -> None:
    for a, b in permutations(three(history), 2):
        receiver, cut = twin(a), lacking(b, a)
        receiver.report(True)
        blocks = [codec.decode_block(block) for block in blocks_of(cut)]
        receiver.merge(blocks, cut.entries, WALL, cut.join)
        rows, place = rows_of(receiver), receiver.arrival
        again = receiver.merge(blocks, cut.entries, WALL, cut.join)
        assert (again.news, again.changes) == (False, [])
        assert receiver.arrival == place or cut.join is not None
        assert rows_of(receiver) == rows


@examples(80)
@given(steps, st.permutations([0, 1, 2]))
def test_the_order_of_merges_does_not_matter(history: list[Step], order: list[int]) -> None:
    replicas = three(history)
    forwards, otherwise = Replica(Origin(7)), Replica(Origin(8))
    for replica in replicas:
        take(forwards, lacking(replica, forwards))
    for replica in (replicas[number] for number in order):
        take(otherwise, lacking(replica, otherwise))
        take(otherwise, whole(replica))
    assert shown(forwards) == shown(otherwise)
    assert forwards.vector == otherwise.vector


@examples(80)
@given(steps)
def test_whoever_has_told_everything_and_raised_the_floor_to_it_holds_the_same_rows(history: list[Step]) -> None:
    room = play(history)
    room.tell_all()
    for replica in room.replicas:
        raise_floor(replica)
    first, *others = room.replicas
    for other in others:
        assert rows_of(first) == rows_of(other)
        assert first.vector == other.vector
        assert first.vector.floor == other.vector.floor
    assert all(row.siblings for _, row in first)  # no removal record is left
    assert all(row.has_seen_no_more_than_it_holds for _, row in first)  # and no context


# What is shown.


@examples(200)
@given(steps)
def test_every_replica_shows_what_the_operations_it_knows_say(history: list[Step]) -> None:
    room = play(history)
    for replica, known in zip(room.replicas, room.known, strict=True):
        found = {key: [(s.dot, s.payload) for s in siblings] for key, siblings in shown(replica).items()}
        assert found == shown_by(known)


@examples(150)
@given(steps)
def test_everyone_shows_what_all_operations_say_once_all_is_told(history: list[Step]) -> None:
    room = play(history)
    room.tell_all()
    expected = shown_by(set.union(*room.known))
    for replica in room.replicas:
        assert {key: [(s.dot, s.payload) for s in siblings] for key, siblings in shown(replica).items()} == expected
        assert replica.vector == room.replicas[0].vector


@examples(100)
@given(steps)
def test_the_vector_covers_what_is_known_and_every_row_that_is_held(history: list[Step]) -> None:
    room = play(history)
    for replica, known in zip(room.replicas, room.known, strict=True):
        assert {op.dot for op in known} == {op.dot for ops in room.known for op in ops if replica.vector.covers(op.dot)}
        assert all(row.covered_by(replica.vector) for _, row in replica)
        assert replica.vector.covers_all(iter(replica.vector.floor))
        assert all(row.context.get(s.dot.origin, 0) >= s.dot.stamp for _, row in replica for s in row.siblings)


@examples(100)
@given(steps)
def test_what_is_shown_is_a_function_of_the_rows_alone(history: list[Step]) -> None:
    """The same rows under clocks ten years apart, arrived in another order: the same `get`."""
    for replica in three(history):
        rows = list(replica)
        for number, (clock_ns, order) in enumerate(zip(CLOCKS_NS, permutations(rows), strict=False)):
            other = Replica(Origin(50 + number))
            other.clock.tick(stamp_of_ns(clock_ns))
            other.load(Block([], list(order)))
            for key in KEYS:
                siblings = replica.row(key).siblings
                assert other.get(key) is replica.get(key) or other.get(key) == replica.get(key)
                assert replica.get(key) == (max(siblings, key=lambda s: s.dot).payload if siblings else ABSENT)


@examples(60)
@given(steps)
def test_equal_rows_show_the_same_winner_whatever_the_clocks_say(history: list[Step]) -> None:
    room = play(history)
    room.tell_all()
    for key in KEYS:
        assert len({replica.row(key).winner for replica in room.replicas}) == 1


@examples(100)
@given(steps)
def test_the_changes_that_are_reported_are_the_changes_that_were_made(history: list[Step]) -> None:
    for a, b in permutations(three(history), 2):
        receiver, blind = twin(a), twin(a)
        receiver.report(True)
        before = dict(receiver)
        after = dict(before)
        for change in take(receiver, lacking(b, receiver)).changes:
            assert change.before == after.get(change.key, change.before)
            after[change.key] = change.after
        assert after == dict(receiver)
        assert take(blind, lacking(b, blind)).changes == []
        assert rows_of(blind) == rows_of(receiver)


# What is sent.


@examples(100)
@given(steps)
def test_a_cut_brings_everything_and_nothing_the_receiver_has(history: list[Step]) -> None:
    room = play(history)
    for sender, receiver in permutations(range(3), 2):
        ours, theirs = room.replicas[sender], room.replicas[receiver]
        cut = lacking(ours, theirs)
        rows = [item for block in blocks_of(cut) for item in codec.decode_block(block).other]
        if cut.join is None:
            assert not any(row.covered_by(theirs.vector) for _, row in rows)
        reached = merged(theirs, ours)
        found = {key: [(s.dot, s.payload) for s in siblings] for key, siblings in shown(reached).items()}
        assert found == shown_by(room.known[sender] | room.known[receiver])


def test_what_changed_since_costs_the_changes_and_not_the_rows() -> None:
    replica = Replica(Origin(1))
    for number in range(2_000):
        write(replica, "v", key=f"k{number}")
    place, told = replica.arrival, replica.vector.mark
    write(replica, "w", key="k7")
    cut = replica.cut(after=place, known=VersionVector(), told=told)
    assert len(cut._capture) == 1
    assert [item[0] for item in cut.read(10).plain] == ["k7"]
    assert len(cut.entries) == 1


def test_a_cut_is_of_one_instant_though_it_is_read_while_writers_go_on() -> None:
    sender, receiver = Replica(Origin(1)), Replica(Origin(2))
    for number in range(5):
        write(sender, "then", key=f"k{number}")
    cut = whole(sender)
    first = cut.read(2)
    for number in range(7):
        write(sender, "later", key=f"k{number}")
    remove(sender, "k4")
    receiver.merge([first, *map(codec.decode_block, blocks_of(cut))], cut.entries, WALL)
    assert {key: receiver.get(key) for key, _ in receiver} == dict.fromkeys([f"k{n}" for n in range(5)], "then")
    take(receiver, lacking(sender, receiver))
    assert shown(receiver) == shown(sender)


def test_a_peer_below_the_floor_is_served_by_a_join_and_one_above_it_is_not() -> None:
    sender, near, far = Replica(Origin(1)), Replica(Origin(2)), Replica(Origin(3))
    write(sender, "v")
    take(near, whole(sender))
    raise_floor(sender)
    write(sender, "w")
    assert lacking(sender, near).join is None
    assert lacking(sender, far).join is not None
    assert sender.cut_own(after=0, known=far.vector) is None


# Promises by name.


def test_a_write_that_saw_the_old_value_wins_though_its_clock_is_ten_years_behind() -> None:
    ahead, behind = Replica(Origin(1)), Replica(Origin(2))
    write(ahead, "old", stamp_of_ns(CLOCKS_NS[1]))
    take(behind, whole(ahead), stamp_of_ns(CLOCKS_NS[2]))
    write(behind, "new", stamp_of_ns(CLOCKS_NS[2]))
    take(ahead, whole(behind), stamp_of_ns(CLOCKS_NS[1]))
    for replica in (ahead, behind):
        assert payloads(replica) == ["new"]


def test_concurrent_writes_are_kept_and_the_newer_stamp_leads() -> None:
    one, two = Replica(Origin(9)), Replica(Origin(2))
    write(one, "older", stamp_of_ns(CLOCKS_NS[0]))
    write(two, "newer", stamp_of_ns(CLOCKS_NS[0] + 5_000_000))
    take(one, whole(two))
    assert payloads(one) == ["newer", "older"]  # not the higher origin
    assert one.get("k") == "newer"


@pytest.mark.parametrize("watched", [False, True])
def test_an_older_write_of_an_origin_never_replaces_a_newer_one(watched: bool) -> None:  # noqa: FBT001 - a case of the test
    replica, author = Replica(Origin(1)), Replica(Origin(2))
    replica.report(watched)
    write(author, "older")
    older = whole(author).read(9)
    write(author, "newer")
    newer = whole(author).read(9)
    replica.merge([newer, older, newer, older], [], WALL)  # the vector covers neither
    assert payloads(replica) == ["newer"]


def test_a_push_carries_own_writes_and_own_removals() -> None:
    room = Room()
    room.write(0, [Op("k", 0, "v"), Op("l", 0, "v")])
    room.push(0, 1)
    assert payloads(room.replicas[1]) == ["v"]
    room.write(0, [Op("k", 0, REMOVE), Op("l", 0, "w")])
    room.push(0, 1)
    assert payloads(room.replicas[1]) == []
    assert payloads(room.replicas[1], "l") == ["w"]
    assert room.replicas[1].vector == room.replicas[0].vector


def test_a_push_that_would_tell_of_others_is_not_made() -> None:
    room = Room()
    room.write(1, [Op("k", 0, "v")])
    room.exchange(1, 0)
    room.write(0, [Op("k", 0, "w")])
    assert room.replicas[0].cut_own(after=0, known=room.replicas[2].vector) is None
    assert room.replicas[0].cut_own(after=0, known=room.replicas[1].vector) is not None


def test_a_removal_leaves_a_concurrent_write_alone_and_removes_what_it_saw() -> None:
    one, two = Replica(Origin(1)), Replica(Origin(2))
    write(one, "seen")
    take(two, whole(one))
    write(one, "unseen")
    remove(two)
    take(one, whole(two))
    take(two, whole(one))
    assert payloads(two) == ["unseen"]
    assert rows_of(one) == rows_of(two)


def test_a_removal_of_a_row_never_held_is_recorded_and_passed_on() -> None:
    """Its author may be lost for ever: whoever heard of the removal must be able to tell it."""
    author, witness, late = Replica(Origin(1)), Replica(Origin(2)), Replica(Origin(3))
    write(author, "v")
    take(late, whole(author))
    remove(author)
    take(witness, whole(author))
    assert payloads(witness) == []
    take(late, lacking(witness, late))
    assert payloads(late) == []
    assert late.get("k") is ABSENT


def test_a_removal_whose_record_is_gone_still_reaches_a_peer_that_was_away() -> None:
    author, away = Replica(Origin(1)), Replica(Origin(2))
    write(author, "v")
    take(away, whole(author))
    write(away, "unseen", key="other")
    remove(author)
    raise_floor(author)
    assert len(author) == 0  # nothing is left of the row
    take(away, lacking(author, away))
    assert payloads(away) == []
    take(author, lacking(away, author))
    assert shown(author) == shown(away)
    assert payloads(away, "other") == ["unseen"]


@pytest.mark.parametrize("met", [False, True], ids=["strangers", "met before"])
def test_a_removal_learnt_by_a_join_reaches_a_third_replica(met: bool) -> None:  # noqa: FBT001 - a case of the test
    """The one in the middle never held the row and has no record of its removal: its floor speaks for it."""
    author, middle, third = range(3)
    room = Room()
    room.write(author, [Op("k", 0, "v")])
    room.exchange(author, third)
    if met:
        room.write(middle, [Op("other", 0, "w")])
        room.exchange(middle, third)
    room.write(author, [Op("k", 0, REMOVE)])
    raise_floor(room.replicas[author])
    room.exchange(author, middle)
    assert room.replicas[middle].row("k") == EMPTY
    room.exchange(middle, third)
    assert payloads(room.replicas[third]) == []
    assert room.replicas[third].vector == room.replicas[middle].vector


def test_the_floor_rises_to_what_was_frozen_and_rows_that_changed_since_are_left_alone() -> None:
    replica, peer = Replica(Origin(1)), Replica(Origin(2))
    write(replica, "v")
    take(peer, whole(replica))
    write(peer, "w")
    write(replica, "gone", key="gone")
    remove(replica, key="gone")
    frozen = dict(replica.vector)
    replica.freeze()
    take(replica, lacking(peer, replica))
    before = replica.row("k")
    replica.commit()
    assert dict(replica.vector.floor) == frozen
    while replica.trim(1):
        pass
    assert replica.row("k") == before
    assert len(before.context) == 2
    assert replica.row("gone") == EMPTY  # no newer than the freeze


def test_what_is_written_between_freeze_and_commit_is_not_cut_off() -> None:
    author, peer = Replica(Origin(1)), Replica(Origin(2))
    write(author, "v")
    take(peer, whole(author))
    place, told = author.arrival, author.vector.mark
    author.freeze()
    remove(author)
    author.commit()
    author.trim()
    assert len(author) == 1  # the record of the removal is newer than the freeze
    cut = author.cut(after=place, known=peer.vector.copy(), told=told)
    assert cut.join is None
    take(peer, cut)
    assert payloads(peer) == []


def test_keeping_the_highest_siblings_removes_the_same_ones_everywhere() -> None:
    room = Room()
    for who in range(3):
        room.write(who, [Op("k", 0, f"of {who}")])
    room.exchange(0, 2)
    room.exchange(1, 2)
    assert len(room.replicas[2].row("k").siblings) == 3
    room.write(2, [Op("k", 0, Keep(1))])
    room.write(0, [Op("k", 0, "concurrent")])
    room.tell_all()
    for replica in room.replicas:  # replica 1 is ten years ahead
        assert payloads(replica) == ["of 1", "concurrent"]
