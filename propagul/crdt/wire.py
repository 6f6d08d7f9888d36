"""msgpack, packed with our extensions and read with nothing trusted.

Everything that leaves a process goes through `pack`; everything that comes in goes through a reader that checks counts
before anything of that size is allocated, types exactly (a bool is no int), and ranges. Every failure is a
`PeerProtocolError` that holds none of the bytes.
"""

from __future__ import annotations

from itertools import accumulate, islice
from typing import TYPE_CHECKING, cast

import msgpack

from propagul.crdt.dot import ORIGIN_MAX, STAMP_MAX, Origin, Stamp
from propagul.crdt.payload import REMOVE, Keep, Packed, Payload, Remove
from propagul.errors import PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from propagul.crdt.payload import Action

KEY_BYTES_MAX = 4 * 1024
"""The longest key any replica takes from a peer; what a user may write is less."""

VALUE_BYTES_MAX = 16 * 1024 * 1024
"""The longest value any replica takes from a peer, and the most bytes one transaction holds."""

KIND_MAX = 2**16 - 1
SCALARS = frozenset({type(None), bool, int, float, str, bytes, Packed})

_INT = frozenset({int})
_PACKED, _REMOVE, _KEEP = 1, 2, 3
_EXTENSION_AT = {b"\xc7": 2, b"\xc8": 3, b"\xc9": 5}
"""Where the code of a long extension stands, by how its header begins."""

_UTF8_BYTES_MAX = 4
_KEPT_BUFFER_BYTES = 64 * 1024


def _foreign(payload: object) -> msgpack.ExtType:
    """What msgpack has no type for."""
    if type(payload) is Packed:
        return msgpack.ExtType(_PACKED, payload)
    if isinstance(payload, Remove):
        return msgpack.ExtType(_REMOVE, b"")
    if type(payload) is Keep:
        return msgpack.ExtType(_KEEP, int(payload).to_bytes(2, "big"))
    raise TypeError(f"no payload: {type(payload).__name__}")


def pack(item: object) -> bytes:
    """One msgpack object; payloads and actions anywhere in it. Tuples are not lists here: use lists."""
    return cast("bytes", msgpack.packb(item, default=_foreign, strict_types=True))


def packer() -> Callable[[object], bytes]:
    """`pack` for one thread at a time, without its cost of making a packer a call."""
    return cast("Callable[[object], bytes]", msgpack.Packer(default=_foreign, strict_types=True).pack)


# --- reading -----------------------------------------------------------------------------------------------------


def is_one_object(packed: bytes) -> bool:
    """Whether the bytes are exactly one well-formed msgpack object. Allocates nothing of the sizes they claim."""
    return are_objects([packed])


def are_objects(packed: Sequence[bytes]) -> bool:
    """Whether each is exactly one well-formed msgpack object; many at once cost a tenth of one by one."""
    whole = b"".join(packed)
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(whole), 1))
    unpacker.feed(whole)
    try:
        for end in accumulate(map(len, packed)):
            unpacker.skip()
            if unpacker.tell() != end:
                return False
    except (ValueError, msgpack.UnpackException):
        return False
    return True


def fields(packed: bytes, count: int) -> list[object]:
    """So many objects, at most 15, and nothing behind them. What headers claim is compared with the bytes first.

    What is in packed payloads is checked by `as_payloads`.

    Raises:
        PeerProtocolError: The bytes are not that.
    """
    whole = bytes((0x90 | count,)) + packed
    if not is_one_object(whole):
        raise PeerProtocolError("not a well-formed message")
    try:
        return cast("list[object]", msgpack.unpackb(whole, max_map_len=0, ext_hook=unchecked_ext))
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise PeerProtocolError("not a well-formed message") from error


class Reader:
    """Reads msgpack piece by piece: every count is checked before anything of that size is allocated.

    Decoding whole objects would let nested headers claim far more memory than their bytes. Every method raises
    `PeerProtocolError` where the bytes are not what is asked for.
    """

    __slots__ = ("_size", "_unpacker")

    def __init__(self, packed: bytes) -> None:
        self._size = len(packed)
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=max(self._size, 1), max_array_len=0, max_map_len=0, ext_hook=known_ext
        )
        self._unpacker.feed(packed)

    @property
    def at_end(self) -> bool:
        """Whether every byte has been read."""
        return bool(self._unpacker.tell() >= self._size)

    def scalar(self) -> object:
        """The next number, text, byte string, bool, nil or payload."""
        return self._read(self._unpacker.unpack)

    def column(self, most: int) -> list[object]:
        """A whole array of scalars, at most `most` long."""
        count = self.items(most)
        items = cast("list[object]", self._read(lambda: list(islice(self._unpacker, count))))
        if len(items) != count:
            raise PeerProtocolError("not a well-formed message")
        return items

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


