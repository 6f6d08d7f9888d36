"""Which of two links between one pair stays: another run of the peer always gets in, one run has one link."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from propagul.crdt import Origin
from propagul.gossip import Drop, GossipConfig, GossipNode, LinkDown, LinkKey, LinkUp, Received
from propagul.gossip.messages import Hello, encode
from propagul.link import NodeId
from tests.gossip.oracle import History
from tests.gossip.simulator import MemoryLog, SimSource
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Sequence

EITHER = (True, False)
FORMER, LATER = LinkKey(1), LinkKey(2)
REPLACED = "replaced by another link to the same node"


def a_node(name: str) -> GossipNode:
    source = SimSource("", History(), Origin(1), 0, MemoryLog())
    return GossipNode(NodeId(name), name, {"": source}, GossipConfig(), random.Random(1))


def up(link: int, peer: str, instance: bytes, *, dialed: bool) -> LinkUp:
    return LinkUp(LinkKey(link), NodeId(peer), dialed=dialed, instance=instance)


def drops(node: GossipNode, *events: LinkUp) -> list[Drop]:
    return [effect for event in events for effect in node.handle(event, 0.0) if isinstance(effect, Drop)]


@pytest.mark.parametrize("peer", ["a", "z"])
@pytest.mark.parametrize(("former", "later"), list(itertools.product(EITHER, EITHER)))
def test_another_run_of_a_peer_takes_the_place_of_the_one_before(peer: str, *, former: bool, later: bool) -> None:
    """Whoever dialled which, and whoever has the smaller identity."""
    node = a_node("m")
    said = drops(node, up(FORMER, peer, b"run one", dialed=former), up(LATER, peer, b"run two", dialed=later))
    assert said == [Drop(FORMER, REPLACED)]
    assert node.linked() == {peer: LATER}


@pytest.mark.parametrize("runs", [(b"one", b"one"), (b"", b"one"), (b"one", b""), (b"", b"")])
@pytest.mark.parametrize(("me", "peer", "kept"), [("m", "z", True), ("m", "a", False)])
def test_of_two_links_with_one_run_the_one_that_the_smaller_dialled_stays(
    me: str, peer: str, runs: tuple[bytes, bytes], *, kept: bool
) -> None:
    """Also where one of them does not tell its run."""
    for order in itertools.permutations([up(1, peer, runs[0], dialed=True), up(2, peer, runs[1], dialed=False)]):
        node = a_node(me)
        (said,) = drops(node, *order)
        assert node.linked() == {peer: LinkKey(1 if kept else 2)}
        assert said.link == (2 if kept else 1)


@pytest.mark.parametrize("dialed", EITHER)
def test_of_two_links_with_one_run_that_one_end_dialled_the_newer_stays(*, dialed: bool) -> None:
    node = a_node("m")
    assert drops(node, *(up(link, "z", b"one", dialed=dialed) for link in (1, 2))) == [Drop(FORMER, REPLACED)]
    assert node.linked() == {"z": LATER}


@pytest.mark.parametrize("peer", ["a", "z"])
def test_twins_are_linked_by_turns_and_none_keeps_the_other_out(peer: str) -> None:
    node, held = a_node("m"), list[LinkKey]()
    for turn in range(10):
        link = LinkKey(turn + 1)
        said = drops(node, up(link, peer, b"twin %d" % (turn % 2), dialed=turn % 3 == 0))
        assert said == [Drop(before, REPLACED) for before in held]
        assert node.linked() == {peer: link}
        for before in held:
            node.handle(LinkDown(before), 0.0)
        assert node.linked() == {peer: link}, "the end of the former link takes nothing from the new one"
        held = [link]


@pytest.mark.parametrize("peer", ["a", "z"])
@pytest.mark.parametrize("dialed", EITHER)
def test_a_node_that_was_started_again_gets_in_though_the_link_to_its_former_run_seems_open(
    peer: str, *, dialed: bool
) -> None:
    """Nothing has told us of its end, and it has not been silent for long."""
    node = a_node("m")
    hear(node, up(FORMER, peer, b"run one", dialed=dialed), "former")
    list(taken(node.outgoing(FORMER)))
    hear(node, up(LATER, peer, b"run two", dialed=not dialed), "later")
    assert list(taken(node.outgoing(LATER))), "it is greeted"
    assert not list(taken(node.outgoing(FORMER))), "and the one before is told nothing more"
    said = node.hello_of(NodeId(peer))
    assert said is not None
    assert said.label == "later"


def hear(node: GossipNode, event: LinkUp, label: str) -> None:
    """A link comes up, and its peer says hello."""
    hello = Hello(version=1, label=label, recovering=False, digests={"": bytes(16)})
    node.handle(event, 0.0)
    node.handle(Received(event.link, encode(hello)), 0.0)


@pytest.mark.parametrize(("one", "other"), [("m", "z"), ("z", "m")])
def test_two_ends_that_see_links_cross_while_one_is_started_again_end_with_the_same_link_or_none(
    one: str, other: str
) -> None:
    """In every order in which both may hear of what each has dialled, before and after. None: they dial again."""
    links = [(1, b"first", True), (2, b"again", True), (3, b"again", False)]
    for order in itertools.permutations(links):
        for seen in itertools.permutations([link for link in links if link[1] == b"again"]):
            here, there = a_node(one), a_node(other)
            dropped = {said.link for said in drops(here, *ups(other, order))}
            dropped |= {said.link for said in drops(there, *(up(n, one, b"one", dialed=not d) for n, _, d in seen))}
            for link, node in itertools.product({*dropped, LinkKey(1)}, (here, there)):
                node.handle(LinkDown(link), 0.0)
            assert list(here.linked().values()) == list(there.linked().values())


def ups(peer: str, links: Sequence[tuple[int, bytes, bool]]) -> list[LinkUp]:
    return [up(link, peer, run, dialed=dialed) for link, run, dialed in links]
