"""Bytes of blocks, batches, vectors and floors: canonical msgpack, in columns.

Used by the log and by gossip alike. Equal blocks are equal bytes.

    payload = None | bool | int | float | str | bytes | ext 1 (msgpack of a list, dict or datetime)
    action  = payload | ext 2 (remove) | ext 3 (keep; its bytes are the number, big endian)
    entries = [origin, stamp, ...]
    block   = nil                                                                    if it has no rows, else
              form keys lengths? payloads differences? kinds? shapes? origins? stamp origin

    form        = 1 (lengths) + 2 (kinds) + 4 (origins) + 8 (shapes): which of these columns are there
    keys        = one text, key behind key
    lengths     = [characters, ...]; the last one stands for all that follow; left out of a block of one row
    payloads    = [payload, ...] of all siblings, row by row; the payload itself if there is nothing but one
    differences = [stamp difference, ...]; left out with the list of payloads
    kinds       = [count, kind, ...]; left out where all are 0
    shapes      = [count, siblings, further context entries, ...] of rows; left out where each has one and none
    origins     = [count, number in the list of origins, ...]; left out where there is one origin
    origin      = the one origin, or the list of them in the order in which they first come

Stamps and origins are those of all siblings, then those of what contexts say beyond their siblings. `stamp` is the
first of them; the others are differences to the one before. So a block of one origin ends with its first dot, and where
the other end of a link knows that dot already, it is left out (`ending`).
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from itertools import accumulate, chain, compress, count, groupby, islice, pairwise, repeat
from operator import ne, sub
from typing import TYPE_CHECKING, Final, TypeVar, cast

from propagul.crdt.block import Block
from propagul.crdt.dot import Dot
from propagul.crdt.payload import Packed
from propagul.crdt.replica import Batch, Op
from propagul.crdt.row import Row, Sibling
from propagul.crdt.twins import kernel
from propagul.crdt.wire import (
    KIND_MAX,
    Reader,
    are_objects,
    as_action,
    as_int,
    as_ints,
    as_key,
    as_keys,
    as_origin,
    as_payloads,
    as_stamp,
    fields,
    pack,
    size_of,
    unchecked_ext,
)
from propagul.errors import PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from propagul.crdt.dot import Origin, Stamp
    from propagul.crdt.payload import Payload
    from propagul.crdt.vector import Entry

BLOCK_BYTES = 48 * 1024
"""A block is closed at about this size; one row alone may be larger."""

BLOCK_ROWS_MAX = 500

_LENGTHS, _KINDS, _ORIGINS, _SHAPES = 1, 2, 4, 8
_MANY = _LENGTHS | _SHAPES
"""Forms with lists of payloads and differences; in the others there is one payload and no difference."""

_WIDTHS = [
    5 + sum(bool(form & column) for column in (_LENGTHS, _MANY, _KINDS, _ORIGINS, _SHAPES)) for form in range(16)
]
"""How many columns a form has, itself counted."""

_KIND_NUMBERS = range(KIND_MAX + 1)
_NOTHING = b"\xc0"

_PLAIN = (1, 0)
"""The shape of a plain row: one sibling, no further context."""

_OVERWRITE = (1, 1)
"""The shape of a row that was written over somebody else's: one sibling, one further context entry."""

_T = TypeVar("_T")
_as_dot: Final = partial(tuple.__new__, Dot)
_as_sibling: Final = partial(tuple.__new__, Sibling)
_as_row: Final = partial(tuple.__new__, Row)
"""At half the cost of calling the class: blocks are made of thousands."""


# --- blocks ------------------------------------------------------------------------------------------------------


def encode_block(block: Block) -> bytes:
    """One block, canonical."""
    if not block:
        return _NOTHING
    keys, payloads, kinds, shapes, stamps, origins = _columns(block)
    lengths = _shortened(list(map(len, keys))) if len(keys) > 1 else []
    kind_runs = _runs(kinds) if any(kinds) else []
    shape_runs = _shape_runs(shapes) if shapes.count(_PLAIN) < len(shapes) else []
    origin_runs, named = _named(origins)
    form = _LENGTHS * bool(lengths) | _KINDS * bool(kind_runs) | _SHAPES * bool(shape_runs)
    form |= _ORIGINS * bool(origin_runs)
    columns: list[object] = [form, "".join(keys)]
    if lengths:
        columns.append(lengths)
    columns += [payloads, _differences(stamps)] if form & _MANY else payloads
    columns += [runs for runs in (kind_runs, shape_runs, origin_runs) if runs]
    return pack([*columns, stamps[0], named])[1:]  # a list without its header


