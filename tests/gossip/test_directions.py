"""Directions: what goes over a link of which an end wants nothing, or sends nothing, and what that costs."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from propagul.crdt import Origin
from propagul.gossip import Direction, Drop, GossipConfig, GossipNode, LinkKey, LinkUp, Received, decoding, messages
from propagul.gossip.directions import Course
from propagul.gossip.messages import Digest, Hello, Pulse, Push
from propagul.link.base import NodeId
from propagul.link.local import process_node
from tests.gossip.oracle import History
from tests.gossip.simulator import MemoryLog, SimSource, Simulation, smallness
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.crdt.wire import Reader

MESH, UP, DOWN = Direction


def lan(nodes: int, directions: Mapping[int, Direction]) -> Simulation:
    """A quiet LAN of one namespace."""
    ways = {number: {"": way} for number, way in directions.items()}
    return Simulation(1, nodes=nodes, lan=True, spaces=("",), directions=ways)


def heard_by(simulation: Simulation, number: int) -> list[bytes]:
    """What a node is sent from now on."""
    frames: list[bytes] = []
    simulation.tap = lambda _sender, receiver, frame: frames.append(frame) if receiver == number else None
    return frames


@pytest.mark.parametrize(("ours", "theirs"), list(product(Direction, Direction)))
def test_both_ends_of_a_link_think_the_same_of_it(ours: Direction, theirs: Direction) -> None:
    here, there = Course(ours), Course(theirs)
    here.meet(theirs)
    there.meet(ours)
    assert (here.gives, here.takes) == (there.takes, there.gives)
    assert here.gives is (ours is not DOWN and theirs is not UP)
    assert here.tells_first or there.tells_first, "or each would wait for the other"


def test_who_wants_nothing_hears_pulses_and_acknowledgements_whatever_the_others_write() -> None:
    room = lan(4, {3: UP})
    for a, b in ((0, 1), (1, 2), (0, 2), (0, 3), (1, 3)):
        room.connect(a, b)
    room.run(20.0)
    frames = heard_by(room, 3)
    for number in range(150):
        room.write(number % 3, "", f"k{number % 18}", b"telemetry")
        room.run(room.now + 0.1)
    assert {type(decoding.decode(frame)) for frame in frames} == {Pulse}
    assert sum(map(len, frames)) <= 3 * 2 * 4  # two links, a pulse of three bytes in ten seconds
    room.write(3, "", "own", b"of the leaf")
    room.run(room.now + 0.01)
    assert decoding.decode(frames[-1]) == Digest(space=0, applied=True)
    room.run(room.now + 5.0)
    everything = set().union(*(room.sources[number][""].known for number in range(4)))
    assert all(room.sources[number][""].known == everything for number in range(3))
    assert room.sources[3][""].known == room.authored[3, ""]


def test_no_floor_waits_for_who_wants_nothing_and_its_own_rises() -> None:
    pair = lan(2, {1: UP})
    pair.connect(0, 1)
    for number in range(50):
        pair.write(0, "", f"k{number % 18}", b"hub")
        pair.write(1, "", f"k{number % 18}", b"leaf")
    pair.run(10.0)
    assert [pair.nodes[number].served()[""] for number in (0, 1)] == [
        pair.sources[number][""].arrival for number in (0, 1)
    ]
    assert pair.nodes[0].given("") == set()
    assert pair.nodes[1].given("") == {NodeId("n0")}
    assert pair.nodes[0].caught_up_with(NodeId("n1"))
    assert pair.nodes[1].caught_up_with(NodeId("n0"))


def test_a_new_link_brings_nothing_again_that_the_hub_has() -> None:
    """Its first telling answers the leaf's, though it says nothing of all that the leaf does not have."""
    pair = lan(2, {1: UP})
    pair.connect(0, 1)
    for number in range(18):
        pair.write(0, "", f"k{number}", b"of the hub")
        pair.write(1, "", f"k{number}", b"of the leaf")
    pair.run(10.0)
    pair.cut_wire(pair.wires[0])
    pair.write(1, "", "k0", b"of the leaf, and new")
    frames = heard_by(pair, 0)
    pair.connect(1, 0)
    pair.run(20.0)
    assert sum(frame.count(b"of the leaf") for frame in frames) == 1
    assert b"of the leaf" not in frames[1], "the second frame of a link is a telling"
    assert pair.sources[1][""].known <= pair.sources[0][""].known
    assert pair.nodes[1].served()[""] == pair.sources[1][""].arrival


def test_what_was_answered_is_not_answered_again() -> None:
    pair = lan(2, {1: UP})
    pair.connect(0, 1)
    for number in range(18):
        pair.write(1, "", f"k{number}", bytes(40_000))
    pair.run(10.0)
    frames = heard_by(pair, 1)
    for _ in range(5):
        pair.write(1, "", "k0", bytes(100_000))  # more than a push holds: it is told of, and answered
        pair.run(pair.now + 5.0)
    named = [message.entries for message in map(decoding.decode, frames) if isinstance(message, Digest)]
    assert [len(entries) for entries in named if entries] == [1] * 5


