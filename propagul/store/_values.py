"""Values at the door: what a user may store, as a payload, and back.

A payload is None, a bool, int, float, str or bytes as it is, or `Packed`: the msgpack of a list, dict or datetime,
packed once at `set` and unpacked for each `get`, so that what a caller holds is always the caller's own. The rule of
this file: what `thaw` returns, `freeze` would take. What cannot be stored is refused with the path to it inside the
value; nothing is converted silently but -0.0, which becomes 0.0 (they are equal and must be one payload), and the time
zone of a datetime, which comes back in UTC. The order of a dict's entries is kept and is part of its bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgpack

from propagul.crdt import KEY_BYTES_MAX, VALUE_BYTES_MAX
from propagul.crdt.payload import Evicted, Packed
from propagul.errors import LimitExceeded, StoreCorrupt
from propagul.store import _batch_proof, _signed
from propagul.store._canonical import CONTAINERS, INT_MAX, INT_MIN, Refused, cycle, packed, scalar, unpacked, utf8_bytes

if TYPE_CHECKING:
    from propagul.crdt.payload import Payload

TYPED_MARK: Final = "\x00"
"""How the keys of typed rows (counters, sets, logs, maps) begin, and no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a *local* write may be. Receivers take up to the protocol's maxima whatever is set here.

    Attributes:
        key_bytes: UTF-8 bytes of a key; at most 4 KiB.
        value_bytes: Bytes of a value: of a str in UTF-8, of a list, dict or datetime packed; at most 16 MiB.
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
        ValueError: It is empty, not encodable as UTF-8, or begins with NUL.
        LimitExceeded: It is too long.
    """
    if type(key) is not str:
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    if not key:
        raise ValueError("a key is not empty")
    if key[0] == TYPED_MARK:
        raise ValueError(
            f"the key {key[:40]!r} begins with '\\x00', which is kept for counters, sets, logs and maps; "
            "use store.counter, set_of, log_of or map_of for those"
        )
    check_size(key, limits)
    return key


def check_size(key: str, limits: Limits) -> None:
    """Refuse a key that is too long or no text.

    Raises:
        ValueError: It is not encodable as UTF-8.
        LimitExceeded: It is too long.
    """
    size = len(key) if key.isascii() else utf8_bytes(key)
    if size < 0:
        raise ValueError(f"the key {key!r} holds a lone surrogate, which is no text")
    if size > limits.key_bytes:
        raise LimitExceeded(f"the key {key[:40]!r}...", size=size, limit=limits.key_bytes)


def freeze(key: str, value: object, limits: Limits) -> Payload:
    """The payload of a value. A few type checks for what needs no packing, O(size) for the rest.

    Raises:
        TypeError: Something in it cannot be stored; the message names the path.
        ValueError: Something in it is out of range, no text, NaN, nested too deep or inside itself; path as well.
        LimitExceeded: It is too large.
    """
    if type(value) is str and value.isascii() and len(value) <= limits.value_bytes:
        return value
    if type(value) is int and INT_MIN <= value <= INT_MAX:
        return value
    if type(value) is bytes and len(value) <= limits.value_bytes:
        return value
    if value is None or type(value) is bool:
        return value
    if type(value) is float and not math.isnan(value):
        return value + 0.0
    return freeze_at(f"store[{key!r}]", value, limits)


def freeze_at(where: str, value: object, limits: Limits) -> Payload:
    """Like `freeze`; `where` is how messages call the value."""
    try:
        make = packed if type(value) in CONTAINERS else scalar
        return make(where, value, limits.value_bytes)
    except Refused as refused:
        raise (cycle(where, value) or refused.explained(where)) from None


def thaw(key: str, payload: Payload) -> object:
    """The value of a payload, fresh for the caller. Memory stays within a small multiple of the payload's bytes.

    Of a signed or proven value it is what was signed; ABSENT if that says that there is none.

    Raises:
        StoreCorrupt: Somebody stored bytes that are no value.
        StoreError: It is not in memory, and the disk does not give it.
    """
    if isinstance(payload, Evicted):
        payload = payload.read()
    if type(payload) is not Packed:
        return payload
    if (sealed := _signed.read(payload) or _batch_proof.read(payload)) is not None:
        if type(sealed.value) is not Packed:
            return sealed.value
        payload = sealed.value
    try:
        return unpacked(payload)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException, Refused) as error:
        raise StoreCorrupt(f"what is stored under {key!r} is no value this version can read") from error
