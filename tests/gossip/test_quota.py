"""A member brings as many origins as a room of any size needs, and not more; another link changes nothing."""

from __future__ import annotations

import random
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from propagul.crdt import REGISTER, Dot, Op, Origin, Packed, Replica, Stamp, VersionVector, codec
from propagul.gossip import Drop, GossipConfig, GossipNode, LinkDown, LinkKey, LinkUp, Received, messages
from propagul.gossip.quota import _ACCOUNTS_MAX, AN_HOUR, HOUR_S, Quotas
from propagul.link import NodeId
from propagul.store._journal import Journal
from propagul.store._namespace import Namespace
from tests.gossip.simulator import MemoryLog
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from propagul.gossip import Effect
    from propagul.gossip.messages import Message

ROOM_OF_TEN_THOUSAND = 30_000
"""Origins: each machine was started three times."""


def namespace(log: MemoryLog) -> Namespace:
    return Namespace("", Replica(Origin(1)), threading.Lock(), Journal(log), wall_ns=lambda: 10**18)


class Room:
    """A node, and peers that say what a test wants them to."""

    def __init__(self, quotas: Quotas | None = None) -> None:
        self.log = MemoryLog()
        self.source = namespace(self.log)
        self.node = GossipNode(NodeId("me"), "me", {"": self.source}, GossipConfig(), random.Random(1))
        self.now = 0.0
        if quotas is not None:
            self.node._spaces._quotas = quotas
        self._links = dict[str, LinkKey]()
        self._count = 0
        self._origins = 1000

    def link(self, peer: str) -> None:
        """A link to that peer, in place of one that there is."""
        self._count += 1
        if peer in self._links:
            self.node.handle(LinkDown(self._links[peer]), self.now)
        self._links[peer] = link = LinkKey(self._count)
        self.node.handle(LinkUp(link, NodeId(peer), dialed=True), self.now)
        digest = VersionVector().digest()
        self.say(peer, messages.Hello(version=1, label=peer, recovering=False, digests={"": digest}))

    def say(self, peer: str, *said: Message) -> str:
        """Why the peer was dropped for what it said; empty if it was not."""
        effects: list[Effect] = []
        for message in said:
            effects += self.node.handle(Received(self._links[peer], messages.encode(message)), self.now)
            list(taken(self.node.outgoing(self._links[peer])))
        return "".join(effect.reason for effect in effects if isinstance(effect, Drop))

    def fresh(self, count: int) -> range:
        """Origins that nobody has named."""
        self._origins += count
        return range(self._origins - count, self._origins)

    def bring(self, peer: str, origins: Iterable[int] | int) -> str:
        """The peer tells of origins and sends what backs them."""
        told = self.fresh(origins) if isinstance(origins, int) else origins
        return self.say(peer, *told_of(list(told)), LAST)


LAST = messages.Delta(space=0, last=True, chunk=b"\x00")


def told_of(origins: Sequence[int]) -> list[messages.Digest]:
    most = messages.ENTRIES_PER_DIGEST
    return [
        messages.Digest(
            space=0,
            more=start + most < len(origins),
            rows_follow=True,
            entries=tuple((Origin(origin), Stamp(10**9)) for origin in origins[start : start + most]),
        )
        for start in range(0, max(len(origins), 1), most)
    ]


def test_what_a_newcomer_is_told_first_is_taken_whatever_its_size() -> None:
    room = Room()
    room.link("a")
    assert room.bring("a", ROOM_OF_TEN_THOUSAND) == ""
    assert room.source.origins() == ROOM_OF_TEN_THOUSAND


def test_a_first_telling_that_its_link_breaks_off_may_come_again() -> None:
    room = Room()
    origins = room.fresh(ROOM_OF_TEN_THOUSAND)
    for _ in range(3):
        room.link("a")
        assert room.say("a", *told_of(origins)) == ""
    assert room.say("a", LAST) == ""
    assert room.source.origins() == ROOM_OF_TEN_THOUSAND


def test_what_a_full_disk_kept_out_is_not_counted() -> None:
    room = Room()
    origins = room.fresh(ROOM_OF_TEN_THOUSAND)
    room.link("a")
    room.log.is_full = True
    assert "no space" in room.bring("a", origins)
    room.log.is_full = False
    room.link("a")
    assert room.bring("a", origins) == ""


