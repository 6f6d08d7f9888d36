"""The seven messages of gossip and their bytes.

Each is one msgpack list in one frame: a small number for its kind, then its fields in order. A longer list is a newer
version's: known fields are read, the rest ignored. Anything else is a `PeerProtocolError`.

    hello   = [0, version, label, recovering, {namespace: digest}, urgent?, rules?, {namespace: direction}?]
    digest  = [1, space, flags, entries?, held?]
    delta   = [2, space, last, chunk, position?]
    push    = [3, space, flags, stamp, block, origin?]
    pulse   = [4, lane]
    compare = [5, space, vector, sums]
    mend    = [6, space, last, chunk]

The last two are said only where rows prove themselves; a version that does not know them passes over them.

What a link knows is not said again: a namespace is the number at which its sender's hello names it; which delta is
acknowledged, and what was adopted with a push, is implied, for at most one is out on a link; a push of the origin of
the one before says how far its stamp lies beyond that one's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, assert_never, cast

import msgpack

from propagul.crdt import Dot, codec, wire
from propagul.errors import PeerProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from propagul.crdt import Entry, Origin
    from propagul.gossip.directions import Direction
    from propagul.gossip.lanes import Lane

VERSION = 1

CHUNK_BYTES = 60 * 1024
"""Row bytes in one delta frame; with its header below the link's frame limit."""

ENTRIES_PER_DIGEST = 3000
"""Vector entries in one digest frame: about 54 kB at most."""

SUMS = 256
"""So many buckets of keys have a sum each."""

