"""Values that stand in the log and not in memory.

An evicted payload is named by the place of the event that holds it and its ordinal there. It reads itself, from any
thread, for as long as that event is on the disk; who compacts the log gives every evicted value a new place first.
What was read last is kept, an event at a time: whoever reads in order finds the neighbours there.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict
from itertools import chain, count
from typing import TYPE_CHECKING, Final, cast

import msgpack

from propagul.crdt import Block, Dot, Evicted, codec, wire
from propagul.crdt.wire import size_of
from propagul.errors import PeerProtocolError, StoreCorrupt
from propagul.log.fold import BATCH, BLOCK, END, ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from propagul.crdt import Action, Batch, Payload, Row, Sibling
    from propagul.log.place import Place

    Written = tuple[str, Dot, Action]
    """A key, the dot and the payload of one of its siblings."""

CACHE_BYTES: Final = 8 * 1024 * 1024
"""How much of what was read last is kept."""

LARGE_BYTES: Final = 128
"""A payload of up to so many bytes stays in memory."""

FOLDED_BYTES_MAX: Final = 64 * 1024 * 1024
"""A log longer than this is folded without its values, where nobody has said how much memory there is."""

_ORDINAL_BITS: Final = 32
_ORDINAL_MAX: Final = (1 << _ORDINAL_BITS) - 1


class ColdValues:
    """Reads evicted payloads back.

    Args:
        read: Gives back an event by its place, from any thread.
        cache_bytes: See `CACHE_BYTES`.
    """

    def __init__(self, read: Callable[[Place], bytes], cache_bytes: int = CACHE_BYTES) -> None:
        self._read = read
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._cached: OrderedDict[Place, tuple[int, list[Action]]] = OrderedDict()
        self._size = 0
        cold = self

        class Here(Evicted):
            """A payload that this object reads: its class says so, as each of a million must be small."""

            __slots__ = ()

            def read(self) -> Payload:
                return cold.payload(self >> _ORDINAL_BITS, self & _ORDINAL_MAX)

        self._evicted = Here

    def at(self, place: Place, ordinal: int) -> Evicted:
        """The payload number `ordinal` of the event at a place."""
        return self._evicted(place << _ORDINAL_BITS | ordinal)

    def left_in_batch(self, batch: Batch, place: Place) -> Batch:
        """A batch whose large payloads are left in the event at a place."""
        ops = [
            op._replace(action=self.at(place, ordinal)) if is_large(op.action) else op
            for ordinal, op in enumerate(batch.ops)
        ]
        return batch._replace(ops=ops)

    def left_in_blocks(self, blocks: Iterable[Block], place: Place) -> Iterator[Block]:
        """The blocks of the event at a place, with their large payloads left there."""
        first = 0
        for block in blocks:
            yield _left(block, functools.partial(self.at, place), first)
            first += len(block.plain) + sum(len(row.siblings) for _, row in block.other)

    def moved(self, payload: Evicted, places: Sequence[Place]) -> Evicted:
        """The payload that `left` named, now that the block of that number stands at one of these places."""
        return self.at(places[payload >> _ORDINAL_BITS], payload & _ORDINAL_MAX)

    def payload(self, place: Place, ordinal: int) -> Payload:
        """Read one back.

        Raises:
            StoreCorrupt: What stands there is damaged, or does not hold it.
            StoreError: It was dropped, or the disk does not give it.
        """
        with self._lock:
            cached = self._cached.get(place)
            if cached is not None:
                self._cached.move_to_end(place)
        payloads = self._load(place) if cached is None else cached[1]
        if ordinal >= len(payloads):
            raise StoreCorrupt("an evicted value is not where it was left")
        return cast("Payload", payloads[ordinal])

    def _load(self, place: Place) -> list[Action]:
        event = self._read(place)
        payloads = [payload for _, _, payload in contents(event)[1]]
        with self._lock:
            if place not in self._cached and len(event) <= self._cache_bytes:
                self._cached[place] = len(event), payloads
                self._size += len(event)
                while self._size > self._cache_bytes:
                    self._size -= self._cached.popitem(last=False)[1][0]
        return payloads


def cold_if_large(directory: Path, read: Callable[[Place], bytes]) -> ColdValues | None:
    """For a fold of somebody's log: what leaves its values on the disk, if they may be more than memory should hold."""
    size = 0
    with contextlib.suppress(OSError):  # whoever reads it next will say what is wrong
        size = sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
    return ColdValues(read) if size > FOLDED_BYTES_MAX else None


