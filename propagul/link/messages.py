"""The few messages a link itself speaks: msgpack lists in frames.

hello    [`propagul`, newest, purpose, oldest, instance, nonce]   dialler to acceptor, the first frame
ok       [`ok`, version, instance]                                acceptor to dialler: the link is open
refused  [`refused`, code, newest, oldest, proof]                 acceptor to dialler, then it closes

An end speaks every version from its oldest to its newest; a link runs on the highest that both speak, and `ok` names
it. An instance tells two runs of one identity apart; a nonce belongs to a tunnel that the acceptor asked for; a proof
is the deed that ended an authority. A hello ends after its purpose, an `ok` after its version and a refusal after its
newest version where the rest is not known.

Later versions may add elements at the end of a list; they are ignored here. A refusal is a code, never a sentence: no
text of a peer reaches people.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from propagul.errors import IdentityError, LinkError, PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul.link.base import Address

PROTOCOL_VERSION = 1
"""The newest version this code speaks."""

ITEMS_MAX = 64
"""Items of one list, four times what any message of a link has."""

INSTANCE_BYTES = 8
NONCE_BYTES = 16

TWIN = "a second machine runs with this node's identity"
TWIN_REMEDY = "give one of them a fresh data directory, or delete identity.key there"

_MAGIC = "propagul"
_OK = "ok"
_REFUSED = "refused"


class RefusalCode(enum.StrEnum):
    """Why an acceptor that knows its peer opens no link all the same."""

    VERSION = "version"
    PURPOSE = "purpose"
    INVITE = "invite"
    PINS = "pins"
    NONCE = "nonce"
    ITSELF = "itself"
    TWIN = "twin"
    REVOKED = "revoked"
    SECRET = "secret"  # noqa: S105 - a word


_OF_WHO_WE_ARE = (RefusalCode.PINS, RefusalCode.TWIN, RefusalCode.REVOKED, RefusalCode.SECRET)


class SecretChangedError(IdentityError):
    """The acceptor says that our authority ended.

    Attributes:
        proof: The deed that ended it, as the acceptor gave it: unverified.
    """

    def __init__(self, message: str, proof: bytes) -> None:
        self.proof = proof
        super().__init__(message)


class Versions(NamedTuple):
    """The versions of the protocol that one end speaks, without gaps."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        alone = self.oldest == self.newest
        return f"protocol version {self.newest}" if alone else f"protocol versions {self.oldest} to {self.newest}"

    def common(self, others: Versions) -> int | None:
        """The highest version that both speak; None if there is none."""
        highest = min(self.newest, others.newest)
        return highest if highest >= max(self.oldest, others.oldest) else None


VERSIONS = Versions(1, PROTOCOL_VERSION)
"""What this code speaks."""


class Hello(NamedTuple):
    """What a dialler asks for. Without instance or nonce these are empty."""

    purpose: str
    versions: Versions = VERSIONS
    instance: bytes = b""
    nonce: bytes = b""


class Answer(NamedTuple):
    """What an acceptor says when it opens a link. `instance` is empty where it tells none."""

    version: int
    instance: bytes


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


def pack_hello(hello: Hello) -> bytes:
    """Encode the first frame of a link."""
    oldest, newest = hello.versions
    nonce = [hello.nonce] if hello.nonce else []
    return pack([_MAGIC, newest, hello.purpose, oldest, hello.instance, *nonce])


def unpack_hello(frame: bytes) -> Hello:
    """Decode the first frame of a link.

    Raises:
        PeerProtocolError: It is no hello.
    """
    match unpack(frame, str, int, str):
        case [magic, int(newest), str(purpose)] if magic == _MAGIC:
            return Hello(purpose, _versions(newest, newest))
        case [magic, int(newest), str(purpose), oldest, *more] if magic == _MAGIC:
            return Hello(
                purpose, _versions(oldest, newest), _bytes_at(more, 0, INSTANCE_BYTES), _bytes_at(more, 1, NONCE_BYTES)
            )
        case _:
            raise PeerProtocolError("a first frame is no hello of this protocol")


def pack_ok(version: int = PROTOCOL_VERSION, instance: bytes = b"") -> bytes:
    """Encode the answer that opens a link."""
    return pack([_OK, version, instance])


def pack_refusal(code: RefusalCode, versions: Versions = VERSIONS, proof: bytes = b"") -> bytes:
    """Encode the answer that opens none; `proof` goes with `SECRET`."""
    return pack([_REFUSED, code.value, versions.newest, versions.oldest, *([proof] if proof else [])])


def check_answer(frame: bytes, address: Address, purpose: str, ours: Versions = VERSIONS) -> Answer:
    """Return what an answer that opens the link says.

    Raises:
        LinkError: It does not open it; the message says why.
        IdentityError: It does not, because of who we are.
        PeerProtocolError: It is no answer.
    """
    match unpack(frame):
        case [word, int(version), *more] if word == _OK and ours.common(Versions(version, version)) is not None:
            return Answer(version, _bytes_at(more, 0, INSTANCE_BYTES))
        case [word, str(code), int(newest)] if word == _REFUSED:
            raise _refusal(code, _versions(newest, newest), ours, address, purpose)
        case [word, str(code), int(newest), oldest, *more] if word == _REFUSED:
            refusal = _refusal(code, _versions(oldest, newest), ours, address, purpose)
            if code == RefusalCode.SECRET:
                raise SecretChangedError(str(refusal), more[0] if more and isinstance(more[0], bytes) else b"")
            raise refusal
        case _:
            raise PeerProtocolError("an answer is neither ok nor refused")


def _versions(oldest: object, newest: int) -> Versions:
    if type(oldest) is not int or not 0 < oldest <= newest:
        raise PeerProtocolError("a range of versions is none")
    return Versions(oldest, newest)


def _bytes_at(elements: Sequence[object], place: int, length: int) -> bytes:
    """An element that may be missing or empty."""
    element = elements[place] if place < len(elements) else b""
    if not isinstance(element, bytes) or len(element) not in (0, length):
        raise PeerProtocolError("a message has elements of the wrong type")
    return element


def _refusal(code: str, theirs: Versions, ours: Versions, address: Address, purpose: str) -> LinkError | IdentityError:
    older = "the node there" if theirs.newest < ours.oldest else "this node"
    sentences: dict[str, str] = {
        RefusalCode.VERSION: f"{address} speaks {theirs}, this node {ours}: update {older}",
        RefusalCode.PURPOSE: f"{address} serves no links for {purpose}",
        RefusalCode.INVITE: (
            f"{address} refused: an invite opens links for join and for nothing else, and only an invite does"
        ),
        RefusalCode.PINS: f"{address} takes links from the nodes that it pins only, and this one is none of them",
        RefusalCode.NONCE: f"{address} waits for no such tunnel, or not any more",
        RefusalCode.ITSELF: f"{address} is this node itself",
        RefusalCode.TWIN: f"{address}: {TWIN}: {TWIN_REMEDY}",
        RefusalCode.REVOKED: (
            f"{address} refused: this machine is a revoked member; to let it in again, give it a new identity and an "
            "invite"
        ),
        RefusalCode.SECRET: (
            f"{address} refused: the secret of this room was changed while this machine was away; give it the new "
            "secret, or a new invite"
        ),
    }
    sentence = sentences.get(code)
    if sentence is None:
        return LinkError(f"{address} refused the link for a reason this version does not know: update this node")
    return (IdentityError if code in _OF_WHO_WE_ARE else LinkError)(sentence)
