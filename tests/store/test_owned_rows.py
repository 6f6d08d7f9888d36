"""Owned rows: what its owner has not signed for this place is nowhere, and what a peer claims changes nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from unittest import mock

import msgpack
import pytest

from propagul.crdt import (
    COUNTER,
    EMPTY,
    REGISTER,
    REMOVE,
    STAMP_MAX,
    Block,
    Dot,
    Floor,
    Join,
    Keep,
    Op,
    Origin,
    Packed,
    Stamp,
)
from propagul.crdt.row import Row, Sibling, act, plain
from propagul.errors import LocalProtocolError, PeerProtocolError, StoreCorrupt
from propagul.link import identity
from propagul.store import _signed, _values
from propagul.store._signed import Place
from tests.store.owners import (
    KEY,
    NOW_NS,
    OTHER,
    OWNER,
    ROOM,
    SPACE,
    THEIRS,
    Wall,
    covering,
    hand,
    member,
    plain_block,
    remove,
    row_block,
    shown,
    signed,
    tell,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.crdt.block import Plain

LATER = Dot(Stamp((NOW_NS >> 10) + 10**9), Origin(66))
"""A dot of the hostile member's, above all others."""


def test_what_the_owner_wrote_arrives_and_shows() -> None:
    owner, reader = member(1), member(2, OTHER)
    owner.put(KEY, "here")
    owner.put(KEY + "/gpu", Packed(b"\x91\x01"))
    owner.put("ordinary", "as it is")
    tell(reader, owner)
    assert (value(reader), value(reader, KEY + "/gpu"), value(reader, "ordinary")) == ("here", [1], "as it is")
    assert shown(reader) == shown(owner)
    assert reader.row("ordinary").siblings[0].payload == "as it is", "ordinary keys are not signed"
    assert reader.traffic.refused_rows == 0


@pytest.mark.parametrize(
    "key", [THEIRS, THEIRS + "/gpu", "nodes/nobody", "nodes/", KEY.upper().replace("NODES", "nodes")]
)
@pytest.mark.parametrize("action", ["mine now", REMOVE, Keep(1)])
def test_a_member_writes_beneath_its_own_identity_only(key: str, action: str) -> None:
    space = member(1)
    with pytest.raises(LocalProtocolError, match=f"only beneath its own identity, which is 'nodes/{OWNER.node}'"):
        space.write([lambda _: [Op("ordinary", REGISTER, 1), Op(key, REGISTER, action)]])
    assert not shown(space), "nothing of a batch that is refused is written"


def test_an_owned_row_is_a_value_and_no_counter() -> None:
    with pytest.raises(LocalProtocolError):
        member(1).write([lambda _: [Op(KEY, COUNTER, 1)]])


def _reencoded(payload: Packed) -> Packed:
    """The same signed value behind a longer header."""
    content = msgpack.unpackb(payload).data
    return Packed(b"\xc8" + len(content).to_bytes(2, "big") + b"\x04" + content)


FORGERIES: dict[str, Callable[[Sibling], Block]] = {
    "not signed": lambda _: plain_block(KEY, "forged", LATER),
    "signed by another": lambda _: plain_block(KEY, signed(OTHER, "forged", LATER), LATER),
    "replayed under a new dot": lambda old: plain_block(KEY, old.payload, LATER),
    "replayed at a later time": lambda old: plain_block(KEY, old.payload, old.dot._replace(stamp=LATER.stamp)),
    "moved to a key below": lambda old: plain_block(KEY + "/gpu", old.payload, old.dot),
    "moved to another's key": lambda old: plain_block(THEIRS, old.payload, old.dot),
    "moved from another namespace": lambda _: plain_block(KEY, signed(OWNER, 1, LATER, space="other"), LATER),
    "moved from another room": lambda _: plain_block(KEY, signed(OWNER, 1, LATER, room="den"), LATER),
    "of another kind": lambda _: plain_block(KEY, signed(OWNER, 1, LATER), LATER, COUNTER),
    "with a changed value": lambda old: plain_block(KEY, Packed(bytes_of(old)[:-1] + b"\x00"), old.dot),
    "behind a longer header": lambda _: plain_block(KEY, _reencoded(signed(OWNER, 1, LATER)), LATER),
    "cut short": lambda _: plain_block(KEY, Packed(b"\xc7\x01\x04\x00"), LATER),
    "an extension of another size": lambda _: plain_block(KEY, Packed(b"\xd4\x04\x00"), LATER),
    "under a key that names nobody": lambda _: plain_block("nodes/nobody", signed(OWNER, 1, LATER), LATER),
    "removed": lambda _: row_block(KEY, act(EMPTY, LATER, REGISTER, REMOVE)),
    "removed by who has seen it": lambda old: row_block(KEY, act(plain(*old), LATER, REGISTER, REMOVE)),
    "superseded": lambda old: row_block(KEY, act(plain(*old), LATER, REGISTER, "forged")),
}


