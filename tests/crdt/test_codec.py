"""Bytes: what is written comes back, equal blocks are equal bytes, and what is not exactly a block is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    Replica,
    Row,
    Sibling,
    Stamp,
    codec,
    wire,
)
from propagul.crdt.dot import ORIGIN_MAX, STAMP_MAX
from propagul.errors import PeerProtocolError
from tests.crdt.blocks import actions, batches, blocks, dots, entries, exactly, payloads
from tests.crdt.histories import Step, examples, lacking, play, rows_of, steps, take, whole

if TYPE_CHECKING:
    from propagul.crdt.block import Plain

GOOD: list[object] = [
    15,  # every column is there
    "kr",  # keys
    [1],  # their lengths
    ["v", "s"],  # payloads
    [4, -7],  # stamps of siblings, then of further context entries, as differences
    [2, 3],  # runs of kinds
    [1, 1, 0, 1, 1, 1],  # runs of shapes: one plain row, one row with a further entry
    [1, 0, 1, 1, 1, 0],  # runs of origins
    5,  # the first stamp
    [7, 8],  # origins
]
FORMS: dict[int, list[object]] = {
    0: [0, "k", "v", 5, 7],
    1: [1, "kr", [1], ["v", "s"], [4], 5, 7],
    2: [2, "k", "v", [1, 3], 5, 7],
    4 | 8: [4 | 8, "k", ["v"], [-3], [1, 1, 1], [1, 0, 1, 1], 5, [7, 8]],
    8: [8, "k", [], [], [1, 0, 1], 5, 7],
}
"""Blocks in which columns are left out; all but `GOOD` are needed to see that each may be."""


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
    many = Block([*block.plain] * times, [*block.other] * times)
    found = [codec.decode_block(encoded) for encoded in codec.encode_blocks(many)]
    assert exactly([item for one in found for item in one.plain]) == exactly(many.plain)
    assert exactly([item for one in found for item in one.other]) == exactly(many.other)
    assert all(len(one) for one in found)


@pytest.mark.parametrize("value_bytes", [0, 90, 1000, 50_000, 200_000])
def test_a_block_is_closed_at_its_size_or_its_rows(value_bytes: int) -> None:
    plain: list[Plain] = [(f"p{n}", b"x" * value_bytes, 0, Stamp(n + 1), Origin(1)) for n in range(700)]
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
        codec.encode_block(Block([("k", payload, 0, Stamp(1), Origin(1))], []))  # type: ignore[list-item]  # on purpose


WRONG_FORMS: list[object] = [0, 1, 7, 11, 13, 14, 16, 31, 127, 128, -1, True, None, "k", 15.0, []]
WRONG_ORIGINS: list[object] = [[], [7], [7, 0], [7, False], [7, 8.0], [7, -8], [7, "8"], [7, 8, 9, 10], 7, None, {}]
WRONG: list[tuple[int, object]] = [
    *((0, column) for column in WRONG_FORMS),
    *((1, text) for text in (b"kr", "", "k", "krs", None, 7, ["k", "r"], {"kr": 1})),
    *((2, lengths) for lengths in ([], [2], [1, 2], [2, 0], [0, 2], [3, -1], [1, 1, 0], [True], [1.0], ["1"], 1, None)),
    *((3, payloads) for payloads in ([], ["v"], ["v", "w", "x"], [["v"], "s"], [{}, "s"], [[], "s"], "vs", None)),
    (3, [msgpack.ExtType(2, b""), "s"]),
    (3, [msgpack.ExtType(3, b"\x00\x01"), "s"]),
    (3, [msgpack.ExtType(1, b""), "s"]),
    (3, [msgpack.ExtType(1, b"\x92\x01"), "s"]),
    (3, [msgpack.ExtType(1, b"\x90\x90"), "s"]),
    (3, [msgpack.ExtType(9, b"v"), "s"]),
    (3, [msgpack.Timestamp(5), "s"]),
    *((4, stamps) for stamps in ([], [4], [4, -7, 1], [4, True], [4.0, -7], ["4", -7], [-5, 2], [4, -9], None)),
    *((4, stamps) for stamps in ([STAMP_MAX, -STAMP_MAX], [2**63, -(2**63)], [STAMP_MAX - 4, 0])),
    *((5, runs) for runs in ([2, 2**16], [2, -1], [2, True], [3, 3], [1, 3], [2], [-1, 3, 3, 3], [], None, 3)),
    *((6, shapes) for shapes in ([], [1, 1, 0], [2, 1, 0], [1, 1, 0, 1, 1], [1, 1, 0, 1, 2, 1], [1, 1, 0, 1, 0, 1])),
    *((6, shapes) for shapes in ([1, 1, 0, 1, 1, 2], [1, 1, 0, 1, 1, 0], [1, 1, 0, 1, True, 1], [1, 1, -1, 1, 1, 2])),
    *((6, shapes) for shapes in ([1, 1, 0, 2**62, 1, 1], [2**62, 0, 0], [2, 1, 0, 1, 0, 1], [-1, 1, 0, 3, 1, 1], None)),
    *((7, runs) for runs in ([], [1, 0], [1, 0, 1, 2, 1, 0], [1, 0, 1, -1, 1, 0], [1, 0, 1, True, 1, 0], [3], None)),
    *((7, runs) for runs in ([2, 0, 2, 1], [1, 0, 1, 1], [2**62, 0], [-1, 0, 4, 1], [True, 0, 1, 1, 1, 0])),
    *((8, stamp) for stamp in (0, -5, True, 5.0, "5", None, [5], STAMP_MAX + 1, 2)),
    *((9, column) for column in WRONG_ORIGINS),
]


def test_a_block_that_is_not_exactly_one_is_refused() -> None:
    row = Row((Sibling(Dot(Stamp(9), Origin(8)), 3, "s"),), {Origin(8): Stamp(9), Origin(7): Stamp(2)})
    assert codec.decode_block(packed(GOOD)) == Block([("k", "v", 3, Stamp(5), Origin(7))], [("r", row)])
    for column, content in WRONG:
        with pytest.raises(PeerProtocolError):
            assert not codec.decode_block(packed([*GOOD[:column], content, *GOOD[column + 1 :]])), (column, content)


def test_columns_that_say_the_commonest_are_left_out() -> None:
    for form, columns in FORMS.items():
        assert codec.encode_block(codec.decode_block(packed(columns))) == packed(columns)
        for other in set(range(16)) - {form}:
            with pytest.raises(PeerProtocolError):
                assert not codec.decode_block(packed([other, *columns[1:]])), (other, columns)
    assert codec.encode_block(Block([], [])) == b"\xc0"
    assert codec.decode_block(b"\xc0") == Block([], [])


@pytest.mark.parametrize(
    ("names", "lengths"),
    [
        (["a", "b"], [1]),
        (["aa", "b", "c"], [2, 1]),
        (["a", "bb", "cc", "dd"], [1, 2]),
        (["a", "b", "cc"], [1, 1, 2]),
        (["\N{SNOWMAN}" * 1365, "k" * 4096, "\N{SNOWMAN}"], [1365, 4096, 1]),
    ],
)
def test_keys_are_one_text_and_the_last_length_is_that_of_the_rest(names: list[str], lengths: list[int]) -> None:
    count = len(names)
    plain: list[Plain] = [(name, number, 0, Stamp(9), Origin(7)) for number, name in enumerate(names)]
    columns = [1, "".join(names), lengths, list(range(count)), [0] * (count - 1), 9, 7]
    assert codec.encode_block(Block(plain, [])) == packed(columns)
    assert codec.decode_block(packed(columns)).plain == plain


def test_a_key_over_four_kib_is_refused_wherever_it_stands() -> None:
    for text, lengths in (
        ("k" * (KEY_BYTES_MAX + 2), [1, KEY_BYTES_MAX + 1]),
        ("k" * (2 * KEY_BYTES_MAX + 2), [KEY_BYTES_MAX + 1]),
        ("\N{SNOWMAN}" * 1367, [1366, 1]),
        ("\N{SNOWMAN}" * 1367, [1, 1366]),
    ):
        with pytest.raises(PeerProtocolError):
            codec.decode_block(packed([1, text, lengths, [1, 2], [0], 9, 7]))
    for text in ("k" * (KEY_BYTES_MAX + 1), "\N{SNOWMAN}" * 1366, ""):
        with pytest.raises(PeerProtocolError):
            codec.decode_block(packed([0, text, 1, 9, 7]))


def test_more_rows_than_a_block_holds_are_refused() -> None:
    def rows(count: int) -> bytes:
        return packed([1, "k" * count, [1], [0] * count, [1] * (count - 1), 9, 7])

    assert len(codec.decode_block(rows(codec.BLOCK_ROWS_MAX))) == codec.BLOCK_ROWS_MAX
    with pytest.raises(PeerProtocolError):
        codec.decode_block(rows(codec.BLOCK_ROWS_MAX + 1))


@examples(60)
@given(blocks, dots)
def test_a_block_of_one_origin_ends_with_its_first_dot(block: Block, dot: Dot) -> None:
    first = ("first", "v", 0, *dot)
    alike = [(*plain[:4], dot.origin) for plain in block.plain if plain[0] != "first"]
    assert codec.encode_block(Block([first, *alike], [])).endswith(codec.ending(dot))
    encoded = codec.encode_block(block)
    assert encoded.removesuffix(codec.ending(dot)) in {encoded, encoded[: -len(codec.ending(dot))]}


def test_siblings_out_of_rank_order_are_refused() -> None:
    def one_row(first: int, difference: int, origins: list[int]) -> bytes:
        return packed([4 | 8, "k", ["v", "w"], [difference], [1, 2, 0], [1, 0, 1, 1], first, origins])

    assert [s.dot for s in codec.decode_block(one_row(9, -4, [7, 8])).other[0][1].siblings] == [(9, 7), (5, 8)]
    for first, difference, origins in ((5, 4, [7, 8]), (5, 0, [7, 8]), (5, 0, [7, 7])):
        with pytest.raises(PeerProtocolError):
            codec.decode_block(one_row(first, difference, origins))


def test_a_context_that_says_less_than_its_siblings_is_refused() -> None:
    def one_row(values: list[str], differences: list[int], shape: list[int], origins: list[int]) -> bytes:
        runs = [item for number in origins for item in (1, number)]
        return packed([4 | 8, "k", values, differences, [1, *shape], runs, 9, [7, 8]])

    for values, differences, shape, origins in (
        (["v"], [2], [1, 1], [0, 1]),
        (["v", "w"], [-4, 2], [2, 1], [0, 1, 1]),
        (["v"], [2, 2], [1, 2], [0, 1, 0]),
    ):
        assert codec.decode_block(one_row(values, differences, shape, origins)).other
        less = [*differences[:-1], -6]
        with pytest.raises(PeerProtocolError):
            assert not codec.decode_block(one_row(values, less, shape, [*origins[:-1], 0])), less
    with pytest.raises(PeerProtocolError):
        codec.decode_block(packed([8, "k", ["v"], [0], [1, 1, 1], 9, 7]))
    assert codec.decode_block(packed([8, "k", ["v"], [1], [1, 1, 1], 9, 7])).other[0][1].context == {7: 10}


def test_a_block_that_ends_early_or_late_is_refused() -> None:
    for whole_block in map(packed, (GOOD, *FORMS.values())):
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
        return codec.encode_block(Block([("k", bytes(size), 0, Stamp(1), Origin(1))], []))

    assert codec.decode_block(one(VALUE_BYTES_MAX)).plain[0][1] == bytes(VALUE_BYTES_MAX)
    with pytest.raises(PeerProtocolError, match="16 MiB"):
        codec.decode_block(one(VALUE_BYTES_MAX + 1))


def test_stamps_origins_and_kinds_travel_up_to_their_maxima() -> None:
    dot = Dot(Stamp(STAMP_MAX), Origin(ORIGIN_MAX))
    plain: list[Plain] = [("k", "v", 65_535, *dot), ("l", "v", 0, Stamp(1), Origin(1)), ("m", "v", 0, *dot)]
    block = Block(plain, [("r", Row((Sibling(dot, 65_535, "v"),), {dot.origin: dot.stamp, Origin(1): dot.stamp}))])
    assert codec.decode_block(codec.encode_block(block)) == block


def test_a_peers_error_holds_none_of_its_bytes() -> None:
    for columns in (
        [0, "k", "correct-horse", 0, 7],
        [0, "correct-horse", [], 5, 7],
        [1, "correct-horse", [9], [1], [], 5, 7],
    ):
        with pytest.raises(PeerProtocolError) as caught:
            codec.decode_block(packed(columns))
        assert "horse" not in str(caught.value)
