"""Streams on their way in, and what is kept of one whose link broke."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from propagul.crdt import Join
from propagul.errors import PeerProtocolError
from propagul.gossip.stream import Assembler, decode_floor

if TYPE_CHECKING:
    from propagul.crdt import Floor, Origin, Stamp, VersionVector
    from propagul.gossip.events import Incoming, Source
    from propagul.gossip.messages import Delta, Digest
    from propagul.link.base import NodeId

HELD_S: Final = 60.0
"""How long the first rows of a stream wait for a link to its sender. They cost memory and, in the log, disk."""


@dataclass(slots=True)
class Held:
    """The first rows of a stream that broke off.

    Attributes:
        position: What its sender called the last of their blocks.
        incoming: Where they wait.
        until: For how long; None while a link to the sender may bring the rest.
    """

    position: bytes
    incoming: Incoming
    until: float | None = None


@dataclass(slots=True)
class Stage:
    """A delta on its way in. `adopt` and `there` are fixed when its first chunk arrives (fact 4).

    Attributes:
        adopt: What may be adopted with it.
        there: In a snapshot join, the sender's vector at the cut.
        incoming: Where its blocks wait.
        floor: What its first item said; missing until that is here.
        position: What its sender calls the last block that it named; empty before the first.
        is_complete: All of it is here.
        is_push: It came in one message, and its entry is acknowledged with it.
    """

    adopt: dict[Origin, Stamp]
    there: VersionVector | None
    incoming: Incoming
    floor: list[Floor | None] = field(default_factory=list)
    position: bytes = b""
    assembler: Assembler = field(default_factory=Assembler)
    is_complete: bool = False
    is_push: bool = False

    def take(self, delta: Delta) -> None:
        """Take in a piece of the stream."""
        for item in self.assembler.feed(delta.chunk):
            if self.floor:
                self.incoming.add(item)
            else:
                self.floor.append(decode_floor(item))
        self.position = delta.position or self.position
        self.is_complete = delta.last

    def apply(self) -> bool:
        """Apply the whole stream; return whether anything was new."""
        if not self.assembler.is_empty or not self.floor:
            raise PeerProtocolError("a stream ends in the middle of a block")
        if (self.floor[0] is None) is not (self.there is None):
            raise PeerProtocolError("a snapshot join without a floor, or a floor without a snapshot join")
        join = None if self.there is None or self.floor[0] is None else Join(self.there, self.floor[0])
        return self.incoming.apply(list(self.adopt.items()), join)


class Intake:
    """What is on its way in from one peer: at most one stream, and perhaps what an earlier link left of one.

    Attributes:
        stage: The stream.
    """

    __slots__ = ("_held", "_source", "stage")

    def __init__(self, source: Source, held: Held | None) -> None:
        self._source = source
        self._held = held
        self.stage: Stage | None = None

    def begin(self, adopt: dict[Origin, Stamp], there: VersionVector | None = None) -> Stage:
        """A delta begins."""
        self.stage = Stage(adopt, there, self._source.incoming())
        return self.stage

    def begin_push(self, adopt: dict[Origin, Stamp], block: bytes) -> None:
        """A delta has come in one message."""
        self.stage = Stage(adopt, None, self._source.incoming(), [None], is_complete=True, is_push=True)
        self.stage.incoming.add(block)

    def begin_announced(self, announced: Digest | None, told: dict[Origin, Stamp], theirs: VersionVector) -> Stage:
        """A delta of several messages begins: it backs what it was announced with, or all that was told.

        Raises:
            PeerProtocolError: As `begin_full`.
        """
        if announced is None:
            return self.begin_full(dict(told), None, goes_on=False)
        if announced.only_these:
            return self.begin(dict(announced.entries))
        return self.begin_full(dict(told), theirs.copy() if announced.join else None, goes_on=announced.goes_on)

    def begin_full(self, adopt: dict[Origin, Stamp], there: VersionVector | None, *, goes_on: bool) -> Stage:
        """A full delta begins: it goes on with what is held, or that is of no use any more.

        Raises:
            PeerProtocolError: Nothing is held that it could go on with.
        """
        held, self._held = self._held, None
        if not goes_on:
            if held is not None:
                held.incoming.abandon()
            return self.begin(adopt, there)
        if held is None:
            raise PeerProtocolError("the rest of a stream whose first rows are not here")
        held.incoming.go_on()
        self.stage = Stage(adopt, there, held.incoming, position=held.position)
        return self.stage

    def abandon(self) -> Held | None:
        """The link is gone: return what the peer may go on with over another."""
        (stage, self.stage), (held, self._held) = (self.stage, None), (self._held, None)
        if stage is None:
            return held
        if not stage.position:
            stage.incoming.abandon()
            return held
        if held is not None:
            held.incoming.abandon()
        return Held(stage.position, stage.incoming)


class HeldStreams:
    """What is kept of streams that broke off: one in each namespace, for a while."""

    __slots__ = ("_by_space",)

    def __init__(self) -> None:
        self._by_space: dict[str, tuple[NodeId, Held]] = {}

    def keep(self, space: str, sender: NodeId, held: Held, now: float) -> None:
        """It broke off, now or on an earlier link; what another sender's stream left goes for it."""
        self._drop(space)
        held.until = now + HELD_S
        self._by_space[space] = sender, held

    def take(self, space: str, sender: NodeId) -> Held | None:
        """What a sender's stream has left, if there is a link to it again."""
        node, held = self._by_space.get(space, (None, None))
        if held is None or node != sender:
            return None
        del self._by_space[space]
        held.until = None
        return held

    def expire(self, now: float) -> None:
        """Let go of what has waited for too long."""
        for space, (_, held) in list(self._by_space.items()):
            if held.until is not None and held.until <= now:
                self._drop(space)

    def next_expiry(self) -> float:
        """When to call that; infinity if nothing waits."""
        return min((held.until for _, held in self._by_space.values() if held.until is not None), default=float("inf"))

    def _drop(self, space: str) -> None:
        _, held = self._by_space.pop(space, (None, None))
        if held is not None:
            held.incoming.abandon()