SUM_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message on a link, both ways.

    Attributes:
        version: The newest gossip version its sender speaks.
        label: What people call the sender.
        recovering: The sender has not yet caught up with anybody since it opened.
        digests: For each namespace the digest of the sender's version vector. Their order numbers the namespaces in
            all later messages of the sender.
        urgent: The sender has hardly any other link: whoever has too many makes room for it.
        rules: By what the sender decides which rows to admit. Members must agree, or they never hold the same.
        directions: What the sender wants of the namespaces that it does not just share. An unknown direction is none,
            so that whoever adds one goes on to live with members that do not know it.
    """

    version: int
    label: str
    recovering: bool
    digests: Mapping[str, bytes]
    urgent: bool = False
    rules: str = ""
    directions: Mapping[str, Direction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What the sender has: acknowledgement, announcement and pull request in one.

    Attributes:
        space: The namespace, as its sender's hello numbers it.
        applied: The delta or push of yours that was out is applied and logged here; of a push, its entry as well.
        same: My vector equals the one you said hello with; `entries` come on top. Only in the first digest.
        more: Another digest frame of the same telling follows.
        rows_follow: A delta that carries these entries' rows follows; no need to ask.
        only_these: That delta backs these entries and none that were told before.
        join: That delta is a snapshot join: it holds every row, and our vector is all that was told so far.
        goes_on: That delta is the rest of the one you hold the first rows of.
        patient: Send nothing for this; the sender asks for what it lacks when nobody else has sent it.
        entries: How my vector changed since I last told you.
        held: The last position of a delta of yours that broke off; what came of it is still here. In the first telling
            on a link, if at all: the next full delta goes on from there or replaces it, and follows in any case.
    """

    space: int
    applied: bool = False
    same: bool = False
    more: bool = False
    rows_follow: bool = False
    only_these: bool = False
    join: bool = False
    goes_on: bool = False
    patient: bool = False
    entries: tuple[Entry, ...] = ()
    held: bytes = b""

    def pieces(self) -> Iterator[Digest]:
        """The same telling in digests that fit a frame each."""
        last = max(len(self.entries) - 1, 0) // ENTRIES_PER_DIGEST
        for number in range(last + 1):
            start, is_first = number * ENTRIES_PER_DIGEST, not number
            yield replace(
                self,
                applied=self.applied and is_first,
                same=self.same and is_first,
                more=number < last,
                entries=self.entries[start : start + ENTRIES_PER_DIGEST],
                held=self.held if is_first else b"",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a stream of rows.

    Attributes:
        space: The namespace, as its sender's hello numbers it.
        last: The stream is complete with this chunk and may be applied.
        chunk: Bytes of encoded rows; a row may be cut anywhere.
        position: Of the last block that is complete with it, in words of the sender's; not in the last chunk.
    """

    space: int
    last: bool
    chunk: bytes
    position: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The sender lives, and wants to hear of news on this link so.

    Attributes:
        lane: How; one that is not known is the slowest.
    """

    lane: Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A whole delta of one block, and the one entry that its rows back: everything else they tell of is known.

    Attributes:
        space: The namespace, as its sender's hello numbers it.
        applied: As in a digest.
        stamp: The entry's stamp, or without an origin its difference to that of the sender's push before.
        block: The block; if `short`, without its ending, which is that of a block whose first dot is the entry.
        short: See there.
        origin: The entry's origin; None if it is that of the push before.
    """

    space: int
    applied: bool
    stamp: int
    block: bytes
    short: bool
    origin: Origin | None

    @classmethod
    def of(cls, space: int, block: bytes, dot: Dot, before: Dot | None, *, applied: bool) -> Push:
        """The shortest push of a block whose entry is `dot`, to somebody whom `before` was pushed to."""
        brief = block.removesuffix(codec.ending(dot))
        known = before if before is not None and before.origin == dot.origin and before.stamp <= dot.stamp else None
        return cls(
            space=space,
            applied=applied,
            stamp=dot.stamp - (0 if known is None else known.stamp),
            block=brief,
            short=len(brief) < len(block),
            origin=dot.origin if known is None else None,
        )

    def dot(self, before: Dot | None) -> Dot:
        """The entry, to somebody whom `before` was pushed to.

        Raises:
            PeerProtocolError: There is no such entry.
        """
        if self.origin is not None:
            return Dot(wire.as_stamp(self.stamp), self.origin)
        if before is None:
            raise PeerProtocolError("a push of an origin that was not named")
        return Dot(wire.as_stamp(before.stamp + self.stamp), before.origin)

    def whole_block(self, dot: Dot) -> bytes:
        """The block with its ending; `dot` is the entry."""
        return self.block + codec.ending(dot) if self.short else self.block


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """What the rows of the sender come to, and by which vector.

    Attributes:
        space: The namespace, as its sender's hello numbers it.
        vector: Its digest.
        sums: The sums of all buckets, one after the other; or what these come to, of the length of one.
    """

    space: int
    vector: bytes
    sums: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """A piece of a stream of rows that prove themselves. It says nothing of vectors and is not acknowledged.

    Attributes:
        space: The namespace, as its sender's hello numbers it.
        last: The stream ends with this chunk.
        chunk: Bytes of encoded rows; a row may be cut anywhere.
    """

    space: int
    last: bool
    chunk: bytes


Message = Hello | Digest | Delta | Push | Pulse | Compare | Mend


def encode(message: Message) -> bytes:
    """One frame."""
    match message:
        case Hello():
            fields: list[object] = [0, message.version, message.label, message.recovering, dict(message.digests)]
            fields += _optional(message)
        case Digest():
            fields = [1, message.space, _flags_of(message), *_told(message)]
        case Delta():
            fields = [2, message.space, message.last, message.chunk]
            if message.position:
                fields.append(message.position)
        case Push():
            fields = [3, message.space, message.applied | message.short << 1, message.stamp, message.block]
            if message.origin is not None:
                fields.append(message.origin)
        case Pulse():
            fields = [4, int(message.lane)]
        case Compare():
            fields = [5, message.space, message.vector, message.sums]
        case Mend():
            fields = [6, message.space, message.last, message.chunk]
        case _:
            assert_never(message)
    return cast("bytes", msgpack.packb(fields))


def _optional(hello: Hello) -> list[object]:
    """The last fields of a hello, as far as the last one that says something."""
    fields: list[object] = [hello.urgent, hello.rules, {s: int(d) for s, d in hello.directions.items()}]
    while fields and not fields[-1]:
        fields.pop()
    return fields


def _flags_of(digest: Digest) -> int:
    return (
        digest.applied
        | digest.same << 1
        | digest.more << 2
        | digest.rows_follow << 3
        | digest.only_these << 4
        | digest.join << 5
        | digest.goes_on << 6
        | digest.patient << 7
    )


def _told(digest: Digest) -> Iterator[object]:
    if digest.entries or digest.held:
        yield codec.flatten(digest.entries)
    if digest.held:
        yield digest.held
