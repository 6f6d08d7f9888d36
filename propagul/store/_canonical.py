"""The canonical form of a value: what can be packed, in which one way, and why the rest cannot.

Two passes. The quick one recognizes what is canonical as it is, which is nearly everything; for the rest the complete
one copies it into canonical form or says what is wrong and where. Both count bytes from below, so that a value which
holds one list many times over ends soon. Bytes from elsewhere are decoded under the same rules.
"""

from __future__ import annotations

import datetime as dt
import math
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn, cast

import msgpack

from propagul.crdt.payload import Packed
from propagul.errors import LimitExceeded

if TYPE_CHECKING:
    from propagul.crdt.payload import Payload

DEPTH_MAX: Final = 32
"""How many lists and dicts may stand inside one another, the outermost included."""

INT_MIN, INT_MAX = -(2**63), 2**64 - 1

CONTAINERS: Final = (list, dict, dt.datetime)
"""What travels packed."""

_STORABLE: Final = "a value is None, bool, int, float, str, bytes, list, dict or a datetime with a timezone"


def scalar(where: str, value: object, limit: int) -> Payload:
    """A value that is no container, in canonical form.

    Raises:
        Refused: It cannot be stored.
        LimitExceeded: It is larger than `limit` bytes.
    """
    return cast("Payload", _Walk(where, limit).over(value, DEPTH_MAX))


def packed(where: str, value: object, limit: int) -> Packed:
    """A list, dict or datetime in its packed form. `where` is how messages call it.

    Raises:
        Refused: Something in it cannot be stored.
        LimitExceeded: It is larger than `limit` bytes.
    """
    found = None
    if _plain_bytes(value, DEPTH_MAX, limit) >= 0:
        with suppress(ValueError, OverflowError):  # a surrogate or an int: the walk says where
            found = msgpack.packb(value, datetime=True)
    if found is None:
        found = msgpack.packb(_Walk(where, limit).over(value, DEPTH_MAX), datetime=True)
    if len(found) > limit:
        raise too_large(where, len(found), limit)
    return Packed(found)