def bytes_of(sibling: Sibling) -> bytes:
    assert isinstance(sibling.payload, Packed)
    return sibling.payload


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.parametrize("when", ["before the genuine row", "after it"])
def test_what_its_owner_has_not_signed_is_refused_and_takes_nothing_with_it(name: str, when: str) -> None:
    owner, reader = member(1), member(2, OTHER)
    owner.put(KEY, "genuine")
    (sibling,) = owner.row(KEY).siblings
    forgery, first = FORGERIES[name](sibling), when == "before the genuine row"
    claimed = [(LATER.origin, LATER.stamp)]
    if first:
        hand(reader, forgery, claimed)
        assert not shown(reader)
    tell(reader, owner)
    if not first:
        hand(reader, forgery, claimed)
    assert shown(reader) == {KEY: (sibling,)}
    assert reader.row(KEY).is_plain
    assert reader.traffic.refused_rows == 1
    assert reader.covers(claimed), "or it would be asked for again and again"


def test_of_a_row_that_is_partly_forged_the_genuine_part_stays() -> None:
    """Else who adds a forgery to a row would take the row away: its dot counts as applied and never comes again."""
    owner, reader = member(1), member(2, OTHER)
    owner.put(KEY, "genuine")
    (sibling,) = owner.row(KEY).siblings
    forged = Sibling(LATER, REGISTER, "forged")
    row = Row((forged, sibling), {LATER.origin: LATER.stamp, sibling.dot.origin: sibling.dot.stamp})
    hand(reader, row_block(KEY, row), [(sibling.dot.origin, sibling.dot.stamp)])
    assert shown(reader) == {KEY: (sibling,)}
    assert reader.traffic.refused_rows == 1


def test_what_a_member_says_it_has_seen_removes_nothing() -> None:
    """A context that covers the genuine row comes with another genuine, older one; and a join that leaves it out."""
    owner, reader = member(1), member(2, OTHER)
    owner.put(KEY, "older")
    (older,) = owner.row(KEY).siblings
    owner.put(KEY, "newer")
    tell(reader, owner)
    (newer,) = owner.row(KEY).siblings
    hand(reader, row_block(KEY, Row((older,), {Origin(1): newer.dot.stamp})))
    assert value(reader) == "newer"
    hand(reader, Block([], []), join=Join(covering((1, newer.dot.stamp)), Floor()))
    assert shown(reader) == {KEY: (newer,)}


def test_a_join_without_its_row_removes_nothing_where_rows_wait_either() -> None:
    owner, reader = member(1), member(2, OTHER)
    owner.put(KEY, "here")
    owner.put("ordinary", "here")
    tell(reader, owner)
    (sibling,) = owner.row(KEY).siblings
    many: list[Plain] = [(f"k{n}", "v", REGISTER, Stamp(n + 1), Origin(9)) for n in range(1500)]
    hand(reader, Block(many, []), join=Join(covering((1, owner.minted), (9, 1500)), Floor()))
    assert reader.is_busy, "or nothing waited"
    reader.settle_all()
    assert value(reader, "ordinary") is None
    assert reader.row(KEY).siblings == (sibling,)


def test_a_write_wins_over_its_owners_older_one_whatever_the_clocks_say() -> None:
    fast, slow = Wall(), Wall()
    fast.now_ns += 3600 * 10**9
    before, after, reader = member(1, wall=fast), member(2, wall=slow), member(3, OTHER, wall=slow)
    before.put(KEY, "by a clock an hour ahead")
    tell(after, before)
    tell(reader, before)
    after.put(KEY, "an hour earlier, and later")
    assert after.minted < before.minted
    tell(reader, after)
    tell(before, after)
    tell(after, before)
    assert {value(space) for space in (before, after, reader)} == {"an hour earlier, and later"}
    assert shown(before) == shown(after) == shown(reader)


def test_of_two_processes_of_one_identity_the_newer_write_shows_and_nothing_gathers() -> None:
    wall = Wall()
    one, two, reader = member(1, wall=wall), member(2, wall=wall), member(3, OTHER, wall=wall)
    one.put(KEY, "one")
    two.put(KEY, "two")
    for receiver, sender in ((reader, two), (reader, one), (one, two), (two, one)):
        tell(receiver, sender)
    assert shown(one) == shown(two) == shown(reader)
    assert value(reader) == "two"
    assert len(reader.row(KEY).siblings) == 1


