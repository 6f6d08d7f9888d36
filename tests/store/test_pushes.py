"""When what is written in bursts is pushed to the other processes of a directory, in virtual time, and in what form."""

from __future__ import annotations

import heapq
import itertools
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from propagul import GossipConfig
from propagul.crdt import Origin, codec
from propagul.store._pushes import Pushes
from tests.gossip.oracle import History
from tests.gossip.simulator import MemoryLog, SimSource
from tests.gossip.taking import taken

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

CONFIG = GossipConfig()


class VirtualLoop:
    """The part of an event loop that pushes need."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, int, Handle]] = []
        self.order = itertools.count()
        self.wakes = 0

    def time(self) -> float:
        return self.now

    def is_closed(self) -> bool:
        return False

    def call_at(self, when: float, call: Callable[..., None], *arguments: object) -> Handle:
        handle = Handle(lambda: call(*arguments))
        heapq.heappush(self.calls, (when, next(self.order), handle))
        return handle

    def call_soon_threadsafe(self, call: Callable[..., None], *arguments: object) -> Handle:
        self.wakes += 1
        return self.call_at(self.now, call, *arguments)

    def run(self, until: float) -> None:
        while self.calls and self.calls[0][0] <= until:
            self.now, _, handle = heapq.heappop(self.calls)
            handle.call()
        self.now = until


class Handle:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def cancel(self) -> None:
        self.call = lambda: None


class Pushed:
    """Pushes, and when which namespace was pushed."""

    def __init__(self, *, may_wait: bool = True) -> None:
        self.loop = VirtualLoop()
        self.at: list[tuple[float, str]] = []
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        self.pushes = Pushes(loop, lambda space: self.at.append((self.loop.now, space)), CONFIG, lambda: may_wait)

    def write_for(self, seconds: float, *, every_s: float) -> None:
        end = self.loop.now + seconds
        while self.loop.now < end:
            self.pushes.wrote("")
            self.loop.run(self.loop.now + every_s)


def test_the_first_write_is_pushed_at_once_and_so_is_the_next_after_a_rest() -> None:
    pushed = Pushed()
    for number in range(10):
        pushed.pushes.wrote("")
        pushed.loop.run(pushed.loop.now + 3 * CONFIG.process_push_interval_s)
        assert len(pushed.at) == number + 1
    assert all(later - earlier < 0.016 for (earlier, _), (later, _) in pairwise(pushed.at))


def test_a_burst_is_pushed_now_and_then_and_the_more_rarely_the_longer_it_lasts() -> None:
    pushed = Pushed()
    pushed.write_for(1.0, every_s=0.001)
    pushed.loop.run(2.0)
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(pushed.at)]
    assert min(gaps) >= CONFIG.process_push_interval_s
    assert max(gaps) <= CONFIG.process_push_interval_s_max + 0.002
    assert gaps[-2] > 9 * gaps[0]
    assert pushed.at[0][0] == 0.0
    assert pushed.at[-1][0] >= 0.999, "the last write was forgotten"
    assert pushed.loop.wakes == len(pushed.at) < 40


def test_after_a_burst_the_next_one_begins_anew() -> None:
    pushed = Pushed()
    pushed.write_for(1.0, every_s=0.001)
    pushed.loop.run(2.0)
    pushed.at.clear()
    pushed.write_for(0.02, every_s=0.001)
    assert [at for at, _ in pushed.at][:2] == [2.0, 2.0 + CONFIG.process_push_interval_s]


def test_a_burst_in_one_namespace_does_not_hold_up_another() -> None:
    pushed = Pushed()
    pushed.write_for(0.5, every_s=0.001)
    pushed.at.clear()
    pushed.pushes.wrote("presence")
    pushed.loop.run(pushed.loop.now)
    assert [space for _, space in pushed.at] == ["presence"]


def test_who_waits_for_others_waits_for_no_rest() -> None:
    pushed = Pushed()
    pushed.write_for(0.5, every_s=0.001)
    pushed.pushes.wrote("")
    pushed.loop.run(pushed.loop.now)
    before = len(pushed.at)
    pushed.pushes.hurry()
    assert len(pushed.at) == before + 1
    pushed.loop.run(pushed.loop.now + 1.0)
    assert len(pushed.at) == before + 1, "pushed twice"
    pushed.pushes.hurry()
    assert len(pushed.at) == before + 1, "there was nothing to push"


def test_where_other_machines_are_linked_every_write_is_pushed_at_once() -> None:
    pushed = Pushed(may_wait=False)
    pushed.write_for(0.1, every_s=0.001)
    assert len(pushed.at) == pushed.loop.wakes >= 100


def test_writes_with_short_pauses_are_one_burst() -> None:
    pushed = Pushed()
    pushed.write_for(1.0, every_s=1.5 * CONFIG.process_push_interval_s)
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(pushed.at)]
    assert gaps[-2] >= CONFIG.process_push_interval_s_max


def test_few_rows_of_our_own_among_many_of_others_go_in_one_block() -> None:
    ours, theirs = (SimSource("", History(), Origin(number), 0, MemoryLog()).space for number in (1, 2))
    for number in range(40):
        ours.put(f"ours/{number}", b"x")
        for other in range(5):
            theirs.put(f"theirs/{number}/{other}", b"x")
        stream = theirs.cut(after=0, known=ours.hello()[1], told=0)
        incoming = ours.incoming()
        for block in taken(stream.blocks()):
            incoming.add(block)
        incoming.apply(list(stream.entries), None)
    pushed = ours.cut_own(after=0, known=theirs.hello()[1])
    assert pushed is not None
    assert [len(codec.decode_block(block)) for block in taken(pushed.blocks())] == [40]
