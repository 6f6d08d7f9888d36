"""Arbitrary bytes: every decoder takes them or raises its one error, in memory in proportion, and keeps none of it."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import struct
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING

import msgpack
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import (
    Batch,
    Block,
    Dot,
    Entry,
    Floor,
    Join,
    Keep,
    Op,
    Origin,
    Packed,
    Replica,
    Row,
    Sibling,
    Stamp,
    VersionVector,
    codec,
    wire,
)
from propagul.crdt.twins import KERNEL_VARIABLE
from propagul.errors import PeerProtocolError, StoreCorrupt, StoreError
from propagul.gossip import LinkKey, decoding, messages, stream
from propagul.gossip.directions import Course, Direction
from propagul.gossip.exchange import Exchange
from propagul.gossip.quota import Quotas
from propagul.gossip.turns import Turn, Turns
from propagul.link import NodeId
from propagul.log import fold
from propagul.store._namespace import Namespace
from tests.crdt import blocks as strategies
from tests.crdt.histories import LONG, SPACE, WALL, examples
from tests.crdt.kernels import by, compiled, load
from tests.crdt.test_golden import BATCH, BLOCK, ENTRIES, JOIN
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Decoder = Callable[[bytes], object]

FRAMES = 1_000_000 if LONG else 40_000


@pytest.fixture(scope="module", autouse=True)
def _kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The kernel as its source stands here; Python where that is asked for, or where no compiler is."""
    if os.environ.get(KERNEL_VARIABLE) == "off" or not shutil.which("cc"):
        yield
        return
    with by(load(compiled(tmp_path_factory))):
        yield


def decode_batch(packed: bytes) -> object:
    return codec.batch_of(wire.Reader(packed).column(30_000))


def decode_entries(packed: bytes) -> object:
    return codec.read_entries(wire.Reader(packed), 32_768)


def skip(packed: bytes) -> object:
    wire.Reader(packed).skip()
    return None


def assemble(packed: bytes) -> object:
    items = stream.Assembler().feed(packed)
    return stream.decode_floor(next(items, b"")), [codec.decode_block(item) for item in items]


def take_event(event: bytes) -> object:
    """Applied to a replica that holds something; what it then holds can be told on."""
    replica = Replica(Origin(1))
    replica.load(BLOCK)
    fold.Fold({SPACE: replica}, lambda _: event).take(0, event)
    return list(codec.encode_blocks(replica.table.capture(0).read(100)))


def take_events(event: bytes) -> object:
    """The way of the start: many events at once."""
    replica = Replica(Origin(1))
    good = fold.encode_batch(SPACE, BATCH)
    fold.Fold({SPACE: replica}, lambda _: event).take_all(enumerate([good, event, good, event]))
    return list(codec.encode_blocks(replica.table.capture(0).read(100)))


def take_message(packed: bytes) -> object:
    """Rows that arrive over a link on which one push went before."""
    space = Namespace(SPACE, Replica(Origin(1)), threading.Lock(), None)
    quota = Quotas().of(NodeId("n"), SPACE, space)
    course, turn = Course(Direction.MESH), Turn(Turns(), LinkKey(1))
    exchange = Exchange(SPACE, 0, space, turn, quota=quota, course=course, held=None)
    exchange.peer_sent(PUSHES[0])
    message = decoding.decode(packed)
    if isinstance(message, (messages.Delta, messages.Push)):
        exchange.peer_sent(message)
        exchange.heard = exchange.owes_push = True
    return list(taken(exchange.outgoing()))


DECODERS: dict[str, tuple[Decoder, type[Exception]]] = {
    "block": (codec.decode_block, PeerProtocolError),
    "batch": (decode_batch, PeerProtocolError),
    "entries": (decode_entries, PeerProtocolError),
    "object": (wire.Objects().read, PeerProtocolError),
    "skip": (skip, PeerProtocolError),
    "is one": (wire.is_one_object, PeerProtocolError),
    "message": (decoding.decode, PeerProtocolError),
    "rows": (take_message, PeerProtocolError),
    "floor": (stream.decode_floor, PeerProtocolError),
    "stream": (assemble, PeerProtocolError),
    "event": (take_event, StoreError),
    "events": (take_events, StoreError),
    "staged": (fold.block_of, StoreCorrupt),
}

