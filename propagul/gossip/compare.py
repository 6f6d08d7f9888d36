"""Whether two peers whose vectors are equal hold the same rows; and the cure where they do not.

Vectors are believed. Who tells entries that it has no rows for, or gives two payloads to one dot, leaves two honest
members with equal vectors and different rows, and no digest or delta will ever notice. Where rows prove themselves
(`Provable`), linked members therefore compare sums of them now and then, and give each other what differs:

    ours      compare: what our sums come to             as a rule that is all
    theirs    compare: all their sums                    if vectors are equal and this is not
    ours      compare: all our sums; mend, mend, ...     every row in the buckets that differ
    theirs    mend, mend, ...                            the same, of the same buckets

The rules of this file. A vector says here whether it is worth comparing, and nothing about rows: those that are on
their way anyhow are not sent twice. Nobody waits for an answer: whose vector is another one, or whose rows change
meanwhile, says nothing, and there is a next time. What is owed is a flag and the newest comparison of the peer's. A
comparison costs the peer who sends it an allowance, and rows are only sent to whoever has shown its sums and only taken
by whoever has. What comes goes through `Provable.mend` and nowhere else; it is no news to any vector, so the other
links hear of it by comparing too, soon.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from propagul.errors import PeerProtocolError
from propagul.gossip.events import InThread
from propagul.gossip.messages import CHUNK_BYTES, SUM_BYTES, SUMS, Compare, Mend, encode
from propagul.gossip.stream import Assembler, chunks

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from propagul.gossip.events import Provable, Source
    from propagul.gossip.stream import Located

SOON_S: Final = 1.0
"""What was mended on one link is compared on the others this much later; a tenth of the interval if that is less."""

HEARD_AT_ONCE: Final = 4
"""So many comparisons of a peer's are looked at in a row, and then one each half interval; a whole one takes two."""


class Comparison:
    """The comparing of one namespace over one link.

    Args:
        space: Which one.
        number: Its number in our messages.
        source: Its vector.
        rows: Its rows.
        interval_s: How often, about.
        jitter: Spreads them.
        now: When the link came up.

    Attributes:
        at: When to begin one, by the caller's clock.
    """

    __slots__ = (
        "_assembler", "_awaited", "_begins", "_has_shown", "_interval_s", "_is_news", "_jitter", "_number",
        "_paid_until", "_rows", "_source", "_theirs", "at", "space",
    )  # fmt: skip

    def __init__(
        self,
        space: str,
        number: int,
        source: Source,
        rows: Provable,
        *,
        interval_s: float,
        jitter: random.Random,
        now: float,
    ) -> None:
        self.space = space
        self._number = number
        self._source = source
        self._rows = rows
        self._interval_s = interval_s
        self._jitter = jitter
        self._begins = self._has_shown = self._is_news = False
        self._theirs: Compare | None = None
        self._awaited = 0
        self._assembler = Assembler()
        self._paid_until = now
        self.at = now + self._spread(interval_s / 10)

    @property
    def owes_anything(self) -> bool:
        """Whether `outgoing` may have frames."""
        return self._begins or self._theirs is not None

    def due(self, now: float, *, is_quiet: bool) -> None:
        """Begin one if it is time and nothing else is on its way over the link; else try again before long."""
        if self.at <= now:
            self._begins = is_quiet
            self.at = now + self._spread(self._interval_s if is_quiet else self._interval_s / 10)

    def soon(self, now: float) -> None:
        """Rows came that no vector tells of."""
        self.at = min(self.at, now + self._spread(min(SOON_S, self._interval_s / 10)))

    def peer_counted(self, theirs: Compare, now: float) -> None:
        """Take in a comparison, if it is worth it and the peer has not sent too many; ours is put off then."""
        if self._can_afford(now) and theirs.vector == self._vector():
            self._theirs = theirs
            self.at = now + self._spread(self._interval_s)

    def peer_mended(self, mend: Mend) -> bool:
        """Join a piece of the peer's rows; return whether they are all here now and some of them were new.

        Raises:
            PeerProtocolError: Nobody asked for them, or they are not rows. Those before stay.
            StoreError: The log took them not.
        """
        if not self._awaited:
            raise PeerProtocolError("rows that prove themselves, and nobody asked for them")
        for block in self._assembler.feed(mend.chunk):
            if block and self._rows.mend(block):
                self._is_news = True
        if not mend.last:
            return False
        if not self._assembler.is_empty:
            raise PeerProtocolError("a stream ends in the middle of a block")
        self._awaited -= 1
        is_news, self._is_news = self._is_news, False
        return is_news

    def outgoing(self) -> Iterator[bytes | InThread]:
        """The frames that are due, and the counting that they need; not while rows of a stream wait to be joined."""
        if not self.owes_anything or self._source.is_busy:
            return
        theirs, self._theirs, self._begins = self._theirs, None, False
        if self._rows.sums() is None:
            yield InThread(self._rows.count)
        vector = self._vector()  # before the sums: of rows that came with a later one there are none
        sums = self._rows.sums()
        if sums is None:
            return
        if theirs is None:
            self._has_shown = False
            yield encode(Compare(space=self._number, vector=vector, sums=_total(sums)))
        elif theirs.vector == vector and theirs.sums not in (sums, _total(sums)):
            yield from self._answer(theirs, vector, sums)

    def _answer(self, theirs: Compare, vector: bytes, sums: bytes) -> Iterator[bytes | InThread]:
        """All our sums, unless the peer has just seen them; and if it has shown its own, what differs."""
        if len(theirs.sums) == SUM_BYTES or not self._has_shown:
            self._awaited += 1
            yield encode(Compare(space=self._number, vector=vector, sums=sums))
        self._has_shown = len(theirs.sums) == SUM_BYTES
        if not self._has_shown:
            differing = [bucket for bucket in range(SUMS) if _of(sums, bucket) != _of(theirs.sums, bucket)]
            for piece in chunks(None, self._located(differing), CHUNK_BYTES):
                if isinstance(piece, InThread):
                    yield piece
                else:
                    yield encode(Mend(space=self._number, last=piece.last, chunk=piece.chunk))

    def _located(self, buckets: list[int]) -> Iterator[Located | InThread]:
        """What `chunks` takes: a stream that breaks off goes on nowhere, so its blocks have no position."""
        for block in self._rows.rows_in(buckets):
            yield block if isinstance(block, InThread) else (block, b"")

    def _can_afford(self, now: float) -> bool:
        """Whether the peer may cost us one more comparison; it has, then."""
        each_s = self._interval_s / 2
        if self._paid_until - now > (HEARD_AT_ONCE - 1) * each_s:
            return False
        self._paid_until = max(self._paid_until, now) + each_s
        return True

    def _vector(self) -> bytes:
        return self._source.hello()[0]

    def _spread(self, interval_s: float) -> float:
        return interval_s * self._jitter.uniform(0.8, 1.2)


def _total(sums: bytes) -> bytes:
    return hashlib.blake2b(sums, digest_size=SUM_BYTES).digest()


def _of(sums: bytes, bucket: int) -> bytes:
    return sums[bucket * SUM_BYTES : (bucket + 1) * SUM_BYTES]
