"""The few messages a link itself speaks: msgpack lists in frames.

hello    [`propagul`, version, purpose]   dialler to acceptor, the first frame
ok       [`ok`, version]                  acceptor to dialler: the link is open
refused  [`refused`, code, version, ...]  acceptor to dialler, then it closes

Later versions may add elements at the end of a list; they are ignored here. A refusal is a code, never a sentence: no
text of a peer reaches people.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from propagul.errors import IdentityError, LinkError, PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from propagul.link.base import Address

PROTOCOL_VERSION = 1

ITEMS_MAX = 64
"""Items of one list, four times what any message of a link has."""

_MAGIC = "propagul"
_OK = "ok"
_REFUSED = "refused"


class RefusalCode(enum.StrEnum):
    """Why an acceptor that knows its peer opens no link all the same."""

    VERSION = "version"
    PURPOSE = "purpose"
    INVITE = "invite"
    REVOKED = "revoked"
    SECRET = "secret"  # noqa: S105 - a word


_EXCLUDED: Mapping[str, str] = {
    RefusalCode.REVOKED: "this machine is a revoked member; to let it in again, give it a new identity and an invite",
    RefusalCode.SECRET: "the secret of this room was changed while this machine was away; "
    "give it the new secret, or a new invite",
}


class SecretChangedError(IdentityError):
    """The acceptor says that our authority ended.

    Attributes:
        proof: The deed that ended it, as the acceptor gave it: unverified.
    """

    def __init__(self, message: str, proof: bytes) -> None:
        self.proof = proof
        super().__init__(message)


class Hello(NamedTuple):
    """What a dialler asks for."""

    version: int
    purpose: str


def pack(message: Sequence[object]) -> bytes:
    """Encode one message."""
    return bytes(msgpack.packb(list(message), use_bin_type=True))


def unpack(frame: bytes, *shape: type, items_max: int = ITEMS_MAX) -> list[object]:
    """Decode a list whose first elements have the types of `shape`; further elements are kept.

    No list in it may have more than `items_max`: room is made for what a header claims, at every depth.

    Raises:
        PeerProtocolError: It is anything else.
    """
    try:
        message = msgpack.unpackb(frame, raw=False, max_array_len=items_max, max_map_len=items_max)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise PeerProtocolError("a message is not msgpack") from error
    if not isinstance(message, list) or len(message) < len(shape):
        raise PeerProtocolError("a message lacks elements")
    if any(type(element) is not kind for element, kind in zip(message, shape, strict=False)):
        raise PeerProtocolError("a message has elements of the wrong type")
    return message


def pack_hello(purpose: str, version: int = PROTOCOL_VERSION) -> bytes:
    """Encode the first frame of a link."""
    return pack([_MAGIC, version, purpose])


def unpack_hello(frame: bytes) -> Hello:
    """Decode the first frame of a link.

    Raises:
        PeerProtocolError: It is no hello.
    """
    match unpack(frame, str, int, str):
        case [magic, int(version), str(purpose), *_] if magic == _MAGIC:
            return Hello(version, purpose)
        case _:
            raise PeerProtocolError("a first frame is no hello of this protocol")


def pack_ok() -> bytes:
    """Encode the answer that opens a link."""
    return pack([_OK, PROTOCOL_VERSION])


def pack_refusal(code: RefusalCode, proof: bytes = b"") -> bytes:
    """Encode the answer that opens none; `proof` goes with `SECRET`."""
    return pack([_REFUSED, code.value, PROTOCOL_VERSION, *([proof] if proof else [])])


def check_answer(frame: bytes, address: Address, purpose: str) -> None:
    """Return if the answer opens the link.

    Raises:
        LinkError: It does not; the message says why.
        IdentityError: It does not, because we are no member any more.
        PeerProtocolError: It is no answer.
    """
    match unpack(frame):
        case [word, int(), *_] if word == _OK:
            return
        case [word, str(code), int(), *more] if word == _REFUSED and code in _EXCLUDED:
            sentence = f"{address} refused: {_EXCLUDED[code]}"
            if code == RefusalCode.REVOKED:
                raise IdentityError(sentence)
            raise SecretChangedError(sentence, more[0] if more and isinstance(more[0], bytes) else b"")
        case [word, str(code), int(version), *_] if word == _REFUSED:
            raise LinkError(_refusal_sentence(code, version, address, purpose))
        case _:
            raise PeerProtocolError("an answer is neither ok nor refused")


def _refusal_sentence(code: str, version: int, address: Address, purpose: str) -> str:
    match code:
        case RefusalCode.VERSION:
            return f"{address} speaks protocol version {version}, this node {PROTOCOL_VERSION}: update the older one"
        case RefusalCode.PURPOSE:
            return f"{address} serves no links for {purpose}"
        case RefusalCode.INVITE:
            return f"{address} refused: an invite opens links for join and for nothing else, and only an invite does"
        case _:
            return f"{address} refused the link for a reason this version does not know: update this node"
