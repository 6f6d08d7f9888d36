"""Links that both ends open at once: whatever the order in which each hears of what, one of them stays, the same."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from propagul.crdt import Origin
from propagul.gossip import Drop, GossipConfig, GossipNode, LinkDown, LinkKey, LinkUp, Ready, Received
from propagul.gossip.messages import Hello, encode
from propagul.link import NodeId
from tests.crdt.histories import LONG
from tests.gossip.oracle import History
from tests.gossip.simulator import MemoryLog, SimSource
from tests.gossip.taking import taken

SCHEDULES = 1000 if LONG else 200
FORMER = LinkKey(0)


@dataclass(eq=False)
class End:
    """What one end of a wire has heard, and what is under way to it."""

    is_up: bool = False
    is_down: bool = False
    under_way: deque[bytes] = field(default_factory=deque)


class Pair:
    """Two nodes and the wires between them; what happens next is drawn.

    Args:
        luck: Draws it.
        dials: Who dials each wire.
        former: Who dialled the link to the run of `m` before this one, if any: nothing has told `a` of its end.
    """

    def __init__(self, luck: random.Random, dials: str, former: str) -> None:
        self._luck = luck
        self._wires = {LinkKey(number): dialler for number, dialler in enumerate(dials, start=1)}
        self.nodes = {name: _a_node(name) for name in "am"}
        self._ends = {(link, name): End() for link in self._wires for name in self.nodes}
        if former:
            self._ends |= {(FORMER, "a"): End(is_up=True), (FORMER, "m"): End(is_up=True)}
            hello = encode(Hello(version=1, label="m", recovering=False, digests={"": bytes(16)}))
            self._feed("a", LinkUp(FORMER, NodeId("m"), dialed=former == "a", instance=b"run before"))
            self._feed("a", Received(FORMER, hello))
            self._ends[FORMER, "m"] = End(is_down=True)

    def run(self) -> None:
        """Until nothing can happen any more. Of a broken link the other end hears at any time after, or last of all."""
        while happenings := self._happenings():
            kind, link, name = self._luck.choice(happenings)
            end = self._ends[link, name]
            if kind == "up":
                end.is_up = True
                self._feed(name, LinkUp(link, NodeId(_other(name)), dialed=self._wires[link] == name, instance=b"run"))
            elif kind == "frame":
                self._feed(name, Received(link, end.under_way.popleft()))
            else:
                self._end(link, name)

    def _happenings(self) -> list[tuple[str, LinkKey, str]]:
        found = []
        for (link, name), end in self._ends.items():
            if not end.is_up and not end.is_down:
                found.append(("up", link, name))
            if end.is_up and not end.is_down and end.under_way:
                found.append(("frame", link, name))
            if not end.is_down and self._ends[link, _other(name)].is_down and link != FORMER:
                found.append(("down", link, name))
        return found

    def _feed(self, name: str, event: LinkUp | Received | LinkDown) -> None:
        for effect in self.nodes[name].handle(event, 0.0):
            if isinstance(effect, Drop):
                self._end(effect.link, name)
            elif isinstance(effect, Ready) and not self._ends[effect.link, name].is_down:
                self._ends[effect.link, _other(name)].under_way += taken(self.nodes[name].outgoing(effect.link))

    def _end(self, link: LinkKey, name: str) -> None:
        """A link ends here; what is under way on it arrives yet at the other end, or not."""
        self._ends[link, name].is_down = True
        self._feed(name, LinkDown(link))


def _other(name: str) -> str:
    return "m" if name == "a" else "a"


def _a_node(name: str) -> GossipNode:
    source = SimSource("", History(), Origin(ord(name)), 0, MemoryLog())
    return GossipNode(NodeId(name), name, {"": source}, GossipConfig(), random.Random(1))


@pytest.mark.parametrize("former", ["", "a", "m"])
@pytest.mark.parametrize("dials", ["am", "aa", "mm", "aam", "amm", "aaamm"])
def test_of_links_that_cross_both_ends_keep_the_same_one(dials: str, former: str) -> None:
    for seed in range(SCHEDULES):
        pair = Pair(random.Random(seed), dials, former)
        pair.run()
        here, there = (list(node.linked().values()) for node in pair.nodes.values())
        assert here == there, f"schedule {seed}: {here} at one end, {there} at the other"
        assert len(here) == 1, f"schedule {seed}: none is left"
        assert here != [FORMER]
