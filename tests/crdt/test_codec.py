"""Bytes: what is written comes back, equal rows are equal bytes, and strangers' bytes do no harm."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import KEY_BYTES_MAX, VALUE_BYTES_MAX, Dot, Origin, Row, Sibling, Stamp, Write, codec, join
from propagul.crdt.dot import ORIGIN_MAX, STAMP_MAX
from propagul.errors import PeerProtocolError
from propagul.gossip import messages
from tests.crdt.histories import Step, play, shape, steps

if TYPE_CHECKING:
    from collections.abc import Callable

origins = st.integers(0, ORIGIN_MAX).map(Origin)
stamps = st.integers(0, STAMP_MAX).map(Stamp)
dots = st.builds(Dot, stamps, origins)
row_bytes = [1, 5, 0, b"v"]


@given(steps)
def test_reachable_rows_come_back_from_their_bytes(history: list[Step]) -> None:
    for replica in play(history):
        packed = b"".join(codec.encode_row(key, row) for key, row in replica)
        assert [(k, shape(r)) for k, r in codec.decode_rows(packed)] == [(k, shape(r)) for k, r in replica]


@given(steps)
def test_equal_rows_are_equal_bytes_however_they_came_about(history: list[Step]) -> None:
    a, b, _ = play(history)
    for key in dict(a).keys() | dict(b).keys():
        ab, ba = join(a.row(key), b.row(key)), join(b.row(key), a.row(key))
        assert codec.encode_row(key, ab) == codec.encode_row(key, ba)
        shuffled = Row(ab.siblings, dict(reversed(list(ab.context.items()))))
        assert codec.encode_row(key, shuffled) == codec.encode_row(key, ab)


@given(dots, st.text(max_size=50), st.none() | st.binary(max_size=50))
def test_a_write_comes_back_from_its_bytes(dot: Dot, key: str, payload: bytes | None) -> None:
    write = Write(dot, key, 3, payload)
    assert codec.decode_write(codec.unpack(msgpack.packb(codec.encode_write(write)))) == write


@given(st.lists(st.tuples(origins, stamps)))
def test_vector_entries_come_back_from_their_flat_list(entries: list[tuple[Origin, Stamp]]) -> None:
    assert codec.unflatten(codec.flatten(entries)) == entries


arbitrary = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=5),
    lambda part: st.lists(part, max_size=6) | st.dictionaries(st.text(max_size=3), part, max_size=3),
    max_leaves=12,
)


@given(st.binary(max_size=200) | arbitrary.map(msgpack.packb), st.binary(max_size=3))
def test_arbitrary_bytes_raise_only_a_peers_error(packed: bytes, torn: bytes) -> None:
    decoders: list[Callable[[bytes], object]] = [codec.decode_rows, codec.unpack, messages.decode]
    for decode in decoders:
        with contextlib.suppress(PeerProtocolError):
            decode(packed + torn)
    with contextlib.suppress(PeerProtocolError):
        codec.decode_write(codec.unpack(packed))


@given(st.data())
def test_one_changed_byte_of_a_message_raises_only_a_peers_error(data: st.DataObject) -> None:
    message = messages.encode(
        messages.Hello(version=1, label="box", recovering=False, digests={"": bytes(16), "room": bytes(16)})
    )
    at = data.draw(st.integers(0, len(message) - 1))
    with contextlib.suppress(PeerProtocolError):
        messages.decode(message[:at] + bytes([data.draw(st.integers(0, 255))]) + message[at + 1 :])


LIES = {
    "nested lists that claim 64 Ki items each": b"\xdd\x00\x00\xff\xf0" * 510 + b"\xc0" * 63_000,
    "one list that claims 4 Gi items": b"\xdd\xff\xff\xff\xff",
    "one map that claims 4 Gi pairs": b"\xdf\xff\xff\xff\xff",
    "a row of siblings without end": b"\x93\xa1k\xdd\x0f\xff\xff\xff" + b"\xc0" * 1000,
    "a row with a context without end": b"\x93\xa1k\x90\xdd\x0f\xff\xff\xff" + b"\xc0" * 1000,
    "a byte string that claims 4 GiB": b"\x93\xc6\xff\xff\xff\xff" + b"x" * 1000,
    "lists in lists": b"\x91" * 60_000,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("decode", [codec.decode_rows, messages.decode])
def test_a_lie_about_sizes_costs_no_memory(decode: Callable[[bytes], object], lie: bytes) -> None:
    """At most a few times the bytes that came: claims are checked before anything is allocated."""
    tracemalloc.start()
    try:
        with contextlib.suppress(PeerProtocolError):
            assert decode(lie) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(lie) + 64 * 1024


@pytest.mark.parametrize(
    "row",
    [
        ["k", [True, 5, 0, b"v"], []],
        ["k", [1, False, 0, b"v"], []],
        ["k", [1, 5, True, b"v"], []],
        ["k", row_bytes, [5, True]],
        ["k", [1.0, 5, 0, b"v"], []],
        ["k", [-1, 5, 0, b"v"], []],
        ["k", [STAMP_MAX + 1, 5, 0, b"v"], []],
        ["k", [1, 5, 0, "v"], []],
        ["k", [1, 5, 0], []],
        ["k", row_bytes, [5]],
        ["k", row_bytes, [5, 1, 5, 2]],
        ["k", [1, 5, 0, b"v", 2, 5, 0, b"w"], []],
        ["k", row_bytes + row_bytes, []],
        [b"k", row_bytes, []],
        ["k" * (KEY_BYTES_MAX + 1), row_bytes, []],
        ["k", row_bytes],
        ["k", row_bytes, [], 1],
        {"k": 1},
        7,
    ],
    ids=repr,
)
def test_a_row_that_is_not_exactly_one_is_refused(row: object) -> None:
    codec.decode_rows(msgpack.packb(["k", row_bytes, []]))  # the pattern itself is good
    with pytest.raises(PeerProtocolError):
        codec.decode_rows(msgpack.packb(row))


def test_a_stream_that_ends_inside_a_row_is_refused() -> None:
    packed = msgpack.packb(["k", row_bytes, []])
    for end in range(1, len(packed)):
        with pytest.raises(PeerProtocolError):
            codec.decode_rows(packed + packed[:end])


def test_the_largest_value_a_peer_may_send_is_taken_and_a_byte_more_is_not() -> None:
    codec.decode_rows(msgpack.packb(["k", [1, 5, 0, bytes(VALUE_BYTES_MAX)], []]))
    with pytest.raises(PeerProtocolError, match="16 MiB"):
        codec.decode_rows(msgpack.packb(["k", [1, 5, 0, bytes(VALUE_BYTES_MAX + 1)], []]))


def test_stamps_and_origins_travel_up_to_their_maxima() -> None:
    row = Row((Sibling(Dot(Stamp(STAMP_MAX), Origin(ORIGIN_MAX)), 0, b"v"),), {Origin(ORIGIN_MAX): Stamp(STAMP_MAX)})
    assert [(k, shape(r)) for k, r in codec.decode_rows(codec.encode_row("k", row))] == [("k", shape(row))]


def test_a_peers_error_holds_none_of_its_bytes() -> None:
    with pytest.raises(PeerProtocolError) as caught:
        codec.decode_rows(msgpack.packb(["k", ["correct-horse", 5, 0, b"battery"], []]))
    assert "horse" not in str(caught.value)
