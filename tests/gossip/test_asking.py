"""Of whom a node asks what it lacks where rows may wait, and that nothing it was told of is forgotten."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from propagul.crdt import Dot, Entry, Origin, Replica, Stamp, VersionVector
from propagul.gossip import (
    Direction,
    GossipConfig,
    GossipNode,
    LinkDown,
    LinkKey,
    LinkUp,
    Received,
    Settled,
    Tick,
    Wrote,
    decoding,
    messages,
)
from propagul.gossip.asking import Asking
from propagul.gossip.exchange import NEVER, Exchange
from propagul.gossip.lanes import Lane
from propagul.gossip.messages import Delta, Digest, Pulse, Push
from propagul.link.base import NodeId
from propagul.store._namespace import Namespace
from tests.gossip.simulator import Simulation
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Iterable

CONFIG = GossipConfig()
DELAY_S, PATIENCE_S = 0.5, 4.0
NEWS = (Origin(7), Stamp(10**9))
A, B, C, D = map(LinkKey, (1, 2, 3, 4))


# Who is asked, and who is next.


class Neighbour(Exchange):
    """What somebody has that we lack, and how often we asked for it."""

    def __init__(self) -> None:
        self.is_lacked, self.asked = True, 0

    @property
    def lags(self) -> bool:
        return self.is_lacked

    def ask(self) -> None:
        self.asked += 1


class Round:
    """Three neighbours, each of which may have told of something."""

    def __init__(self) -> None:
        self.asking = Asking(DELAY_S, PATIENCE_S)
        self.neighbours = {link: Neighbour() for link in (A, B, C)}

    def told(self, *links: LinkKey, now: float = 0.0) -> None:
        for link in links:
            self.asking.told(link, self.neighbours[link], now)

    def due(self, now: float) -> LinkKey | None:
        """Who is asked now; that it is one and the one who owes the question is checked."""
        before = {link: neighbour.asked for link, neighbour in self.neighbours.items()}
        owes = self.asking.due(now)
        asked = [link for link, neighbour in self.neighbours.items() if neighbour.asked > before[link]]
        assert asked == ([] if owes is None else [owes])
        return owes


def test_one_is_asked_at_a_time_in_the_order_in_which_they_told() -> None:
    around = Round()
    around.told(B, C, A)
    asked = []
    for now in (1.0, 1.1, 1.2):
        asked.append(around.due(now))
        assert around.due(now + 0.05) is None, "one is asked, the others wait"
        assert asked[-1] is not None
        around.asking.answered(asked[-1], now + 0.09)
    assert asked == [B, C, A]
    assert around.asking.at == NEVER


def test_nobody_is_asked_before_what_it_pushed_can_have_come() -> None:
    around = Round()
    assert around.asking.at == NEVER
    around.told(A, now=7.0)
    around.told(B, now=7.3)
    assert around.asking.at == 7.0 + DELAY_S
    assert around.due(7.0 + DELAY_S - 0.001) is None
    assert around.due(around.asking.at) == A


def test_after_an_answer_the_next_one_is_asked_at_once_unless_nothing_is_lacking_any_more() -> None:
    around = Round()
    around.told(A, B, C)
    assert around.due(1.0) == A
    around.neighbours[B].is_lacked = False
    around.asking.answered(A, 1.2)
    assert around.asking.at == 1.2
    assert around.due(1.2) == C
    around.asking.answered(C, 1.4)
    assert around.asking.at == NEVER


def test_where_nobody_has_anything_that_is_lacking_nobody_is_asked() -> None:
    around = Round()
    around.told(A, B)
    for link in (A, B):
        around.neighbours[link].is_lacked = False
    assert around.due(1.0) is None
    assert around.asking.at == NEVER
    around.neighbours[C].is_lacked = True
    around.told(C, now=2.0)
    assert around.due(2.0 + DELAY_S) == C


def test_who_does_not_answer_is_waited_for_so_long_and_no_longer() -> None:
    around = Round()
    around.told(A, B)
    assert around.due(1.0) == A
    assert around.asking.at == 1.0 + PATIENCE_S
    assert around.due(1.0 + PATIENCE_S - 0.001) is None
    assert around.due(1.0 + PATIENCE_S) == B
    around.asking.answered(A, 1.1 + PATIENCE_S)
    assert around.asking.at == 1.0 + 2 * PATIENCE_S, "a late answer is not that of the one who is asked"
    assert around.due(1.0 + 2 * PATIENCE_S) is None
    assert around.asking.at == NEVER


def test_who_tells_while_another_is_asked_waits_for_the_answer_and_may_be_who_is_asked() -> None:
    around = Round()
    around.told(A)
    assert around.due(1.0) == A
    around.told(B, A, now=1.1)
    assert around.asking.at == 1.0 + PATIENCE_S
    around.asking.answered(A, 1.5)
    assert around.due(1.5) == B
    around.asking.answered(B, 1.6)
    assert around.due(1.6) == A


def test_the_turn_of_a_link_that_is_gone_is_the_next_ones() -> None:
    around = Round()
    around.told(A, B, C)
    assert around.due(1.0) == A
    around.asking.forget(B, 1.1)
    assert around.asking.at == 1.0 + PATIENCE_S, "it was not asked"
    around.asking.forget(A, 1.2)
    assert around.asking.at == 1.2
    assert around.due(1.2) == C
    around.asking.forget(C, 1.3)
    assert around.asking.at == NEVER


def test_nothing_is_due_when_the_last_who_told_is_gone_before_it_was_asked() -> None:
    around = Round()
    around.told(A)
    around.asking.forget(A, 0.1)
    assert around.asking.at == NEVER
    assert around.due(9.0) is None


# What is said on a link.


def namespace(origin: int) -> Namespace:
    return Namespace("", Replica(Origin(origin)), threading.Lock(), None, wall_ns=lambda: 10**18)


class Lonely:
    """A node with one patient namespace, perhaps another one, and peers of which only their frames exist."""

    def __init__(self, *others: str, is_sparse: bool = True) -> None:
        self.now, self.space = 1.0, namespace(1)
        self.spaces = {"": self.space, **{name: namespace(1) for name in others}}
        self.node = GossipNode(NodeId("r"), "r", self.spaces, CONFIG, random.Random(1), patient=("",))
        self.node.be_sparse(is_sparse, self.now)

    def link(self, link: LinkKey, told: tuple[Entry, ...] = ()) -> None:
        """A peer greets and tells that it has this."""
        digests = dict.fromkeys(self.spaces, VersionVector().digest())
        hello = messages.Hello(version=1, label="s", recovering=False, digests=digests)
        self.node.handle(LinkUp(link, NodeId(f"n{link}"), dialed=True), self.now)
        self.hears(link, hello, Digest(space=0, patient=True, entries=told))

    def hears(self, link: LinkKey, *said: messages.Message) -> None:
        for message in said:
            self.node.handle(Received(link, messages.encode(message)), self.now)

    def says(self, link: LinkKey) -> list[messages.Message | None]:
        """What it has to say to that peer, but for pulses."""
        said = map(decoding.decode, taken(self.node.outgoing(link)))
        return [message for message in said if not isinstance(message, Pulse)]

    def asks(self, link: LinkKey) -> int:
        """How many questions it has for that peer by now."""
        return sum(is_question(message) for message in self.says(link))

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.node.next_tick()) is not None and due <= until:
            self.now = max(self.now, due)
            self.node.handle(Tick(), self.now)
        self.now = until

    def write(self, key: str, value: bytes) -> None:
        self.space.put(key, value)
        self.node.handle(Wrote(""), self.now)


def is_question(message: messages.Message | None) -> bool:
    """Whether who reads this sends what its author lacks."""
    return isinstance(message, Digest) and not (message.patient or message.only_these or message.more)


def test_the_first_telling_asks_and_none_after_it() -> None:
    lonely = Lonely()
    lonely.link(A)
    assert lonely.asks(A) == 1
    lonely.link(B)
    lonely.says(B)
    foreign = namespace(2)
    for number in range(5):
        foreign.put("k", b"%d" % number)
        lonely.hears(B, a_push(foreign, None if number == 0 else Dot(Stamp(0), Origin(2))))
        assert not any(map(is_question, lonely.says(B)))
        lonely.hears(A, Digest(space=0, patient=True))
        lonely.wait(10.0)
        told = [message for message in lonely.says(A) if isinstance(message, Digest)]
        assert len(told) == 1
        assert told[0].patient
        assert told[0].entries


def a_push(source: Namespace, before: Dot | None) -> Push:
    """The newest row of a namespace as its author pushes it."""
    cut = source.cut_own(after=source.arrival - 1, known=VersionVector())
    assert cut is not None
    ((origin, stamp),) = cut.entries
    return Push.of(0, next(taken(cut.blocks())), Dot(stamp, origin), before, applied=False)


def test_who_was_told_of_something_asks_for_it_after_a_while_where_links_are_few() -> None:
    lonely = Lonely()
    lonely.link(A)
    lonely.says(A)
    lonely.hears(A, Digest(space=0, patient=True, entries=(NEWS,)))
    assert lonely.says(A) == []
    lonely.wait(CONFIG.ask_delay_s * 1.01)
    assert lonely.says(A) == [Digest(space=0)]
    lonely.wait(60.0)
    assert lonely.asks(A) == 0, "a link delivers what is said on it: it is asked once"


def test_who_was_told_of_something_asks_for_it_at_once_where_everybody_is_linked() -> None:
    lonely = Lonely(is_sparse=False)
    lonely.link(A)
    lonely.says(A)
    lonely.hears(A, Digest(space=0, patient=True, entries=(NEWS,)))
    assert lonely.says(A) == [Digest(space=0)]


def test_a_patient_telling_is_not_answered_and_its_rows_are_sent_when_asked_for() -> None:
    lonely = Lonely()
    lonely.link(A)
    lonely.says(A)
    lonely.write("k", b"news")
    assert [type(message) for message in lonely.says(A)] == [Push]
    lonely.hears(A, Digest(space=0, applied=True, patient=True))
    foreign = namespace(2)
    foreign.put("l", b"of another")
    lonely.link(B)
    lonely.says(B)
    lonely.hears(B, a_push(foreign, None))
    for said, kinds in ((Digest(space=0, patient=True), []), (Digest(space=0), [Push])):
        lonely.hears(A, said)
        assert [type(message) for message in lonely.says(A)] == kinds


@pytest.mark.parametrize("size", [10, 300_000], ids=["in one message", "in many"])
def test_a_question_is_not_lost_when_a_push_goes_before_it(size: int) -> None:
    """A push asks for nothing, however it is sent; what was to be asked is asked behind it."""
    lonely = Lonely()
    lonely.link(A)
    lonely.says(A)
    lonely.hears(A, Digest(space=0, patient=True, entries=(NEWS,)))
    lonely.write("k", bytes(size))
    lonely.wait(CONFIG.ask_delay_s * 1.01)
    said = lonely.says(A)
    assert isinstance(said[-2], Push if size == 10 else Delta)
    assert is_question(said[-1])


def test_what_a_peer_tells_of_while_its_rows_wait_to_be_joined_is_asked_for_then() -> None:
    """Also where the acknowledgement goes with a push of ours, which asks for nothing."""
    lonely, foreign, large = Lonely(), namespace(2), namespace(3)
    lonely.link(A)
    lonely.says(A)
    for number in range(10):
        large.put(f"k{number}", b"x")
    stream, rows = large.cut(after=0, known=VersionVector(), told=0), lonely.space.incoming()
    with mock.patch("propagul.store._streams.EAGER_ROWS_MAX", 0):
        for block in taken(stream.blocks()):
            rows.add(block)
        rows.apply(stream.entries, None)
    assert lonely.node.busy() == [""]
    foreign.put("theirs", b"pushed")
    lonely.hears(A, a_push(foreign, None), Digest(space=0, patient=True, entries=(NEWS,)))
    lonely.write("ours", b"pushed")
    lonely.wait(5.0)
    assert lonely.says(A) == [], "nothing is said while rows wait"
    while lonely.node.settle(""):
        pass
    lonely.node.handle(Settled(""), lonely.now)
    said = lonely.says(A)
    assert [type(message) for message in said] == [Push, Digest]
    assert is_question(said[-1])


def test_nothing_is_asked_twice_because_others_rows_were_joined() -> None:
    lonely = Lonely()
    for link in (A, B):
        lonely.link(link)
        lonely.says(link)
    lonely.hears(A, Digest(space=0, patient=True, entries=(NEWS,)))
    lonely.hears(B, Digest(space=0, patient=True, entries=(NEWS,)))
    lonely.node.handle(Settled(""), lonely.now)
    lonely.wait(CONFIG.ask_delay_s * 1.01)
    assert [lonely.asks(A), lonely.asks(B)] == [1, 0]


def test_a_link_that_goes_frees_the_turn_and_one_that_comes_tells_of_what_is_still_lacking() -> None:
    lonely = Lonely()
    for link in (A, B):
        lonely.link(link)
        lonely.says(link)
        lonely.hears(link, Digest(space=0, patient=True, entries=(NEWS,)))
    lonely.wait(CONFIG.ask_delay_s * 1.01)
    assert [lonely.asks(A), lonely.asks(B)] == [1, 0]
    lonely.link(C, (NEWS,))
    lonely.says(C)
    lonely.node.handle(LinkDown(A), lonely.now)
    lonely.wait(0.001)
    assert [lonely.asks(B), lonely.asks(C)] == [1, 0]
    lonely.node.handle(LinkDown(B), lonely.now)
    lonely.wait(0.001)
    assert lonely.asks(C) == 1
    lonely.node.handle(LinkDown(C), lonely.now)
    assert lonely.node.next_tick() is None


def test_who_was_to_be_asked_is_asked_though_links_are_enough_by_then() -> None:
    lonely = Lonely()
    for link in (A, B):
        lonely.link(link)
        lonely.says(link)
        lonely.hears(link, Digest(space=0, patient=True, entries=(NEWS,)))
    lonely.node.be_sparse(False, lonely.now)
    lonely.wait(CONFIG.ask_delay_s * 1.01)
    assert lonely.asks(A) == 1
    lonely.wait(CONFIG.answer_s_max)
    assert lonely.asks(B) == 1


def test_lanes_are_chosen_by_news_that_does_not_wait() -> None:
    """Who is first to tell of what may wait is chance, and its link is no quicker for that."""
    lonely = Lonely("state")
    for link in (A, B, C, D):
        lonely.link(link)
        lonely.hears(link, Digest(space=1))
    for turn in range(1, 41):
        patient = turn > 20
        for link in (C, D, B, A) if patient else (A, B, C, D):
            news = (Origin(7 + patient), Stamp(turn))
            lonely.hears(link, Digest(space=0 if patient else 1, patient=patient, entries=(news,)))
            lonely.wait(0.02)
        lonely.wait(2.0)
    assert {link for link, peer in lonely.node._peers.items() if peer.lane is Lane.PUSH} == {A, B}


# Rooms, in virtual time.


def room(nodes: int, links: Iterable[tuple[int, int]], **how: Any) -> Simulation:
    """A sparse room of one patient namespace in which nothing is new to anybody."""
    simulation = Simulation(1, nodes=nodes, lan=True, spaces=("",), patient=("",), **how)
    for node in simulation.nodes.values():
        node.be_sparse(True, 0.0)
    for a, b in links:
        simulation.connect(a, b)
    simulation.run(20.0)
    return simulation


def until_known(simulation: Simulation, numbers: Iterable[int], known: set[int], patience_s: float) -> float:
    """Seconds until these nodes know that."""
    began, waiting = simulation.now, list(numbers)
    while not all(known <= simulation.sources[number][""].known for number in waiting):
        assert simulation.now - began < patience_s, f"not within {patience_s} s"
        simulation.run(simulation.now + 0.01)
    return simulation.now - began


HOP_S = CONFIG.presence_relay_delay_s * 1.2 + CONFIG.ask_delay_s + 0.02


def test_each_hop_tells_after_a_while_and_is_asked_then() -> None:
    chain = room(5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    chain.write(0, "", "k0", b"news")
    took_s = until_known(chain, range(5), {*chain.sources[0][""].known}, 3 * HOP_S)
    assert took_s > 3 * CONFIG.presence_relay_delay_s * 0.8


def test_what_comes_while_it_waits_is_told_of_and_sent_with_it() -> None:
    star, frames = room(5, [(0, 3), (1, 3), (2, 3), (3, 4)]), []
    star.tap = lambda sender, receiver, frame: frames.append((sender, receiver, decoding.decode(frame)))
    for number in range(3):
        star.write(number, "", f"k{number}", b"news")
        star.run(star.now + 0.05)
    until_known(star, range(5), set().union(*(star.sources[number][""].known for number in range(3))), HOP_S)
    to_last = [message for sender, receiver, message in frames if (sender, receiver) == (3, 4)]
    assert [type(message) for message in to_last] == [Digest, Digest, Delta]
    assert [isinstance(message, Digest) and message.patient for message in to_last] == [True, True, False]


@pytest.mark.parametrize("direction", [Direction.UP, Direction.DOWN])
def test_to_and_from_a_leaf_rows_go_their_way(direction: Direction) -> None:
    chain = room(4, [(0, 1), (1, 2), (1, 3), (2, 3)], directions={3: {"": direction}})
    chain.write(3, "", "k3", b"of the leaf")
    chain.write(0, "", "k0", b"of the room")
    of_room, of_leaf = ({*chain.sources[number][""].known} for number in (0, 3))
    up, down = direction is Direction.UP, direction is Direction.DOWN
    until_known(chain, range(3), of_room | (of_leaf if up else set()), 2 * HOP_S)
    until_known(chain, [3], of_leaf | (of_room if down else set()), 2 * HOP_S)
    chain.run(chain.now + 20.0)
    assert [number for number in range(4) if of_leaf <= chain.sources[number][""].known] == (
        [0, 1, 2, 3] if up else [3]
    )
    assert (of_room <= chain.sources[3][""].known) is down
    chain.kept = {(a, b) for a in range(3) for b in range(3) if a != b and {a, b} != {0, 2}} | {(3, 1), (1, 3)}
    chain.check_nobody_lags("")


def test_the_processes_of_a_directory_have_each_row_once_from_the_one_that_is_linked() -> None:
    """Between them nobody asks in turn, nor says that it is patient."""
    chain, rows, told = room(4, [(0, 1), (1, 2), (2, 3), (1, 3)], processes=(1, 2, 3)), 0, list[bool]()

    def note(sender: int, receiver: int, frame: bytes) -> None:
        nonlocal rows
        message = decoding.decode(frame)
        rows += b"a value like no other" in frame
        if isinstance(message, Digest) and 0 not in (sender, receiver):
            told.append(message.patient)

    chain.tap = note
    for number, author in enumerate((0, 2, 0, 3)):
        chain.write(author, "", "k0", b"a value like no other %d" % number)
        until_known(chain, range(4), {*chain.sources[author][""].known}, HOP_S)
        chain.run(chain.now + 5.0)
    assert rows == 4 * 3
    assert told
    assert not any(told)


def test_whoever_finds_links_enough_and_then_few_again_misses_nothing() -> None:
    ring, chance = room(6, [(a, (a + 1) % 6) for a in range(6)]), random.Random(1)
    for number in range(40):
        ring.write(chance.randrange(6), "", f"k{number % 9}", b"%d" % number)
        some = chance.randrange(6)
        ring.nodes[some].be_sparse(chance.random() < 0.5, ring.now)
        ring.arm(some)
        ring.run(ring.now + chance.choice([0.01, 0.3, 1.0]))
    known = set().union(*(ring.sources[number][""].known for number in range(6)))
    until_known(ring, range(6), known, 2 * (1.2 * CONFIG.presence_announce_delay_s + HOP_S))


def test_who_links_in_the_middle_of_others_asking_misses_nothing_either() -> None:
    trio = room(4, [(0, 1), (1, 2)])
    trio.latency = lambda: 0.1  # type: ignore[method-assign]
    trio.write(0, "", "k0", b"news")
    trio.run(trio.now + 0.1 + CONFIG.presence_relay_delay_s * 1.2 + 0.15)
    assert {*trio.sources[0][""].known} - trio.sources[2][""].known, "it asks"
    trio.connect(3, 2)
    trio.connect(1, 3)
    trio.write(1, "", "k1", b"more")
    until_known(trio, range(4), {*trio.sources[1][""].known}, HOP_S + 1.0)
