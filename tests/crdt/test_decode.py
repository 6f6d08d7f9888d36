"""What the kernel reads out of a block is what Python reads, down to types and order, and else Python's errors."""

from __future__ import annotations

import gc
import random
import sys
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import Block, Dot, Origin, Packed, Row, Sibling, Stamp, codec, wire
from propagul.crdt.dot import ORIGIN_MAX, STAMP_MAX
from propagul.errors import PeerProtocolError
from tests.crdt import blocks as strategies
from tests.crdt import test_codec, test_golden
from tests.crdt.blocks import exactly
from tests.crdt.histories import LONG, examples
from tests.crdt.kernels import by, compiled, load
from tests.crdt.test_hostile_bytes import BOMBS, HEADERS, mutants

if TYPE_CHECKING:
    from types import ModuleType

    from propagul.crdt import Payload
    from propagul.crdt.block import Plain

ONE, TWO = Origin(7), Origin(ORIGIN_MAX)
NUMBERS = [
    sign * 2**power + off for power in (0, 5, 7, 8, 15, 16, 31, 32, 63) for off in (-1, 0, 1) for sign in (1, -1)
]
PAYLOADS: list[Payload] = [
    *(number for number in NUMBERS if -(2**63) <= number < 2**64),
    *(None, True, False, 0.0, -0.0, -1.5, float("inf"), float("nan"), "", "x" * 31, "x" * 32, "x" * 300, "schön"),
    *("\U0001f511", "y" * 70_000, b"", b"bytes", b"b" * 300, b"b" * 70_000, Packed(b"\x90"), Packed(b"\xa1k")),
    *(Packed(wire.pack(item)) for item in ([1, 2, 3], [0] * 6, [0] * 14, ["z" * 300], ["z" * 70_000])),
]
SHORT = [payload for payload in PAYLOADS if wire.size_of(payload) < 99][30:]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(compiled(tmp_path_factory))


def read(kernel: ModuleType | None, packed: bytes) -> tuple[str, str]:
    """What a block says, or how it is refused."""
    with by(kernel):
        try:
            block = codec.decode_block(packed)
        except PeerProtocolError as error:
            return type(error).__name__, str(error)
    return exactly(block), repr(block)


def is_taken(kernel: ModuleType, packed: bytes) -> bool:
    """Whether the kernel itself reads the block."""
    return kernel.decode_block(packed, Row, Sibling, Dot, wire.unchecked_ext, wire.are_objects) is not None


def expect_alike(kernel: ModuleType, packed: bytes) -> None:
    assert read(kernel, packed) == read(None, packed)


def packed_of(*plain: Plain, **rows: Row) -> bytes:
    return codec.encode_block(Block(list(plain), list(rows.items())))


GOOD = {
    "golden": codec.encode_block(test_golden.BLOCK),
    "simple": codec.encode_block(test_golden.SIMPLE),
    "one": packed_of(("key", "value", 0, Stamp(5), ONE)),
    "kinds": packed_of(*((f"k{i}", i, kind, Stamp(9 - i), ONE) for i, kind in enumerate((3, 3, 65_535, 0)))),
    "origins": packed_of(*((f"k{i}", i, 0, Stamp(9 + i), origin) for i, origin in enumerate((ONE, TWO, ONE, ONE)))),
    "text": packed_of(
        *((key, key, 0, Stamp(9), ONE) for key in ("schlüssel", "\U0001f511", "k", "\N{SNOWMAN}" * 1024))
    ),
    "maxima": packed_of(("k", 1, 65_535, Stamp(STAMP_MAX), TWO), ("l", 2, 0, Stamp(1), ONE)),
    "payloads": packed_of(*((f"key {i}", payload, 0, Stamp(9 + i), ONE) for i, payload in enumerate(SHORT))),
    "overwrites": packed_of(
        **{f"r{i}": Row((Sibling(Dot(Stamp(9), ONE), 0, i),), {ONE: Stamp(9), TWO: Stamp(5)}) for i in range(3)}
    ),
    "removals": packed_of(
        ("k", "v", 0, Stamp(5), ONE), r=Row((), {ONE: Stamp(9), TWO: Stamp(5)}), s=Row((), {ONE: Stamp(3)})
    ),
    "siblings": packed_of(
        r=Row(
            (Sibling(Dot(Stamp(9), TWO), 2, "w"), Sibling(Dot(Stamp(9), ONE), 0, "v")), {ONE: Stamp(9), TWO: Stamp(9)}
        ),
        s=Row((Sibling(Dot(Stamp(8), ONE), 0, "w"), Sibling(Dot(Stamp(7), ONE), 0, "v")), {ONE: Stamp(8)}),
        t=Row((Sibling(Dot(Stamp(8), ONE), 0, "w"),), {ONE: Stamp(10), TWO: Stamp(1)}),
    ),
}


