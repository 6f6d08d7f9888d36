"""Thousands of gossip nodes in one process and in virtual time: the shipped node, replica and codec, and a network.

The network is one of TCP connections as their user sees it: frames arrive in order; a lost segment comes a
retransmission time-out later, which doubles while it is lost again, and holds up what was sent after it. What a run
prints is a function of its seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from propagul.crdt import Origin, Replica
from propagul.gossip import GossipConfig, GossipNode, InThread, LinkKey, LinkUp, Received, Tick, Wrote
from propagul.link.base import NodeId
from propagul.store._namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul.gossip import Effect, Event

RETRANSMIT_S: Final = 0.2
DELAY_S: Final = (0.010, 0.050)


@dataclass(slots=True)
class End:
    """One end of a link.

    Attributes:
        node: Whose.
        key: What that node calls the link.
        delay_s: How long a frame takes from here to the other end.
        arrives_at: When the frame sent last from here arrives.
    """

    node: int
    key: LinkKey
    delay_s: float
    arrives_at: float = 0.0
    other: End | None = None


@dataclass(slots=True)
class Member:
    """One node and what stands around it."""

    node: GossipNode
    space: Namespace
    ends: dict[LinkKey, End]
    ticks_at: float = float("inf")
    is_dead: bool = False


class Crowd:
    """So many nodes, linked at random, each with about `active_max` others.

    Args:
        size: How many nodes.
        seed: Decides everything.
        loss: The share of segments that are lost.
        config: Timing.
    """

    def __init__(self, size: int, seed: int, loss: float = 0.0, config: GossipConfig | None = None) -> None:
        self.now = 0.0
        self.loss = loss
        self.config = config or GossipConfig()
        self.rng = random.Random(seed)
        self.watch: Callable[[int, int, bytes], None] = lambda _sender, _receiver, _frame: None
        self._keys = itertools.count(1)
        self._order = itertools.count()
        self._queue: list[tuple[float, int, int, LinkKey, bytes | None]] = []
        self.members = [self._member(number) for number in range(size)]
        for a, b in overlay(size, self.config.active_max, self.rng):
            self.connect(a, b)

    def connect(self, a: int, b: int) -> None:
        """Open a link that `a` dials."""
        delay_s = self.rng.uniform(*DELAY_S)
        here, there = (End(number, LinkKey(next(self._keys)), delay_s) for number in (a, b))
        here.other, there.other = there, here
        for end, peer, dialed in ((here, b, True), (there, a, False)):
            member = self.members[end.node]
            member.ends[end.key] = end
            self._feed(end.node, LinkUp(end.key, _name(peer), dialed))

    def write(self, number: int, key: str, value: bytes) -> None:
        """A local write."""
        self.members[number].space.put(key, value)
        self._feed(number, Wrote(""))

    def kill(self, number: int) -> None:
        """From now on it says nothing and hears nothing. Nobody is told."""
        self.members[number].is_dead = True

    def run(self, until: float) -> None:
        """Let time pass."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, number, key, frame = heapq.heappop(queue)
            member = self.members[number]
            if member.is_dead:
                continue
            if frame is not None:
                self._feed(number, Received(key, frame))
            elif member.ticks_at <= self.now:
                member.ticks_at = float("inf")
                self._feed(number, Tick())
        self.now = until

    def _member(self, number: int) -> Member:
        space = Namespace("", Replica(Origin(number + 1)), threading.Lock(), None, wall_ns=self._wall_ns)
        name = _name(number)
        node = GossipNode(name, name, {"": space}, self.config, random.Random(self.rng.random()))
        node.be_sparse(True, 0.0)
        return Member(node, space, {})

    def _wall_ns(self) -> int:
        return 10**18 + int(self.now * 1e9)

    def _feed(self, number: int, event: Event) -> None:
        member = self.members[number]
        for effect in member.node.handle(event, self.now):
            self._send(number, member, effect)
        due = member.node.next_tick()
        if due is not None and due < member.ticks_at:
            member.ticks_at = due
            heapq.heappush(self._queue, (max(due, self.now), next(self._order), number, LinkKey(0), None))

    def _send(self, number: int, member: Member, effect: Effect) -> None:
        end = member.ends[effect.link]
        assert end.other is not None
        for frame in member.node.outgoing(effect.link):
            if isinstance(frame, InThread):
                frame.run()
                continue
            self.watch(number, end.other.node, frame)
            end.arrives_at = max(end.arrives_at, self.now + end.delay_s + self._retransmissions_s())
            heapq.heappush(self._queue, (end.arrives_at, next(self._order), end.other.node, end.other.key, frame))

    def _retransmissions_s(self) -> float:
        delay_s, timeout_s = 0.0, RETRANSMIT_S
        while self.rng.random() < self.loss:
            delay_s, timeout_s = delay_s + timeout_s, 2 * timeout_s
        return delay_s


def overlay(size: int, degree: int, rng: random.Random) -> Iterator[tuple[int, int]]:
    """Links between pairs: connected, and each node has `degree` of them but for a few that found no partner."""
    linked: list[set[int]] = [set() for _ in range(size)]
    for number in range(1, size):
        other = rng.randrange(number)
        while len(linked[other]) >= degree:
            other = rng.randrange(number)
        yield _link(linked, number, other)
    free = [number for number in range(size) for _ in range(degree - len(linked[number]))]
    rng.shuffle(free)
    while len(free) > 1:
        a, b = free.pop(), free.pop()
        if a != b and b not in linked[a]:
            yield _link(linked, a, b)


def _link(linked: list[set[int]], a: int, b: int) -> tuple[int, int]:
    linked[a].add(b)
    linked[b].add(a)
    return a, b


def _name(number: int) -> NodeId:
    return NodeId(f"n{number}")
