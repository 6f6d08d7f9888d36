"""Links and streams of the simulator: what is read while its sender writes on, staged, interrupted, doubled or late.

A link is what a sender believes of a receiver, and void with either open: the place and vector it was told are never
more than the truth, often less. One stream is in flight on a link at a time; its place moves when it is acknowledged.
A delta may come late only to the open that it was cut for, because that one is known to have what it leaves out. A
snapshot join may come to anybody at any time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from propagul.crdt import VersionVector, codec
from propagul.log.cold import filled
from tests.state.process import LOGGED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul.crdt import Cut
    from tests.state.process import Process, World

LATE_MAX: Final = 12


@dataclass(slots=True)
class Link:
    """What a sender believes of a receiver, in one namespace."""

    place: int = 0
    told: int = 0
    theirs: VersionVector = field(default_factory=VersionVector)
    in_flight: Stream | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Stream:
    """What a receiver lacks of one sender, being read or on its way.

    Attributes:
        known: What the sender knew at the cut.
        staged: Whether blocks wait in the receiver's log as they come, and not in its memory.
    """

    space: str
    sender: Process
    receiver: Process
    cut: Cut
    known: int
    push: bool
    number: int
    staged: bool
    blocks: list[bytes] = field(default_factory=list)

    def advance(self, most: int) -> bool:
        """Read and send one block; return whether there was one."""
        if self.cut.at_end:
            return False
        self.blocks.append(codec.encode_block(filled(self.cut.read(most))))
        if self.staged:
            self.receiver.stage(self.number, self.blocks[-1])
        return True

    def conveyed(self) -> int:
        """The operations that the stream makes its receiver know: of a push, those on its keys."""
        if not self.push:
            return self.known
        blocks = [codec.decode_block(packed) for packed in self.blocks]
        keys = {plain[0] for block in blocks for plain in block.plain}
        keys |= {key for block in blocks for key, _ in block.other}
        on = self.sender.world.histories[self.space].on
        return sum(self.known & on[key] for key in keys)


class Wires:
    """Every link, and every stream that is not through.

    Args:
        world: What all processes share.
        alive: Who is there; the simulation changes it.
    """

    def __init__(self, world: World, alive: list[Process]) -> None:
        self._world, self._rng, self._seen = world, world.rng, world.seen
        self._alive = alive
        self._links: dict[tuple[int, int, str], Link] = {}
        self._reading: list[Stream] = []
        self._late: list[Stream] = []
        self._slow = self._rng.choice([0.0, 0.5, 0.8])
        self._tells = self._rng.choice([0.0, 0.3, 1.0])

    def open(self, spaces: Sequence[str]) -> None:
        """Somebody cuts a stream for somebody: read at once, or while other things happen."""
        if len(self._alive) > 1:
            sender, receiver = self._rng.sample(self._alive, 2)
            stream = self._cut(sender, receiver, self._rng.choice(spaces), push=self._rng.random() < 0.3)
            if stream is not None and self._rng.random() < self._slow:
                self._reading.append(stream)
            elif stream is not None:
                self._finish(stream)

    def begin(self, sender: Process, receiver: Process, space: str) -> None:
        """Cut a stream, and read it later."""
        stream = self._cut(sender, receiver, space)
        if stream is not None:
            self._reading.append(stream)

    def read_on(self) -> None:
        """One of the streams goes on by a block, or to its end."""
        if self._reading:
            stream = self._rng.choice(self._reading)
            if self._rng.random() < 0.3:
                self._reading.remove(stream)
                self._finish(stream)
            elif not stream.advance(self._rng.randint(1, 3)):
                self._reading.remove(stream)
                self._arrive(stream)

    def being_sent(self) -> tuple[Process, str] | None:
        """A namespace that is being read."""
        if not self._reading:
            return None
        stream = self._rng.choice(self._reading)
        return stream.sender, stream.space

    def interrupt(self) -> None:
        """One of the streams breaks off in the middle."""
        if self._reading:
            self._break_off(self._rng.choice(self._reading))

    def hang_up(self, process: Process) -> None:
        """A process is gone, and what it was sending or receiving with it."""
        for stream in [stream for stream in self._reading if process in (stream.sender, stream.receiver)]:
            self._break_off(stream)

    def come_late(self) -> None:
        """Something arrives that was thought lost, or that was applied before."""
        if self._late:
            stream = self._late.pop(self._rng.randrange(len(self._late)))
            if stream.cut.join is not None and self._rng.random() < 0.7:
                self._seen["stale snapshot joins"] += 1
                self._apply(stream, self._rng.choice(self._alive), acknowledged=False)
            elif stream.receiver in self._alive:
                self._seen["stale streams"] += 1
                self._apply(stream, stream.receiver, acknowledged=False)

    def settle(self) -> None:
        """The last exchange begins: what is on its way is lost."""
        for stream in list(self._reading):
            self._break_off(stream)
        for link in self._links.values():
            link.in_flight = None

    def exchange(self, sender: Process, receiver: Process, space: str) -> bool:
        """One whole stream, if there is anything to say; return whether it was news."""
        link, replica = self._link(sender, receiver, space), sender.replicas[space]
        if (link.place, link.told) == (replica.arrival, replica.vector.mark):
            return False
        link.theirs.join(receiver.replicas[space].vector)
        stream = self._cut(sender, receiver, space)
        assert stream is not None
        while stream.advance(self._rng.randint(1, 3)):
            pass
        return self._apply(stream, receiver, acknowledged=True)

    def _link(self, sender: Process, receiver: Process, space: str) -> Link:
        return self._links.setdefault((sender.open_id, receiver.open_id, space), Link())

    def _cut(self, sender: Process, receiver: Process, space: str, *, push: bool = False) -> Stream | None:
        link, replica = self._link(sender, receiver, space), sender.replicas[space]
        if link.in_flight is not None:
            return None
        if self._rng.random() < self._tells:
            link.theirs.join(receiver.replicas[space].vector)
        known, kind = sender.known[space], "pushes"
        cut = replica.cut_own(after=link.place, known=link.theirs) if push else None
        if cut is not None:
            while cut.pass_over(self._rng.randint(1, 3)):
                pass
            if cut.at_end:
                return None
        if cut is None:
            push, by_place = False, link.place >= replica.cursor_floor
            cut = replica.cut(after=link.place, known=link.theirs, told=link.told)
            kind = "snapshot joins" if cut.join else "deltas by place" if by_place else "deltas by vector"
        self._seen[kind] += 1
        self._world.streams += 1
        link.in_flight = Stream(
            space=space,
            sender=sender,
            receiver=receiver,
            cut=cut,
            known=known,
            push=push,
            number=self._world.streams,
            staged=space == LOGGED and self._rng.random() < 0.5,
        )
        return link.in_flight

    def _finish(self, stream: Stream) -> None:
        while stream.advance(self._rng.randint(1, 3)):
            pass
        self._arrive(stream)

    def _arrive(self, stream: Stream) -> None:
        """All of it was sent: it is applied, perhaps twice or again later, or thought lost."""
        choice = self._rng.random()
        if choice < 0.75:
            self._apply(stream, stream.receiver, acknowledged=self._rng.random() < 0.9)
        else:
            self._seen["lost streams"] += 1
            self._lose(stream)
        if choice < 0.1:
            self._seen["doubled streams"] += 1
            self._apply(stream, stream.receiver, acknowledged=False)
        if (choice >= 0.75 or 0.05 < choice < (0.6 if stream.cut.join else 0.2)) and len(self._late) < LATE_MAX:
            self._late.append(stream)

    def _apply(self, stream: Stream, receiver: Process, *, acknowledged: bool) -> bool:
        self._seen["staged streams"] += stream.staged and bool(stream.blocks)
        blocks, stream.staged = [] if stream.staged else stream.blocks, False
        news = receiver.receive(stream.space, stream.number, blocks, stream.cut, stream.conveyed())
        link = self._links.get((stream.sender.open_id, stream.receiver.open_id, stream.space))
        if link is not None and link.in_flight is stream:
            link.in_flight = None
            if acknowledged:
                self._acknowledge(link, stream)
        return news

    def _acknowledge(self, link: Link, stream: Stream) -> None:
        cut = stream.cut
        if not stream.push:
            link.place = cut.arrival
            if self._rng.random() < 0.8:
                link.told = cut.mark
        if self._rng.random() < 0.7:
            link.theirs.join(cut.entries if cut.join is None else cut.join.vector)

    def _break_off(self, stream: Stream) -> None:
        self._reading.remove(stream)
        self._seen["interrupted streams"] += bool(stream.blocks)
        self._lose(stream)

    def _lose(self, stream: Stream) -> None:
        """It will not come in time: the link breaks, or goes on from the place that was acknowledged."""
        stream.cut.close()
        stream.receiver.staging.pop(stream.number, None)
        stream.staged = False
        key = stream.sender.open_id, stream.receiver.open_id, stream.space
        link = self._links.get(key)
        if link is not None and link.in_flight is stream:
            link.in_flight = None
            if self._rng.random() < 0.5:
                del self._links[key]