@examples(100)
@given(block=strategies.blocks)
def test_any_block_is_read_alike(module: ModuleType, block: Block) -> None:
    packed = codec.encode_block(block)
    expect_alike(module, packed)
    keys = [plain[0] for plain in block.plain] + [key for key, _ in block.other]
    counted_in_python = not "".join(keys).isascii() and max(map(len, keys)) > 1024
    assert is_taken(module, packed) == (bool(block) and not counted_in_python)


@pytest.mark.parametrize("name", GOOD)
def test_a_block_is_read_by_the_kernel_alike(name: str, module: ModuleType) -> None:
    assert is_taken(module, GOOD[name])
    expect_alike(module, GOOD[name])
    with by(module):
        block = codec.decode_block(GOOD[name])
    assert type(block) is Block
    assert all(type(plain) is tuple for plain in block.plain)
    assert all(type(row) is Row and type(row.context) is dict for _, row in block.other)
    assert all(type(s) is Sibling and type(s.dot) is Dot for _, row in block.other for s in row.siblings)


@pytest.mark.parametrize("name", GOOD)
def test_a_block_cut_anywhere_or_changed_anywhere_is_read_alike(name: str, module: ModuleType) -> None:
    packed, dice = GOOD[name], random.Random(name)
    places = range(len(packed)) if LONG or len(packed) < 100 else dice.sample(range(len(packed)), 100)
    for at in places:
        expect_alike(module, packed[:at])
        expect_alike(module, packed[:at] + packed[at + 1 :])
        for byte in {packed[at] ^ 1 << dice.randrange(8), packed[at] ^ 1 << dice.randrange(8), 0xC0, 0xC1, 0xCC, 0xDC}:
            expect_alike(module, packed[:at] + bytes([byte]) + packed[at + 1 :])
        for header in HEADERS[:: 1 if LONG else 3]:
            expect_alike(module, packed[:at] + header + packed[at + at % 2 :])
    for more in (b"\xc0", b"\x90", b"\x05"):
        expect_alike(module, packed + more)


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_a_payload_is_read_alike_and_so_is_half_of_it(payload: Payload, module: ModuleType) -> None:
    packed = packed_of(("key", payload, 0, Stamp(2**50), ONE), ("other", payload, 0, Stamp(2**50), ONE))
    assert is_taken(module, packed)
    for at in (*range(min(len(packed), 40)), len(packed) // 2, len(packed) - 1, len(packed)):
        expect_alike(module, packed[:at])


def test_columns_that_say_what_they_must_not_are_read_alike(module: ModuleType) -> None:
    for columns in (test_codec.GOOD, *test_codec.FORMS.values()):
        assert is_taken(module, test_codec.packed(columns))
        for at in range(len(columns)):
            for content in {repr(content): content for _, content in test_codec.WRONG}.values():
                expect_alike(module, test_codec.packed([*columns[:at], content, *columns[at + 1 :]]))


numbers = st.sampled_from([-1, 0, 1, 2, 3, 500, 501, 2**16, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
lists = st.lists(st.integers(0, 3) | numbers, max_size=9)


@examples(200)
@given(
    form=st.integers(0, 16),
    keys=st.sampled_from(["k", "kl", "klm", "\N{SNOWMAN}" * 3, "k" * 4096, "k" * 4097, "é" * 2048, "é" * 2049, ""]),
    columns=st.lists(lists | st.integers(0, 9) | numbers, min_size=3, max_size=8),
)
def test_any_columns_are_read_alike(form: int, keys: str, columns: list[object], module: ModuleType) -> None:
    expect_alike(module, test_codec.packed([form, keys, *columns]))


def test_frames_that_are_nearly_good_are_read_alike(module: ModuleType) -> None:
    for _, frame in mutants(100_000 if LONG else 1500, 5, {"block": list(GOOD.values())[:6]}, ["block"]):
        expect_alike(module, frame)
    for bomb in BOMBS.values():
        expect_alike(module, bomb)


ROWS = codec.BLOCK_ROWS_MAX


@pytest.mark.parametrize(
    "columns",
    [
        [9, "k" * ROWS, [1], ["v"] * ROWS, [1] * (ROWS - 1), [ROWS, 1, 0], 5, 7],
        [9, "k" * (ROWS + 1), [1], ["v"] * (ROWS + 1), [1] * ROWS, [ROWS + 1, 1, 0], 5, 7],
        [9, "kl", [1], ["v", "w"], [1], [0, 1, 0, 2, 1, 0], 5, 7],
        [9, "kl", [1], ["v", "w"], [1], [1, 1, 0, 1, 1, 0], 5, 7],
        [9, "kl", [1], ["v", "w"], [1], [2, 1, 0, 0, 9, 9], 5, 7],
        [9, "kl", [1], ["v", "w"], [1], [2, 1, 0, 0, 2**63, 9], 5, 7],
        [8, "k", ["v"], [], [1, 1, 0], 5, 7],
        [10, "k", [], [], [], [1, 0, 1], 5, 7],
        [8, "k", [], [], [1, 0, 1], 5, 7],
        [8, "k", [], [], [1, 0, 0], 5, 7],
        [1, "kl", [1, 1], ["v", "w"], [2**63], 5, 7],
        [1, "kl", [1, 1], ["v", "w"], [STAMP_MAX - 5], 5, 7],
        [1, "kl", [1, 1], ["v", "w"], [STAMP_MAX - 4], 5, 7],
        [1, "kl", [1, 1], ["v", "w"], [-(2**63)], 5, 7],
        [5, "kl", [1, 1], ["v", "w"], [1], [1, 0, 0, 1, 1, 0], 5, [7, 7]],
    ],
    ids=range(15),
)
def test_what_no_replica_writes_is_read_alike(columns: list[object], module: ModuleType) -> None:
    expect_alike(module, test_codec.packed(columns))


def test_a_block_over_the_largest_is_left(module: ModuleType) -> None:
    for size in (wire.VALUE_BYTES_MAX - 100, wire.VALUE_BYTES_MAX):
        packed = packed_of(("k", bytes(size), 0, Stamp(1), ONE))
        assert is_taken(module, packed) == (len(packed) <= wire.VALUE_BYTES_MAX)


def test_what_is_no_call_is_refused(module: ModuleType) -> None:
    types = (Row, Sibling, Dot)
    calls: list[tuple[object, ...]] = [
        (), (GOOD["one"],), (GOOD["one"], *types, 5), (GOOD["one"], Row, Sibling, dict, 5, 5),
        (GOOD["one"], Row, 5, Dot, 5, 5), (GOOD["one"], type("Wide", (tuple,), {}), Sibling, Dot, 5, 5),
        (packed_of(("k", Packed(b"\x90"), 0, Stamp(1), ONE)), *types, 5, 5),
        (packed_of(("k", Packed(b"\x90"), 0, Stamp(1), ONE)), *types, wire.unchecked_ext, 5),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(TypeError):
            module.decode_block(*call)
    for nothing in (b"", b"\xc0", "text", None, Packed(GOOD["one"]), bytearray(GOOD["one"])):
        assert module.decode_block(nothing, *types, wire.unchecked_ext, wire.are_objects) is None


def test_reading_keeps_no_memory(module: ModuleType) -> None:
    torn = [packed[: len(packed) * part // 7] for packed in GOOD.values() for part in range(8)]
    late = [test_codec.packed([9, "kl", [1], ["v", "w"], [1], shapes, 5, 7]) for shapes in ([1, 2, 0], [2, 0, 1])]
    low = test_codec.packed([12, "k", ["v", "w"], [5], [1, 2, 0], [1, 0, 1, 1], 9, [7, 8]])
    half = test_codec.packed([8, "k", [msgpack.ExtType(1, b"\x92\x01")], [], [1, 1, 0], 5, 7])

    def read_all() -> int:
        for packed in (*torn, *late, low, half):
            module.decode_block(packed, Row, Sibling, Dot, wire.unchecked_ext, wire.are_objects)
        gc.collect()
        return sys.getallocatedblocks()

    read_all()
    before = read_all()
    for _ in range(50):
        after = read_all()
    assert after - before < 50


def test_rows_of_scalars_are_out_of_the_collectors_sight(module: ModuleType) -> None:
    """A full collection visits every row that it sees."""
    with by(module):
        plain, other = (codec.decode_block(GOOD[name]) for name in ("kinds", "siblings"))
    assert not any(map(gc.is_tracked, plain.plain))
    if sys.version_info < (3, 14):  # there every dict is in its sight
        assert not any(gc.is_tracked(row) for _, row in other.other)
