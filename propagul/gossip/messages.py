"""The four messages of gossip and their bytes.

Each is one msgpack list in one frame: a small number for its kind, then its fields in order. A longer list is a newer
version's: known fields are read, the rest ignored. Anything else is a `PeerProtocolError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, assert_never, cast

import msgpack

from propagul.crdt import codec
from propagul.errors import PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.crdt import Entry

VERSION = 1

CHUNK_BYTES = 60 * 1024
"""Row bytes in one delta frame; with its header below the link's frame limit."""

ENTRIES_PER_DIGEST = 3000
"""Vector entries in one digest frame: about 54 kB at most."""

_TEXT_MAX = 256
_SPACES_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message on a link, both ways.

    Attributes:
        version: The newest gossip version its sender speaks.
        label: What people call the sender.
        recovering: The sender has not yet caught up with anybody since it opened.
        digests: For each namespace the digest of the sender's version vector.
    """

    version: int
    label: str
    recovering: bool
    digests: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What the sender has: acknowledgement, announcement and pull request in one.

    Attributes:
        space: The namespace.
        ack: Sequence number of the last delta of yours that was applied and logged here.
        same: My vector equals the one you said hello with; `entries` come on top. Only in the first digest.
        more: Another digest frame of the same telling follows.
        rows_follow: A delta that carries these entries' rows follows; no need to ask.
        entries: How my vector changed since I last told you.
    """

    space: str
    ack: int
    same: bool = False
    more: bool = False
    rows_follow: bool = False
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a stream of rows.

    Attributes:
        space: The namespace.
        sequence: Rises by one with each stream on this link.
        last: The stream is complete with this chunk and may be applied.
        chunk: Bytes of encoded rows; a row may be cut anywhere.
    """

    space: str
    sequence: int
    last: bool
    chunk: bytes


Message = Hello | Digest | Delta
_T = TypeVar("_T")


def encode(message: Message) -> bytes:
    """One frame."""
    match message:
        case Hello():
            fields: list[object] = [0, message.version, message.label, message.recovering, dict(message.digests)]
        case Digest():
            flags = message.same | message.more << 1 | message.rows_follow << 2
            fields = [1, message.space, message.ack, flags, codec.flatten(message.entries)]
        case Delta():
            fields = [2, message.space, message.sequence, message.last, message.chunk]
        case _:
            assert_never(message)
    return cast("bytes", msgpack.packb(fields))


def decode(frame: bytes) -> Message | None:
    """The message in a frame; None for a kind this version does not know.

    Raises:
        PeerProtocolError: The frame is malformed.
    """
    fields = codec.unpack(frame)
    if type(fields) is not list or not fields or type(fields[0]) is not int:
        raise PeerProtocolError("a gossip message is a list that begins with its kind")
    kind, *body = fields
    if kind not in (0, 1, 2):
        return None
    if len(body) < 4:
        raise PeerProtocolError(f"a gossip message of kind {kind} has {len(body)} fields, expected 4")
    if kind == 0:
        return _hello(body)
    return _digest(body) if kind == 1 else _delta(body)


def _hello(body: list[object]) -> Hello:
    digests = _typed(body[3], dict)
    if len(digests) > _SPACES_MAX or any(len(_typed(d, bytes)) != 16 for d in digests.values()):
        raise PeerProtocolError("a hello names each namespace with a digest of 16 bytes")
    return Hello(
        version=_count(body[0]),
        label=_text(body[1]),
        recovering=_typed(body[2], bool),
        digests={_text(space): _typed(digest, bytes) for space, digest in digests.items()},
    )


def _digest(body: list[object]) -> Digest:
    flags = _count(body[2])
    entries = codec.unflatten(body[3])
    return Digest(
        space=_text(body[0]),
        ack=_count(body[1]),
        same=bool(flags & 1),
        more=bool(flags & 2),
        rows_follow=bool(flags & 4),
        entries=tuple(entries),
    )


def _delta(body: list[object]) -> Delta:
    return Delta(
        space=_text(body[0]), sequence=_count(body[1]), last=_typed(body[2], bool), chunk=_typed(body[3], bytes)
    )


def _typed(value: object, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise PeerProtocolError(f"expected {kind.__name__}")
    return value


def _count(value: object) -> int:
    number = _typed(value, int)
    if number < 0:
        raise PeerProtocolError("a count is negative")
    return number


def _text(value: object) -> str:
    text = _typed(value, str)
    if len(text) > _TEXT_MAX:
        raise PeerProtocolError("a name is over 256 characters")
    return text
