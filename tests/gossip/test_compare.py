"""Members that hold different rows under equal vectors find out and mend it; nobody else pays for that."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import Dot, Origin, Stamp
from propagul.gossip import (
    Drop,
    GossipConfig,
    GossipNode,
    InThread,
    LinkKey,
    LinkUp,
    Ready,
    Received,
    Settled,
    Tick,
    Wrote,
    messages,
)
from propagul.gossip.compare import HEARD_AT_ONCE, SOON_S, Comparison
from propagul.gossip.decoding import decode
from propagul.gossip.messages import SUM_BYTES, SUMS, Compare, Delta, Digest, Hello, Mend, Message, Pulse, Push
from propagul.link import FRAME_BYTES_MAX
from propagul.link.base import NodeId
from tests.crdt.histories import examples
from tests.gossip.audit import INTERVAL_S, Audit, simulate
from tests.gossip.proven import Name, Proven, bucket_of, packed, signed
from tests.gossip.simulator import MemoryLog
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK = 12
FIRST = (0, 394)
"""The simulator's schedules are not all of a kind: from 400 on some have more, which these must do without."""

LINK, NUMBER = LinkKey(1), 0
FIRST_S = INTERVAL_S / 10 * 1.2 + 0.1
"""When the first comparison has surely begun."""


@pytest.mark.parametrize("first", FIRST)
def test_whatever_a_member_lies_about_the_honest_ones_end_with_the_same_rows(first: int) -> None:
    for seed in range(first, first + BLOCK):
        simulate(seed)


# In a network that works.


def lan(nodes: int, links: Sequence[tuple[int, int]] = ()) -> Audit:
    room = Audit(1, nodes=nodes, lan=True)
    for a, b in links:
        room.connect(a, b)
    return room


def of(number: int, key: str) -> Name:
    return Name(key, Dot(Stamp(number), Origin(7)))


def plant(room: Audit, rows: dict[int, dict[Name, str]]) -> None:
    """Have members hold rows of an author that is gone, and all of them believe that they have all."""
    newest = max(name.dot.stamp for held in rows.values() for name in held)
    for number in room.nodes:
        held = [(name, signed(name, value)) for name, value in rows.get(number, {}).items()]
        room.proven(number)._log(held, [(Origin(7), newest)])


def test_each_gets_what_only_the_other_has_and_of_two_payloads_the_larger() -> None:
    pair = lan(2, [(0, 1)])
    plant(pair, {0: {of(1, "a"): "here", of(2, "both"): "x"}, 1: {of(3, "b"): "there", of(2, "both"): "y"}})
    pair.run(FIRST_S)
    expected = {of(1, "a"): "here", of(3, "b"): "there", of(2, "both"): "y"}
    assert pair.proven(0).rows == pair.proven(1).rows == {name: signed(name, v) for name, v in expected.items()}


def test_vectors_have_nothing_to_do_with_it() -> None:
    pair = lan(2, [(0, 1)])
    plant(pair, {0: {of(1, "a"): "here"}})
    before = pair.proven(1).hello()[0]
    pair.run(FIRST_S)
    assert pair.proven(1).rows.keys() == {of(1, "a")}
    assert pair.proven(1).hello()[0] == before


def test_an_idle_link_carries_31_bytes_an_interval_for_it() -> None:
    pair, sent = lan(2, [(0, 1)]), list[tuple[float, bytes]]()
    plant(pair, {number: {of(1, "a"): "same"} for number in (0, 1)})
    pair.tap = lambda _sender, _receiver, frame: sent.append((pair.now, frame))
    pair.run(100 * INTERVAL_S)
    compared = [(at, frame) for at, frame in sent if isinstance(decode(frame), Compare)]
    assert {len(frame) for _, frame in compared} == {31}
    assert 0.8 * INTERVAL_S / 10 <= compared[0][0] <= FIRST_S
    assert 100 / 1.2 - 1 <= len(compared) <= 100 / 0.8 + 2, "whoever hears one puts its own off"
    assert sum(len(frame) for _, frame in sent) / pair.now / 2 <= 12
    assert pair.proven(0).counted == pair.proven(1).counted == 1, "what has not changed is not counted again"


def test_only_the_buckets_that_differ_are_sent_and_each_side_shows_its_sums_once() -> None:
    pair, said = lan(2, [(0, 1)]), list[Message | None]()
    same = {of(number, f"k{number}"): "same" for number in range(1, 60)}
    plant(pair, {0: {**same, of(99, "new"): "only here"}, 1: same})
    pair.tap = lambda _sender, _receiver, frame: said.append(decode(frame))
    pair.run(INTERVAL_S)
    sums = sorted(len(message.sums) for message in said if isinstance(message, Compare))
    assert sums[-2:] == [SUMS * SUM_BYTES] * 2
    assert len(sums) <= 4
    together = sum(bucket_of(name.key) == bucket_of("new") for name in same)
    assert 0 < together < len(same) / 2
    chunks = b"".join(message.chunk for message in said if isinstance(message, Mend))
    assert chunks.count(b"new") == 1
    assert together <= chunks.count(b"same") <= 2 * together, "once each way; once if it was mended before it answered"


