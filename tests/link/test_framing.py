from __future__ import annotations

import contextlib
import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.errors import PeerProtocolError
from propagul.link import FrameDecoder, encode_frame
from propagul.link.base import FIRST_FRAME_BYTES_MAX
from propagul.link.messages import unpack, unpack_hello

LIMIT = 50


def decode(decoder: FrameDecoder, chunks: list[bytes]) -> list[bytes]:
    frames = []
    for chunk in chunks:
        decoder.feed(chunk)
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)
        assert decoder.buffered < 4 + decoder.limit
    return frames


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.binary(max_size=LIMIT)), st.lists(st.integers(min_value=0), max_size=20))
def test_any_split_of_any_frames_decodes_to_the_same(frames: list[bytes], cuts: list[int]) -> None:
    decoder = FrameDecoder(LIMIT)
    assert decode(decoder, split(b"".join(map(encode_frame, frames)), cuts)) == frames
    assert decoder.take_rest() == b""


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_arbitrary_bytes_give_frames_or_a_protocol_error(chunks: list[bytes]) -> None:
    try:
        frames = decode(FrameDecoder(LIMIT), chunks)
    except PeerProtocolError:
        return
    assert all(len(frame) <= LIMIT for frame in frames)


def test_a_long_frame_is_refused_at_its_header_and_for_ever() -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.feed(b"\x00\x00\x00\x33" + b"x" * 1000)
    for _ in range(2):
        with pytest.raises(PeerProtocolError, match="51 bytes"):
            decoder.next_frame()
        assert decoder.buffered == 4


def test_the_limit_may_be_raised_between_two_frames() -> None:
    decoder = FrameDecoder(1)
    decoder.feed(encode_frame(b"a") + encode_frame(b"longer"))
    assert decoder.next_frame() == b"a"
    decoder.limit = LIMIT
    assert decoder.next_frame() == b"longer"


def test_bytes_behind_the_last_frame_are_left_untouched() -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.feed(encode_frame(b"frame") + b"GET / HTTP/1.1")
    assert decoder.next_frame() == b"frame"
    assert decoder.take_rest() == b"GET / HTTP/1.1"


@given(st.binary(max_size=300))
def test_arbitrary_messages_decode_or_are_a_protocol_error(frame: bytes) -> None:
    for decode_one in (unpack_hello, unpack, lambda data: unpack(data, bytes, str)):
        with contextlib.suppress(PeerProtocolError):
            decode_one(frame)


@pytest.mark.parametrize("claim", [b"\xdd\x00\x00\x0f\xf0", b"\xdc\x0f\xf0", b"\xdf\x00\x00\x07\xf0\x01", b"\x91"])
def test_a_first_frame_of_lists_in_lists_costs_memory_in_proportion(claim: bytes) -> None:
    """The decoder makes room for what a header claims before it has seen one item."""
    frame = (claim * FIRST_FRAME_BYTES_MAX)[: FIRST_FRAME_BYTES_MAX - 100] + b"\xc0" * 100
    tracemalloc.start()
    try:
        with pytest.raises(PeerProtocolError):
            unpack_hello(frame)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(frame) + 256 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 3000,
        b"\x91\x81\x90\x01",
        b"\x91\xc1",
        b"\x92\x01",
        b"\xc7\x0c\xff" + b"\xff" * 12,
    ],
)
def test_malformed_messages_are_a_protocol_error(frame: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        unpack(frame, str)
