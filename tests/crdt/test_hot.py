"""The path written for speed does what the long way does, over the same histories, or leaves it to the long way."""

from __future__ import annotations

import threading
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import REMOVE, Op, Origin, Payload, Replica, Stamp, arrivals, hot, stamp_of_ns
from propagul.crdt.hot import local_writer
from tests.crdt.histories import NOW_NS, examples, rows_of, take, whole

AHEAD_MAX = 1000
ACTS = ("write",) * 5 + ("remove", "foreign", "open", "close", "renew", "kind", "watch", "raise", "clock")


class Act(NamedTuple):
    name: str
    key: str
    number: int


acts = st.lists(
    st.builds(Act, st.sampled_from(ACTS), st.sampled_from(["a", "b", "\0c"]), st.integers(0, 5)),
    min_size=10,
    max_size=40,
)


class Pair:
    """Two replicas to which the same happens; `quick` writes by the short path where it may."""

    def __init__(self) -> None:
        self.quick, self.slow = Replica(Origin(1)), Replica(Origin(1))
        self.quick.report(False)
        self.slow.report(False)
        self.foreign = Replica(Origin(9))
        self.wall_ns = NOW_NS
        self.logged: list[tuple[str, Payload, int, int]] = []
        self.expected: list[tuple[str, Payload, int, int]] = []
        self.taken = 0
        self._captures: list[object] = []
        self._put = local_writer(self.quick, threading.Lock(), lambda: self.wall_ns, AHEAD_MAX, self._log)

    def do(self, act: Act) -> None:
        """One act on both."""
        self.wall_ns += act.number * 400
        match act.name:
            case "write":
                self._write(act.key, act.number)
            case "open":
                self._captures.append(self.quick.table.capture(0))
            case "close":
                self._captures.clear()
            case "clock":
                self.wall_ns += (act.number - 3) * AHEAD_MAX * 1024
            case _:
                if act.name == "foreign":
                    self.foreign.apply(self.foreign.prepare([Op(act.key, act.number, "f")], stamp_of_ns(self.wall_ns)))
                for replica in (self.quick, self.slow):
                    self._also(replica, act)

    def _also(self, replica: Replica, act: Act) -> None:
        wall = stamp_of_ns(self.wall_ns)
        match act.name:
            case "remove":
                replica.apply(replica.prepare([Op(act.key, 0, REMOVE)], wall))
            case "kind":
                replica.apply(replica.prepare([Op(act.key, 7, "of another kind")], wall))
            case "foreign":
                take(replica, whole(self.foreign), wall)
            case "renew":
                replica.renew(Origin(act.number + 20))
            case "watch":
                replica.report(not replica.watched)
            case "raise":
                replica.freeze()
                replica.commit()
                replica.trim()

    def _write(self, key: str, payload: Payload) -> None:
        wall = stamp_of_ns(self.wall_ns)
        logged = len(self.logged)
        if self._put(key, payload):
            self.taken += 1
            self.expected.append(
                (key, payload, self.slow.clock.last + 1 if self.slow.clock.last >= wall else wall, self.slow.origin)
            )
        else:
            assert len(self.logged) == logged  # nothing happened
            self.quick.apply(self.quick.prepare([Op(key, 0, payload)], wall))
        self.slow.apply(self.slow.prepare([Op(key, 0, payload)], wall))

    def _log(self, key: str, payload: Payload, stamp: int, origin: int) -> None:
        assert self.quick.minted < stamp  # not visible yet
        self.logged.append((key, payload, stamp, origin))


def same(pair: Pair) -> bool:
    quick, slow = pair.quick, pair.slow
    assert rows_of(quick) == rows_of(slow)
    assert [quick.get(key) for key in "abc"] == [slow.get(key) for key in "abc"]
    assert [key for key, _ in quick.table.under("\0")] == [key for key, _ in slow.table.under("\0")]
    assert (quick.clock.last, quick.minted, quick.arrival, len(quick)) == (
        slow.clock.last,
        slow.minted,
        slow.arrival,
        len(slow),
    )
    assert [quick.table._journal.since(n) for n in range(quick.arrival + 1)] == [
        slow.table._journal.since(n) for n in range(slow.arrival + 1)
    ]
    assert len(quick.table._journal.newest) == len(slow.table._journal.newest)
    return True


@examples(80)
@given(acts, st.integers(2, 9))
def test_the_short_path_does_what_the_long_one_does(history: list[Act], chunk: int) -> None:
    of_the_kernel = patch.object(arrivals.Arrivals, "chunk", chunk)
    with patch.object(arrivals, "CHUNK", chunk), patch.object(hot, "CHUNK", chunk), of_the_kernel:
        pair = Pair()
        for number, act in enumerate(history):
            pair.do(act)
            assert same(pair)
            if number % 5 == 0:  # asking for the vector enters what was minted
                assert pair.quick.vector == pair.slow.vector
        assert pair.quick.vector == pair.slow.vector
        assert pair.logged == pair.expected


def test_a_plain_row_of_this_origin_goes_the_short_way() -> None:
    pair = Pair()
    for number in range(10):
        pair.do(Act("write", "a", number))
    assert pair.taken == 10


def test_a_write_beside_a_stream_that_is_being_read_goes_the_short_way_and_is_none_of_that_stream() -> None:
    pair = Pair()
    pair.do(Act("write", "a", 1))
    with patch.object(pair, "taken", 0):
        captured = pair.quick.table.capture(0)
        pair.do(Act("write", "a", 2))
        pair.do(Act("write", "b", 3))
        assert pair.taken == 2
    assert [(plain[0], plain[1]) for plain in captured.read(10).plain] == [("a", 1)]
    assert same(pair)


@pytest.mark.parametrize(
    "before",
    [
        [Act("watch", "a", 0)],
        [Act("foreign", "a", 0)],
        [Act("write", "a", 0), Act("renew", "a", 0)],
        [Act("remove", "a", 0)],
        [Act("write", "a", 0), Act("clock", "a", 0)],
    ],
    ids=lambda acts: "-".join(act.name for act in acts),
)
def test_whatever_is_not_plain_and_own_is_left_to_the_long_way(before: list[Act]) -> None:
    pair = Pair()
    for act in before:
        pair.do(act)
    taken = pair.taken
    pair.do(Act("write", "a", 0))
    assert pair.taken == taken
    assert same(pair)


def test_a_write_that_the_log_refuses_did_not_happen() -> None:
    replica = Replica(Origin(1))
    replica.report(False)

    def refuse(*_: object) -> None:
        raise OSError

    lock = threading.Lock()
    put = local_writer(replica, lock, lambda: NOW_NS, AHEAD_MAX, refuse)
    with pytest.raises(OSError):  # noqa: PT011 - ours, from above
        put("k", "v")
    assert (len(replica), replica.arrival, replica.minted, replica.clock.last) == (0, 0, 0, Stamp(0))
    assert not lock.locked()
