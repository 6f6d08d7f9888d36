"""What a namespace does not admit is nowhere: not in its rows, not in its log, not at its other peers."""

from __future__ import annotations

import threading

import pytest

from propagul.crdt import REGISTER, REMOVE, Block, Op, Origin, Packed, Replica, Stamp, codec
from propagul.store._namespace import Namespace


def only_plain_names(block: Block) -> Block:
    return Block([p for p in block.plain if p[0].isalpha()], [item for item in block.other if item[0].isalpha()])


@pytest.fixture
def space() -> Namespace:
    space = Namespace("", Replica(Origin(1)), threading.Lock(), None)
    space.traffic.admit = only_plain_names
    return space


def block_of(*keys: str) -> bytes:
    """A block of one value and one removal record for each key."""
    replica = Replica(Origin(2))
    for key in keys:
        replica.apply(replica.prepare([Op(key, REGISTER, Packed(b"\xc3"))], Stamp(1)))
        removed = replica.prepare([Op(key + key, REGISTER, REMOVE)], Stamp(1))
        replica.apply(removed)
    return codec.encode_block(replica.capture().read(100))


def test_refused_rows_are_left_out_and_counted(space: Namespace) -> None:
    stream = space.incoming()
    stream.add(block_of("good", "bad!"))
    stream.apply([(Origin(2), Stamp(9))], None)
    assert {
        key for block in space.blocks() for key in [*(p[0] for p in block.plain), *(k for k, _ in block.other)]
    } == {
        "good",
        "goodgood",
    }
    assert space.traffic.refused_rows == 2
    assert space.covers([(Origin(2), Stamp(9))]), "what was refused is not asked for again and again"


def test_a_block_of_which_nothing_is_admitted_changes_nothing(space: Namespace) -> None:
    stream = space.incoming()
    stream.add(block_of("bad!"))
    stream.apply([], None)
    assert not len(space.table)
    assert space.traffic.refused_rows == 2