def test_taking_a_row_back_is_a_signed_word_too() -> None:
    owner, reader = member(1), member(2, OTHER)
    owner.put(KEY, "here")
    tell(reader, owner)
    remove(owner, KEY)
    assert not owner.remove(KEY), "it is gone already"
    tell(reader, owner)
    assert value(owner) is value(reader) is None
    assert shown(reader) == shown(owner)
    assert reader.traffic.refused_rows == 0
    owner.put(KEY, "back")
    tell(reader, owner)
    assert value(reader) == "back"


def test_a_value_that_is_old_does_not_come_back_after_it_was_taken_back() -> None:
    owner, reader, late = member(1), member(2, OTHER), member(3, OTHER)
    owner.put(KEY, "here")
    (old,) = owner.row(KEY).siblings
    remove(owner, KEY)
    tell(reader, owner)
    hand(reader, plain_block(KEY, old.payload, old.dot))
    hand(late, plain_block(KEY, old.payload, old.dot))
    tell(late, reader)
    assert value(reader) is value(late) is None


def test_a_member_that_fell_silent_is_not_kept_alive_by_who_repeats_its_last_word() -> None:
    owner, reader = member(1), member(2, OTHER)
    owner.put(KEY, "alive")
    tell(reader, owner)
    (last,) = owner.row(KEY).siblings
    reader.forget(KEY, reader.row(KEY))
    hand(reader, plain_block(KEY, last.payload, last.dot))
    hand(reader, plain_block(KEY, last.payload, last.dot), join=Join(covering((1, last.dot.stamp)), Floor()))
    assert not shown(reader)


def test_what_stands_here_is_not_verified_again_and_anything_else_is() -> None:
    owner, reader = member(1), member(2, OTHER)
    owner.put(KEY, "here")
    tell(reader, owner)
    (last,) = owner.row(KEY).siblings
    with mock.patch("propagul.store._signed.verify", wraps=identity.verify) as verify:
        hand(reader, plain_block(KEY, last.payload, last.dot))
        assert not verify.called
        hand(reader, plain_block(KEY, last.payload, Dot(Stamp(last.dot.stamp + 1), last.dot.origin)))
        hand(reader, plain_block(KEY, signed(OTHER, "forged", last.dot), last.dot))
        hand(reader, plain_block(KEY + "/gpu", last.payload, last.dot))
        assert verify.call_count == 3
    assert reader.traffic.refused_rows == 3
    assert shown(reader) == shown(owner)


def test_refusals_are_told_once_and_then_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    reader = member(2, OTHER)
    with caplog.at_level(logging.WARNING, logger="propagul.store"):
        for n in range(25):
            hand(reader, plain_block(KEY, "a secret", Dot(Stamp(n + 1), Origin(66))))
            hand(reader, plain_block("nodes/a\nline", "a secret", Dot(Stamp(n + 1), Origin(67))))
    assert reader.traffic.refused_rows == 50
    assert [record.message.rpartition("=")[2] for record in caplog.records] == ["1", "10"]
    assert OWNER.node in caplog.text
    assert "secret" not in caplog.text
    assert "\nline" not in caplog.text


def test_who_sends_forgeries_by_the_block_is_sent_away() -> None:
    """Each costs a signature to check, and no honest member has any."""
    forged: list[Plain] = [
        (f"{KEY}/{n}", signed(OTHER, n, Dot(Stamp(n + 1), Origin(6)), key=f"{KEY}/{n}"), 0, Stamp(n + 1), Origin(6))
        for n in range(100)
    ]
    reader = member(2, OTHER)
    with pytest.raises(PeerProtocolError, match="have not signed"):
        hand(reader, Block(forged, []))
    assert not shown(reader)


def test_a_write_that_would_rank_above_all_stamps_is_refused() -> None:
    dot = Dot(Stamp(5), Origin(1))
    payload = _signed.sign(OWNER, Place(ROOM, SPACE, KEY, dot), STAMP_MAX, "on top for ever")
    reader = member(2, OTHER)
    hand(reader, plain_block(KEY, payload, dot))
    assert not shown(reader)


def test_no_bytes_at_all_are_no_signed_value() -> None:
    assert not _signed.is_signed(Packed(b""))
    with pytest.raises(StoreCorrupt):
        _values.thaw("k", Packed(b""))
