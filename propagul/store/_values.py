"""Values at the door: what a user may store, as bytes, and back.

Packed at `set`, unpacked at each `get`, so that what a caller holds is always the caller's own. What msgpack can carry
(None, bool, int, float, str, bytes, list, dict) plus timezone-aware datetime; anything else is refused with the path
to it inside the value.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import cast

import msgpack

from propagul.crdt import KEY_BYTES_MAX, VALUE_BYTES_MAX
from propagul.errors import LimitExceeded, StoreCorrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a *local* write may be. Receivers take up to the protocol's maxima whatever is set here.

    Attributes:
        key_bytes: UTF-8 bytes of a key; at most 4 KiB.
        value_bytes: Bytes of a packed value; at most 16 MiB.
    """

    key_bytes: int = 1024
    value_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        for name, value, most in (
            ("key_bytes", self.key_bytes, KEY_BYTES_MAX),
            ("value_bytes", self.value_bytes, VALUE_BYTES_MAX),
        ):
            if not 0 < value <= most:
                raise LimitExceeded(f"the limit {name}", size=value, limit=most)


def check_key(key: str, limits: Limits) -> str:
    """Return the key, or say what is wrong with it.

    Raises:
        TypeError: It is no str.
        ValueError: It is empty or not encodable as UTF-8.
        LimitExceeded: It is too long.
    """
    if type(key) is not str:
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    if not key:
        raise ValueError("a key is not empty")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"the key {key!r} holds a lone surrogate, which is no text") from error
    if size > limits.key_bytes:
        raise LimitExceeded(f"the key {key[:40]!r}...", size=size, limit=limits.key_bytes)
    return key


def pack(key: str, value: object, limits: Limits) -> bytes:
    """The bytes of a value.

    Raises:
        TypeError: Something in it cannot be stored; the message names the path.
        ValueError: Something in it is out of range or nested too deep.
        LimitExceeded: It is too large.
    """
    try:
        packed = cast("bytes", msgpack.packb(value, strict_types=True, datetime=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise _explained(key, value, error) from error
    if len(packed) > limits.value_bytes:
        raise LimitExceeded(
            f"the value of {key!r}",
            size=len(packed),
            limit=limits.value_bytes,
            remedy="split it over several keys, or raise Limits(value_bytes=...)",
        )
    return packed


def unpack(key: str, packed: bytes) -> object:
    """The value in the bytes, fresh for the caller.

    Raises:
        StoreCorrupt: A peer stored bytes that are no value.
    """
    try:
        return cast("object", msgpack.unpackb(packed, timestamp=3, strict_map_key=False))
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise StoreCorrupt(f"what is stored under {key!r} is no value this version can read") from error


def _explained(key: str, value: object, error: Exception) -> TypeError | ValueError:
    path, culprit = _culprit(value, f"store[{key!r}]", depth=0)
    if isinstance(culprit, dt.datetime):
        return TypeError(f"{path} is a datetime without a timezone; give it one, for example datetime.now(UTC)")
    if isinstance(culprit, tuple):
        return TypeError(f"{path} is a tuple; use a list, which is what would come back")
    if isinstance(error, (ValueError, OverflowError)):
        return ValueError(f"{path} cannot be stored: {error}")
    return TypeError(
        f"{path} is a {type(culprit).__name__}; a value is None, bool, int, float, str, bytes, list or dict"
    )


def _culprit(value: object, path: str, depth: int) -> tuple[str, object]:
    """The path to the first part that cannot be packed by itself."""
    if depth > 64:
        return path, value
    parts: list[tuple[str, object]] = []
    if type(value) is dict:
        for name, part in value.items():
            if not _packs(name):
                return f"{path}: the name {name!r}", name
            parts.append((f"{path}[{name!r}]", part))
    elif type(value) is list:
        parts = [(f"{path}[{index}]", part) for index, part in enumerate(value)]
    for where, part in parts:
        if not _packs(part):
            return _culprit(part, where, depth + 1)
    return path, value


def _packs(value: object) -> bool:
    try:
        msgpack.packb(value, strict_types=True, datetime=True)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
