"""The bytes of gossip, what a link makes of them, and what is refused of a peer."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import Block, Dot, Op, Origin, Replica, Row, Stamp, codec
from propagul.errors import PeerProtocolError
from propagul.gossip import (
    Drop,
    GossipConfig,
    GossipNode,
    LinkKey,
    LinkUp,
    Ready,
    Received,
    Settled,
    Wrote,
    decoding,
    messages,
)
from propagul.gossip.directions import Direction
from propagul.gossip.lanes import Lane
from propagul.gossip.messages import SUM_BYTES, SUMS, Compare, Delta, Digest, Hello, Mend, Message, Pulse, Push
from propagul.gossip.turns import AT_ONCE, Turn
from propagul.link.base import NodeId
from propagul.store._namespace import Namespace
from tests.crdt.blocks import dots, entries
from tests.crdt.histories import examples
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Sequence

HELLO = Hello(version=1, label="box", recovering=False, digests={"": bytes(16)})
LINK = LinkKey(1)

digests = st.builds(
    Digest,
    space=st.integers(0, 63),
    applied=st.booleans(),
    same=st.booleans(),
    more=st.booleans(),
    rows_follow=st.booleans(),
    only_these=st.booleans(),
    join=st.booleans(),
    goes_on=st.booleans(),
    patient=st.booleans(),
    entries=entries.map(tuple),
    held=st.binary(max_size=64),
)


def block_of(dot: Dot, *keys: str) -> bytes:
    return codec.encode_block(Block([(key, "value", 0, *dot) for key in keys], []))


# Bytes.


@examples(60)
@given(digests)
def test_a_digest_comes_back_from_its_bytes(digest: Digest) -> None:
    assert decoding.decode(messages.encode(digest)) == digest


@examples(60)
@given(dots, st.none() | dots, st.booleans())
def test_a_push_says_what_its_receiver_does_not_know(dot: Dot, before: Dot | None, applied: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    for block in (block_of(dot, "key"), block_of(dot, "a", "b"), block_of(Dot(Stamp(5), Origin(5)), "key")):
        push = Push.of(3, block, dot, before, applied=applied)
        again = decoding.decode(messages.encode(push))
        assert again == push
        assert push.dot(before) == dot
        assert push.whole_block(dot) == block
        assert push.applied is applied


@examples(60)
@given(
    st.builds(
        Compare,
        space=st.integers(0, 63),
        vector=st.binary(min_size=16, max_size=16),
        sums=st.sampled_from([bytes(SUM_BYTES), bytes(range(SUMS)) * SUM_BYTES]),
    )
    | st.builds(Mend, space=st.integers(0, 63), last=st.booleans(), chunk=st.binary(max_size=300))
)
def test_sums_and_rows_that_prove_themselves_come_back_from_their_bytes(message: Message) -> None:
    assert decoding.decode(messages.encode(message)) == message


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (Compare(space=0, vector=bytes(16), sums=bytes(SUM_BYTES)), 31),
        (Compare(space=0, vector=bytes(16), sums=bytes(SUMS * SUM_BYTES)), 2072),
        (Mend(space=0, last=True, chunk=b""), 6),
        (Digest(space=0), 4),
        (Digest(space=5, applied=True), 4),
        (Digest(space=5, applied=True, patient=True), 5),
        (Delta(space=0, last=True, chunk=b""), 6),
        (Push.of(0, block_of(Dot(Stamp(9), Origin(7)), "k"), Dot(Stamp(9), Origin(7)), None, applied=True), 17),
    ],
    ids=lambda part: type(part).__name__,
)
def test_small_messages_are_small(message: Message, size: int) -> None:
    assert len(messages.encode(message)) == size


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["0"],
        [-1],
        [True, 0, 0],
        [0, 1, "box", False],
        [0, 1, "box", False, {"": bytes(15)}],
        [0, 1, "box", 0, {"": bytes(16)}],
        [0, 1, "b" * 257, False, {}],
        [0, 1, "box", False, {"": bytes(16)}, False, "", {"": "up"}],
        [0, 1, "box", False, {"": bytes(16)}, False, "", {"": -1}],
        [0, 1, "box", False, {"": bytes(16)}, False, "", {"room": 1}],
        [0, 1, "box", False, {"": bytes(16)}, False, "", [1]],
        [1, 0],
        [1, "", 0],
        [1, 0, -1],
        [1, 0, 0, 5],
        [1, 0, 0, [1]],
        [1, 0, 0, [1, 0]],
        [2, 0, True],
        [2, 0, 1, b""],
        [1, 0, 0, [], bytes(65)],
        [1, 0, 0, [], "text"],
        [2, 0, True, "text"],
        [2, 0, False, b"", bytes(65)],
        [2, 0, False, b"", 7],
        [3, 0, 0, 9],
        [3, 0, 0, -1, b""],
        [3, 0, 0, 9, "text"],
        [3, 0, 0, 9, b"", 0],
        [3, 0, 0, 9, b"", 2.0],
        [3, 0, 0, 9, b"", None],
        [5, 0, bytes(16)],
        [5, -1, bytes(16), bytes(8)],
        [5, 0, bytes(15), bytes(8)],
        [5, 0, bytes(17), bytes(8)],
        [5, 0, bytes(16), b""],
        [5, 0, bytes(16), bytes(16)],
        [5, 0, bytes(16), bytes(2040)],
        [5, 0, bytes(16), bytes(2056)],
        [5, 0, "v" * 16, bytes(8)],
        [5, 0, bytes(16), "s" * 8],
        [6, 0, True],
        [6, "", True, b""],
        [6, 0, 1, b""],
        [6, 0, True, "text"],
        [6, 0, True, None],
    ],
    ids=str,
)
def test_what_is_no_message_is_refused(fields: Sequence[object]) -> None:
    with pytest.raises(PeerProtocolError):
        decoding.decode(msgpack.packb(fields))


def test_a_hello_that_says_a_direction_twice_is_refused() -> None:
    said = b"\x98\x00\x01\xa3box\xc2\x81\xa1r\xc4\x10" + bytes(16) + b"\xc2\xa0"
    assert decoding.decode(said + b"\x81\xa1r\x01") is not None
    with pytest.raises(PeerProtocolError, match="each direction once"):
        decoding.decode(said + b"\x82\xa1r\x01\xa1r\x01")


def test_a_hello_that_wants_nothing_special_is_the_bytes_it_was() -> None:
    assert messages.encode(HELLO) == msgpack.packb([0, 1, "box", False, {"": bytes(16)}])
    assert messages.encode(replace(HELLO, urgent=True)) == msgpack.packb([0, 1, "box", False, {"": bytes(16)}, True])
    up = replace(HELLO, directions={"": Direction.UP})
    assert messages.encode(up) == msgpack.packb([0, 1, "box", False, {"": bytes(16)}, False, "", {"": 1}])
    assert decoding.decode(messages.encode(up)) == up


def test_a_hello_that_names_a_namespace_twice_is_refused() -> None:
    twice = b"\x95\x00\x01\xa3box\xc2\x82" + (b"\xa1r\xc4\x10" + bytes(16)) * 2
    with pytest.raises(PeerProtocolError, match="once"):
        decoding.decode(twice)


def test_a_longer_message_is_a_newer_versions() -> None:
    for message, fields in (
        (Digest(space=2, applied=True), [1, 2, 1, [], b"", "more", {}]),
        (Digest(space=2, applied=True, patient=True), [1, 2, 256 + 128 + 1, []]),
        (Delta(space=2, last=True, chunk=b"c"), [2, 2, True, b"c", b"", [1, [2]]]),
        (Push(space=2, applied=True, stamp=9, block=b"b", short=False, origin=Origin(7)), [3, 2, 1, 9, b"b", 7, 8]),
        (Pulse(lane=Lane.PUSH), [4, 1, "more"]),
        (Pulse(lane=Lane.TELL), [4, 77]),
        (Compare(space=2, vector=bytes(16), sums=bytes(8)), [5, 2, bytes(16), bytes(8), "more"]),
        (Mend(space=2, last=False, chunk=b"c"), [6, 2, False, b"c", 1, [2]]),
        (Hello(version=2, label="n", recovering=False, digests={}, urgent=True), [0, 2, "n", False, {}, True]),
        (
            Hello(version=2, label="n", recovering=False, digests={}, rules="owned=nodes/"),
            [0, 2, "n", False, {}, False, "owned=nodes/", {}, 1],
        ),
        (
            Hello(version=2, label="n", recovering=False, digests={"": bytes(16)}, directions={"": Direction.UP}),
            [0, 2, "n", False, {"": bytes(16)}, False, "", {"": 1}],
        ),
        (
            Hello(version=2, label="n", recovering=False, digests={"": bytes(16)}),
            [0, 2, "n", False, {"": bytes(16)}, False, "", {"": 77}, "more"],
        ),
    ):
        assert decoding.decode(msgpack.packb(fields)) == message
    assert decoding.decode(msgpack.packb([99, "whatever"])) is None


# What a link makes of them.


class Pair:
    """A node, and a peer of which only its frames exist."""

    def __init__(self) -> None:
        self.space = Namespace("", Replica(Origin(1)), threading.Lock(), None)
        me = NodeId("n1")
        self.node = GossipNode(me, "n1", {"": self.space}, GossipConfig(), random.Random(1))
        self.node.handle(LinkUp(LINK, NodeId("n2"), dialed=True), 0.0)
        self.refused = ""
        self.gets(HELLO, Digest(space=0))
        self.sends()

    def gets(self, *told: Message) -> None:
        for message in told:
            for effect in self.node.handle(Received(LINK, messages.encode(message)), 0.0):
                self.refused = effect.reason if isinstance(effect, Drop) else self.refused

    def sends(self) -> list[Message | None]:
        return [decoding.decode(frame) for frame in taken(self.node.outgoing(LINK))]

    def writes(self, *keys: str) -> list[Message | None]:
        self.space.write([lambda _: [Op(key, 0, "value") for key in keys]])
        self.node.handle(Wrote(""), 0.0)
        return self.sends()


def push(stamp: int, key: str = "k", before: int | None = None) -> Push:
    dot = Dot(Stamp(stamp), Origin(7))
    known = None if before is None else Dot(Stamp(before), Origin(7))
    return Push.of(0, block_of(dot, key), dot, known, applied=False)


def test_a_push_is_applied_and_acknowledged_in_four_bytes() -> None:
    pair = Pair()
    for message in (push(9), push(12, before=9), push(12 + 2**40, before=12)):
        pair.gets(message)
        assert pair.sends() == [Digest(space=0, applied=True)]
    assert list(pair.space.hello()[1]) == [(7, 12 + 2**40)]
    assert not pair.refused


def test_an_acknowledgement_rides_on_a_push() -> None:
    pair = Pair()
    pair.gets(push(9))
    (answer,) = pair.writes("mine")
    assert isinstance(answer, Push)
    assert answer.applied
    assert not pair.sends()


def test_who_acknowledges_a_push_has_what_came_with_it() -> None:
    pair = Pair()
    for known in (False, True):
        (sent,) = pair.writes("k")
        assert isinstance(sent, Push)
        assert (sent.origin is None) is known
        assert not pair.node.logged_by("", dots_of(pair))
        pair.gets(Digest(space=0, applied=True))
        assert pair.node.logged_by("", dots_of(pair))
        assert not pair.sends()


def test_what_is_written_while_a_push_is_out_goes_at_its_acknowledgement() -> None:
    pair = Pair()
    pair.writes("a")
    assert not pair.writes("b") + pair.writes("c")
    pair.gets(Digest(space=0, applied=True))
    (push,) = pair.sends()
    assert isinstance(push, Push)
    assert not pair.node.logged_by("", dots_of(pair))
    pair.gets(Digest(space=0, applied=True))
    assert pair.node.logged_by("", dots_of(pair))


def dots_of(pair: Pair) -> list[Dot]:
    return [Dot(stamp, origin) for origin, stamp in pair.space.hello()[1]]


def test_what_does_not_fit_one_block_is_told_and_sent_as_a_delta() -> None:
    pair = Pair()
    told, *chunks = pair.writes(*(f"k{number}" for number in range(codec.BLOCK_ROWS_MAX + 1)))
    assert isinstance(told, Digest)
    assert told.only_these
    assert [type(chunk) for chunk in chunks] == [Delta]


def test_a_push_never_tells_of_others_writes_that_the_peer_lacks() -> None:
    """The removal of a third party's row is half of a story: a full delta goes."""
    pair = Pair()
    pair.gets(Delta(space=0, last=True, chunk=b""))
    assert pair.refused
    pair = Pair()
    theirs = Row((), {Origin(9): Stamp(4)})
    pair.space.incoming()
    incoming = pair.space.incoming()
    incoming.add(codec.encode_block(Block([], [("k", theirs)])))
    incoming.apply([(Origin(9), Stamp(4))], None)
    sent = pair.writes("k")
    assert not any(isinstance(message, Push) for message in sent)
    assert any(isinstance(message, Delta) for message in sent)