def _columns(
    block: Block,
) -> tuple[list[str], list[Payload], list[int], list[tuple[int, int]], list[Stamp], list[Origin]]:
    """Keys and shapes of all rows; payloads and kinds of all siblings; dots of those and of further context entries."""
    keys, payloads, kinds, stamps, origins = (
        map(list, zip(*block.plain, strict=True)) if block.plain else ([], [], [], [], [])
    )
    shapes = [_PLAIN] * len(keys)
    keys += [key for key, _ in block.other]
    rows = [row for _, row in block.other]
    held = [sibling for row in rows for sibling in row[0]]
    kinds += [sibling[1] for sibling in held]
    payloads += [sibling[2] for sibling in held]
    dots = [sibling[0] for sibling in held]
    seen: list[Entry] = []
    at = 0
    for row in rows:
        width, context = len(row[0]), row[1]
        implied = {(dot[1], dot[0]) for dot in dots[at : at + width]}
        at += width
        further = [entry for entry in context.items() if entry not in implied]
        further.sort()
        seen += further
        shapes.append((width, len(further)))
    stamps += [dot[0] for dot in dots]
    stamps += [stamp for _, stamp in seen]
    origins += [dot[1] for dot in dots]
    origins += [origin for origin, _ in seen]
    return keys, payloads, kinds, shapes, stamps, origins


def encode_blocks(block: Block) -> list[bytes]:
    """The same rows as blocks of about `BLOCK_BYTES` and at most `BLOCK_ROWS_MAX` rows."""
    found = kernel()
    packed = None if found is None else found.encode_blocks(*block, Packed, BLOCK_BYTES, BLOCK_ROWS_MAX)
    return list(_encode_blocks(block)) if packed is None else cast("list[bytes]", packed)


def _encode_blocks(block: Block) -> Iterator[bytes]:
    """The rule; the kernel knows rows of the usual kinds and leaves all others to it."""
    plain, other = block
    sizes = [16 + len(item[0]) + (len(item[1]) if isinstance(item[1], (str, bytes)) else 8) for item in plain]
    for key, (siblings, context) in other:
        held = sum([32 + size_of(sibling[2]) for sibling in siblings])
        sizes.append(16 + len(key) + 20 * len(context) + held)
    ends = list(accumulate(sizes))
    start = size = 0
    while start < len(ends):
        end = min(bisect_left(ends, size + BLOCK_BYTES) + 1, start + BLOCK_ROWS_MAX)
        yield encode_block(Block(plain[start:end], other[max(start - len(plain), 0) : max(end - len(plain), 0)]))
        start = min(end, len(ends))
        size = ends[start - 1]


def decode_block(packed: bytes) -> Block:
    """The inverse of `encode_block`.

    Raises:
        PeerProtocolError: It is not one whole block.
    """
    found = kernel()
    rows = None if found is None else found.decode_block(packed, Row, Sibling, Dot, unchecked_ext, are_objects)
    return _decode_block(packed) if rows is None else Block(*rows)