ONE, NEXT = Dot(Stamp(WALL), Origin(7)), Dot(Stamp(WALL + 9), Origin(7))
PUSHES = [
    messages.Push.of(0, codec.encode_block(Block([("key", "value", 0, *dot)], [])), dot, before, applied=False)
    for dot, before in ((ONE, None), (NEXT, ONE))
]
"""The first push on a link and the next one."""

GOOD: dict[str, list[bytes]] = {
    "block": [codec.encode_block(BLOCK), codec.encode_block(Block(BLOCK.plain[:1], []))],
    "batch": [wire.pack(codec.batch_fields(BATCH))],
    "entries": [wire.pack(codec.flatten(ENTRIES))],
    "message": [
        messages.encode(
            messages.Hello(version=1, label="box", recovering=False, digests={"": bytes(16), "r": bytes(16)})
        ),
        messages.encode(messages.Digest(space=1, applied=True, same=True, join=True, entries=tuple(ENTRIES))),
        messages.encode(messages.Digest(space=0, applied=True)),
        messages.encode(messages.Digest(space=0, goes_on=True, held=b"position")),
        messages.encode(messages.Delta(space=1, last=False, chunk=b"chunk", position=b"position")),
        messages.encode(messages.Delta(space=1, last=True, chunk=b"chunk")),
        *map(messages.encode, PUSHES),
        messages.encode(messages.Compare(space=1, vector=bytes(16), sums=bytes(messages.SUM_BYTES))),
        messages.encode(messages.Mend(space=1, last=True, chunk=b"chunk")),
    ],
    "rows": [
        messages.encode(PUSHES[1]),
        *(
            messages.encode(messages.Delta(space=0, last=piece.last, chunk=piece.chunk))
            for piece in stream.chunks(None, [(codec.encode_block(BLOCK), b"")] * 2, 10**6)
            if isinstance(piece, stream.Piece)
        ),
    ],
    "stream": [
        piece.chunk
        for piece in stream.chunks(JOIN.floor, [(codec.encode_block(BLOCK), b"")] * 2, 10**6)
        if isinstance(piece, stream.Piece)
    ],
    "events": [fold.encode_batch(SPACE, Batch(BATCH.dot, BATCH.ops[:1])), fold.encode_batch(SPACE, BATCH)],
    "event": [
        fold.encode_batch(SPACE, BATCH),
        fold.encode_block(SPACE, 5, codec.encode_block(BLOCK)),
        fold.encode_end(SPACE, 5, WALL, ENTRIES, None, [codec.encode_block(BLOCK)]),
        fold.encode_end(SPACE, 5, WALL, [], JOIN, []),
        fold.encode_floor(SPACE, fold.FREEZE),
        fold.encode_vector(SPACE, VersionVector(ENTRIES, JOIN.floor), ENTRIES),
        *fold.encode_rows(SPACE, BLOCK),
    ],
}
SEEDS = [frame for frames in GOOD.values() for frame in frames]

HEADERS = [
    b"\xc1",  # what msgpack never uses
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7),
    b"\xcb\x7f\xf8" + bytes(6),
    b"\xa1\xff",
    b"\xc7\x01\x01\x90",
    b"\xc7\x00\x02",
    b"\xc7\x02\x03\x00\x01",
    b"\xd6\xff" + bytes(4),
    b"\xc7\x00\xff",
    b"\x90",
    b"\x80",
    b"\xc0",
    b"\xc3",
]


def is_taken(name: str, packed: bytes) -> bool:
    """Whether a decoder takes the bytes; it fails the test with anything but its own error."""
    decode, error = DECODERS[name]
    try:
        decode(packed)
    except error:
        return False
    return True


# Only their own error.