def test_ten_thousand_origins_cost_some_sixteen_bytes_each_once_they_are_cold() -> None:
    room = Room()
    room.link("a")
    origins = [random.Random(number).getrandbits(63) + 1 for number in range(10_000)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    assert room.bring("a", origins) == ""
    room.node.handle(LinkDown(LinkKey(1)), room.now)
    for _ in range(3):
        room.source.tidy(lambda _: True)
    room.log.events.clear()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert room.source.origins() >= 10_000
    assert grown / 10_000 < 40


def test_after_that_a_member_brings_so_many_an_hour_and_as_many_as_are_known_without_it() -> None:
    room = Room()
    room.link("a")
    room.bring("a", 5000)
    assert room.bring("a", AN_HOUR) == ""
    assert room.bring("a", 5000) == ""
    refused = room.bring("a", 1)
    assert f"it brought {AN_HOUR + 5001} origins within an hour that nobody here knew" in refused
    assert f"a member may bring {AN_HOUR + 5000}" in refused
    assert room.source.origins() == AN_HOUR + 10_000


def test_whoever_links_again_goes_on_where_it_was_until_the_hour_is_over() -> None:
    room = Room()
    room.link("a")
    room.bring("a", 5000)
    too_many = room.fresh(AN_HOUR + 5001)
    for minute in range(0, 60, 7):
        room.now = 60.0 * minute
        room.link("a")
        assert "within an hour" in room.bring("a", too_many)
    assert room.source.origins() == 5000
    room.link("a")
    assert room.bring("a", too_many[:-1]) == ""
    room.now += HOUR_S
    assert room.bring("a", too_many) == ""


def test_one_that_brings_too_many_costs_no_other_its_link() -> None:
    room = Room()
    for peer in "ab":
        room.link(peer)
        room.bring(peer, 2000)
    assert "within an hour" in room.bring("a", 10_000)
    assert room.bring("b", 500) == ""


def test_the_other_half_of_a_room_that_was_parted_is_taken() -> None:
    room = Room()
    for peer in "ab":
        room.link(peer)
        assert room.bring(peer, 5000) == ""
    room.now += 10 * HOUR_S
    room.link("b")
    assert room.bring("b", 10_000) == "", "as many as all that this half knew"
    assert room.source.origins() == 20_000


def test_a_room_that_many_join_at_once_is_heard_of_from_all_neighbours() -> None:
    """A thousand within a minute: each of six neighbours brings its share, one by one."""
    room = Room(Quotas(an_hour=10))
    for peer in "abcdef":
        room.link(peer)
        room.bring(peer, 20)
    for _ in range(150):
        for peer in "abcdef":
            assert room.bring(peer, 1) == ""


def push(author: Replica, number: int) -> messages.Push:
    author.apply(author.prepare([Op(f"k{number}", REGISTER, Packed(b"\x01"))], Stamp(10**9 + number)))
    cut = author.cut(after=0, known=VersionVector(), told=0)
    (packed,) = codec.encode_blocks(cut.read(10))
    return messages.Push.of(0, packed, Dot(Stamp(10**9 + number), author.origin), None, applied=False)


def test_pushes_count_and_never_are_the_one_delta_of_any_size() -> None:
    room = Room(Quotas(an_hour=3))
    room.link("a")
    said = [room.say("a", push(Replica(Origin(50 + number)), number)) for number in range(3)]
    assert said == ["", "", ""]
    assert "a member may bring 3" in room.say("a", push(Replica(Origin(90)), 9))
    room.link("a")
    assert room.bring("a", 20) == "", "that one is still to come"


def test_no_telling_is_longer_than_the_longest() -> None:
    room = Room(Quotas(an_hour=3, at_most=5000))
    room.link("a")
    assert "a member may bring 3" in room.say("a", *told_of(room.fresh(5001)))
    room.link("a")
    assert room.bring("a", 5000) == ""


def test_processes_of_our_own_directory_are_not_counted() -> None:
    room = Room(Quotas(an_hour=3))
    room.link("me/0123456789abcdef")
    for _ in range(5):
        assert room.bring("me/0123456789abcdef", 100) == ""


def test_the_accounts_are_bounded() -> None:
    source, quotas = namespace(MemoryLog()), Quotas()
    for number in range(_ACCOUNTS_MAX + 10):
        quotas.of(NodeId(f"n{number}"), "", source)
    assert len(quotas._accounts) == _ACCOUNTS_MAX


@pytest.mark.parametrize("space", ["", "members"])
def test_each_namespace_has_an_account_of_its_own(space: str) -> None:
    source, quotas = namespace(MemoryLog()), Quotas()
    assert quotas.of(NodeId("a"), space, source)._account is quotas.of(NodeId("a"), space, source)._account
    assert quotas.of(NodeId("a"), space, source)._account is not quotas.of(NodeId("a"), "other", source)._account
