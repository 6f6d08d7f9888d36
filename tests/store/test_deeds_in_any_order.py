"""What a store makes of deeds does not depend on the order in which they come, and what is none is not admitted."""

from __future__ import annotations

import itertools
import threading
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagul import AgentStateStore
from propagul.crdt import REGISTER, REMOVE, Op, Origin, Packed, Replica, Stamp, codec
from propagul.link import Credentials, Identity, RoomAuthority
from propagul.link.deeds import (
    pack_adopted,
    pack_certified,
    pack_ended,
    pack_revoked,
    pack_succession,
    read_deed,
)
from propagul.link.lineage import Lineage
from propagul.store._instant import rows_of
from propagul.store._namespace import Namespace
from propagul.store._ring import Ring
from tests.crdt.histories import LONG

if TYPE_CHECKING:
    from pathlib import Path

    from propagul.link.ring import KeyRing

ROOM = "room"
ME, FRIEND, FOE = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2, 3))


@cache
def authority(number: int) -> RoomAuthority:
    return RoomAuthority.from_secret(ROOM, f"Zq8vT2mX5kRw9bNc4jLhYs-{number}")


FIRST, SECOND, THIRD, STRAY = map(authority, range(4))
LINE1 = Lineage.of(FIRST.tag)
LINE2 = LINE1.followed_by(FIRST, SECOND)
LINE3 = LINE2.followed_by(SECOND, THIRD)
STRAY_LINE = LINE1.followed_by(FIRST, STRAY)
FOREIGN_LINE = Lineage.of(STRAY.tag)


class Written(NamedTuple):
    """One write of some member: a key, and a deed or anything else; nothing for a removal."""

    key: str
    value: object


def deed(packed: bytes) -> Written:
    return Written(read_deed(packed).key, packed)


HONEST = [
    deed(pack_certified(LINE1, FIRST.certify(FRIEND.node))),
    deed(pack_succession(LINE2, SECOND, FIRST.ca_pem, 10)),
    deed(pack_certified(LINE2, SECOND.certify(ME.node))),
    deed(pack_revoked(LINE1, FIRST, FOE.node)),
    deed(pack_adopted(LINE2, SECOND.certify(ME.node), ME)),
    deed(pack_ended(LINE2, SECOND, FIRST.ca_pem)),
]
LATER = [
    deed(pack_revoked(LINE2, SECOND, FOE.node)),
    deed(pack_succession(LINE3, THIRD, SECOND.ca_pem, 20)),
    deed(pack_certified(LINE3, THIRD.certify(ME.node))),
    deed(pack_certified(LINE2, SECOND.certify(FRIEND.node))),
    deed(pack_ended(LINE3, THIRD, SECOND.ca_pem)),
    deed(pack_ended(LINE3, THIRD, FIRST.ca_pem)),
]
# What one can write who learned the first secret after it had ended.
THIEVES = [
    deed(pack_succession(STRAY_LINE, STRAY, FIRST.ca_pem, 99)),
    deed(pack_certified(STRAY_LINE, STRAY.certify(ME.node))),
    deed(pack_ended(STRAY_LINE, STRAY, FIRST.ca_pem)),
    deed(pack_revoked(LINE1, FIRST, FRIEND.node)),
    deed(pack_certified(LINE1, FIRST.certify(FOE.node))),
]
_revocation = pack_revoked(LINE2, SECOND, FOE.node)
FORGED = [
    Written("revoked/nobody", _revocation),
    Written(read_deed(_revocation).key, _revocation[:-1] + bytes([_revocation[-1] ^ 1])),
    Written(read_deed(_revocation).key, None),
    Written(read_deed(_revocation).key, "text"),
    Written(read_deed(_revocation).key, Packed(b"\x90")),
    Written("authorities/x", b""),
    deed(pack_revoked(FOREIGN_LINE, STRAY, FRIEND.node)),
    deed(pack_certified(FOREIGN_LINE, STRAY.certify(FOE.node))),
]


class Store:
    """A namespace with its ring, without anything around it."""

    def __init__(self) -> None:
        self.space = Namespace("room", Replica(Origin(1)), threading.Lock(), None)
        self.credentials = Credentials.from_grant(ME, FIRST.certify(ME.node), FIRST.ca_pem)
        self.ring = Ring(self.space, self.credentials, lambda: 0)

    def hear(self, number: int, written: Written, *, removed: bool = False) -> None:
        """Take in one write, as the stream of a member of its own; perhaps removed again by that member."""
        replica = Replica(Origin(1000 + number))
        value = written.value
        action = value if value is None or isinstance(value, (str, bytes)) else REMOVE
        replica.apply(replica.prepare([Op(written.key, REGISTER, action)], Stamp(1)))
        if removed:
            replica.apply(replica.prepare([Op(written.key, REGISTER, REMOVE)], Stamp(2)))
        stream = self.space.incoming()
        stream.add(codec.encode_block(replica.capture().read(100)))
        stream.apply(list(replica.vector), None)

    def after(self, *numbered: tuple[int, Written]) -> tuple[KeyRing, list[tuple[str, list[object]]]]:
        """The ring and the rows after these writes."""
        for number, written in numbered:
            self.hear(number, written)
            self.ring.settle()
        return self.credentials.ring, self.rows()

    def rows(self) -> list[tuple[str, list[object]]]:
        return sorted((key, [s.payload for s in row.siblings]) for key, row in rows_of(self.space.blocks()))


