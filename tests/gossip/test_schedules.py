"""Schedules written by hand, for what random ones seldom meet: each kills a planted bug of `test_mutations`."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING
from unittest import mock

from propagul.crdt import Origin, Replica, Stamp, VersionVector
from propagul.gossip import (
    Drop,
    GossipConfig,
    GossipNode,
    LinkDown,
    LinkKey,
    LinkUp,
    Received,
    Tick,
    Wrote,
    decoding,
    messages,
)
from propagul.link import NodeId
from propagul.store._namespace import Namespace
from propagul.store._streams import _SLICE_ROWS
from propagul.store._upkeep import Upkeep
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.gossip.messages import Message


def namespace(origin: int) -> Namespace:
    return Namespace("", Replica(Origin(origin)), threading.Lock(), None, wall_ns=lambda: 10**18)


def shown(space: Namespace) -> dict[str, list[object]]:
    space.settle_all()
    return {key: [sibling.payload for sibling in row.siblings] for key, row in space._replica if row.siblings}


class Pair:
    """Two nodes and at most one link between them, on which one frame after the other is delivered."""

    def __init__(self) -> None:
        self.spaces = [namespace(1), namespace(2)]
        self.nodes = [
            GossipNode(NodeId(name), name, {"": space}, GossipConfig(), random.Random(1))
            for name, space in zip("sr", self.spaces, strict=True)
        ]
        self.said: list[Message | None] = []
        self._keys = 0
        self._now = 0.0

    def write(self, values: Mapping[str, bytes | None]) -> None:
        """At the first node, one write a key."""
        for key, value in values.items():
            if value is None:
                self.spaces[0].remove(key)
            else:
                self.spaces[0].put(key, value)
        self.nodes[0].handle(Wrote(""), self._now)

    def link(self) -> None:
        self._keys += 1
        for node, peer, dialed in zip(self.nodes, "rs", (True, False), strict=True):
            node.handle(LinkUp(LinkKey(self._keys), NodeId(peer), dialed=dialed), self._now)

    def unlink(self) -> None:
        for node in self.nodes:
            node.handle(LinkDown(LinkKey(self._keys)), self._now)

    def talk(self, deltas: int = 10**6) -> None:
        """Deliver what both have to say, until nothing is left or so many pieces of deltas were delivered."""
        link, quiet = LinkKey(self._keys), 0
        while quiet < 4:
            quiet += 1
            for speaker, hearer in (self.nodes, self.nodes[::-1]):
                for frame in taken(speaker.outgoing(link)):
                    quiet = 0
                    message = decoding.decode(frame)
                    self.said.append(message)
                    effects = hearer.handle(Received(link, frame), self._now)
                    assert not any(isinstance(effect, Drop) for effect in effects), effects
                    deltas -= isinstance(message, messages.Delta)
                    if not deltas:
                        return
            self._now += 0.1
            for node in self.nodes:
                node.handle(Tick(), self._now)


def raise_floor(space: Namespace) -> None:
    with mock.patch.object(Upkeep, "_is_untidy", return_value=True):
        for _ in range(4):
            space.tidy(lambda _: True)


def test_a_snapshot_join_that_goes_on_holds_what_the_peer_has_and_removes_what_is_gone() -> None:
    """Nothing that the receiver has had all along may be left out of the rest, nor outlive its removal by others."""
    pair = Pair()
    pair.link()
    pair.write({f"k{number}": b"\xc4\xff" + bytes(255) for number in range(1500)} | {"gone": b"\x01", "last": b"\x02"})
    pair.talk()
    assert shown(pair.spaces[1]) == shown(pair.spaces[0])
    pair.unlink()
    pair.write({"gone": None, "k0": b"\x03"})
    raise_floor(pair.spaces[0])
    pair.link()
    pair.talk(deltas=4)
    pair.unlink()
    pair.said.clear()
    pair.link()
    pair.talk()
    flags = [(said.join, said.goes_on) for said in pair.said if isinstance(said, messages.Digest) and said.rows_follow]
    assert flags[0] == (True, True), "it is the rest of a snapshot join"
    assert "gone" not in shown(pair.spaces[1])
    assert shown(pair.spaces[1]) == shown(pair.spaces[0])


def test_a_stream_that_is_read_in_slices_is_of_the_instant_at_which_it_was_cut() -> None:
    """What is written while it is read is in nothing of it, so that no transaction is torn."""
    sender, receiver = namespace(1), namespace(2)
    for number in range(3 * _SLICE_ROWS):
        sender.put(f"k{number}", b"\x01")
    before = shown(sender)
    stream = sender.cut(after=0, known=VersionVector(), told=0)
    incoming, blocks = receiver.incoming(), taken(stream.blocks())
    incoming.add(next(blocks))
    for number in (0, 3 * _SLICE_ROWS - 1):
        sender.put(f"k{number}", b"\x02")
    sender.remove(f"k{2 * _SLICE_ROWS}")
    for block in blocks:
        incoming.add(block)
    incoming.apply(stream.entries, stream.join)
    assert shown(receiver) == before


def test_who_is_told_of_something_where_links_are_few_asks_for_it_soon() -> None:
    node = GossipNode(NodeId("r"), "r", {"": namespace(1)}, GossipConfig(), random.Random(1))
    link = LinkKey(1)
    node.be_sparse(True, 0.0)
    node.handle(LinkUp(link, NodeId("s"), dialed=True), 0.0)
    hello = messages.Hello(version=1, label="s", recovering=False, digests={"": VersionVector().digest()})
    for message in (hello, messages.Digest(space=0)):
        node.handle(Received(link, messages.encode(message)), 0.0)
    list(taken(node.outgoing(link)))
    told = messages.Digest(space=0, entries=((Origin(7), Stamp(10**9)),))
    node.handle(Received(link, messages.encode(told)), 0.0)
    asked, now = [], 0.0
    while (due := node.next_tick()) is not None and (now := max(now, due) + 0.001) < 0.5:
        node.handle(Tick(), now)
        asked += [
            said for said in map(decoding.decode, taken(node.outgoing(link))) if isinstance(said, messages.Digest)
        ]
    assert asked == [messages.Digest(space=0)], "a telling of nothing new asks for what is lacking"