def test_who_only_reads_hears_everything_and_says_nothing_of_its_own() -> None:
    trio = lan(3, {2: DOWN})
    for a, b in ((0, 1), (1, 2), (0, 2)):
        trio.connect(a, b)
    trio.run(5.0)
    frames = heard_by(trio, 0)
    for number in range(18):
        trio.write(number % 3, "", f"k{number}", b"of %d" % (number % 3))
        trio.run(trio.now + 0.2)
    trio.run(trio.now + 5.0)
    assert not any(b"of 2" in frame for frame in frames)
    assert trio.sources[0][""].known == trio.sources[1][""].known < trio.sources[2][""].known
    assert trio.nodes[0].served()[""] == trio.sources[0][""].arrival, "it acknowledges what it is sent"
    assert trio.nodes[0].caught_up_with(NodeId("n2"))


def test_among_members_that_know_of_no_directions_everything_goes_everywhere() -> None:
    """As a version before them, or one that knows this direction not: they send all, and that is taken."""
    read = decoding._directions

    def forget(reader: Reader, digests: Mapping[str, bytes]) -> dict[str, Direction]:
        read(reader, digests)
        return {}

    with mock.patch("propagul.gossip.decoding._directions", forget):
        for seed in range(6):
            with smallness(seed):
                simulation = Simulation(seed, nodes=4, directions={1: {"": UP}, 2: {"room": UP}})
                for _ in range(40):
                    simulation.step()
                simulation.directions = {}
                simulation.heal()


def test_processes_of_one_directory_share_what_members_are_not_sent() -> None:
    source = SimSource("presence", History(), Origin(1), 0, MemoryLog())
    me = NodeId("n1")
    node = GossipNode(me, me, {"presence": source}, GossipConfig(), random.Random(1), directions={"presence": UP})
    peers = {LinkKey(1): NodeId("n2"), LinkKey(2): process_node(me, "log")}
    for link, peer in peers.items():
        node.handle(LinkUp(link, peer, dialed=True), 0.0)
    said = [decoding.decode(next(iter(taken(node.outgoing(link))))) for link in peers]
    assert [hello.directions for hello in said if isinstance(hello, Hello)] == [{"presence": UP}, {}]
    assert node.passing_on() == {NodeId("n2")}


def test_a_push_to_the_hub_costs_a_leaf_what_it_costs_everybody() -> None:
    costs = []
    for way in (MESH, UP):
        pair, frames = lan(2, {1: way}), list[bytes]()
        pair.connect(0, 1)
        pair.run(20.0)
        pair.write(1, "", "k0", b"first")
        pair.run(20.1)
        pair.tap = lambda _sender, _receiver, frame, frames=frames: frames.append(frame)  # type: ignore[misc]
        pair.write(1, "", "k0", b"again")
        pair.run(20.2)
        assert [type(decoding.decode(frame)) for frame in frames] == [Push, Digest]
        costs.append(sum(map(len, frames)))
    assert costs[0] == costs[1]


class Hub:
    """A node of a sparse room, and what it does about those who link with it."""

    def __init__(self) -> None:
        source = SimSource("", History(), Origin(1), 0, MemoryLog())
        self.node = GossipNode(NodeId("hub"), "hub", {"": source}, GossipConfig(active_max=3), random.Random(1))
        self.node.be_sparse(True, 0.0)
        self.links = 0

    def greeted_by(
        self, directions: Mapping[str, Direction], *, urgent: bool = False, dialed: bool = False
    ) -> list[Drop]:
        self.links += 1
        link = LinkKey(self.links)
        hello = Hello(
            version=1, label="", recovering=False, digests={"": bytes(16)}, urgent=urgent, directions=directions
        )
        self.node.handle(LinkUp(link, NodeId(f"n{link}"), dialed=dialed), 0.0)
        effects = self.node.handle(Received(link, messages.encode(hello)), 0.0)
        return [effect for effect in effects if isinstance(effect, Drop)]


def test_in_a_sparse_room_leaves_take_nobodys_place_and_are_not_turned_away() -> None:
    hub = Hub()
    assert not [drop for _ in range(9) for drop in hub.greeted_by({"": UP})]
    assert not [drop for _ in range(4) for drop in hub.greeted_by({})], "it has room for four, with nine leaves"
    assert hub.greeted_by({}) == [Drop(LinkKey(14), "enough links to others")]
    assert hub.greeted_by({"": UP}) == []
    assert hub.greeted_by({"": UP}, urgent=True) == []
    given_up = [drop.link for _ in range(20) for drop in hub.greeted_by({}, urgent=True)]
    assert len(given_up) == 20
    assert not set(given_up) & {*range(1, 10), 15, 16}, "a leaf's link is given up for nobody"
    assert not [drop for _ in range(3) for drop in hub.greeted_by({}, dialed=True)]
    assert hub.greeted_by({"": UP}, urgent=True) == hub.greeted_by({"": UP}) == [], "though it has too many others"
