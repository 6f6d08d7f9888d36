"""Which of two links between one pair stays: another run of the peer always gets in, one run has one link."""

from __future__ import annotations

import itertools
import random

import pytest

from propagul.crdt import Origin
from propagul.gossip import Drop, GossipConfig, GossipNode, LinkDown, LinkKey, LinkUp, Received, Tick
from propagul.gossip.messages import Hello, encode
from propagul.gossip.peer import CROSSING_S
from propagul.link import NodeId
from tests.gossip.oracle import History
from tests.gossip.simulator import MemoryLog, SimSource
from tests.gossip.taking import taken

EITHER = (True, False)
FORMER, LATER = LinkKey(1), LinkKey(2)
REPLACED = "replaced by another link to the same node"


def a_node(name: str) -> GossipNode:
    source = SimSource("", History(), Origin(1), 0, MemoryLog())
    return GossipNode(NodeId(name), name, {"": source}, GossipConfig(), random.Random(1))


def up(link: int, peer: str, instance: bytes, *, dialed: bool) -> LinkUp:
    return LinkUp(LinkKey(link), NodeId(peer), dialed=dialed, instance=instance)


def hear(node: GossipNode, event: LinkUp, label: str = "", now: float = 0.0) -> list[Drop]:
    """A link comes up, and its peer says hello; return what is dropped for it."""
    hello = Received(event.link, encode(Hello(version=1, label=label, recovering=False, digests={"": bytes(16)})))
    effects = [effect for said in (event, hello) for effect in node.handle(said, now)]
    return [effect for effect in effects if isinstance(effect, Drop)]


@pytest.mark.parametrize("peer", ["a", "z"])
@pytest.mark.parametrize(("former", "later"), list(itertools.product(EITHER, EITHER)))
def test_another_run_of_a_peer_takes_the_place_of_the_one_before(peer: str, *, former: bool, later: bool) -> None:
    """Whoever dialled which, and whoever has the smaller identity."""
    node = a_node("m")
    assert not hear(node, up(FORMER, peer, b"run one", dialed=former))
    assert hear(node, up(LATER, peer, b"run two", dialed=later)) == [Drop(FORMER, REPLACED)]
    assert node.linked() == {peer: LATER}


def test_a_link_that_the_other_end_dialled_counts_from_when_it_speaks() -> None:
    """It may have been dialled twice, and only who dialled knows which one it uses."""
    node = a_node("m")
    assert node.handle(up(FORMER, "a", b"one", dialed=False), 0.0) == []
    assert node.linked() == {}
    assert not list(taken(node.outgoing(FORMER)))
    hear(node, up(LATER, "a", b"one", dialed=False))
    assert node.linked() == {"a": LATER}
    node.handle(LinkDown(FORMER), 0.0)
    assert node.linked() == {"a": LATER}


def test_who_dials_and_never_speaks_is_dropped() -> None:
    node = a_node("m")
    node.handle(up(FORMER, "a", b"one", dialed=False), 1.0)
    assert node.next_tick() == 1.0 + GossipConfig().silence_s_max
    assert node.handle(Tick(), 32.9) == []
    assert node.handle(Tick(), 33.0) == [Drop(FORMER, "silent for too long")]
    assert node.next_tick() is None


@pytest.mark.parametrize("runs", [(b"one", b"one"), (b"", b"one"), (b"one", b""), (b"", b"")])
@pytest.mark.parametrize(("peer", "kept"), [("z", FORMER), ("a", LATER)])
def test_of_two_links_that_cross_the_one_that_the_smaller_dialled_stays(
    peer: str, runs: tuple[bytes, bytes], kept: LinkKey
) -> None:
    """Also where one of them does not tell its run."""
    node = a_node("m")
    hear(node, up(FORMER, peer, runs[0], dialed=True))
    (said,) = hear(node, up(LATER, peer, runs[1], dialed=False), now=1.0)
    assert node.linked() == {peer: kept}
    assert said.link == ({FORMER, LATER} - {kept}).pop()


@pytest.mark.parametrize("peer", ["a", "z"])
def test_a_link_that_we_dialled_long_ago_and_the_peer_has_lost_gives_way(peer: str) -> None:
    """It would not dial if it held that one still, and it is not to wait until we notice."""
    node = a_node("m")
    hear(node, up(FORMER, peer, b"one", dialed=True))
    assert hear(node, up(LATER, peer, b"one", dialed=False), now=CROSSING_S) == [Drop(FORMER, REPLACED)]
    assert node.linked() == {peer: LATER}


@pytest.mark.parametrize("peer", ["a", "z"])
@pytest.mark.parametrize("held", EITHER)
def test_what_we_dial_and_do_not_need_is_never_spoken_on(peer: str, *, held: bool) -> None:
    node = a_node("m")
    hear(node, up(FORMER, peer, b"one", dialed=held))
    assert node.handle(up(LATER, peer, b"one", dialed=True), 0.0) == [Drop(LATER, "already linked")]
    assert not list(taken(node.outgoing(LATER)))
    assert node.linked() == {peer: FORMER}


@pytest.mark.parametrize("peer", ["a", "z"])
def test_of_two_links_with_one_run_that_the_peer_dialled_the_newer_stays(peer: str) -> None:
    """It has lost the older one."""
    node = a_node("m")
    hear(node, up(FORMER, peer, b"one", dialed=False))
    assert hear(node, up(LATER, peer, b"one", dialed=False)) == [Drop(FORMER, REPLACED)]
    assert node.linked() == {peer: LATER}


@pytest.mark.parametrize("peer", ["a", "z"])
def test_twins_are_linked_by_turns_and_none_keeps_the_other_out(peer: str) -> None:
    node, held = a_node("m"), list[LinkKey]()
    for turn in range(10):
        link = LinkKey(turn + 1)
        said = hear(node, up(link, peer, b"twin %d" % (turn % 2), dialed=turn % 3 == 0))
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