arbitrary = st.recursive(
    strategies.payloads.map(lambda payload: msgpack.ExtType(1, payload) if isinstance(payload, Packed) else payload),
    lambda part: st.lists(part, max_size=6) | st.dictionaries(st.text(max_size=3), part, max_size=3),
    max_leaves=12,
).map(msgpack.packb)


@pytest.mark.parametrize("name", DECODERS)
@examples(60)
@given(packed=st.binary(max_size=60) | arbitrary | st.sampled_from(SEEDS), torn=st.binary(max_size=3))
def test_arbitrary_bytes_raise_only_the_one_error(name: str, packed: bytes, torn: bytes) -> None:
    is_taken(name, packed)
    is_taken(name, packed + torn)
    is_taken(name, torn + packed)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_frame_cut_anywhere_or_changed_in_any_byte_raises_only_the_one_error(name: str) -> None:
    for frame in GOOD[name]:
        assert is_taken(name, frame)  # or this test shows nothing
        for at in range(len(frame)):
            is_taken(name, frame[:at])
            for byte in (0x00, 0x80, 0x91, 0xC0, 0xDD, frame[at] ^ 1):
                is_taken(name, frame[:at] + bytes([byte]) + frame[at + 1 :])


@pytest.mark.parametrize("name", GOOD)
def test_a_header_anywhere_in_a_good_frame_raises_only_the_one_error(name: str) -> None:
    for frame in GOOD[name]:
        for at in range(0, len(frame), 1 if LONG or len(frame) < 100 else 5):
            for header in HEADERS:
                is_taken(name, frame[:at] + header + frame[at + at % 2 :])


def test_a_reader_of_objects_reads_on_after_bytes_that_were_none() -> None:
    objects = wire.Objects()
    for frame in (*SEEDS, b"", b"\xc1", b"\x92\x01", b"\x01\x02", b"\xdd\xff\xff\xff\xff", bytes(100_000)):
        with contextlib.suppress(PeerProtocolError):
            objects.read(frame)
        assert objects.read(b"\x93\x01\xc7\x01\x01\x90\xa1k") == [1, b"\x90", "k"]
    for frame in (b"\x01\x02", b"\x91", b"", b"\x90\xc1", b"\x81\x01\x01"):
        with pytest.raises(PeerProtocolError):
            objects.read(frame)


# Memory in proportion.


