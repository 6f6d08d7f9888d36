"""The line of those who are sent long streams, and what is kept of streams that broke off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.gossip import LinkKey
from propagul.gossip.stage import HELD_S, Held, HeldStreams
from propagul.gossip.turns import AT_ONCE, TURN_S, Turn, Turns
from propagul.link.base import NodeId

if TYPE_CHECKING:
    from propagul.crdt import Entry, Join

A, B = NodeId("a"), NodeId("b")


def line(turns: Turns, length: int) -> list[Turn]:
    waiting = [Turn(turns, LinkKey(number)) for number in range(length)]
    for turn in waiting:
        turn.take()
    return waiting


def test_the_fifth_waits_and_is_called_once_when_one_is_through() -> None:
    turns = Turns()
    *first, fifth, sixth = line(turns, AT_ONCE + 2)
    assert [turn.is_waiting for turn in (*first, fifth, sixth)] == [False] * AT_ONCE + [True, True]
    assert turns.called() == []
    first[2].leave()
    assert turns.called() == [fifth.link]
    assert turns.called() == []
    assert fifth.take()
    assert not sixth.take()
    sixth.leave()
    first[0].leave()
    assert turns.called() == []


def test_a_turn_ends_for_the_line_after_a_while_if_others_wait() -> None:
    turns = Turns()
    *first, fifth = line(turns, AT_ONCE + 1)
    assert turns.next_lapse() == TURN_S
    turns.now = TURN_S - 1.0
    turns.lapse()
    assert turns.called() == []
    turns.now = TURN_S
    turns.lapse()
    assert turns.called() == [fifth.link]
    assert [turn.began for turn in first] == [None] * AT_ONCE
    assert not any(turn.is_waiting for turn in first)
    assert turns.next_lapse() == float("inf")


def test_nobody_is_hurried_while_nobody_waits() -> None:
    turns = Turns()
    first = line(turns, AT_ONCE)
    turns.now = 100 * TURN_S
    turns.lapse()
    assert [turn.began for turn in first] == [0.0] * AT_ONCE


class Rows:
    """Rows of a stream that broke off."""

    def __init__(self) -> None:
        self.is_here = True

    def add(self, block: bytes) -> None:
        raise NotImplementedError

    def apply(self, entries: list[Entry], join: Join | None) -> bool:
        raise NotImplementedError

    def go_on(self) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        self.is_here = False


def test_what_broke_off_waits_for_its_sender_for_a_while() -> None:
    streams, rows = HeldStreams(), Rows()
    streams.keep("", A, Held(b"1", rows), 5.0)
    assert streams.next_expiry() == 5.0 + HELD_S
    assert streams.take("", B) is None
    assert streams.take("room", A) is None
    streams.expire(4.0 + HELD_S)
    held = streams.take("", A)
    assert held is not None
    assert held.position == b"1"
    assert streams.take("", A) is None
    streams.keep("", A, held, 10.0)
    streams.expire(10.0 + HELD_S)
    assert not rows.is_here
    assert streams.take("", A) is None
    assert streams.next_expiry() == float("inf")


def test_one_stream_is_kept_in_a_namespace() -> None:
    streams, first, second, other = HeldStreams(), Rows(), Rows(), Rows()
    streams.keep("", A, Held(b"1", first), 0.0)
    streams.keep("room", A, Held(b"2", other), 0.0)
    streams.keep("", B, Held(b"3", second), 1.0)
    assert [rows.is_here for rows in (first, second, other)] == [False, True, True]
    assert streams.take("", A) is None
    assert streams.take("", B) is not None