@pytest.mark.parametrize(
    "told",
    [
        [Digest(space=1)],
        [Push(space=1, applied=False, stamp=1, block=b"", short=False, origin=Origin(7))],
        [Digest(space=0, applied=True)],
        [
            Push(
                space=0,
                applied=True,
                stamp=9,
                block=block_of(Dot(Stamp(9), Origin(7)), "k"),
                short=False,
                origin=Origin(7),
            )
        ],
        [push(9, before=3)],
        [push(9), Push(space=0, applied=False, stamp=2**63, block=b"", short=True, origin=None)],
        [Push(space=0, applied=False, stamp=0, block=b"", short=True, origin=Origin(7))],
        [Push(space=0, applied=False, stamp=9, block=b"", short=True, origin=Origin(7))],
        [Push(space=0, applied=False, stamp=9, block=b"", short=False, origin=Origin(7))],
        [Delta(space=0, last=False, chunk=b"\x00\x05"), push(9)],
        [Digest(space=0, rows_follow=True, goes_on=True), Delta(space=0, last=True, chunk=b"\x00")],
        [HELLO],
    ],
    ids=lambda told: ", ".join(type(message).__name__ for message in told),
)
def test_what_a_link_cannot_mean_drops_it_and_changes_nothing(told: Sequence[Message]) -> None:
    pair = Pair()
    pair.gets(*told[:-1])
    before = pair.space.hello()
    pair.gets(told[-1])
    assert pair.refused
    assert pair.space.hello() == before


