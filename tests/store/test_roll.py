"""Who comes into sight stays in sight, though a row may be here before what leads to its owner."""

from __future__ import annotations

import threading

import pytest

from propagul.crdt import Replica, VersionVector
from propagul.link import NodeId
from propagul.store import _values
from propagul.store._namespace import Namespace
from propagul.store._origin import fresh_origin
from propagul.store._presence import Presence
from propagul.store._roll import ROW_BYTES_MAX, Roll
from tests.gossip.taking import taken

ME, NEAR, FAR = NodeId("aaaaaaaaaaaaaaaa"), NodeId("bbbbbbbbbbbbbbbb"), NodeId("cccccccccccccccc")
TTL_S = 10.0


class Member:
    """One member's rows: what it says itself, and what it has taken from others."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.space = Namespace("presence", Replica(fresh_origin()), threading.Lock(), None)
        limits = _values.Limits()
        self.presence = Presence(self.space, ttl_s=TTL_S, monotonic=lambda: 0.0, limits=limits)
        self.linked: list[NodeId] = []
        self.roll = Roll(self.presence, node, lambda _: False, lambda: self.linked)
        self.space.listen(lambda change, local: None if local else self.roll.hear(change.key, change.after.winner))

    def say(self, *linked: NodeId) -> None:
        self.linked[:] = linked
        self.roll.enrol({"label": self.node[0]})

    def look(self, *linked: NodeId) -> None:
        self.linked[:] = linked
        self.roll.look()

    def hear(self, other: Member) -> None:
        """Take everything that another one has."""
        stream = self.space.incoming()
        cut = other.space.cut(after=0, known=VersionVector(), told=0)
        for block in taken(cut.blocks()):
            stream.add(block)
        stream.apply(cut.entries, cut.join)

    def sees(self) -> set[str]:
        return {member.label for member in self.roll.heard_within(TTL_S)}


def test_a_row_that_is_here_before_the_links_that_lead_to_its_owner_shows_nobody_yet() -> None:
    """It was shown until somebody looked, and then lost until the next row came."""
    me, near, far = Member(ME), Member(NEAR), Member(FAR)
    far.say()
    near.hear(far)
    near.say(ME, FAR)
    me.hear(near)
    me.look(NEAR)
    assert me.sees() == {"b"}
    far.say(NEAR)
    me.hear(far)
    me.look(NEAR)
    assert me.sees() == {"b", "c"}


def test_a_row_that_is_larger_than_any_member_s_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    me, near = Member(ME), Member(NEAR)
    near.roll.enrol({"label": "b", "rest": [0] * ROW_BYTES_MAX})
    me.linked.append(NEAR)
    monkeypatch.setattr(_values, "thaw", lambda *_: pytest.fail("it was decoded"))
    me.hear(near)
    assert me.sees() == set()


def test_before_anybody_looked_a_row_shows_nobody() -> None:
    me, far = Member(ME), Member(FAR)
    far.say()
    me.hear(far)
    assert me.sees() == set()


def test_a_row_of_who_is_linked_with_us_shows_it_at_once() -> None:
    me, near = Member(ME), Member(NEAR)
    near.say(ME)
    me.linked.append(NEAR)
    me.hear(near)
    assert me.sees() == {"b"}


def test_who_is_reached_and_says_something_under_another_origin_is_seen_all_the_while() -> None:
    me, before, after = Member(ME), Member(FAR), Member(FAR)
    before.say(ME)
    me.hear(before)
    me.look(FAR)
    after.hear(before)
    after.say(ME, NEAR)
    me.hear(after)
    assert me.sees() == {"c"}