def test_every_order_of_a_change_of_the_secret_ends_the_same() -> None:
    numbered = list(enumerate(HONEST))
    expected = Store().after(*numbered)
    ring, rows = expected
    assert set(ring.trusted) == {SECOND.tag}
    assert set(ring.ended) == {FIRST.tag}
    assert ring.shown == (SECOND.tag,)
    assert len(rows) == len(HONEST)
    for order in itertools.permutations(numbered):
        assert Store().after(*order) == expected


@settings(max_examples=150 if LONG else 50, deadline=None)
@given(st.permutations(list(enumerate(HONEST + LATER + THIEVES + FORGED))))
def test_any_order_ends_the_same_with_forgeries_and_thieves_among_them(order: list[tuple[int, Written]]) -> None:
    store = Store()
    ring, rows = store.after(*order)
    assert set(ring.trusted) == {THIRD.tag}, "what a thief writes with an ended secret counts for nothing"
    assert FRIEND.node not in ring.revoked
    assert {key for key, _ in rows} == {written.key for written in HONEST + LATER + THIEVES}
    assert store.space.traffic.refused_rows == len(FORGED)
    assert Ring(store.space, store.credentials, lambda: 0).rotation is None
    again = Store()
    again.ring = Ring(store.space, again.credentials, lambda: 0)
    assert again.credentials.ring == ring, "opened again, the same rows mean the same"


@pytest.mark.parametrize("written", FORGED, ids=range(len(FORGED)))
def test_what_is_no_deed_of_this_room_is_refused(written: Written) -> None:
    store = Store()
    store.hear(0, written)
    assert store.rows() == []
    assert store.space.traffic.refused_rows == 1


@pytest.mark.parametrize("first", [True, False])
def test_a_removal_removes_nothing(first: bool) -> None:  # noqa: FBT001 - a parameter
    store, revocation = Store(), deed(pack_revoked(LINE1, FIRST, FOE.node))
    for removed in (first, not first):
        store.hear(int(removed), revocation, removed=removed)
    store.ring.settle()
    assert store.credentials.ring.revoked == {FOE.node}
    assert [key for key, _ in store.rows()] == [revocation.key]


def test_a_bad_sibling_is_left_out_and_a_good_one_kept_in_memory_and_in_the_log(tmp_path: Path) -> None:
    store, revocation = Store(), deed(pack_revoked(LINE1, FIRST, FOE.node))
    here, there = Replica(Origin(7)), Replica(Origin(8))
    here.apply(here.prepare([Op(revocation.key, REGISTER, revocation.value)], Stamp(1)))  # type: ignore[arg-type]
    there.apply(there.prepare([Op(revocation.key, REGISTER, b"nonsense")], Stamp(1)))
    cut = here.capture().read(100)
    there.merge([cut], list(here.vector), Stamp(1), None)
    block = there.capture().read(100)
    assert len(block.other[0][1].siblings) == 2
    on_disk = opened(tmp_path)
    for space in (store.space, on_disk._spaces["room"]):
        stream = space.incoming()
        stream.add(codec.encode_block(block))
        stream.apply(list(there.vector), None)
    assert store.rows() == [(revocation.key, [revocation.value])]
    on_disk.close()
    again = opened(tmp_path)
    assert dict(rows_of(again._spaces["room"].blocks()))[revocation.key].siblings[0].payload == revocation.value
    assert len(dict(rows_of(again._spaces["room"].blocks()))[revocation.key].siblings) == 1
    again.close()


def opened(path: Path) -> AgentStateStore:
    credentials = Credentials.from_grant(ME, FIRST.certify(ME.node), FIRST.ca_pem)
    return AgentStateStore(ROOM, port=None, path=path, credentials=credentials)


def test_a_store_opened_with_a_later_secret_admits_what_comes_from_its_line() -> None:
    space = Namespace("room", Replica(Origin(1)), threading.Lock(), None)
    credentials = Credentials.from_authority(ME, SECOND)
    store = Store()
    store.space, store.credentials, store.ring = space, credentials, Ring(space, credentials, lambda: 0)
    store.after(*enumerate(HONEST[1:3]))
    assert set(credentials.ring.trusted) == {FIRST.tag, SECOND.tag}, "the overlap, as the others see it"
    store.after((9, HONEST[5]))
    assert set(credentials.ring.trusted) == {SECOND.tag}