def _decode_block(packed: bytes) -> Block:
    """The rule; the kernel knows well-formed blocks and leaves all others to it."""
    if packed == _NOTHING:
        return Block([], [])
    form = packed[0] if packed else len(_WIDTHS)
    if form >= len(_WIDTHS):
        raise PeerProtocolError("a block has no form that is known here")
    columns = fields(packed, _WIDTHS[form])[::-1]  # popped, so that each is let go of when it was read
    _, text = columns.pop(), columns.pop()
    lengths = as_ints(columns.pop()) if form & _LENGTHS else None
    payloads = as_payloads(columns.pop() if form & _MANY else [columns.pop()], len(packed))
    differences = columns.pop() if form & _MANY else []
    kinds = _unrun(as_ints(columns.pop()), len(payloads), _KIND_NUMBERS) if form & _KINDS else None
    shapes = as_ints(columns.pop()) if form & _SHAPES else None
    runs = as_ints(columns.pop()) if form & _ORIGINS else None
    stamps = _summed(columns.pop(), as_ints(differences))
    del differences
    origins = _origins(runs, columns.pop(), len(stamps))
    if shapes is None:
        keys = as_keys(text, lengths, as_int(len(payloads), BLOCK_ROWS_MAX))
        if len(stamps) != len(payloads):
            raise PeerProtocolError("the columns of a block differ in length")
        plain = zip(keys, payloads, kinds or repeat(0), stamps, origins, strict=False)
        return Block(list(plain), [])
    shaped = _shaped(shapes, len(payloads), len(stamps))
    keys = as_keys(text, lengths, sum(count for count, _, _ in shaped))
    first = shaped[0][0] if shaped[0][1:] == _PLAIN else 0
    plain = zip(keys[:first], payloads, kinds or repeat(0), stamps, origins, strict=False)
    dots = map(_as_dot, zip(stamps, origins, strict=True))
    siblings = islice(map(_as_sibling, zip(dots, kinds or repeat(0), payloads, strict=False)), first, None)
    seen = islice(zip(origins, stamps, strict=True), len(payloads), None)
    other = _special(keys[first:], shaped[first > 0 :], siblings, seen)
    return Block(list(plain), other)


def _special(
    keys: list[str], shaped: list[tuple[int, int, int]], siblings: Iterator[Sibling], seen: Iterator[Entry]
) -> list[tuple[str, Row]]:
    """Deal siblings and further context entries out to the rows that they belong to."""
    if len(shaped) == 1 and shaped[0][1:] == _OVERWRITE:
        return list(zip(keys, map(_overwrite, siblings, seen), strict=True))
    each = chain.from_iterable(repeat(shape, count) for count, *shape in shaped)
    rows = [_row(tuple(islice(siblings, width)), islice(seen, further)) for width, further in each]
    return list(zip(keys, rows, strict=True))


def _overwrite(sibling: Sibling, seen: Entry) -> Row:
    """`_row` for one sibling that has seen one other write: what most rows are that are not plain."""
    stamp, origin = sibling[0]
    if seen[0] == origin and seen[1] <= stamp:
        raise PeerProtocolError("a context says less than its siblings")
    return _as_row(((sibling,), {origin: stamp, seen[0]: seen[1]}))


def _row(siblings: tuple[Sibling, ...], seen: Iterable[Entry]) -> Row:
    if len(siblings) > 1 and any(a[0] <= b[0] for a, b in pairwise(siblings)):
        raise PeerProtocolError("siblings are not in rank order")
    context = {sibling[0][1]: sibling[0][0] for sibling in reversed(siblings)}
    for origin, stamp in seen:
        if context.get(origin, 0) >= stamp:
            raise PeerProtocolError("a context says less than its siblings, or names an origin twice")
        context[origin] = stamp
    if not context:
        raise PeerProtocolError("a row says nothing")
    return _as_row((siblings, context))


def _shortened(lengths: list[int]) -> list[int]:
    """Without those at the end that are the same as the one before."""
    last, size = lengths[-1], len(lengths)
    if lengths.count(last) == size:
        return [last]
    while lengths[size - 2] == last:
        size -= 1
    return lengths[:size]


def _differences(stamps: list[Stamp]) -> list[int]:
    return list(map(sub, stamps[1:], stamps))


def _summed(first: object, differences: list[int]) -> list[Stamp]:
    stamps = list(accumulate(differences, initial=as_stamp(first)))
    if differences:
        as_stamp(min(stamps))
        as_stamp(max(stamps))
    return cast("list[Stamp]", stamps)


def _shape_runs(shapes: Iterable[tuple[int, int]]) -> list[int]:
    return [number for shape, run in groupby(shapes) for number in (sum(1 for _ in run), *shape)]


