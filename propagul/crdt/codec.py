"""Bytes of blocks, batches, vectors and floors: canonical msgpack, in columns.

Used by the log and by gossip alike. Equal blocks are equal bytes.

    payload = None | bool | int | float | str | bytes | ext 1 (msgpack of a list, dict or datetime)
    action  = payload | ext 2 (remove) | ext 3 (keep; its bytes are the number, big endian)
    entries = [origin, stamp, ...]
    block   = [key, ...]
              [payload, ...] [stamp difference, ...] [origin run, ...] [kind run, ...]      of all siblings, row by row
              [stamp difference, ...] [origin run, ...]                         of what contexts say beyond that
              [row run, ...] [origin, ...]

A run is a count and a number, a row run a count of rows with how many siblings and how many further context entries
each; origins are numbers into the list at the end; differences are to the stamp before. Runs that say the commonest
(one origin, plain values, one sibling that has seen nothing else) are left out.
"""

from __future__ import annotations

from itertools import accumulate, chain, groupby, pairwise, repeat
from typing import TYPE_CHECKING

from propagul.crdt.block import Block, as_plain
from propagul.crdt.dot import Dot
from propagul.crdt.replica import Batch, Op
from propagul.crdt.row import Row, Sibling
from propagul.crdt.wire import (
    KIND_MAX,
    Reader,
    as_action,
    as_int,
    as_key,
    as_origin,
    as_payload,
    as_stamp,
    as_whole,
    pack,
    size_of,
)
from propagul.errors import PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from propagul.crdt.block import Plain
    from propagul.crdt.dot import Origin, Stamp
    from propagul.crdt.payload import Payload
    from propagul.crdt.vector import Entry

BLOCK_BYTES = 48 * 1024
"""A block is closed at about this size; one row alone may be larger."""

BLOCK_ROWS_MAX = 500

_ANY = 1 << 32
"""A column's length is bounded by its bytes: nothing is allocated for what a header claims."""

_PLAIN = (1, 0)
"""The shape of a plain row: one sibling, no further context."""


# --- blocks ------------------------------------------------------------------------------------------------------


def encode_block(block: Block) -> bytes:
    """One block, canonical."""
    keys, payloads, kinds, stamps, origins = _columns(block.plain)
    shapes = [_PLAIN] * len(keys)
    seen: list[Entry] = []
    for key, (siblings, context) in block.other:
        keys.append(key)
        implied: dict[Origin, Stamp] = {}
        for (stamp, origin), kind, payload in siblings:
            payloads.append(payload)
            kinds.append(kind)
            stamps.append(stamp)
            origins.append(origin)
            implied.setdefault(origin, stamp)
        further = sorted(entry for entry in context.items() if implied.get(entry[0]) != entry[1])
        seen += further
        shapes.append((len(siblings), len(further)))
    table = list(dict.fromkeys(chain(origins, (origin for origin, _ in seen))))
    number = {origin: index for index, origin in enumerate(table)}.__getitem__
    columns = (
        keys,
        payloads,
        _differences(stamps),
        _runs(map(number, origins)),
        _runs(kinds),
        _differences([stamp for _, stamp in seen]),
        _runs(number(origin) for origin, _ in seen),
        [] if not block.other else [item for run in _counted(shapes) for item in run],
        table,
    )
    return b"".join(map(pack, columns))


def encode_blocks(block: Block) -> Iterator[bytes]:
    """The same rows as blocks of about `BLOCK_BYTES` and at most `BLOCK_ROWS_MAX` rows."""
    plain: list[Plain] = []
    size = 0
    for item in block.plain:
        size += 16 + len(item[0]) + (len(item[1]) if isinstance(item[1], (str, bytes)) else 8)
        plain.append(item)
        if size >= BLOCK_BYTES or len(plain) >= BLOCK_ROWS_MAX:
            yield encode_block(Block(plain, []))
            plain, size = [], 0
    other: list[tuple[str, Row]] = []
    for key, row in block.other:
        size += 16 + len(key) + 20 * len(row.context) + sum(32 + size_of(s.payload) for s in row.siblings)
        other.append((key, row))
        if size >= BLOCK_BYTES or len(other) + len(plain) >= BLOCK_ROWS_MAX:
            yield encode_block(Block(plain, other))
            plain, other, size = [], [], 0
    if plain or other:
        yield encode_block(Block(plain, other))


