"""Bytes: what is written comes back, equal blocks are equal bytes, and what is not exactly a block is refused."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import (
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    Batch,
    Block,
    Dot,
    Entry,
    Op,
    Origin,
    Packed,
    Plain,
    Replica,
    Row,
    Sibling,
    Stamp,
    codec,
    wire,
)
from propagul.crdt.dot import ORIGIN_MAX, STAMP_MAX
from propagul.errors import PeerProtocolError
from tests.crdt.blocks import actions, batches, blocks, entries, exactly, payloads
from tests.crdt.histories import Step, examples, lacking, play, rows_of, steps, take, whole

GOOD: list[object] = [
    ["k", "r"],  # keys
    ["v", "s"],  # payloads
    [5, 4],  # stamps, as differences
    [1, 0, 1, 1],  # runs of origins
    [2, 3],  # runs of kinds
    [2],  # stamps of further context entries
    [],  # runs of their origins: the first one
    [1, 1, 0, 1, 1, 1],  # runs of shapes: one plain row, one row with a further entry
    [7, 8],  # origins
]


def packed(columns: list[object]) -> bytes:
    return b"".join(map(msgpack.packb, columns))


@examples(100)
@given(blocks)
def test_a_block_comes_back_from_its_bytes(block: Block) -> None:
    assert exactly(codec.decode_block(codec.encode_block(block))) == exactly(block)


@examples(100)
@given(blocks)
def test_equal_blocks_are_equal_bytes_however_they_came_about(block: Block) -> None:
    encoded = codec.encode_block(block)
    turned = [(key, Row(row.siblings, dict(reversed(list(row.context.items()))))) for key, row in block.other]
    assert codec.encode_block(Block(list(block.plain), turned)) == encoded
    assert codec.encode_block(codec.decode_block(encoded)) == encoded


@examples(60)
@given(steps)
def test_reachable_rows_come_back_from_their_bytes(history: list[Step]) -> None:
    for replica in play(history).replicas:
        block = replica.table.capture(0).read(100)
        assert exactly(codec.decode_block(codec.encode_block(block))) == exactly(block)


@examples(60)
@given(blocks, st.integers(1, 12))
def test_blocks_hold_the_same_rows_in_order(block: Block, times: int) -> None:
    many = Block(block.plain * times, block.other * times)
    found = [codec.decode_block(encoded) for encoded in codec.encode_blocks(many)]
    assert exactly([item for one in found for item in one.plain]) == exactly(many.plain)
    assert exactly([item for one in found for item in one.other]) == exactly(many.other)
    assert all(len(one) for one in found)


@pytest.mark.parametrize("value_bytes", [0, 90, 1000, 50_000, 200_000])
def test_a_block_is_closed_at_its_size_or_its_rows(value_bytes: int) -> None:
    plain = [Plain(f"p{n}", b"x" * value_bytes, 0, Stamp(n + 1), Origin(1)) for n in range(700)]
    sibling = Sibling(Dot(Stamp(5), Origin(1)), 0, b"x" * value_bytes)
    other = [(f"o{n}", Row((sibling,), {Origin(o): Stamp(6) for o in range(1, 9)})) for n in range(700)]
    encoded = list(codec.encode_blocks(Block(plain, other)))
    assert sum(len(codec.decode_block(one)) for one in encoded) == 1400
    assert all(len(codec.decode_block(one)) <= codec.BLOCK_ROWS_MAX for one in encoded)
    assert max(map(len, encoded)) <= codec.BLOCK_BYTES + value_bytes + 512
    assert len(encoded) <= 4 + sum(map(len, encoded)) * 2 / codec.BLOCK_BYTES + (1400 if value_bytes > 40_000 else 0)


@examples(100)
@given(batches)
def test_a_batch_comes_back_from_its_bytes(batch: Batch) -> None:
    reader = wire.Reader(wire.pack(codec.batch_fields(batch)))
    assert exactly(codec.batch_of(reader.column(20))) == exactly(batch)
    assert reader.at_end


@examples(100)
@given(payloads, actions)
def test_a_payload_and_an_action_keep_their_types(payload: object, action: object) -> None:
    reader = wire.Reader(wire.pack(payload) + wire.pack(action))
    assert exactly(reader.scalar()) == exactly(payload)
    assert exactly(reader.scalar()) == exactly(action)


@examples(60)
@given(entries)
def test_vector_entries_come_back_from_their_flat_list(found: list[Entry]) -> None:
    assert codec.unflatten(codec.flatten(found)) == found
    assert codec.read_entries(wire.Reader(wire.pack(codec.flatten(found))), len(found)) == found


def test_an_unknown_kind_of_row_is_kept_forwarded_and_superseded_like_any_other() -> None:
    author, relay, reader = Replica(Origin(1)), Replica(Origin(2)), Replica(Origin(3))
    author.apply(author.prepare([Op("k", 40_000, "v"), Op("l", 65_535, Packed(b"\x90"))], Stamp(10)))
    take(relay, whole(author))
    relay.apply(relay.prepare([Op("l", 65_534, "w")], Stamp(11)))
    take(reader, lacking(relay, reader))
    assert rows_of(reader) == rows_of(relay)
    assert [reader.row(key).siblings[0].kind for key in ("k", "l")] == [40_000, 65_534]


# What is refused.


@pytest.mark.parametrize(
    "payload",
    [(1,), {1}, 1j, 2**64, -(2**63) - 1, object(), type("Text", (str,), {})("v")],
    ids=lambda v: type(v).__name__,
)
def test_what_is_no_payload_is_not_packed(payload: object) -> None:
    with pytest.raises((TypeError, OverflowError)):
        codec.encode_block(Block([Plain("k", payload, 0, Stamp(1), Origin(1))], []))  # type: ignore[arg-type]  # on purpose


WRONG: list[tuple[int, object]] = [
    *((0, keys) for keys in ([b"k", "r"], ["", "r"], [None, "r"], ["k"], ["k", "r", "s"], [], {"k": 1}, "k", 7)),
    (0, ["k" * (KEY_BYTES_MAX + 1), "r"]),
    (0, ["\N{SNOWMAN}" * 1366, "r"]),
    (0, [f"k{n}" for n in range(codec.BLOCK_ROWS_MAX + 1)]),
    *((1, payloads) for payloads in ([], ["v"], ["v", "w", "x"], [["v"], "s"], [{}, "s"], [[], "s"])),
    (1, [msgpack.ExtType(2, b""), "s"]),
    (1, [msgpack.ExtType(3, b"\x00\x01"), "s"]),
    (1, [msgpack.ExtType(1, b""), "s"]),
    (1, [msgpack.ExtType(1, b"\x92\x01"), "s"]),
    (1, [msgpack.ExtType(1, b"\x90\x90"), "s"]),
    (1, [msgpack.ExtType(9, b"v"), "s"]),
    (1, [msgpack.Timestamp(5), "s"]),
    *((2, stamps) for stamps in ([], [5], [5, 4, 1], [True, 4], [5.0, 4], ["5", 4], [0, 4], [5, -5], [STAMP_MAX, 1])),
    *((3, runs) for runs in ([], [1, 0], [1, 0, 1, 2], [1, 0, 1, -1], [1, 0, 1, True], [2, 0, 1, 1], [1, 0, 1])),
    *((3, runs) for runs in ([True, 0, 1, 1], [2**62, 0], [-1, 0, 3, 1])),
    *((4, runs) for runs in ([2, 2**16], [2, -1], [2, True], [3, 3], [1, 3], [2], [-1, 3, 3, 3])),
    *((5, stamps) for stamps in ([], [2, 2], [True], [0], [-1], [STAMP_MAX + 1])),
    *((6, runs) for runs in ([2, 0], [1, 2], [1])),
    (6, [1, 1]),
    *((7, shapes) for shapes in ([], [1, 1, 0], [2, 1, 0], [1, 1, 0, 1, 1], [1, 1, 0, 1, 2, 1], [1, 1, 0, 1, 0, 1])),
    *((7, shapes) for shapes in ([1, 1, 0, 1, 1, 2], [1, 1, 0, 1, 1, 0], [1, 1, 0, 1, True, 1], [1, 1, -1, 1, 1, 2])),
    (7, [1, 1, 0, 2**62, 1, 1]),
    *((8, table) for table in ([], [7], [7, 0], [7, False], [7, 8.0], [7, -8], [7, "8"], [7, 8, 9, 10])),
    (8, 7),
]


def test_a_block_that_is_not_exactly_one_is_refused() -> None:
    row = Row((Sibling(Dot(Stamp(9), Origin(8)), 3, "s"),), {Origin(8): Stamp(9), Origin(7): Stamp(2)})
    assert codec.decode_block(packed(GOOD)) == Block([Plain("k", "v", 3, Stamp(5), Origin(7))], [("r", row)])
    for column, content in WRONG:
        with pytest.raises(PeerProtocolError):
            assert not codec.decode_block(packed([*GOOD[:column], content, *GOOD[column + 1 :]])), (column, content)


def test_siblings_out_of_rank_order_are_refused() -> None:
    def one_row(differences: list[int], origins: list[int]) -> bytes:
        return packed([["k"], ["v", "w"], differences, [1, 0, 1, 1], [], [], [], [1, 2, 0], origins])

    assert [s.dot for s in codec.decode_block(one_row([9, -4], [7, 8])).other[0][1].siblings] == [(9, 7), (5, 8)]
    for differences, origins in (([5, 4], [7, 8]), ([5, 0], [7, 8]), ([5, 0], [7, 7])):
        with pytest.raises(PeerProtocolError):
            codec.decode_block(one_row(differences, origins))


def test_a_block_that_ends_early_or_late_is_refused() -> None:
    whole_block = packed(GOOD)
    for end in range(len(whole_block)):
        with pytest.raises(PeerProtocolError):
            codec.decode_block(whole_block[:end])
    for more in (b"\xc0", b"\x90", whole_block):
        with pytest.raises(PeerProtocolError):
            codec.decode_block(whole_block + more)


def test_what_is_no_batch_is_refused() -> None:
    heads: list[list[object]] = [[], [1], [0, 2], [1, 0], [True, 2], [1, True], [1.0, 2], ["1", 2], [STAMP_MAX + 1, 2]]
    tails: list[list[object]] = [["k"], ["", 0, 1], ["k", -1, 1], ["k", 2**16, 1], ["k", True, 1], ["k", 0, ["v"]]]
    assert codec.batch_of([1, 2, "k", 0, "v"]).ops == [("k", 0, "v")]
    for fields in (*heads, *([1, 2, *tail] for tail in tails)):
        with pytest.raises(PeerProtocolError):
            assert not codec.batch_of(fields), fields


def test_what_are_no_entries_is_refused() -> None:
    assert codec.unflatten([1, 2]) == [(1, 2)]
    for numbers in (
        [1],
        [1, True],
        [True, 1],
        [1, 0],
        [0, 1],
        [1, 2.0],
        ["1", 2],
        [1, STAMP_MAX + 1],
        [ORIGIN_MAX + 1, 1],
    ):
        with pytest.raises(PeerProtocolError):
            assert not codec.unflatten(numbers), numbers


def test_more_entries_than_asked_for_are_refused() -> None:
    four = wire.pack([1, 2, 3, 4])
    assert len(codec.read_entries(wire.Reader(four), 2)) == 2
    with pytest.raises(PeerProtocolError):
        codec.read_entries(wire.Reader(four), 1)
    with pytest.raises(PeerProtocolError):
        codec.unflatten([1])


def test_the_largest_value_a_peer_may_send_is_taken_and_a_byte_more_is_not() -> None:
    def one(size: int) -> bytes:
        return codec.encode_block(Block([Plain("k", bytes(size), 0, Stamp(1), Origin(1))], []))

    assert codec.decode_block(one(VALUE_BYTES_MAX)).plain[0].payload == bytes(VALUE_BYTES_MAX)
    with pytest.raises(PeerProtocolError, match="16 MiB"):
        codec.decode_block(one(VALUE_BYTES_MAX + 1))


def test_stamps_origins_and_kinds_travel_up_to_their_maxima() -> None:
    dot = Dot(Stamp(STAMP_MAX), Origin(ORIGIN_MAX))
    plain = [Plain("k", "v", 65_535, *dot), Plain("l", "v", 0, Stamp(1), Origin(1)), Plain("m", "v", 0, *dot)]
    block = Block(plain, [("r", Row((Sibling(dot, 65_535, "v"),), {dot.origin: dot.stamp, Origin(1): dot.stamp}))])
    assert codec.decode_block(codec.encode_block(block)) == block


def test_a_peers_error_holds_none_of_its_bytes() -> None:
    with pytest.raises(PeerProtocolError) as caught:
        codec.decode_block(packed([["k"], ["v"], ["correct-horse"], [], [], [], [], [], [7]]))
    assert "horse" not in str(caught.value)