def _shaped(numbers: list[int], siblings: int, dots: int) -> list[tuple[int, int, int]]:
    """Counts of rows, with how many siblings and how many further entries each; checked before anything is made."""
    if len(numbers) % 3 or min(numbers, default=0) < 0:
        raise PeerProtocolError("row runs come in threes, none negative")
    shaped = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    if sum(count for count, _, _ in shaped) > BLOCK_ROWS_MAX:
        raise PeerProtocolError(f"a block has over {BLOCK_ROWS_MAX} rows")
    held = sum(count * width for count, width, _ in shaped)
    if held != siblings or sum(count * further for count, _, further in shaped) != dots - siblings:
        raise PeerProtocolError("the rows of a block do not add up to its columns")
    return shaped


def _runs(numbers: Sequence[int]) -> list[int]:
    """Counts and numbers in turn."""
    starts = [0, *compress(count(1), map(ne, numbers, islice(numbers, 1, None)))]
    ends = [*starts[1:], len(numbers)]
    return [item for start, end in zip(starts, ends, strict=True) for item in (end - start, numbers[start])]


def _unrun(runs: list[int], size: int, values: Sequence[_T]) -> list[_T]:
    """As many of the values as the runs say."""
    counts, numbers = runs[::2], runs[1::2]
    if len(counts) != len(numbers) or min(runs, default=0) < 0 or sum(counts) != size:
        raise PeerProtocolError("runs do not add up to the rows of the block")
    if max(numbers, default=0) >= len(values):
        raise PeerProtocolError("a run of what there is not")
    return list(chain.from_iterable(map(repeat, map(values.__getitem__, numbers), counts)))


def _named(origins: list[Origin]) -> tuple[list[int], Origin | list[Origin]]:
    """Runs of numbers and the origins that they name; of one origin no runs, and itself."""
    if origins.count(origins[0]) == len(origins):
        return [], origins[0]
    numbers = {origin: number for number, origin in enumerate(dict.fromkeys(origins))}
    return _runs([*map(numbers.__getitem__, origins)]), list(numbers)


def _origins(runs: list[int] | None, named: object, size: int) -> list[Origin]:
    """The origin of each sibling and of each further context entry."""
    if runs is None:
        return [as_origin(named)] * size
    table = list(map(as_origin, as_ints(named)))
    if not 1 < len(table) <= size:
        raise PeerProtocolError("a block names too few origins, or too many")
    return _unrun(runs, size, table)


def ending(dot: Dot) -> bytes:
    """What a block of one origin ends with if this is its first dot."""
    return pack(dot.stamp) + pack(dot.origin)


# --- batches -----------------------------------------------------------------------------------------------------


def batch_fields(batch: Batch) -> list[object]:
    """A batch as a flat list: stamp, origin, then key, kind, action of each operation."""
    fields: list[object] = [*batch.dot]
    for op in batch.ops:
        fields += op
    return fields


def batch_of(fields: Sequence[object]) -> Batch:
    """The inverse of `batch_fields`.

    Raises:
        PeerProtocolError: It is not a batch.
    """
    if len(fields) < 2 or (len(fields) - 2) % 3:
        raise PeerProtocolError("a batch has a dot and operations in threes")
    dot = Dot(as_stamp(fields[0]), as_origin(fields[1]))
    ops = [
        Op(as_key(fields[i]), as_int(fields[i + 1], KIND_MAX), as_action(fields[i + 2]))
        for i in range(2, len(fields), 3)
    ]
    return Batch(dot, ops)


# --- vectors -----------------------------------------------------------------------------------------------------


def flatten(entries: Iterable[Entry]) -> list[int]:
    """Vector entries as one flat list: origin, stamp, origin, stamp, ..."""
    return [number for entry in entries for number in entry]


def unflatten(numbers: Sequence[object]) -> list[Entry]:
    """The inverse of `flatten`.

    Raises:
        PeerProtocolError: It is not a flat list of origins and stamps.
    """
    if len(numbers) % 2:
        raise PeerProtocolError("vector entries come in pairs")
    return [(as_origin(o), as_stamp(s)) for o, s in zip(numbers[::2], numbers[1::2], strict=True)]


def read_entries(reader: Reader, most: int) -> list[Entry]:
    """Like `unflatten`, from a reader; at most `most` entries.

    Raises:
        PeerProtocolError: It is not a flat list of origins and stamps, or a longer one.
    """
    return unflatten(reader.column(2 * most))
