"""One namespace over one link: who has told whom what, and what is owed.

Two kinds of delta. A *push* carries what one origin wrote; the receiver adopts that origin's vector entry with it, and
nothing else. A *full* delta carries everything the peer lacks; the receiver adopts the sender's vector. Own writes are
pushed as soon as they are made. What others wrote is relayed as the peer wishes (`propagul.gossip.lanes`): by a full
delta at once, or by a digest, which whoever lacks something answers with its own, which asks for it. A full delta that
comes down to one entry and one block is sent as a push.

At most one delta is out each way, so an acknowledgement need not say of what. A push of one block is one message;
acknowledging it says that its entry was adopted, and nothing more is told of that entry.

The four facts that make a full delta complete, and therefore safe to adopt the sender's vector with (a push is the same
with one origin for all):

1. the sender serves the peer's place in its own arrival order and never skips a row that `theirs` does not cover;
2. vector entries and the rows that back them are cut at one instant, entries first;
3. a link delivers in order, so when the first chunk of a delta arrives, everything told so far is of that cut or older;
4. entries told later, while the delta is still coming in, are not adopted with it.

A full delta that its link broke off *goes on* over the next one: the receiver has kept its blocks and says up to where
in its first telling; the sender makes a new cut, of today's vector, and leaves out of it the rows that are there and
have not changed since. Blocks and rest are the stream of that cut, and are applied as one; where the rest names a row
again, that is the row. Whether the sender can do so or must begin anew, a full delta answers.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, ClassVar, Final

from propagul.crdt import Dot, VersionVector
from propagul.crdt.dot import STAMP_MAX
from propagul.errors import PeerProtocolError
from propagul.gossip.events import InThread
from propagul.gossip.messages import CHUNK_BYTES, Delta, Digest, Push, encode
from propagul.gossip.stage import Intake, Stage
from propagul.gossip.stream import chunks, located, look_ahead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from propagul.crdt import Entry, Floor, Origin, Stamp
    from propagul.gossip.directions import Course, Direction
    from propagul.gossip.events import Outgoing, Source
    from propagul.gossip.quota import Quota
    from propagul.gossip.stage import Held
    from propagul.gossip.stream import Located
    from propagul.gossip.turns import Turn

NEVER: Final = float("inf")

HINT_S: Final = 2.0
"""How long a peer may believe that we lack what it told us of and we have from elsewhere."""


class Exchange:
    """The sync state of one namespace on one link.

    Args:
        space: The namespace.
        number: Its number in our messages.
        source: Its rows.
        turn: Its place among those who are sent long streams.
        quota: How many origins the peer may bring.
        course: Which way rows go.
        held: What is here of a stream of the peer's that broke off.

    Attributes:
        course: As given.
        taken: The entry of the newest push of the peer's.
        theirs: What the peer said it has applied. Never more than the truth.
        heard: Whether the peer's first telling is complete; nothing is sent before.
        owes_digest: A digest is due to the peer.
        owes_delta: Rows of any origin may be due to the peer.
        owes_push: Rows of our own may be due to the peer.
        owes_ack: Nothing but the acknowledgement of a push is due to the peer.
        tell_at: When to tell the peer of news, or to ask it for what it told of, by the caller's clock.
        relay_at: When to send it what it lacks of others' writes.
        asks_always: Whether each telling asks for what its author lacks; else the first one, and those after `ask`.
    """

    __slots__ = (
        "_announced", "_asks", "_hello_vector", "_hint_at", "_holds", "_implied", "_intake", "_is_out", "_number",
        "_own_place", "_place", "_pushed", "_quota", "_same", "_source", "_theirs_held", "_told", "_turn", "_unacked",
        "_unadopted", "_unsure", "course", "heard", "owes_ack", "owes_delta", "owes_digest", "owes_push", "relay_at",
        "space", "taken", "tell_at", "theirs",
    )  # fmt: skip

    asks_always: ClassVar[bool] = True

    def __init__(
        self, space: str, number: int, source: Source, turn: Turn, *, quota: Quota, course: Course, held: Held | None
    ) -> None:
        self.space, self.course = space, course
        self._number, self._source, self._turn, self._quota = number, source, turn, quota
        self._intake = Intake(source, held)
        self._holds, self._theirs_held = held.position if held else b"", b""
        self.theirs = VersionVector()
        self._unadopted: dict[Origin, Stamp] = {}
        self._hello_vector: VersionVector | None = None
        self._same, self._asks = False, True
        self._announced: Digest | None = None
        self._told = self._place = self._own_place = 0
        self._is_out = self._unacked = False
        self._pushed: Dot | None = None
        self.taken: Dot | None = None
        self._implied: list[Entry] = []
        self._unsure: dict[Origin, Stamp] = {}
        self._hint_at = NEVER
        self.heard = self.owes_digest = self.owes_delta = self.owes_push = self.owes_ack = False
        self.tell_at = self.relay_at = NEVER

    def served(self) -> int:
        """Up to where in our arrival order the peer has everything."""
        arrival = self._source.arrival  # first: what is written after this is among the entries
        if self.heard and self._has_all:
            self._place = arrival
        return self._place

    @property
    def caught_up(self) -> bool:
        """Whether everything the peer said it has is applied here."""
        return self.heard and self._source.covers(self._unadopted.items())

    @property
    def lags(self) -> bool:
        """Whether the peer has something that we lack and that is not on its way to us."""
        return self.heard and self._intake.stage is None and not self.caught_up

    @property
    def is_quiet(self) -> bool:
        """Whether both sides share all, and neither has anything on its way or owes anything, as far as we know."""
        is_shared = self.course.gives and self.course.takes
        is_moving = self.lags or self.owes_anything or self._is_out or self._source.is_busy
        return is_shared and self.caught_up and not is_moving

    @property
    def may_send(self) -> bool:
        """Whether `outgoing` may have frames; not worth asking it otherwise."""
        return self.owes_anything or self._turn.began is not None

    @property
    def owes_anything(self) -> bool:
        """Whether something has happened that the peer may have to be told of."""
        return self.owes_digest or self.owes_ack or self.owes_delta or self.owes_push

    def hello(self) -> bytes:
        """The digest for our hello. The vector of that instant is kept until the peer's first telling."""
        digest, self._hello_vector, _ = self._source.hello()
        return digest

    def peer_said_hello(self, digest: bytes, theirs: Direction) -> None:
        """Compare digests; our first telling is due, or will be the answer to the peer's."""
        self.course.meet(theirs)
        ours, _, mark = self._source.hello()
        if ours == digest:
            self._same, self._told = True, mark
        self.owes_digest = self.course.tells_first

    def peer_told(self, digest: Digest) -> bool:
        """Take in a digest: what they have and acknowledge; they may want rows. Return whether we want some.

        Raises:
            PeerProtocolError: It acknowledges what was never sent, or tells of more origins than a peer may bring.
        """
        self._quota.tell(digest.entries, self._unadopted, self._turn.now)
        if digest.same and self._hello_vector is not None:
            self.theirs = self._hello_vector
        self.theirs.join(digest.entries)
        self._unadopted.update((o, s) for o, s in digest.entries if self._unadopted.get(o, 0) < s)
        self.course.named(digest.entries)
        if digest.applied:
            self._delta_applied()
        if digest.more:
            return False
        self.owes_digest = self.owes_digest or self.course.owes_answer(self._source, first=not self.heard)
        self._announced = digest
        self._theirs_held = digest.held or self._theirs_held
        self.heard, self._hello_vector = True, None
        self.owes_delta = self.owes_delta or not (digest.only_these or digest.patient)  # a push asks for nothing
        if self.caught_up:
            self._unadopted.clear()  # or what comes by other links would pile up here
            self._quota.caught_up()
        return not digest.rows_follow and self.lags

    def peer_sent(self, delta: Delta | Push) -> bool:
        """Stage a chunk; apply the stream when it is complete. Return whether anything was new.

        Raises:
            PeerProtocolError: Out of order, too long, or not rows. Nothing of the stream was applied.
        """
        if isinstance(delta, Push):
            self._take_push(delta)
        else:
            self._take_chunk(delta)
        return self.resume()

    def resume(self) -> bool:
        """Apply a stream that is complete, unless rows of another wait to be joined. Return whether it was news.

        Raises:
            PeerProtocolError: It is no stream of rows. Nothing of it was applied.
        """
        stage = self._intake.stage
        if stage is None or not stage.is_complete or self._source.is_busy:
            return False
        self.owes_ack |= stage.is_push
        self.owes_digest |= not stage.is_push
        return self._apply(stage)

    def due(self, now: float) -> bool:
        """Let what is due by now be owed; return whether that is anything.

        A peer that told us first need not hear soon that we have it too: that goes with the next telling, or after
        `HINT_S`, for what it does not know it would send again.
        """
        if self.relay_at <= now:
            self.relay_at, self.owes_delta = NEVER, True
        if self.tell_at <= now:
            entries, _ = self._untold()
            hint_at = min(self._hint_at, now + HINT_S) if entries else NEVER
            if (self._asks and self.lags) or hint_at <= now or not self.theirs.covers_all(entries):
                self.owes_digest, hint_at = True, NEVER
            self._hint_at = self.tell_at = hint_at
        return self.owes_anything

    def ask(self) -> None:
        """Ask the peer for what it has told of."""
        self.owes_digest = self._asks = True

    def abandon(self) -> Held | None:
        """The link is gone: return what came of a stream that the peer may go on with over another."""
        self._turn.leave()
        return self._intake.abandon()

    def outgoing(self) -> Iterator[bytes | InThread]:
        """The frames that are due. Cut now, encoded as they are taken."""
        if not self.course.gives:
            self.owes_delta = self.owes_push = False
        elif self.heard and not self._is_out and not self._source.is_busy and not self._turn.is_waiting:
            yield from self._rows_due()
        if self.owes_digest or self.owes_ack:
            self.owes_digest = self.owes_ack = False
            entries, self._told = self._untold()
            self._unsure.update(entries if self.course.gives else ())
            self.course.answered(entries)
            yield from self._tell(entries)

    def _delta_applied(self) -> None:
        """The delta that was out is acknowledged; the entry of a push is theirs with it."""
        if not self._is_out:
            raise PeerProtocolError("a delta was acknowledged that was never sent")
        self._is_out = False
        self._turn.leave()
        self.theirs.join(self._implied)

    def _take_chunk(self, delta: Delta) -> None:
        stage = self._intake.stage
        if stage is None:
            announced, self._announced = self._announced, None
            stage = self._intake.begin_announced(announced, told=self._unadopted, theirs=self.theirs)
        elif stage.is_complete:
            raise PeerProtocolError("a delta before the one before it was acknowledged")
        stage.take(delta)

    def _take_push(self, push: Push) -> None:
        if self._intake.stage is not None:
            raise PeerProtocolError("a push in the middle of a delta")
        if push.applied:
            self._delta_applied()
        dot = self.taken = push.dot(self.taken)
        self.theirs.advance(dot.origin, dot.stamp)
        self._intake.begin_push({dot.origin: dot.stamp}, push.whole_block(dot))

    def _apply(self, stage: Stage) -> bool:
        self._quota.admit(stage.adopt, self._turn.now, is_push=stage.is_push)
        news = stage.apply()
        self._quota.adopted()
        self._intake.stage, self._unacked = None, True
        for origin, stamp in stage.adopt.items():
            if self._unadopted.get(origin, STAMP_MAX + 1) <= stamp:
                del self._unadopted[origin]
        return news

    def _rows_due(self) -> Iterator[bytes | InThread]:
        """One delta if the peer lacks anything: a full one where it may have asked, else a push of our own writes.

        Who has waited for its turn is sent a full one in any case: its acknowledgement ends the turn.
        """
        cut = self._full_cut() if self.owes_delta or self._turn.began is not None else None
        own: Outgoing | None = None
        if cut is None and self.owes_push:
            self.owes_push = False
            own = self._source.cut_own(after=max(self._place, self._own_place), known=self.theirs)
            cut = self._full_cut() if own is None else None  # the peer's place lies below our floor
        if cut is not None:
            yield from self._full(cut)
        elif own is not None and not own.is_empty:
            blocks, begin = located(own), list[tuple[bytes, bytes]]()
            yield from look_ahead(blocks, begin, CHUNK_BYTES)
            if self._may_begin(begin):
                self._own_place = own.arrival
                yield from self._push(begin, blocks, *own.entries[0])
            else:
                self.owes_push = True

    def _full_cut(self) -> Outgoing | None:
        self.owes_delta = False
        arrival = self._source.arrival  # first: what is written after this is among the entries
        if not self._must_answer:
            self._place = arrival
            return None
        cut = self._source.cut(after=self._place, known=self.theirs, told=self._told, held=self._theirs_held)
        self.owes_push = False
        return cut

    @property
    def _must_answer(self) -> bool:
        """Whether a delta is due although no row may be: entries that no row is left of are adopted with it."""
        return bool(self._theirs_held) or self._turn.began is not None or not self._has_all

    @property
    def _has_all(self) -> bool:
        """Whether the peer surely has all that we have."""
        return self.theirs.covers_all((*self._unsure.items(), *self._untold()[0]))

    def _may_begin(self, begin: list[Located]) -> bool:
        return sum(len(block) for block, _ in begin) <= CHUNK_BYTES or self._turn.take()

    def _full(self, cut: Outgoing) -> Iterator[bytes | InThread]:
        """Everything the peer lacks: a push, if all of that is what one origin wrote."""
        blocks, begin = located(cut), list[tuple[bytes, bytes]]()
        owed, self.owes_digest = self.owes_digest, False  # what is owed from here on, the cut does not tell
        yield from look_ahead(blocks, begin, CHUNK_BYTES)
        if not self._may_begin(begin):
            self.owes_delta, self.owes_digest = True, self.owes_digest or owed
            return
        self._place, self._told = cut.arrival, cut.mark
        entries = self._unsaid(cut.entries)
        self._unsure.update(entries)
        self._unsure = {o: s for o, s in self._unsure.items() if not self.theirs.covers_entry(o, s)}
        if self._is_push(cut, entries) and (begin or not self._must_answer):
            self.owes_digest = self.owes_digest or owed
            ((origin, stamp),) = self._unsure.items()
            yield from self._push(begin, blocks, origin, stamp)
            return
        self._theirs_held, self.owes_ack = b"", False
        yield from self._tell(entries, rows_follow=True, join=cut.join is not None, goes_on=cut.goes_on)
        yield from self._deltas(None if cut.join is None else cut.join.floor, chain(begin, blocks))

    def _is_push(self, cut: Outgoing, entries: list[Entry]) -> bool:
        """Whether it comes down to one entry, and answers no other question."""
        plain = cut.join is None and not self._same and not self._theirs_held
        return plain and len(self._unsure) == 1 and self._unsure.keys() >= dict(entries).keys()

    def _push(
        self, begin: list[Located], blocks: Iterator[Located | InThread], origin: Origin, stamp: Stamp
    ) -> Iterator[bytes | InThread]:
        """One message if it is one block that fits; else told and sent like any delta, and it backs this entry only."""
        if not begin:
            return
        if len(begin) > 1 or len(begin[0][0]) > CHUNK_BYTES:
            yield from self._tell([(origin, stamp)], rows_follow=True, only_these=True)
            yield from self._deltas(None, chain(begin, blocks))
            return
        self._implied = [(origin, stamp)]
        self._unsure[origin] = stamp
        before, self._pushed = self._pushed, Dot(stamp, origin)
        self._is_out, self.owes_ack = True, False
        yield encode(Push.of(self._number, begin[0][0], self._pushed, before, applied=self._applied()))

    def _deltas(self, floor: Floor | None, blocks: Iterable[Located | InThread]) -> Iterator[bytes | InThread]:
        self._is_out, self._implied = True, []
        for piece in chunks(floor, blocks, CHUNK_BYTES):
            yield piece if isinstance(piece, InThread) else encode(Delta(space=self._number, **piece._asdict()))

    def _untold(self) -> tuple[list[Entry], int]:
        """How our vector changed since the peer was told, or what answers it, and the mark now."""
        if not self.course.gives:
            return self.course.answers(self._source), self._told
        entries, mark = self._source.told_since(self._told)
        return self._unsaid(entries), mark

    def _unsaid(self, entries: list[Entry]) -> list[Entry]:
        """Those entries that no push has said, ours by itself and the peer's by its acknowledgement."""
        said = [(dot.origin, dot.stamp) for dot in (self.taken, self._pushed) if dot is not None]
        return [entry for entry in entries if entry not in said]

    def _applied(self) -> bool:
        """Whether there is something to acknowledge; it is, with this."""
        applied, self._unacked = self._unacked, False
        return applied

    def _tell(self, entries: list[Entry], **flags: bool) -> Iterator[bytes]:
        """A telling with these flags of `Digest`."""
        (same, self._same), (held, self._holds) = (self._same, False), (self._holds, b"")
        asks, is_push = self._asks, flags.get("only_these", False)
        self._asks = self.asks_always or (asks and is_push)  # a push is no question: that comes behind it
        flags |= {"applied": self._applied(), "same": same, "patient": not (asks or is_push)}
        yield from map(encode, Digest(space=self._number, entries=tuple(entries), held=held, **flags).pieces())
