"""The log's events: memory is the fold of them, the same wherever and however often it is folded."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import (
    REMOVE,
    Batch,
    Block,
    Dot,
    Op,
    Origin,
    Replica,
    Stamp,
    VersionVector,
    arrivals,
    codec,
    hot,
    wire,
)
from propagul.errors import StoreCorrupt, StoreError
from propagul.log import fold
from tests.crdt.blocks import actions, batches, exactly
from tests.crdt.histories import SPACE, WALL, Step, examples, lacking, play, raise_floor, rows_of, shown, steps, take

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDARIES = {fold.BATCH, fold.END, fold.FREEZE, fold.COMMIT}


def folded(*events: bytes) -> tuple[Replica, fold.Fold]:
    """A fresh replica after these events, and the fold."""
    replica = Replica(Origin(77))
    taken = fold.Fold({SPACE: replica}, events.__getitem__)
    for place, event in enumerate(events):
        taken.take(place, event)
    return replica, taken


def replica_of(events: Sequence[bytes]) -> Replica:
    return folded(*events)[0]


def snapshot(replica: Replica, taken: fold.Fold) -> list[bytes]:
    """The events of a snapshot, rows read in small slices."""
    events = [fold.encode_vector(SPACE, replica.vector, taken.own[SPACE].items())]
    capture = replica.table.capture(0)
    while block := capture.read(2):
        events += fold.encode_rows(SPACE, block)
    return events


@examples(80)
@given(steps)
def test_a_log_folds_to_what_the_process_that_wrote_it_showed(history: list[Step]) -> None:
    room = play(history)
    for live, log in zip(room.replicas, room.logs, strict=True):
        again = replica_of(log)
        assert shown(again) == shown(live)
        assert again.vector == live.vector
        assert again.vector.floor == live.vector.floor
        assert (again.arrival, again.cursor_floor) == (live.arrival, live.cursor_floor)
        raise_floor(again)
        raise_floor(live)  # a live replica trims at its leisure
        assert rows_of(again) == rows_of(live)


@examples(60)
@given(steps)
def test_folding_the_same_events_gives_byte_equal_snapshots(history: list[Step]) -> None:
    for log in play(history).logs:
        assert snapshot(*folded(*log)) == snapshot(*folded(*log))


@examples(80)
@given(steps)
def test_a_snapshot_folded_into_a_fresh_replica_equals_its_source(history: list[Step]) -> None:
    for log in play(history).logs:
        source, taken = folded(*log)
        copy, copied = folded(*snapshot(source, taken))
        assert rows_of(copy) == rows_of(source)
        assert copy.vector == source.vector
        assert copy.vector.floor == source.vector.floor
        assert sorted(snapshot(*folded(*snapshot(copy, copied)))) == sorted(snapshot(copy, copied))
        assert all(
            copied.own[SPACE][o] == s for o, s in taken.own[SPACE].items() if not source.vector.floor.covers(o, s)
        )


@examples(80)
@given(steps, st.data())
def test_a_snapshot_and_the_log_after_it_show_what_the_whole_log_shows(
    history: list[Step], data: st.DataObject
) -> None:
    """Only the floor may be lower: a freeze before the snapshot and its commit after it raise nothing."""
    for log in play(history).logs:
        ends = [0, *(place + 1 for place, event in enumerate(log) if event[1] in BOUNDARIES)]
        cut = data.draw(st.sampled_from(ends))
        again = replica_of([*snapshot(*folded(*log[:cut])), *log[cut:]])
        assert shown(again) == shown(replica_of(log))
        assert again.vector == replica_of(log).vector
        assert replica_of(log).vector.floor.joined(again.vector.floor) == replica_of(log).vector.floor


@examples(60)
@given(steps, st.data())
def test_a_replica_that_lost_the_tail_of_its_log_catches_up(history: list[Step], data: st.DataObject) -> None:
    """It mints under a fresh origin; others tell it what it has lost, and nobody loses what it still has."""
    room = play(history)
    who = data.draw(st.integers(0, 2))
    lost = replica_of(room.logs[who][: data.draw(st.integers(0, len(room.logs[who])))])
    lost.apply(lost.prepare([Op("a", 0, "after"), Op("b", 0, REMOVE)], WALL))
    others = [replica for number, replica in enumerate(room.replicas) if number != who]
    for _ in range(2):
        for sender in (lost, *others):
            for receiver in (lost, *others):
                take(receiver, lacking(sender, receiver))
    for other in others:
        assert shown(other) == shown(lost)
        assert other.vector == lost.vector


@examples(80)
@given(steps, st.integers(1, 20), st.integers(1, 9))
def test_events_taken_at_once_are_what_they_are_one_by_one(history: list[Step], some: int, chunk: int) -> None:
    for who, log in enumerate(play(history).logs):
        for origin in (77, who + 1):  # a fresh origin, or by a baton the old one
            the_same_at_once(log, origin, some, chunk)


singles = st.builds(
    Batch,
    st.builds(Dot, st.integers(1, 9).map(Stamp), st.sampled_from([2, 2, 2, 1]).map(Origin)),
    st.lists(
        st.builds(Op, st.sampled_from("ab"), st.sampled_from([0, 0, 0, 3]), st.integers(0, 9) | actions),
        min_size=1,
        max_size=1,
    ),
)


@examples(80)
@given(st.lists(singles | batches, max_size=20), st.integers(1, 5))
def test_any_batches_taken_at_once_are_what_they_are_one_by_one(found: list[Batch], some: int) -> None:
    """Also those that no clock minted in that order."""
    the_same_at_once([fold.encode_batch(SPACE, batch) for batch in found], 1, some, 4)


def test_stamps_that_fall_are_taken_at_once_as_they_are_one_by_one() -> None:
    falling = [Batch(Dot(Stamp(stamp), Origin(2)), [Op(f"k{stamp}", 0, stamp)]) for stamp in (5, 9, 7, 8)]
    the_same_at_once([fold.encode_batch(SPACE, batch) for batch in falling], 1, 100, 100)


def the_same_at_once(log: list[bytes], origin: int, some: int, chunk: int) -> None:
    slow, quick = Replica(Origin(origin)), Replica(Origin(origin))
    one_by_one, at_once = (fold.Fold({SPACE: replica}, log.__getitem__) for replica in (slow, quick))
    with (
        patch.object(fold, "_SOME", some),
        patch.object(arrivals, "CHUNK", chunk),
        patch.object(arrivals.Arrivals, "chunk", chunk),
        patch.object(hot, "CHUNK", chunk),
    ):
        for place, event in enumerate(log):
            one_by_one.take(place, event)
        at_once.take_all(enumerate(log))
    assert exactly(rows_of(quick)) == exactly(rows_of(slow))
    assert at_once.own == one_by_one.own
    assert quick.vector.floor == slow.vector.floor
    assert (quick.vector, quick.arrival, quick.minted) == (slow.vector, slow.arrival, slow.minted)
    assert snapshot(quick, at_once) == snapshot(slow, one_by_one)
    assert quick.table._journal.since(1) == slow.table._journal.since(1)


def test_a_bad_event_among_good_ones_is_found_when_all_are_taken_at_once() -> None:
    author = Replica(Origin(1))
    good = [fold.encode_batch(SPACE, author.prepare([Op("k", 0, number)], WALL)) for number in range(9)]
    for bad in (
        b"\x97\x00",
        b"\x97\x00\xc1",
        good[0][:-1],
        good[0] + b"\xc0",
        b"",
        wire.pack([0, SPACE, 1, 1, "", 0, 1]),
    ):
        replica = Replica(Origin(77))
        with pytest.raises(StoreCorrupt):
            fold.Fold({SPACE: replica}, good.__getitem__).take_all(enumerate([*good[:4], bad, *good[4:]]))
        assert replica.get("k") == 3


def test_two_bad_events_that_make_up_for_each_other_are_found_too() -> None:
    """One holds two objects, the other ends early and eats the event after it: the count would be right."""
    author = Replica(Origin(1))
    good = [fold.encode_batch(SPACE, author.prepare([Op("k", 0, number)], WALL)) for number in range(5)]
    folding = fold.Fold({SPACE: Replica(Origin(77))}, good.__getitem__)
    with pytest.raises(StoreCorrupt):
        folding.take_all(enumerate([good[0], good[1] + good[1], good[2][:-1], good[3], good[4]]))


def test_a_stream_counts_from_its_end_and_not_before() -> None:
    author = Replica(Origin(1))
    author.apply(author.prepare([Op("k", 0, "v")], WALL))
    (block,) = codec.encode_blocks(author.table.capture(0).read(10))
    staged = [fold.encode_block(SPACE, 5, block), fold.encode_block(SPACE, 6, codec.encode_block(Block([], [])))]
    assert len(replica_of(staged)) == 0
    assert len(replica_of([*staged, fold.encode_end(SPACE, 6, WALL, [], None, [])])) == 0
    ended = replica_of([*staged, fold.encode_end(SPACE, 5, WALL, author.vector, None, [])])
    assert rows_of(ended) == rows_of(author)
    again, folding = folded(
        *staged, *(fold.encode_end(SPACE, stream, WALL, author.vector, None, []) for stream in (5, 6))
    )
    assert rows_of(again) == rows_of(author)
    assert folding._staged == {}
    assert ended.vector == author.vector


def test_what_this_log_wrote_and_the_floor_does_not_cover_outlives_a_snapshot() -> None:
    replica, taken = folded(
        fold.encode_batch(SPACE, Replica(Origin(5)).prepare([Op("k", 0, "v")], Stamp(9))),
        fold.encode_batch(SPACE, Replica(Origin(6)).prepare([Op("k", 0, "w")], Stamp(10))),
    )
    assert taken.own[SPACE] == {5: 9, 6: 10}
    assert folded(*snapshot(replica, taken))[1].own[SPACE] == {5: 9, 6: 10}
    raise_floor(replica)
    assert folded(*snapshot(replica, taken))[1].own[SPACE] == {}


@pytest.mark.parametrize("kind", [7, 40, 2**40])
def test_an_event_of_a_newer_version_is_named_as_that(kind: int) -> None:
    with pytest.raises(StoreError, match="newer version") as caught:
        replica_of([wire.pack([kind, SPACE, 1])])
    assert not isinstance(caught.value, StoreCorrupt)


NO_EVENTS = [
    [],
    [0],
    [0, SPACE],
    [0, "elsewhere", 1, 1, "k", 0, "v"],
    [0, SPACE, 0, 1, "k", 0, "v"],
    [0, SPACE, 1, 1, "k", 0],
    [0, SPACE, 1, 1, "k", 0, ["v"]],
    [1, SPACE],
    [1, SPACE, [], b""],
    [2, SPACE, 1, 5, []],
    [2, SPACE, 1, 5, [1], None],
    [2, SPACE, 1, 5, [1, 1], [[]]],
    [2, SPACE, 1, 5, [1, 1], 7],
    [2, SPACE, 1, 5, [1, 1], None, b"\x90"],
    [2, SPACE, 1, 5, [1, 1], None, 5],
    [2, SPACE, 1, "now", [1, 1], None],
    [2, SPACE, 1, 5.5, [1, 1], None],
    [2, SPACE, 1, -5, [1, 1], None],
    [2, SPACE, 1, None, [], None],
    [5, SPACE],
    [5, SPACE, [1, 1]],
    [5, SPACE, [1, 1], []],
    [5, SPACE, 5, 5, 5],
    [6, SPACE],
    [6, SPACE, 5],
    ["0", SPACE],
    [None, SPACE],
    [True, SPACE, 1, b""],
    [0.0, SPACE, 1, 1],
    {0: SPACE},
    7,
]


def test_what_passed_its_checksum_and_is_no_event_is_corruption() -> None:
    for fields in NO_EVENTS:
        with pytest.raises(StoreCorrupt):
            assert not replica_of([wire.pack(fields)]), fields


def test_a_staged_block_that_is_not_where_it_was_left_is_corruption() -> None:
    with pytest.raises(StoreCorrupt):
        fold.block_of(fold.encode_floor(SPACE, fold.FREEZE))
    for event in (b"", b"\x90", b"\x91\x01", b"\x07", wire.pack([1, SPACE, 5, "text"])):
        with pytest.raises(StoreCorrupt):
            fold.block_of(event)


def test_the_vector_of_a_log_that_only_folds_is_that_of_its_author() -> None:
    author = Replica(Origin(1))
    batch = author.prepare([Op("k", 0, REMOVE)], WALL)
    author.apply(batch)
    assert replica_of([fold.encode_batch(SPACE, batch)]).vector == VersionVector([(Origin(1), batch.dot.stamp)])
