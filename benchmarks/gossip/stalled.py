"""Workload: what a peer costs that lives and acknowledges nothing, while its neighbour writes for a virtual hour.

The node and its namespace are the shipped ones, with the timers and chores that a store runs; the peer is one of the
same kind that greeted, was served once, and then sends nothing but pulses.
"""

from __future__ import annotations

import functools
import gc
import operator
import random
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Final

from benchmarks import material
from propagul.crdt import Origin, Replica
from propagul.gossip import GossipConfig, GossipNode, InThread, LinkKey, LinkUp, Received, Tick, Wrote
from propagul.gossip.lanes import Lane
from propagul.gossip.messages import Pulse, encode
from propagul.link.base import NodeId
from propagul.store._namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

CHORES_S: Final = 2
PULSES_S: Final = 10

_LINK = LinkKey(1)
_VALUES = 1009
"""Distinct values, made before: a number that divides no number of keys, so that a key's next value is another one."""


class StalledLink:
    """A node that writes, and the link to its stalled peer. Time is virtual.

    Args:
        keys: Over how many keys it writes.
        per_s: How many writes a second.
        seed: Of the values.
    """

    def __init__(self, keys: int, per_s: int, seed: int) -> None:
        self._keys, self._values = material.keys(keys), material.values(_VALUES, seed)
        self._per_s = per_s
        self._second = 0
        self.written = self.sent = 0
        self.node, self._space = self._make(1)
        peer, _ = self._make(2)
        self.node.handle(LinkUp(_LINK, NodeId("n2"), dialed=True), 0.0)
        peer.handle(LinkUp(_LINK, NodeId("n1"), dialed=False), 0.0)
        for frame in self._taken(self.node):
            peer.handle(Received(_LINK, frame), 0.0)
        for frame in self._taken(peer):
            self.node.handle(Received(_LINK, frame), 0.0)
        self._taken(self.node)

    def second(self) -> None:
        """A second passes: its writes, the timers, and the chores and the peer's pulse where they are due."""
        self._second += 1
        now, put, wrote = float(self._second), self._space.put, Wrote("")
        for _ in range(self._per_s):
            put(self._keys[self.written % len(self._keys)], self._values[self.written % _VALUES])
            self.written += 1
            self.node.handle(wrote, now)
            self.sent += len(self._taken(self.node))
        if self._second % PULSES_S == 0:
            self.node.handle(Received(_LINK, encode(Pulse(lane=Lane.TELL))), now)
        if (self.node.next_tick() or now) <= now:
            self.node.handle(Tick(), now)
        if self._second % CHORES_S == 0:
            self._space.tidy(functools.partial(operator.ge, self.node.served()[""]))

    def check(self) -> None:
        """The link is still there, the peer owes an acknowledgement, and the rows are what was written.

        Raises:
            AssertionError: One of these is not so.
        """
        last = self.written - 1
        held = self._space.table.get(self._keys[last % len(self._keys)])
        lacks_nothing = self.node.logged_by("", self._space.own_dots())
        if not self.node.linked() or lacks_nothing or held != self._values[last % _VALUES]:
            raise AssertionError("the peer is not stalled, or a write is missing")

    def _make(self, number: int) -> tuple[GossipNode, Namespace]:
        space = Namespace("", Replica(Origin(number)), threading.Lock(), None, wall_ns=self._wall_ns)
        space.is_linked = lambda: True
        name = NodeId(f"n{number}")
        return GossipNode(name, name, {"": space}, GossipConfig(), random.Random(number)), space

    def _wall_ns(self) -> int:
        return 10**18 + self._second * 10**9

    @staticmethod
    def _taken(node: GossipNode) -> Sequence[bytes]:
        frames = []
        for frame in node.outgoing(_LINK):
            if isinstance(frame, InThread):
                frame.run()
            else:
                frames.append(frame)
        return frames


def stalled(keys: int, per_s: int, minutes: int, budget_s: float, seed: int) -> dict[str, float]:
    """MB by which the memory of everything grows from the first virtual minute on.

    Args:
        keys: Over how many keys is written; each is there after the first minute.
        per_s: How many writes a virtual second.
        minutes: Virtual minutes at most.
        budget_s: Seconds of this machine after which no further minute begins.
        seed: Of the values.
    """
    began = time.monotonic()
    tracemalloc.start()
    link = StalledLink(keys, per_s, seed)
    held: list[int] = []
    while len(held) < minutes and (len(held) < 2 or time.monotonic() - began < budget_s):
        for _ in range(60):
            link.second()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    link.check()
    return {
        "mb": (held[-1] - held[0]) / 1e6,
        "highest_mb": (max(held) - held[0]) / 1e6,
        "minutes": len(held),
        "writes": link.written,
        "frames_sent": link.sent,
    }