def test_only_a_stream_of_several_pieces_tells_positions() -> None:
    pair = Pair()
    (short,) = [message for message in pair.writes("a", "b") if isinstance(message, Delta | Push)]
    assert isinstance(short, Push)
    pair.gets(Digest(space=0, applied=True))
    pair.space.write([lambda _: [Op(f"k{number}", 0, "v" * 900) for number in range(300)]])
    pair.gets(Digest(space=0))
    chunks = [message for message in pair.sends() if isinstance(message, Delta)]
    assert len(chunks) > 3
    assert [bool(chunk.position) for chunk in chunks] == [not chunk.last for chunk in chunks]


def test_a_position_that_is_none_of_ours_is_answered_by_the_whole() -> None:
    """Be there rows or not: the peer can let go of what it keeps."""
    for keys in ((), ("a", "b")):
        pair = Pair()
        pair.writes(*keys) if keys else None
        pair.gets(Digest(space=0, applied=bool(keys), held=b"whatever"))
        told, *chunks = pair.sends()
        assert isinstance(told, Digest)
        assert (told.rows_follow, told.goes_on) == (True, False)
        assert [type(chunk) for chunk in chunks] == [Delta]


def test_whose_turn_comes_when_it_lacks_nothing_any_more_ends_it_by_an_empty_delta() -> None:
    pair = Pair()
    others = [Turn(pair.node._spaces.turns, LinkKey(number)) for number in range(7, 7 + AT_ONCE)]
    assert all(turn.take() for turn in others)
    assert pair.writes(*(f"k{number}" for number in range(30_000))) == []
    pair.gets(Digest(space=0, entries=tuple(pair.space.hello()[1])))  # it has it all from elsewhere
    assert pair.sends() == []
    others[0].leave()
    assert Ready(LINK) in pair.node.handle(Settled(""), 0.0)
    told, *chunks = pair.sends()
    assert isinstance(told, Digest)
    assert told.rows_follow
    assert chunks == [Delta(space=0, last=True, chunk=b"\x00")]
    late = Turn(pair.node._spaces.turns, LinkKey(99))
    assert not late.take()
    pair.gets(Digest(space=0, applied=True))
    assert late.began is not None


def test_a_namespace_that_only_the_peer_has_is_left_alone() -> None:
    pair = Pair()
    pair.node.handle(LinkUp(LinkKey(2), NodeId("n3"), dialed=True), 0.0)
    hello = Hello(version=1, label="box", recovering=False, digests={"other": bytes(16), "": bytes(16)})
    for message in (hello, Digest(space=0, applied=True), Delta(space=0, last=True, chunk=b"?"), Digest(space=1)):
        assert not any(
            isinstance(effect, Drop) for effect in pair.node.handle(Received(LinkKey(2), messages.encode(message)), 0.0)
        )