def left(block: Block, number: int) -> Block:
    """A block with its number and their ordinals in place of large payloads, for `ColdValues.moved`."""
    return _left(block, lambda ordinal: Evicted(number << _ORDINAL_BITS | ordinal), 0)


def _left(block: Block, evicted: Callable[[int], Evicted], first: int) -> Block:
    """A block whose large payloads are named by their ordinals, of which the first is given."""
    plain = [
        (row[0], evicted(ordinal), *row[2:]) if is_large(row[1]) else row
        for ordinal, row in enumerate(block.plain, first)
    ]
    numbers = count(first + len(plain))
    other = [
        (key, row._replace(siblings=tuple([_left_of(s, evicted, next(numbers)) for s in row.siblings])))
        for key, row in block.other
    ]
    return Block(plain, other)


def _left_of(sibling: Sibling, evicted: Callable[[int], Evicted], ordinal: int) -> Sibling:
    return sibling._replace(payload=evicted(ordinal)) if is_large(sibling.payload) else sibling


def is_cold(block: Block) -> bool:
    """Whether a payload in it stands in the log alone."""
    return any(isinstance(row[1], Evicted) for row in block.plain) or any(
        isinstance(sibling.payload, Evicted) for _, row in block.other for sibling in row.siblings
    )


def filled(block: Block) -> Block:
    """A block as others get it: with every evicted payload read back.

    Raises:
        StoreCorrupt, StoreError: As `ColdValues.payload`.
    """
    plain, other = block.plain, block.other
    if any(isinstance(row[1], Evicted) for row in plain):
        plain = [(row[0], _read(row[1]), *row[2:]) for row in plain]
    if any(isinstance(sibling.payload, Evicted) for _, row in other for sibling in row.siblings):
        other = [(key, _filled_row(row)) for key, row in other]
    return Block(plain, other)


def _filled_row(row: Row) -> Row:
    return row._replace(siblings=tuple([s._replace(payload=_read(s.payload)) for s in row.siblings]))


def _read(payload: Payload) -> Payload:
    return payload.read() if isinstance(payload, Evicted) else payload


def contents(event: bytes) -> tuple[str, Iterator[Written]]:
    """The namespace of an event and what it writes there, in the order by which ordinals count.

    Raises:
        StoreCorrupt: It is no event. Also while iterating.
    """
    try:
        kind, space, *body = msgpack.unpackb(event, ext_hook=wire.known_ext)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise StoreCorrupt("the event log holds a record this version cannot read") from error
    if kind == BATCH:
        return space, _written_by(body)
    blocks = body[-1:] if kind in (BLOCK, ROWS) else body[4:] if kind == END else []
    return space, chain.from_iterable(map(_written_in, blocks))


def _written_by(fields: list[object]) -> Iterator[Written]:
    batch = codec.batch_of(fields)
    return ((key, batch.dot, action) for key, _, action in batch.ops)


def _written_in(packed: bytes) -> Iterator[Written]:
    try:
        block = codec.decode_block(packed)
    except PeerProtocolError as error:
        raise StoreCorrupt("the event log holds a block this version cannot read") from error
    for key, payload, _, stamp, origin in block.plain:
        yield key, Dot(stamp, origin), payload
    for key, row in block.other:
        for dot, _, payload in row.siblings:
            yield key, dot, payload


def is_large(payload: Action) -> bool:
    """Whether evicting a payload gains anything: a smaller one takes no more memory than its place."""
    return size_of(payload) > LARGE_BYTES
