"""One namespace over one link: who has told whom what, and what is owed.

Two kinds of delta. A *push* carries the sender's own writes, as soon as they are made; the receiver adopts the sender's
own vector entry with it. A *full* delta answers a digest and carries everything the peer lacks; the receiver adopts the
sender's vector. So what many nodes write at once travels once a link, and relaying waits for somebody to lack it.

The four facts that make a full delta complete, and therefore safe to adopt the sender's vector with (a push is the same
with one origin for all):

1. the sender serves the peer's place in its own arrival order and never skips a row that `theirs` does not cover;
2. vector entries and the rows that back them are cut at one instant, entries first;
3. a link delivers in order, so when the first chunk of a delta arrives, everything told so far is of that cut or older;
4. entries told later, while the delta is still coming in, are not adopted with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from propagul.crdt import VersionVector
from propagul.crdt.codec import encode_row
from propagul.errors import PeerProtocolError
from propagul.gossip.messages import CHUNK_BYTES, ENTRIES_PER_DIGEST, Delta, Digest, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.crdt import Cut, Entry, Origin, Stamp
    from propagul.gossip.events import Source

STREAM_BYTES_MAX = 1024 * 1024 * 1024
"""Most bytes of rows staged for one delta before the link is closed."""


@dataclass(slots=True)
class Stage:
    """A delta on its way in. `adopt` is fixed when its first chunk arrives (fact 4)."""

    adopt: dict[Origin, Stamp]
    packed: bytearray = field(default_factory=bytearray)


class Exchange:
    """The sync state of one namespace on one link.

    Attributes:
        theirs: What the peer said it has applied. Never more than the truth.
        heard: Whether the peer's first telling is complete; nothing is sent before.
        owes_digest: A digest is due to the peer.
        owes_delta: Rows of any origin may be due to the peer.
        owes_push: Rows of our own may be due to the peer.
        digest_at: When an idle digest is due, by the caller's clock.
        interval_s: How long the link stays idle after the next one.
    """

    __slots__ = (
        "_acked",
        "_hello_vector",
        "_only",
        "_place",
        "_received",
        "_same",
        "_sent",
        "_source",
        "_stage",
        "_told",
        "_unadopted",
        "digest_at",
        "heard",
        "interval_s",
        "owes_delta",
        "owes_digest",
        "owes_push",
        "space",
        "theirs",
    )

    def __init__(self, space: str, source: Source) -> None:
        self.space = space
        self._source = source
        self.theirs = VersionVector()
        self._unadopted: dict[Origin, Stamp] = {}
        self._hello_vector: VersionVector | None = None
        self._same = False
        self._only: dict[Origin, Stamp] | None = None
        self._told = self._place = 0
        self._sent = self._acked = self._received = 0
        self._stage: Stage | None = None
        self.heard = self.owes_digest = self.owes_delta = self.owes_push = False
        self.digest_at = self.interval_s = 0.0

    @property
    def caught_up(self) -> bool:
        """Whether everything the peer said it has is applied here."""
        return self.heard and self._source.covers(self._unadopted.items())

    @property
    def owes_anything(self) -> bool:
        """Whether `outgoing` may have frames."""
        return self.owes_digest or self.owes_delta or self.owes_push

    def hello(self) -> bytes:
        """The digest for our hello. The vector of that instant is kept until the peer's first telling."""
        digest, self._hello_vector, _ = self._source.hello()
        return digest

    def peer_said_hello(self, digest: bytes) -> None:
        """Compare digests; our first telling is due."""
        ours, _, mark = self._source.hello()
        if ours == digest:
            self._same, self._told = True, mark
        self.owes_digest = True

    def peer_told(self, digest: Digest) -> None:
        """Take in a digest: what they have, what they acknowledge, and that they may want rows."""
        if digest.ack > self._sent:
            raise PeerProtocolError("a delta was acknowledged that was never sent")
        if digest.same and self._hello_vector is not None:
            self.theirs = self._hello_vector
        self.theirs.join(digest.entries)
        self._unadopted.update((o, s) for o, s in digest.entries if self._unadopted.get(o, 0) < s)
        self._acked = max(self._acked, digest.ack)
        if digest.more:
            return
        self._only = dict(digest.entries) if digest.only_these else None
        self.heard, self._hello_vector = True, None
        self.owes_delta = self.owes_delta or not digest.only_these  # a push asks for nothing
        if not digest.rows_follow and self._stage is None and not self.caught_up:
            self.owes_digest = True

    def peer_sent(self, delta: Delta) -> bool:
        """Stage a chunk; apply the stream when it is complete. Return whether anything was new.

        Raises:
            PeerProtocolError: Out of order, too long, or not rows. Nothing of the stream was applied.
        """
        if delta.sequence != self._received + 1:
            raise PeerProtocolError("deltas out of order")
        if self._stage is None:
            self._stage = Stage(dict(self._unadopted) if self._only is None else self._only)
            self._only = None
        if len(self._stage.packed) + len(delta.chunk) > STREAM_BYTES_MAX:
            raise PeerProtocolError(f"a stream of rows is over {STREAM_BYTES_MAX} bytes")
        self._stage.packed += delta.chunk
        return delta.last and self._apply(self._stage)

    def outgoing(self) -> Iterator[bytes]:
        """The frames that are due. Cut now, encoded as they are taken."""
        if self.heard and self._sent == self._acked:
            yield from self._rows_due()
        if self.owes_digest:
            entries, self._told = self._source.told_since(self._told)
            yield from self._tell(entries)

    def _apply(self, stage: Stage) -> bool:
        news = self._source.merge(bytes(stage.packed), stage.adopt.items())
        self._stage = None
        self._received += 1
        for origin, stamp in stage.adopt.items():
            if self._unadopted.get(origin) == stamp:
                del self._unadopted[origin]
        self.owes_digest = True
        return news

    def _rows_due(self) -> Iterator[bytes]:
        """One delta if the peer lacks anything: a full one where it may have asked, else a push of our own writes."""
        cut = self._full_cut() if self.owes_delta else None
        if cut is not None:
            self._told = cut.mark
            yield from self._tell(cut.entries, rows_follow=True)
        elif self.owes_push:
            cut = self._own_cut()
            if cut is not None:
                yield from self._tell(cut.entries, rows_follow=True, only_these=True)
        if cut is not None:
            self._sent += 1
            yield from self._deltas(self._sent, cut)

    def _full_cut(self) -> Cut | None:
        self.owes_delta = False
        if self._source.arrival == self._place:
            return None
        cut = self._source.cut(after=self._place, known=self.theirs, told=self._told)
        self._place = cut.arrival
        if not cut.rows:
            return None
        self.owes_push = False
        return cut

    def _own_cut(self) -> Cut | None:
        """Our own writes past the peer's place. The place stays: the acknowledgement's full cut moves it."""
        self.owes_push = False
        cut = self._source.cut_own(after=self._place, known=self.theirs)
        return cut if cut.rows else None

    def _tell(self, entries: list[Entry], *, rows_follow: bool = False, only_these: bool = False) -> Iterator[bytes]:
        self.owes_digest = False
        same, self._same = self._same, False
        for start in range(0, max(len(entries), 1), ENTRIES_PER_DIGEST):
            piece = entries[start : start + ENTRIES_PER_DIGEST]
            yield encode(
                Digest(
                    space=self.space,
                    ack=self._received,
                    same=same and start == 0,
                    more=start + ENTRIES_PER_DIGEST < len(entries),
                    rows_follow=rows_follow,
                    only_these=only_these,
                    entries=tuple(piece),
                )
            )

    def _deltas(self, sequence: int, cut: Cut) -> Iterator[bytes]:
        buffer = bytearray()
        for key, row in cut.rows:
            buffer += encode_row(key, row)
            while len(buffer) > CHUNK_BYTES:
                yield encode(Delta(space=self.space, sequence=sequence, last=False, chunk=bytes(buffer[:CHUNK_BYTES])))
                del buffer[:CHUNK_BYTES]
        yield encode(Delta(space=self.space, sequence=sequence, last=True, chunk=bytes(buffer)))
