"""Bytes of rows, writes and vector entries: canonical msgpack, checked on the way in.

Used by the log and by gossip alike. Encoding is canonical (siblings by dot, contexts by origin, entries that the
siblings already imply left out), so equal rows are equal bytes. Decoding trusts nothing: types are exact (a bool is no
int), numbers are in range, sizes are bounded, and every failure is a `PeerProtocolError` that holds none of the bytes.

    row    = [key, [stamp, origin, kind, payload, ...], [origin, stamp, ...]]      both inner lists flat
    write  = [stamp, origin, key, kind, payload | nil]
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import msgpack

from propagul.crdt.dot import ORIGIN_MAX, STAMP_MAX, Dot, Origin, Stamp
from propagul.crdt.replica import Write
from propagul.crdt.row import Row, Sibling
from propagul.errors import PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from propagul.crdt.vector import Entry

KEY_BYTES_MAX = 4 * 1024
"""The longest key any replica takes from a peer; what a user may write is less."""

VALUE_BYTES_MAX = 16 * 1024 * 1024
"""The longest value any replica takes from a peer."""

_SIBLINGS_MAX = 4096
_CONTEXT_MAX = 1_000_000
_KIND_MAX = 2**16 - 1


def encode_row(key: str, row: Row) -> bytes:
    """One row, canonical."""
    siblings: list[int | bytes] = []
    implied: dict[Origin, Stamp] = {}
    for (stamp, origin), kind, payload in row.siblings:
        siblings += (stamp, origin, kind, payload)
        implied[origin] = max(implied.get(origin, Stamp(0)), stamp)
    extra = [(origin, stamp) for origin, stamp in row.context.items() if implied.get(origin) != stamp]
    return cast("bytes", msgpack.packb([key, siblings, flatten(sorted(extra))]))


def decode_rows(packed: bytes) -> list[tuple[str, Row]]:
    """The rows of a whole stream.

    Raises:
        PeerProtocolError: The bytes are not a canonical sequence of rows.
    """
    return [_row(item) for item in _items(packed)]


def encode_write(write: Write) -> list[object]:
    """One local write as a msgpack-ready list."""
    return [write.dot.stamp, write.dot.origin, write.key, write.kind, write.payload]


def decode_write(item: object) -> Write:
    """The inverse of `encode_write`.

    Raises:
        PeerProtocolError: It is not a write.
    """
    stamp, origin, key, kind, payload = _list(item, 5)
    kept = None if payload is None else _payload(payload)
    return Write(Dot(_stamp(stamp), _origin(origin)), _key(key), _int(kind, _KIND_MAX), kept)


def flatten(entries: Iterable[Entry]) -> list[int]:
    """Vector entries as one flat list: origin, stamp, origin, stamp, ..."""
    return [number for entry in entries for number in entry]


def unflatten(item: object) -> list[Entry]:
    """The inverse of `flatten`.

    Raises:
        PeerProtocolError: It is not a flat list of origins and stamps.
    """
    numbers = _sequence(item)
    if len(numbers) % 2:
        raise PeerProtocolError("vector entries come in pairs")
    return [(_origin(o), _stamp(s)) for o, s in zip(numbers[::2], numbers[1::2], strict=True)]


def unpack(packed: bytes) -> object:
    """One msgpack object, bounded.

    Raises:
        PeerProtocolError: The bytes are not exactly one well-formed object.
    """
    try:
        return cast("object", msgpack.unpackb(packed))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise PeerProtocolError("not a well-formed message") from error


def _items(packed: bytes) -> Iterator[object]:
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(packed), 1))
    unpacker.feed(packed)
    try:
        yield from unpacker
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise PeerProtocolError("a stream of rows is malformed") from error
    if unpacker.tell() != len(packed):
        raise PeerProtocolError("a stream of rows ends inside a row")


def _row(item: object) -> tuple[str, Row]:
    key, flat, extra = _list(item, 3)
    numbers = _sequence(flat)
    if len(numbers) % 4 or len(numbers) > 4 * _SIBLINGS_MAX:
        raise PeerProtocolError("siblings come in fours, and not without end")
    siblings = tuple(
        Sibling(Dot(_stamp(stamp), _origin(origin)), _int(kind, _KIND_MAX), _payload(payload))
        for stamp, origin, kind, payload in zip(*(numbers[i::4] for i in range(4)), strict=True)
    )
    if any(a.dot <= b.dot for a, b in pairwise(siblings)):
        raise PeerProtocolError("siblings are not in rank order")
    return _key(key), Row(siblings, _context(siblings, unflatten(extra)))


def _context(siblings: tuple[Sibling, ...], extra: list[Entry]) -> dict[Origin, Stamp]:
    if len(extra) > _CONTEXT_MAX:
        raise PeerProtocolError("a context is longer than any room's history")
    context = dict(extra)
    if len(context) != len(extra):
        raise PeerProtocolError("a context names an origin twice")
    for (stamp, origin), _, _ in siblings:
        context[origin] = max(context.get(origin, Stamp(0)), stamp)
    return context


def _list(item: object, length: int) -> Sequence[object]:
    items = _sequence(item)
    if len(items) != length:
        raise PeerProtocolError(f"expected {length} fields, got {len(items)}")
    return items


def _sequence(item: object) -> Sequence[object]:
    if type(item) is not list:
        raise PeerProtocolError("expected a list")
    return item


def _int(item: object, highest: int) -> int:
    if type(item) is not int or not 0 <= item <= highest:
        raise PeerProtocolError("a number is out of range")
    return item


def _stamp(item: object) -> Stamp:
    return Stamp(_int(item, STAMP_MAX))


def _origin(item: object) -> Origin:
    return Origin(_int(item, ORIGIN_MAX))


def _payload(item: object) -> bytes:
    if type(item) is not bytes or len(item) > VALUE_BYTES_MAX:
        raise PeerProtocolError("a value is no byte string, or over 16 MiB")
    return item


def _key(item: object) -> str:
    if type(item) is not str or len(item.encode()) > KEY_BYTES_MAX:
        raise PeerProtocolError("a key is no text, or over 4 KiB")
    return item
