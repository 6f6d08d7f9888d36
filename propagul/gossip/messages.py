"""The four messages of gossip and their bytes.

Each is one msgpack list in one frame: a small number for its kind, then its fields in order. A longer list is a newer
version's: known fields are read, the rest ignored. Anything else is a `PeerProtocolError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, assert_never, cast

import msgpack

from propagul.crdt import codec, wire
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
_FIELDS_MAX = 64
_ENTRIES_MAX = 32 * 1024


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
        only_these: That delta backs these entries and none that were told before.
        join: That delta is a snapshot join: it holds every row, and our vector is all that was told so far.
        entries: How my vector changed since I last told you.
    """

    space: str
    ack: int
    same: bool = False
    more: bool = False
    rows_follow: bool = False
    only_these: bool = False
    join: bool = False
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
            flags = (
                message.same
                | message.more << 1
                | message.rows_follow << 2
                | message.only_these << 3
                | message.join << 4
            )
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
    reader = wire.Reader(frame)
    fields = reader.items(_FIELDS_MAX)
    kind = _count(reader.scalar()) if fields else None
    if kind is None:
        raise PeerProtocolError("a gossip message is a list that begins with its kind")
    if kind > 2:
        return None
    if fields < 5:
        raise PeerProtocolError(f"a gossip message of kind {kind} has {fields - 1} fields, expected 4")
    message = (_hello, _digest, _delta)[kind](reader)
    for _ in range(fields - 5):
        reader.skip()
    if not reader.at_end:
        raise PeerProtocolError("a gossip message is longer than it says")
    return message


def _hello(reader: wire.Reader) -> Hello:
    version, label, recovering = _count(reader.scalar()), _text(reader.scalar()), _typed(reader.scalar(), bool)
    digests = {_text(reader.scalar()): _typed(reader.scalar(), bytes) for _ in range(reader.pairs(_SPACES_MAX))}
    if any(len(digest) != 16 for digest in digests.values()):
        raise PeerProtocolError("a hello names each namespace with a digest of 16 bytes")
    return Hello(version=version, label=label, recovering=recovering, digests=digests)


def _digest(reader: wire.Reader) -> Digest:
    space, ack, flags = _text(reader.scalar()), _count(reader.scalar()), _count(reader.scalar())
    return Digest(
        space=space,
        ack=ack,
        same=bool(flags & 1),
        more=bool(flags & 2),
        rows_follow=bool(flags & 4),
        only_these=bool(flags & 8),
        join=bool(flags & 16),
        entries=tuple(codec.read_entries(reader, _ENTRIES_MAX)),
    )


def _delta(reader: wire.Reader) -> Delta:
    space, sequence, last = _text(reader.scalar()), _count(reader.scalar()), _typed(reader.scalar(), bool)
    return Delta(space=space, sequence=sequence, last=last, chunk=_typed(reader.scalar(), bytes))


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