def test_a_row_longer_than_any_frame_gets_across() -> None:
    pair, frames = lan(2, [(0, 1)]), list[int]()
    plant(pair, {1: {of(1, "a"): "v" * 3 * FRAME_BYTES_MAX, of(2, "b"): "short"}})
    pair.tap = lambda _sender, _receiver, frame: frames.append(len(frame))
    pair.run(FIRST_S)
    assert pair.is_equal()
    assert max(frames) <= FRAME_BYTES_MAX


def test_what_was_mended_on_one_link_is_compared_on_the_others_a_second_later() -> None:
    chain = lan(6, [(number, number + 1) for number in range(5)])
    chain.run(2 * INTERVAL_S)
    plant(chain, {0: {of(1, "a"): "only here"}})
    while not chain.proven(1).rows:
        chain.run(chain.now + 0.01)
    began = chain.now
    while not chain.is_equal():
        chain.run(chain.now + 0.01)
    assert chain.now - began <= 4 * 1.2 + 0.1


def test_a_room_that_is_whole_is_silent_again_after_mending() -> None:
    mesh, said = lan(5, [(a, b) for a in range(5) for b in range(a)]), list[Message | None]()
    plant(mesh, {number: {of(number + 1, f"k{number}"): "only here"} for number in range(5)})
    mesh.run(INTERVAL_S)
    assert mesh.is_equal()
    mesh.tap = lambda _sender, _receiver, frame: said.append(decode(frame))
    mesh.run(mesh.now + 10 * INTERVAL_S)
    sums = [len(message.sums) for message in said if isinstance(message, Compare)]
    assert set(sums) == {SUM_BYTES}
    assert len(sums) <= 10 * (10 / 0.8 + 1), "ten links, once an interval each"
    assert not any(isinstance(message, Mend) for message in said)


def test_rows_travel_as_ever_while_members_write_and_compare() -> None:
    trio = lan(3, [(0, 1), (1, 2)])
    plant(trio, {0: {of(1, "a"): "here"}, 2: {of(2, "b"): "there"}})
    for number in range(100):
        trio.write(number % 3, "", f"k{number % 7}", b"v%d" % number)
        trio.run(trio.now + 0.3)
    trio.run(trio.now + INTERVAL_S)
    assert trio.is_equal()
    assert len(trio.proven(0).rows) == 102


# What a link makes of it.


class Ends:
    """A node, and a peer of which only its frames exist."""

    def __init__(self) -> None:
        self.source = Proven(Origin(1), MemoryLog())
        self.source.write("k", "value")
        config = replace(GossipConfig(), compare_interval_s=INTERVAL_S, silence_s_max=1e6, pulse_interval_s=1e6)
        self.node = GossipNode(NodeId("n1"), "n1", {"": self.source}, config, random.Random(1))
        self.now = 0.0
        self.refused = ""
        self.node.handle(LinkUp(LINK, NodeId("n2"), dialed=True), 0.0)
        self.sends()
        vector = self.source.hello()[0]
        self.gets(Hello(version=1, label="n2", recovering=False, digests={"": vector}), Digest(space=0, same=True))
        self.sends()

    def gets(self, *told: Message) -> None:
        for message in told:
            for effect in self.node.handle(Received(LINK, messages.encode(message)), self.now):
                self.refused = effect.reason if isinstance(effect, Drop) else self.refused

    def sends(self) -> list[Message]:
        said = [decode(frame) for frame in taken(self.node.outgoing(LINK))]
        return [message for message in said if message is not None and not isinstance(message, Pulse)]

    def passes(self, seconds: float) -> list[Message]:
        self.now += seconds
        ready = Ready(LINK) in self.node.handle(Tick(), self.now)
        return self.sends() if ready else []

    def compares(self, sums: bytes, vector: bytes | None = None) -> list[Message]:
        """The peer says what its rows come to."""
        self.gets(Compare(space=0, vector=self.source.hello()[0] if vector is None else vector, sums=sums))
        return self.sends()


ANY, ALL = bytes(SUM_BYTES), bytes(SUMS * SUM_BYTES)


def shown(ends: Ends) -> Compare:
    sums = ends.source.sums()
    assert sums is not None
    return Compare(space=0, vector=ends.source.hello()[0], sums=sums)


