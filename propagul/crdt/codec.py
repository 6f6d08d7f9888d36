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
    from collections.abc import Callable, Iterable, Sequence

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
    reader, rows = Reader(packed), []
    while not reader.at_end:
        rows.append(_row(reader))
    return rows


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


def read_entries(reader: Reader, most: int) -> list[Entry]:
    """Like `unflatten`, from a reader; at most `most` entries.

    Raises:
        PeerProtocolError: It is not a flat list of origins and stamps, or a longer one.
    """
    return unflatten([reader.scalar() for _ in range(reader.items(2 * most))])


def unpack(packed: bytes) -> object:
    """One msgpack object, whole: for bytes we wrote ourselves. What a peer sent goes through `Reader`.

    Raises:
        PeerProtocolError: The bytes are not exactly one well-formed object.
    """
    try:
        return cast("object", msgpack.unpackb(packed))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise PeerProtocolError("not a well-formed message") from error


class Reader:
    """Reads msgpack piece by piece: every count is checked before anything of that size is allocated.

    Decoding whole objects would let nested headers claim far more memory than their bytes. Every method raises
    `PeerProtocolError` where the bytes are not what is asked for.
    """

    __slots__ = ("_size", "_unpacker")

    def __init__(self, packed: bytes) -> None:
        self._size = len(packed)
        self._unpacker = msgpack.Unpacker(max_buffer_size=max(self._size, 1), max_array_len=0, max_map_len=0)
        self._unpacker.feed(packed)

    @property
    def at_end(self) -> bool:
        """Whether every byte has been read."""
        return bool(self._unpacker.tell() >= self._size)

    def scalar(self) -> object:
        """The next number, text, byte string, bool or nil."""
        return self._read(self._unpacker.unpack)

    def items(self, most: int) -> int:
        """How many items the list that begins here has."""
        return self._count(self._unpacker.read_array_header, most)

    def pairs(self, most: int) -> int:
        """How many pairs the map that begins here has."""
        return self._count(self._unpacker.read_map_header, most)

    def skip(self) -> None:
        """Pass over one object of any kind."""
        self._read(self._unpacker.skip)

    def _count(self, header: Callable[[], object], most: int) -> int:
        count = cast("int", self._read(header))
        if count > most:
            raise PeerProtocolError("more items than the protocol allows")
        return count

    def _read(self, step: Callable[[], object]) -> object:
        try:
            return step()
        except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
            raise PeerProtocolError("not a well-formed message") from error


def _row(reader: Reader) -> tuple[str, Row]:
    if reader.items(3) != 3:
        raise PeerProtocolError("a row has three fields")
    key = _key(reader.scalar())
    numbers = [reader.scalar() for _ in range(reader.items(4 * _SIBLINGS_MAX))]
    if len(numbers) % 4:
        raise PeerProtocolError("siblings come in fours")
    siblings = tuple(
        Sibling(Dot(_stamp(stamp), _origin(origin)), _int(kind, _KIND_MAX), _payload(payload))
        for stamp, origin, kind, payload in zip(*(numbers[i::4] for i in range(4)), strict=True)
    )
    if any(a.dot <= b.dot for a, b in pairwise(siblings)):
        raise PeerProtocolError("siblings are not in rank order")
    return key, Row(siblings, _context(siblings, read_entries(reader, _CONTEXT_MAX)))


def _context(siblings: tuple[Sibling, ...], extra: list[Entry]) -> dict[Origin, Stamp]:
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