KIB_64 = 64 * 1024
BOMBS = {
    "nested lists that claim 64 Ki items each": b"\xdd\x00\x00\xff\xf0" * 510 + b"\xc0" * 63_000,
    "an event of nested lists": b"\x93\x02\xa4room" + b"\xdd\x00\x00\xff\xf0" * 500 + b"\xc0" * 63_000,
    "nested maps that claim 64 Ki pairs each": b"\xdf\x00\x00\xff\xf0\x01" * 500 + b"\xc0" * 63_000,
    "one list that claims 4 Gi items": b"\xdd\xff\xff\xff\xff" + bytes(1000),
    "one map that claims 4 Gi pairs": b"\xdf\xff\xff\xff\xff" + bytes(1000),
    "a byte string that claims 4 GiB": b"\x91\xc6\xff\xff\xff\xff" + bytes(1000),
    "a text that claims 4 GiB": b"\x91\xdb\xff\xff\xff\xff" + bytes(1000),
    "an extension that claims 4 GiB": b"\x91\xc9\xff\xff\xff\xff\x01" + bytes(1000),
    "a packed payload that claims 4 Gi items": b"\x91\xc7\x05\x01\xdd\xff\xff\xff\xff" + bytes(1000),
    "lists in lists": b"\x91" * KIB_64,
    "maps in maps": b"\x81\x01" * (KIB_64 // 2),
    "lists of fifteen in lists of fifteen": b"\x9f" * 1000,
    "empty lists": b"\xdd\x00\x00\xff\xf0" + b"\x90" * 0xFFF0,
    "empty maps": b"\xdd\x00\x00\xff\xf0" + b"\x80" * 0xFFF0,
    "floats": b"\xdd\x00\x00\x1c\x00" + b"\xcb" + bytes(8) * 0x1C00,
    "packed payloads": b"\xdd\x00\x00\x3f\xf0" + b"\xc7\x01\x01\x90" * 0x3FF0,
    "deep packed payloads": b"\xdd\x00\x00\x00\xff" + (b"\xc7\xff\x01" + b"\x91" * 254 + b"\xc0") * 0xFF,
    "a block of one run of kinds without end": b"\x02\xa1k\xc0\x92\xcf" + b"\x7f" * 8 + b"\x00\x05\x07",
    "a block of one run of origins without end": b"\x0d\xa1k\x91\x01\x90\x90\x93\xce\x7f\xff\xff\xff\x00\x00"
    b"\x92\xcf" + b"\x7f" * 8 + b"\x00\x05\x92\x07\x08",
    "a block of rows without end": b"\x09\xa1k\x91\x01\x90\x90\x93\xce\x7f\xff\xff\xff\x00\x00\x05\x07",
    "a block of small values": b"\x01\xda\x75\x30"
    + b"k" * 30_000
    + b"\x91\x01\xdc\x75\x30"
    + b"\xc0" * 30_000
    + b"\x90",
    "siblings without end": b"\x08\xa1k\xdd\x0f\xff\xff\xff" + b"\x01" * 1000,
    "many siblings": b"\x0c\xa1k\xdc\x75\x30"
    + b"\xc0" * 30_000
    + b"\xdc\x75\x2f"
    + b"\xff" * 29_999
    + b"\x93\x01\xcd\x75\x30\x00\x92\xcd\x75\x30\x00\xce\x7f\xff\xff\xff\x92\x07\x08",
    "a context without end": b"\x08\xa1k\x90\xdd\x0f\xff\xff\xff" + b"\x01" * 1000,
    "a context that names an origin often": b"\x08\xa1k\x90\xdc\xff\xf0"
    + b"\x01" * 0xFFF0
    + b"\x93\x01\x00\xcd\xff\xf1\x05\x07",
    "an item of a stream that claims 32 MiB": b"\x80\x80\x80\x10" + bytes(1000),
    "an item of a stream that claims far more": b"\xff\xff\xff\xff\x7f" + bytes(1000),
    "a length of a stream without end": b"\xff" * 1000,
    "a digest of many entries": b"\x94\x01\x00\x00\xdd\x00\x00\xff\xfe" + b"\x01" * 0xFFFE,
    "a push of many small values": b"\x95\x03\x00\x02\x01\xc5\xea\x6f\x01\xda\x75\x30"
    + b"k" * 30_000
    + b"\x91\x01\xdc\x75\x30"
    + b"\xc0" * 30_000
    + b"\x90",
    "a push of a block that claims 4 GiB": b"\x95\x03\x00\x02\x01\xc6\xff\xff\xff\xff" + bytes(1000),
    "a hello of many namespaces": b"\x95\x00\x01\xa3box\xc2\xdf\x00\x00\xff\xff" + b"\xa1k\xc4\x10" * 10_000,
}


def peak_of(name: str, packed: bytes) -> int:
    """The most bytes held at once while a decoder takes or refuses a frame."""
    is_taken(name, b"")  # what is loaded and made at the first use is not for a frame
    tracemalloc.start()
    try:
        is_taken(name, packed)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", DECODERS)
def test_a_frame_costs_at_most_a_hundred_times_its_bytes(name: str) -> None:
    """Claims are checked before anything of their size is allocated. A reader itself takes up to 260 KiB."""
    for title, bomb in BOMBS.items():
        assert peak_of(name, bomb) < 100 * len(bomb) + 264 * 1024, title


@pytest.mark.parametrize("name", ["block", "batch", "entries", "message", "floor", "is one", "event"])
def test_what_a_header_claims_is_not_allocated(name: str) -> None:
    """Stricter, for claims alone: a few times the bytes."""
    for title, bomb in BOMBS.items():
        if "nested" in title or "claims 4 G" in title:
            assert peak_of(name, bomb) < 4 * len(bomb) + 256 * 1024, title


# And none kept.


def mutants(
    count: int, seed: int, good: Mapping[str, list[bytes]] = GOOD, names: Sequence[str] = tuple(DECODERS)
) -> Iterator[tuple[str, bytes]]:
    """Frames that are nearly good: cut, spliced, overwritten, headers put in; each for a decoder of its kind or any."""
    chance = random.Random(seed)
    kinds = list(good)
    for _ in range(count):
        kind = chance.choice(kinds)
        frame = bytearray(chance.choice(good[kind]))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(frame) + 1)
            match chance.randrange(6):
                case 0:
                    frame[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    frame[at:at] = chance.choice(HEADERS)
                case 2:
                    header = chance.choice(HEADERS)
                    frame[at : at + len(header)] = header
                case 3:
                    del frame[at : at + chance.randrange(1, 9)]
                case 4:
                    frame[at:] = chance.choice(SEEDS)[chance.randrange(20) :]
                case 5:
                    frame[at : at + 9] = b"\xcf" + struct.pack(">Q", 1 << chance.randrange(64))
        yield (kind if chance.random() < 0.8 else chance.choice(names)), bytes(frame)


def test_hostile_frames_without_end_leave_memory_flat() -> None:
    def feed(count: int, seed: int) -> tuple[int, int, int]:
        taken = sum(is_taken(name, frame) for name, frame in mutants(count, seed))
        gc.collect()
        return taken, sys.getallocatedblocks(), psutil.Process().memory_info().rss

    _, blocks_before, rss_before = feed(FRAMES // 10, 1)
    taken, blocks_after, rss_after = feed(FRAMES, 2)
    assert blocks_after - blocks_before < 500
    assert rss_after - rss_before < 8 * 1024 * 1024
    assert FRAMES * 0.02 < taken < FRAMES * 0.9  # neither all good nor all nonsense


# What was taken does no harm later.


@examples(60)
@given(
    st.lists(strategies.blocks, min_size=1, max_size=3),
    strategies.entries,
    st.none() | st.tuples(strategies.entries, strategies.entries),
)
def test_whatever_is_taken_from_a_peer_can_be_merged_stored_and_told_on(
    found: list[Block], entries: list[Entry], join: tuple[list[Entry], list[Entry]] | None
) -> None:
    """Rows and vectors that no honest replica would send: nothing raises, and what results can be encoded."""
    replica = Replica(Origin(1))
    replica.apply(replica.prepare([Op("k", 0, "v"), Op("l", 0, Keep(1))], WALL))
    packed = [codec.encode_block(block) for block in found]
    joined = None if join is None else Join(VersionVector(join[0]), Floor(join[1]))
    event = fold.encode_end(SPACE, 1, WALL, entries, joined, packed)
    taken = fold.Fold({SPACE: replica}, lambda _: b"")
    for again in range(3):
        taken.take(again, event)
        replica.freeze()
        replica.commit()
        replica.trim(again)
    replica.apply(replica.prepare([Op(key, 0, "mine") for key, _ in list(replica)], WALL))
    for block in codec.encode_blocks(replica.cut(after=0, known=VersionVector(), told=0).read(1000)):
        codec.decode_block(block)


def test_two_siblings_of_one_origin_are_taken_as_they_are() -> None:
    """No honest replica holds them; a block that claims them is kept, ranked and superseded like any other."""
    row = Row(
        (Sibling(Dot(Stamp(9), Origin(7)), 0, "w"), Sibling(Dot(Stamp(8), Origin(7)), 0, "v")),
        {Origin(7): Stamp(9)},
    )
    block = codec.decode_block(codec.encode_block(Block([], [("k", row)])))
    replica = Replica(Origin(1))
    replica.merge([block, block], [(Origin(7), Stamp(9))], WALL)
    assert [sibling.payload for sibling in replica.row("k").siblings] == ["w", "v"]
    replica.apply(replica.prepare([Op("k", 0, "mine")], WALL))
    assert replica.get("k") == "mine"