def rows(ends: Ends) -> Mend:
    return Mend(space=0, last=True, chunk=b"\x00" + item(packed(ends.source.rows.items())))


def item(block: bytes) -> bytes:
    assert len(block) < 0x80
    return bytes([len(block)]) + block


def test_who_is_shown_another_total_shows_its_sums_and_who_is_shown_those_sends_rows() -> None:
    ends = Ends()
    assert ends.compares(ANY) == [shown(ends)]
    assert ends.compares(ALL) == [rows(ends)], "its sums it has shown already"
    assert ends.compares(ALL) == [shown(ends), rows(ends)]


def test_who_began_shows_its_sums_when_it_is_shown_others() -> None:
    ends = Ends()
    (total,) = ends.passes(FIRST_S)
    assert isinstance(total, Compare)
    assert len(total.sums) == SUM_BYTES
    assert ends.compares(total.sums) == []
    assert ends.compares(shown(ends).sums) == []
    assert ends.compares(ALL) == [shown(ends), rows(ends)]


def test_sums_that_the_peer_made_nothing_of_are_shown_again_the_next_time() -> None:
    ends = Ends()
    assert ends.compares(ANY) == [shown(ends)]
    assert len(ends.passes(1.2 * INTERVAL_S)) == 1
    assert ends.compares(ALL) == [shown(ends), rows(ends)]


def test_where_vectors_differ_nothing_is_said() -> None:
    ends = Ends()
    assert ends.compares(ANY, bytes(16)) == ends.compares(ALL, bytes(16)) == []
    assert ends.source.counted == 0
    assert len(ends.compares(ALL)) == 2


def test_rows_that_change_while_they_are_counted_are_compared_another_time() -> None:
    for changed in ("rows", "vector"):
        ends = Ends()
        ends.gets(Compare(space=0, vector=ends.source.hello()[0], sums=ANY))
        frames = ends.node.outgoing(LINK)
        count = next(frames)
        assert isinstance(count, InThread)
        assert ends.source.counted == 0, "it takes long: that is for a thread"
        count.run()
        if changed == "rows":
            ends.source.write("k", "meanwhile")
        else:
            ends.source.vector.advance(Origin(9), Stamp(9))
        assert list(taken(frames)) == []
        assert ends.compares(ANY) == [shown(ends)]


def test_nothing_is_counted_while_rows_of_a_stream_wait_to_be_joined() -> None:
    ends = Ends()
    with mock.patch.object(Proven, "is_busy", new=True):
        assert ends.compares(ANY) == []
        assert ends.source.counted == 0
    assert Ready(LINK) in ends.node.handle(Settled(""), ends.now)
    assert ends.sends() == [shown(ends)]


def test_news_does_not_wait_for_the_end_of_what_is_mended() -> None:
    ends = Ends()
    for number in range(3):
        ends.source.write(f"long{number}", "v" * 50_000)
    ends.node.handle(Wrote(""), ends.now)
    ends.sends()
    ends.gets(Digest(space=0, applied=True, entries=tuple(ends.source.vector)))
    assert ends.sends() == []
    ends.gets(Compare(space=0, vector=ends.source.hello()[0], sums=ALL))
    frames, said = taken(ends.node.outgoing(LINK)), list[Message | None]()
    said += [decode(next(frames)), decode(next(frames))]
    ends.source.write("news", "short")
    ends.node.handle(Wrote(""), ends.now)
    said += map(decode, frames)
    assert [type(message) for message in said] == [Compare, Mend, Push, Mend, Mend]


def test_a_link_with_something_on_its_way_is_compared_a_little_later() -> None:
    ends = Ends()
    ends.source.write("k2", "pushed")
    ends.node.handle(Wrote(""), ends.now)
    assert [type(message) for message in ends.sends()] == [Push]
    assert ends.passes(FIRST_S) == []
    ends.gets(Digest(space=0, applied=True))
    assert ends.sends() == []
    assert [type(message) for message in ends.passes(FIRST_S)] == [Compare]


def test_who_compares_all_the_time_is_answered_a_few_times_and_once_each_half_interval() -> None:
    ends, sent = Ends(), 0
    for _ in range(100):
        ends.source.write("k", "changes all the time")
        sent += bool(ends.compares(ALL))
    assert sent == HEARD_AT_ONCE
    assert ends.source.counted == HEARD_AT_ONCE
    for _ in range(20):
        ends.now += INTERVAL_S / 2
        sent += sum(bool(ends.compares(ALL)) for _ in range(10))
    assert sent == HEARD_AT_ONCE + 20
    assert not ends.refused


