"""A value that proves who wrote it, where and when.

    payload = Packed(ext 4: signature, ahead, value?)        without a value it says that there is none any more
    signed  = label, [room, namespace, key, stamp, origin], ahead, value?

The dot under the signature is that of the write, so an old value cannot be passed off as a new one, nor one key's as
another's. Whether a payload is well-formed and signed is a function of it, its key and its dot alone: every replica
decides alike. The rule of this file: one signed write has one payload, byte for byte.

`ahead` lifts a write above an older one of the same author that bears a higher stamp, as after a clock went back; it is
0 nearly always. What ranks writes is `stamp + ahead`, then the dot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgpack

from propagul.crdt import ABSENT, REMOVE, STAMP_MAX, Evicted, Packed
from propagul.crdt.wire import Reader, as_int, as_payload, extension_of, pack
from propagul.errors import PeerProtocolError
from propagul.link.identity import verify

if TYPE_CHECKING:
    from propagul.crdt import Action, Dot, Found, Payload, Row, Sibling
    from propagul.link import Identity, NodeId

SIGNATURE_BYTES: Final = 64

_LABEL: Final = b"propagul signed row 1\n"
_SIGNED: Final = 4
_WITHDRAWN_BYTES_MAX: Final = SIGNATURE_BYTES + 16
"""One that says that there is no value has a header, its signature and a number."""


class Place(NamedTuple):
    """Where a signed value stands: all that its signature covers beside the value itself."""

    room: str
    space: str
    key: str
    dot: Dot


class Signed(NamedTuple):
    """What a signed payload says.

    Attributes:
        signature: Over its place and `body`.
        body: The bytes that are signed.
        ahead: By how much it ranks above its stamp.
        value: The value; ABSENT where the author has taken it back.
    """

    signature: bytes
    body: bytes
    ahead: int
    value: Found


def sign(identity: Identity, place: Place, ahead: int, value: Action) -> Packed:
    """The payload of a value that `identity` writes at a place; `REMOVE` takes back what stands there."""
    body = pack(ahead) + (b"" if value is REMOVE else pack(value))
    return _packed(identity.sign(_message(place, body)) + body)


def is_signed(payload: object) -> bool:
    """Whether it has the form of a signed value."""
    return type(payload) is Packed and extension_of(payload) == _SIGNED


def read(payload: Payload) -> Signed | None:
    """What a payload says; None if it is no signed value. Whether the signature holds is another question: `holds`."""
    if isinstance(payload, Evicted):
        payload = payload.read()
    if not is_signed(payload):
        return None
    try:
        content = msgpack.unpackb(payload).data
        signature, body = content[:SIGNATURE_BYTES], content[SIGNATURE_BYTES:]
        reader = Reader(body)
        ahead = as_int(reader.scalar(), STAMP_MAX)
        value = ABSENT if reader.at_end else as_payload(reader.scalar())
    except (PeerProtocolError, ValueError, msgpack.UnpackException):
        return None
    return Signed(signature, body, ahead, value) if reader.at_end and _packed(content) == payload else None


def holds(owner: NodeId, place: Place, payload: Payload) -> bool:
    """Whether `owner` wrote this payload at this place."""
    signed = read(payload)
    if signed is None or place.dot.stamp + signed.ahead > STAMP_MAX:
        return False
    return verify(owner, signed.signature, _message(place, signed.body))


def rank(sibling: Sibling) -> tuple[int, Dot]:
    """By what writes of one author are ordered; what is not signed ranks below all that is."""
    signed = read(sibling.payload)
    return 0 if signed is None else sibling.dot.stamp + signed.ahead, sibling.dot


def is_withdrawn(payload: object) -> bool:
    """Whether it says that there is no value. Such a payload is short, so it is never evicted."""
    if not is_signed(payload) or len(payload) > _WITHDRAWN_BYTES_MAX:  # type: ignore[arg-type]  # a `Packed`
        return False
    signed = read(payload)  # type: ignore[arg-type]  # a `Packed`
    return signed is not None and signed.value is ABSENT


def is_shown(found: Found) -> bool:
    """Whether what stands under a key is a value for people to see."""
    return found is not ABSENT and not is_withdrawn(found)


def is_there(row: Row) -> bool:
    """Whether a row has a value to show."""
    return row.winner is not None and is_shown(row.winner.payload)


def _packed(content: bytes) -> Packed:
    return Packed(msgpack.packb(msgpack.ExtType(_SIGNED, content)))


def _message(place: Place, body: bytes) -> bytes:
    return _LABEL + pack([place.room, place.space, place.key, *place.dot]) + body