class Objects:
    """Reads whole objects, each from bytes of its own, at half the cost of a reader for each.

    What headers claim is compared with the bytes that are there before anything is allocated. Not thread-safe.
    """

    __slots__ = ("_end", "_unpacker")

    def __init__(self) -> None:
        self._begin()

    def read(self, packed: bytes) -> object:
        """The one object in these bytes.

        Raises:
            PeerProtocolError: They are not exactly one.
        """
        try:
            return self._read(packed)
        except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
            self._begin()
            raise PeerProtocolError("not a well-formed object") from error

    def _read(self, packed: bytes) -> object:
        unpacker = self._unpacker
        unpacker.feed(packed)
        unpacker.skip()
        if unpacker.tell() != self._end + len(packed):
            raise ValueError("bytes follow the object")
        unpacker.feed(packed)
        item: object = unpacker.unpack()
        self._end += 2 * len(packed)
        if len(packed) > _KEPT_BUFFER_BYTES:
            self._begin()  # its buffer has grown
        return item

    def _begin(self) -> None:
        self._unpacker = msgpack.Unpacker(
            read_size=_KEPT_BUFFER_BYTES, max_buffer_size=0, max_map_len=0, ext_hook=known_ext
        )
        self._end = 0


def unchecked_ext(code: int, content: bytes) -> object:
    """`known_ext` for those who check later what is in packed payloads."""
    return Packed(content) if code == _PACKED else known_ext(code, content)


def known_ext(code: int, content: bytes) -> object:
    """Msgpack's hook for our extensions; raises ValueError for any other."""
    if code == _PACKED:
        if not is_one_object(content):
            raise ValueError("a packed payload is not one object")
        return Packed(content)
    if code == _REMOVE and not content:
        return REMOVE
    if code == _KEEP and len(content) == 2:
        return Keep(int.from_bytes(content, "big"))
    raise ValueError("an extension of an unknown kind")


def extension_of(packed: bytes) -> int:
    """The code of a msgpack extension of more than 16 bytes; 0 for anything else."""
    at = _EXTENSION_AT.get(packed[:1])
    return packed[at] if at is not None and at < len(packed) else 0


def as_ints(items: object) -> list[int]:
    """A list of numbers, in one step for all."""
    if type(items) is not list or not set(map(type, items)) <= _INT:
        raise PeerProtocolError("a list of numbers is none")
    return items


def as_int(item: object, highest: int) -> int:
    """A number from 0 to `highest`."""
    if type(item) is not int or not 0 <= item <= highest:
        raise PeerProtocolError("a number is out of range")
    return item


def as_stamp(item: object) -> Stamp:
    """A stamp."""
    if type(item) is not int or not 0 < item <= STAMP_MAX:
        raise PeerProtocolError("a stamp is out of range")
    return Stamp(item)


def as_origin(item: object) -> Origin:
    """An origin."""
    if type(item) is not int or not 0 < item <= ORIGIN_MAX:
        raise PeerProtocolError("an origin is out of range")
    return Origin(item)


def as_payload(item: object) -> Payload:
    """A payload of at most 16 MiB."""
    if type(item) not in SCALARS or size_of(item) > VALUE_BYTES_MAX:
        raise PeerProtocolError("a value is no value, or over 16 MiB")
    return cast("Payload", item)


def as_payloads(items: object, packed_bytes: int) -> list[Payload]:
    """A list of payloads out of so many bytes, in one step for all; what is in packed ones is checked here."""
    if type(items) is not list:
        raise PeerProtocolError("a list of values is none")
    types = set(map(type, items))
    if not types <= SCALARS:
        raise PeerProtocolError("a value is no value")
    if Packed in types and not are_objects([item for item in items if type(item) is Packed]):
        raise PeerProtocolError("a packed payload is not one object")
    return items if packed_bytes <= VALUE_BYTES_MAX else list(map(as_payload, items))


def as_action(item: object) -> Action:
    """A payload, `REMOVE` or a `Keep`."""
    return item if isinstance(item, (Remove, Keep)) else as_payload(item)


def size_of(item: object) -> int:
    """How long a text or byte string is; 0 for what has no length."""
    return len(item) if isinstance(item, (str, bytes)) else 0


def as_keys(text: object, lengths: list[int] | None, count: int) -> list[str]:
    """The keys that stand one behind the other in a text, each of at most 4 KiB; the last length is that of the rest.

    Without lengths, the text is the one key.
    """
    if lengths is None and count == 1:
        return [as_key(text)]
    if type(text) is not str or not lengths or not len(lengths) <= count > 1 or min(lengths) < 1:
        raise PeerProtocolError("keys are no text, or empty, or not as many as there are rows")
    longest, last, start = max(lengths), lengths[-1], sum(lengths[:-1])
    if longest > KEY_BYTES_MAX or start + last * (count - len(lengths) + 1) != len(text):
        raise PeerProtocolError("keys are over 4 KiB, or do not add up to their text")
    keys = [text[end - length : end] for length, end in zip(lengths[:-1], accumulate(lengths), strict=False)]
    keys += [text[at : at + last] for at in range(start, len(text), last)]
    if not text.isascii() and longest * _UTF8_BYTES_MAX > KEY_BYTES_MAX:
        return list(map(as_key, keys))
    return keys


def as_key(item: object) -> str:
    """A key of at most 4 KiB."""
    if type(item) is not str or not 0 < len(item) <= KEY_BYTES_MAX or len(item.encode()) > KEY_BYTES_MAX:
        raise PeerProtocolError("a key is no text, empty, or over 4 KiB")
    return item