def test_of_comparisons_that_wait_the_newest_is_kept() -> None:
    ends = Ends()
    for sums in (ANY, ALL, ANY, ANY, ANY, ANY):
        ends.gets(Compare(space=0, vector=ends.source.hello()[0], sums=sums))
    assert ends.sends() == [shown(ends)]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([], "nobody asked"),
        ([Mend(space=0, last=True, chunk=b"\x00")], "nobody asked"),
        ([Mend(space=0, last=True, chunk=b"\x00\x05abc")], "in the middle of a block"),
        ([Mend(space=0, last=False, chunk=b"\x00\x03abc")], "no form"),
        ([Mend(space=0, last=False, chunk=b"\xff" * 5)], "longer than the protocol allows"),
        ([Mend(space=1, last=True, chunk=b"\x00")], "did not name"),
        ([Compare(space=1, vector=bytes(16), sums=ANY)], "did not name"),
    ],
    ids=str,
)
def test_what_nobody_asked_for_and_what_is_no_stream_of_rows_ends_the_link(told: Sequence[Message], why: str) -> None:
    ends = Ends()
    if told:
        ends.compares(ANY)
    before = dict(ends.source.rows)
    ends.gets(*told, Mend(space=0, last=True, chunk=b"\x00"))
    assert why in ends.refused
    assert ends.source.rows == before


def test_rows_that_prove_nothing_are_passed_over_and_the_others_stay() -> None:
    ends = Ends()
    ends.compares(ANY)
    good, forged = of(1, "good"), of(2, "forged")
    chunk = b"".join(item(packed([row])) for row in ((forged, "by another"), (good, signed(good, "v"))))
    ends.gets(Mend(space=0, last=False, chunk=b"\x00"), Mend(space=0, last=True, chunk=chunk))
    assert not ends.refused
    assert good in ends.source.rows
    assert forged not in ends.source.rows


def test_a_full_disk_ends_the_link_and_no_row_is_shown_that_was_not_logged() -> None:
    ends = Ends()
    ends.compares(ANY)
    ends.source.log.is_full = True
    ends.gets(Mend(space=0, last=True, chunk=b"\x00" + item(packed([(of(1, "a"), signed(of(1, "a"), "v"))]))))
    assert "no space left" in ends.refused
    assert of(1, "a") not in ends.source.rows


def test_where_rows_prove_nothing_no_comparison_is_made_and_none_is_answered() -> None:
    with mock.patch.object(Proven, "provable", new=None):
        ends = Ends()
        assert ends.compares(ANY) == ends.compares(ALL) == ends.passes(10 * INTERVAL_S) == []
        ends.gets(Mend(space=0, last=True, chunk=b"\x00"), Delta(space=0, last=True, chunk=b"\x00"))
    assert not ends.refused
    assert ends.source.counted == 0


def alone() -> Comparison:
    source = Proven(Origin(1), MemoryLog())
    return Comparison("", 0, source, source, interval_s=INTERVAL_S, jitter=random.Random(1), now=0.0)


def test_a_comparison_is_brought_forward_to_a_second_from_now_and_never_put_off_by_that() -> None:
    for _ in range(20):
        comparison = alone()
        comparison.due(INTERVAL_S, is_quiet=True)
        comparison.soon(INTERVAL_S)
        at = comparison.at
        assert 0.8 * SOON_S <= at - INTERVAL_S <= 1.2 * SOON_S
        comparison.soon(INTERVAL_S + 0.7)
        assert comparison.at == at


def test_the_end_of_a_stream_says_whether_any_of_it_was_new() -> None:
    comparison = alone()
    vector = Proven(Origin(1), MemoryLog()).hello()[0]
    chunk = b"\x00" + item(packed([(of(1, "a"), signed(of(1, "a"), "v"))]))
    for is_news in (True, False):
        comparison.peer_counted(Compare(space=0, vector=vector, sums=ANY), 0.0)
        list(taken(comparison.outgoing()))
        assert not comparison.peer_mended(Mend(space=0, last=False, chunk=chunk))
        assert comparison.peer_mended(Mend(space=0, last=True, chunk=b"")) is is_news


@examples(40)
@given(st.lists(st.floats(0, 3 * INTERVAL_S), max_size=30))
def test_a_comparison_is_due_again_within_an_interval_or_so_whatever_comes(pauses: list[float]) -> None:
    comparison, now = alone(), 0.0
    vector = Proven(Origin(1), MemoryLog()).hello()[0]
    for number, pause_s in enumerate(pauses):
        now += pause_s
        comparison.due(now, is_quiet=number % 3 > 0)
        comparison.soon(now) if number % 5 == 0 else None
        comparison.peer_counted(Compare(space=0, vector=vector, sums=ANY), now)
        assert now < comparison.at <= now + 1.2 * INTERVAL_S