def unpacked(packed: Packed) -> object:
    """The inverse of `packed`. Nested headers may claim any number of items: all is passed over before it is decoded.

    Raises:
        ValueError, TypeError, OverflowError, msgpack.UnpackException, Refused: It is no value.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(packed) + 1)
    unpacker.feed(packed)
    unpacker.skip()
    value = cast("object", msgpack.unpackb(packed, timestamp=3, strict_map_key=False))
    if type(value) not in CONTAINERS:
        raise ValueError("a scalar in a packed form")
    plain = _plain_bytes(value, DEPTH_MAX, sys.maxsize) >= 0
    return value if plain else _Walk("", sys.maxsize).over(value, DEPTH_MAX)


def _plain_bytes(value: object, room: int, budget: int) -> int:
    """The quick pass: a lower bound of the packed size of what is canonical as it is.

    -1 for everything else, what is larger than `budget` included: then a `_Walk` says what is to be done. Whether texts
    and ints can be packed is left to the packing.
    """
    if type(value) is dict:
        size = _names_bytes(value)
    elif type(value) is list:
        size = len(value)
    else:
        return 0 if type(value) is dt.datetime and value.tzinfo is dt.UTC else -1
    if not room or size < 0:
        return -1
    for part in value.values() if type(value) is dict else value:
        kind = type(part)
        if kind is str or kind is bytes:
            size += len(part)
        elif kind is float:
            if math.isnan(part) or (part == 0 and math.copysign(1, part) < 0):
                return -1
        elif kind is not int and kind is not bool and part is not None:
            inner = _plain_bytes(part, room - 1, budget - size)
            if inner < 0:
                return -1
            size += inner
    return size if size <= budget else -1


def _names_bytes(value: dict[object, object]) -> int:
    """The same for the names in a dict."""
    size = 2 * len(value)
    for name in value:
        if type(name) is str or type(name) is bytes:
            size += len(name)
        elif type(name) is not int:
            return -1
    return size


class _Walk:
    """The complete pass over a value: refuses what cannot be stored, copies what can, and counts bytes on the way.

    The count is a lower bound of the packed size, so that a value that holds one list many times over ends soon.
    """

    __slots__ = ("_limit", "_size", "_where")

    def __init__(self, where: str, limit: int) -> None:
        self._where, self._limit, self._size = where, limit, 0

    def over(self, value: object, room: int) -> object:  # noqa: PLR0911 - one for each type
        """The value in canonical form; `room` is how many containers may still be entered."""
        if type(value) is str:
            return self._text(value)
        if type(value) is int:
            return value if INT_MIN <= value <= INT_MAX else _refuse(f"is an int outside {INT_MIN}..{INT_MAX}")
        if value is None or type(value) is bool:
            return value
        if type(value) is float:
            return _refuse("is NaN, which is not equal to itself") if math.isnan(value) else value + 0.0
        if type(value) is bytes:
            self._count(len(value))
            return value
        if type(value) is list or type(value) is dict:
            return self._container(value, room)
        if type(value) is dt.datetime:
            return _in_utc(value)
        raise Refused(TypeError, _why_not(value))

    def _container(self, value: list[object] | dict[object, object], room: int) -> object:
        if not room:
            _refuse(f"is nested deeper than {DEPTH_MAX}")
        self._count(len(value))
        return self._list(value, room - 1) if isinstance(value, list) else self._dict(value, room - 1)

    def _list(self, value: list[object], room: int) -> list[object]:
        parts: list[object] = []
        for index, part in enumerate(value):
            try:
                parts.append(self.over(part, room))
            except Refused as refused:
                refused.steps.append(index)
                raise
        return parts

    def _dict(self, value: dict[object, object], room: int) -> dict[object, object]:
        parts: dict[object, object] = {}
        for name, part in value.items():
            if type(name) is not str and type(name) is not bytes and type(name) is not int:
                raise Refused(TypeError, _bad_name(name))
            try:
                parts[self.over(name, room)] = self.over(part, room)
            except Refused as refused:
                refused.steps.append(name)
                raise
        return parts

    def _text(self, value: str) -> str:
        size = len(value) if value.isascii() else utf8_bytes(value)
        if size < 0:
            _refuse("holds a lone surrogate, which is no text")
        self._count(size)
        return value

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise too_large(self._where, self._size, self._limit, unit="bytes or more")


class Refused(Exception):  # noqa: N818 - becomes a TypeError or ValueError at the door
    """A part that cannot be stored; `steps` lead to it from the inside out."""

    def __init__(self, kind: type[TypeError | ValueError], reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason
        self.steps: list[object] = []

    def explained(self, where: str) -> TypeError | ValueError:
        """The error to show, with the path."""
        path = "".join(f"[{step!r}]" for step in reversed(self.steps))
        return self.kind(f"{where}{path} {self.reason}")


def _refuse(reason: str) -> NoReturn:
    raise Refused(ValueError, reason)


def _why_not(value: object) -> str:
    if isinstance(value, tuple):
        return "is a tuple; use a list, which is what would come back"
    for kind in (bool, int, float, str, bytes, list, dict, dt.datetime):
        if isinstance(value, kind):
            return f"is a {type(value).__name__}; it would come back as {kind.__name__}, so store that"
    return f"is a {type(value).__name__}; {_STORABLE}"


def _bad_name(name: object) -> str:
    reason = "has the key {}, a {}; keys of a dict are str, bytes or int"
    beside = f" ({name} beside {int(name)} would be one key)" if isinstance(name, bool) else ""
    return reason.format(repr(name)[:40], type(name).__name__) + beside


def _in_utc(value: dt.datetime) -> dt.datetime:
    if value.utcoffset() is None:
        raise Refused(TypeError, "is a datetime without a timezone; give it one, for example datetime.now(UTC)")
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        _refuse("is a datetime outside the years 1 to 9999 in UTC")


def utf8_bytes(text: str) -> int:
    """Its size in UTF-8; -1 if it holds a lone surrogate."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1


def cycle(where: str, value: object) -> ValueError | None:
    """The error to show if a container leads back to one it is inside of. Depth first, each container entered once."""
    way: list[object] = []
    inside: set[int] = set()
    done: set[int] = set()
    stack: list[tuple[object, object, bool]] = [(None, value, False)]
    while stack:
        step, part, leaving = stack.pop()
        if leaving:
            way.pop()
            inside.discard(id(part))
            done.add(id(part))
        elif id(part) in inside:
            path = "".join(f"[{taken!r}]" for taken in (*way[1:], step))
            return ValueError(f"{where}{path} leads back to a {type(part).__name__} it is part of: a cycle")
        elif id(part) not in done and isinstance(part, list | dict):
            way.append(step)
            inside.add(id(part))
            stack.append((step, part, True))
            stack += [
                (name, inner, False) for name, inner in (enumerate(part) if isinstance(part, list) else part.items())
            ]
    return None


def too_large(where: str, size: int, limit: int, *, unit: str = "bytes") -> LimitExceeded:
    remedy = "split it over several keys, or raise Limits(value_bytes=...)"
    return LimitExceeded(f"the value of {where}", size=size, limit=limit, unit=unit, remedy=remedy)
