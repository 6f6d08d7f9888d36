"""The bytes that the kernel makes of a block are Python's, and what it does not know it leaves."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import Block, Dot, Evicted, Origin, Packed, Row, Sibling, Stamp, codec
from tests.crdt import blocks as strategies
from tests.crdt.histories import examples
from tests.crdt.kernels import by, compiled, load
from tests.crdt.test_decode import GOOD, ONE, PAYLOADS, TWO

if TYPE_CHECKING:
    from types import ModuleType

    from propagul.crdt import Payload
    from propagul.crdt.block import Plain


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(compiled(tmp_path_factory))


def encoded(kernel: ModuleType, block: Block) -> list[bytes] | None:
    """By the kernel itself; None if it leaves them."""
    packed: list[bytes] | None = kernel.encode_blocks(*block, Packed, codec.BLOCK_BYTES, codec.BLOCK_ROWS_MAX)
    return packed


def expect_alike(kernel: ModuleType, block: Block, *, taken: bool = True) -> None:
    with by(None):
        packed = codec.encode_blocks(block)
    assert encoded(kernel, block) == (packed if taken else None)
    with by(kernel):
        assert codec.encode_blocks(block) == packed


def is_over(payload: object) -> bool:
    """Whether a payload is a number that the kernel leaves."""
    return type(payload) is int and payload >= 2**63


@examples(300)
@given(block=strategies.blocks)
def test_any_block_is_written_alike(block: Block, module: ModuleType) -> None:
    payloads = [plain[1] for plain in block.plain] + [s.payload for _, row in block.other for s in row.siblings]
    expect_alike(module, block, taken=not any(map(is_over, payloads)))


@pytest.mark.parametrize("name", GOOD)
def test_a_block_of_each_form_is_written_alike(name: str, module: ModuleType) -> None:
    block = codec.decode_block(GOOD[name])
    payloads = [plain[1] for plain in block.plain]
    expect_alike(module, block, taken=not any(map(is_over, payloads)))
    assert name == "payloads" or not any(map(is_over, payloads))


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_a_payload_is_written_alike(payload: Payload, module: ModuleType) -> None:
    for keys in (["key"], ["k", "l"]):
        expect_alike(module, Block([(key, payload, 0, Stamp(5), ONE) for key in keys], []), taken=not is_over(payload))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 32, 255, 256, 500, 65_535, 65_536])
def test_sizes_at_the_edges_of_a_header_are_written_alike(size: int, module: ModuleType) -> None:
    texts = [letter * size for letter in ("x", "ß", "\N{SNOWMAN}", "\U0001f511")]
    payloads: list[Payload] = [*texts, b"x" * size, Packed(b"x" * size)]
    for payload in payloads:
        expect_alike(module, Block([("key", payload, 0, Stamp(5), ONE)], []))
    if size < 4096:
        expect_alike(module, Block([("k" * size, 1, 0, Stamp(5), ONE), ("l", 1, 0, Stamp(5), ONE)], []))
    if size <= codec.BLOCK_ROWS_MAX:
        numbered: list[Plain] = [
            (f"{i:04}" + "x" * (i % 3), i, i % 2, Stamp(2**i % 2**62 + 1), (ONE, TWO)[i // 2 % 2]) for i in range(size)
        ]
        expect_alike(module, Block(numbered, []))
        expect_alike(module, Block([("k" + str(i), i, 0, Stamp(i + 1), Origin(i % 200 + 1)) for i in range(size)], []))


@examples(100)
@given(block=strategies.blocks, copies=st.integers(1, 40), bytes_max=st.integers(1, 3000), rows_max=st.integers(1, 30))
def test_rows_are_dealt_out_to_blocks_alike(
    block: Block, copies: int, bytes_max: int, rows_max: int, module: ModuleType
) -> None:
    many = Block(block.plain * copies, block.other * copies)
    with by(None), pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "BLOCK_BYTES", bytes_max)
        patch.setattr(codec, "BLOCK_ROWS_MAX", rows_max)
        packed = codec.encode_blocks(many)
    assert module.encode_blocks(*many, Packed, bytes_max, rows_max) in (packed, None)


def test_a_context_is_written_by_origin_and_without_what_the_siblings_say(module: ModuleType) -> None:
    said = {Origin(9): Stamp(5), Origin(3): Stamp(8), Origin(7): Stamp(2), Origin(1): Stamp(2**62), TWO: Stamp(1)}
    held = (Sibling(Dot(Stamp(8), Origin(3)), 1, "w"), Sibling(Dot(Stamp(4), Origin(9)), 0, None))
    rows = [Row(held, said), Row(held[:1], said), Row((), said), Row(held, {Origin(3): Stamp(8), Origin(9): Stamp(4)})]
    for row in rows:
        expect_alike(module, Block([], [("key", row)]))
    expect_alike(module, Block([("p", 1, 0, Stamp(1), ONE)], [(f"k{i}", row) for i, row in enumerate(rows * 20)]))


class Elsewhere(Evicted):
    __slots__ = ()


def made(plains: list[Any], others: list[Any]) -> Block:
    """A block of anything."""
    return Block(plains, others)


def plain(*changed: tuple[int, object]) -> Block:
    """A block of one plain row with some fields changed."""
    fields: list[object] = ["key", "value", 0, 5, 7]
    for at, field in changed:
        fields[at] = field
    return made([tuple(fields)], [])


def other(siblings: object, context: object) -> Block:
    return made([], [("key", (siblings, context))])


WIDE = tuple(Sibling(Dot(Stamp(99), Origin(origin)), 0, 1) for origin in range(70, 0, -1))
LEFT = {
    "a number over 63 bits": plain((1, 2**63)),
    "a stamp over 63 bits": plain((3, 2**63)),
    "very many origins": Block([(f"k{i}", i, 0, Stamp(9), Origin(i + 1)) for i in range(257)], []),
    "very many siblings": other(WIDE, {s.dot.origin: s.dot.stamp for s in WIDE}),
}
NOT_ROWS = {
    "a half of a letter in a key": plain((0, "\ud800")),
    "a half of a letter in a payload": plain((1, "\udfff")),
    "an evicted payload": plain((1, Elsewhere(5))),
    "a payload of no kind": plain((1, [])),
    "a name of no kind": plain((0, 5)),
    "no stamp": plain((3, -1)),
    "an origin of no kind": plain((4, "7")),
    "a kind of no kind": plain((2, "0")),
    "half a plain row": made([("key", 1)], []),
    "no plain row": made([5], []),
    "no row": made([], [("key", 5)]),
    "no siblings": other(5, {ONE: Stamp(5)}),
    "no sibling": other((5,), {ONE: Stamp(5)}),
    "no dot": other(((5, 0, 1),), {ONE: Stamp(5)}),
    "no context": other((Sibling(Dot(Stamp(5), ONE), 0, 1),), 5),
    "a context of texts": other((Sibling(Dot(Stamp(5), ONE), 0, 1),), {ONE: "5"}),
    "a row that says nothing": other((), {}),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_the_kernel_leaves_is_written_by_python(name: str, module: ModuleType) -> None:
    expect_alike(module, LEFT[name], taken=False)


@pytest.mark.parametrize("name", NOT_ROWS)
def test_what_are_no_rows_is_left(name: str, module: ModuleType) -> None:
    assert encoded(module, NOT_ROWS[name]) is None


def test_what_is_no_call_is_refused(module: ModuleType) -> None:
    calls: list[tuple[object, ...]] = [
        (), ([], [], Packed), ((), [], Packed, 1, 1), ([], (), Packed, 1, 1), ([], [], 5, 1, 1), ([], [], int, 1, 1),
        ([], [], Packed, "1", 1), ([], [], Packed, 1, 0), ([], [], Packed, 0, 1), ([], [], Packed, 2**70, 1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            module.encode_blocks(*call)
    assert module.encode_blocks([], [], Packed, 1, 1) == []


def test_writing_keeps_no_memory(module: ModuleType) -> None:
    blocks = [*map(codec.decode_block, GOOD.values()), *LEFT.values(), *NOT_ROWS.values()]

    def write_all() -> tuple[int, int]:
        for block in blocks:
            encoded(module, block)
        gc.collect()
        return tracemalloc.get_traced_memory()[0], sys.getrefcount(None)

    tracemalloc.start()
    write_all()
    memory, held = write_all()
    for _ in range(50):
        after, held_after = write_all()
    tracemalloc.stop()
    assert after - memory < 4096
    assert abs(held_after - held) < 50