def decode_block(packed: bytes) -> Block:
    """The inverse of `encode_block`.

    Raises:
        PeerProtocolError: It is not one whole block.
    """
    reader = Reader(packed)
    keys = list(map(as_key, reader.column(BLOCK_ROWS_MAX)))
    payloads = list(map(as_payload, reader.column(_ANY)))
    stamps = _summed(reader.column(len(payloads)))
    origin_runs, kind_runs = reader.column(2 * len(payloads)), reader.column(2 * len(payloads))
    seen_stamps = _summed(reader.column(_ANY))
    seen_runs, shapes = reader.column(2 * len(seen_stamps)), reader.column(3 * len(keys))
    table = list(map(as_origin, reader.column(len(payloads) + len(seen_stamps))))
    if not reader.at_end or len(stamps) != len(payloads):
        raise PeerProtocolError("a block is longer than it says, or its columns differ in length")
    origins = _named(origin_runs, len(payloads), table)
    kinds = _unrun(kind_runs, len(payloads), KIND_MAX)
    seen = list(zip(_named(seen_runs, len(seen_stamps), table), seen_stamps, strict=True))
    return _rows(keys, list(zip(payloads, kinds, stamps, origins, strict=True)), seen, shapes)


def _rows(
    keys: list[str], siblings: list[tuple[Payload, int, Stamp, Origin]], seen: list[Entry], shapes: Sequence[object]
) -> Block:
    """Deal siblings and further context entries out to the rows that they belong to."""
    plain: list[Plain] = []
    other: list[tuple[str, Row]] = []
    row = at = seen_at = 0
    for count, width, further in _shaped(shapes, len(keys)):
        names = keys[row : row + count]
        row += count
        if (width, further) == _PLAIN:
            plain += [as_plain((name, *it)) for name, it in zip(names, siblings[at : at + count], strict=False)]
            at += count
            continue
        for name in names:
            other.append((name, _row(siblings[at : at + width], seen[seen_at : seen_at + further])))
            at, seen_at = at + width, seen_at + further
    if row != len(keys) or at != len(siblings) or seen_at != len(seen):
        raise PeerProtocolError("the rows of a block do not add up to its columns")
    return Block(plain, other)


def _row(siblings: list[tuple[Payload, int, Stamp, Origin]], seen: list[Entry]) -> Row:
    context: dict[Origin, Stamp] = {}
    made = tuple([Sibling(Dot(stamp, origin), kind, payload) for payload, kind, stamp, origin in siblings])
    for (stamp, origin), _, _ in made:
        context.setdefault(origin, stamp)
    if any(a.dot <= b.dot for a, b in pairwise(made)):
        raise PeerProtocolError("siblings are not in rank order")
    for origin, stamp in seen:
        if context.get(origin, 0) >= stamp:
            raise PeerProtocolError("a context says less than its siblings, or names an origin twice")
        context[origin] = stamp
    if not context:
        raise PeerProtocolError("a row says nothing")
    return Row(made, context)


def _columns(plain: list[Plain]) -> tuple[list[str], list[Payload], list[int], list[Stamp], list[Origin]]:
    if not plain:
        return [], [], [], [], []
    keys, payloads, kinds, stamps, origins = zip(*plain, strict=True)
    return list(keys), list(payloads), list(kinds), list(stamps), list(origins)


def _differences(stamps: Sequence[int]) -> list[int]:
    return [b - a for a, b in pairwise(chain((0,), stamps))]


def _summed(differences: Sequence[object]) -> list[Stamp]:
    return list(map(as_stamp, accumulate(map(as_whole, differences))))


def _counted(items: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    return ((sum(1 for _ in run), *item) for item, run in groupby(items))


def _shaped(runs: Sequence[object], rows: int) -> Iterator[tuple[int, int, int]]:
    if not runs:
        return iter([(rows, *_PLAIN)])
    if len(runs) % 3:
        raise PeerProtocolError("row runs come in threes")
    numbers = [as_int(number, _ANY) for number in runs]
    return zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)


def _runs(numbers: Iterable[int]) -> list[int]:
    """Counts and numbers in turn; nothing if every number is 0."""
    runs = [item for number, run in groupby(numbers) for item in (sum(1 for _ in run), number)]
    return [] if runs[1:] == [0] else runs


def _unrun(runs: Sequence[object], size: int, highest: int) -> list[int]:
    if not runs:
        return [0] * size
    numbers: list[int] = []
    for count, number in zip(runs[::2], runs[1::2], strict=False):
        numbers += repeat(as_int(number, highest), as_int(count, size - len(numbers)))
    if len(numbers) != size or len(runs) % 2:
        raise PeerProtocolError("runs do not add up to the rows of the block")
    return numbers


def _named(runs: Sequence[object], size: int, table: list[Origin]) -> list[Origin]:
    """The origin of each sibling or context entry."""
    if size and not table:
        raise PeerProtocolError("a block names no origin")
    return [table[number] for number in _unrun(runs, size, len(table) - 1)]


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
