"""Replicas that can exchange streams converge, whatever was lost, doubled, late, restarted, restored or copied.

Each seed is one schedule; what the adversary does and what is checked after every step stands in `simulator.py` and
`process.py`.
"""

from __future__ import annotations

from collections import Counter
from unittest import mock

import pytest

from propagul.crdt import REMOVE, Op, Origin, Replica, Stamp, VersionVector
from tests.crdt.histories import LONG
from tests.state.oracle import Deed, History
from tests.state.simulator import simulate

SEEDS, CHUNK = (1_000 if LONG else 500), 500

LEAST = {
    "batons refused": 20,
    "batons taken": 110,
    "commits": 3_000,
    "conflicts deleted": 40,
    "conflicts of three": 2_000,
    "copies opened": 35,
    "deltas by place": 6_000,
    "deltas by vector": 900,
    "doubled streams": 200,
    "folds compared byte for byte": 300,
    "interrupted streams": 45,
    "lost streams": 450,
    "lost tails": 200,
    "operations": 8_000,
    "origins renewed": 30,
    "pushes": 300,
    "reboots": 45,
    "records dropped": 500,
    "replicas lost": 110,
    "resolves": 25,
    "restarts": 300,
    "restores": 40,
    "short ways": 700,
    "snapshot joins": 900,
    "snapshots": 120,
    "snapshots folded": 45,
    "staged streams": 900,
    "stale snapshot joins": 10,
    "stale streams": 170,
    "transactions": 700,
    "trims": 35,
}
"""What happens so often in every chunk, about half of what it does: a simulator that stops doing something fails."""


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_schedule_ends_with_equal_replicas_that_show_what_the_oracle_says(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        seen += simulate(seed)
    assert not {name: seen[name] for name, least in LEAST.items() if seen[name] < least}


def test_a_failing_seed_prints_the_line_that_replays_it() -> None:
    def say_too_much(self: Replica) -> VersionVector:
        return VersionVector([(self.origin, Stamp(1))])

    with (
        mock.patch.object(Replica, "vector", property(say_too_much)),
        pytest.raises(AssertionError, match=r"replay: python -m tests\.state\.simulator 3"),
    ):
        simulate(3)


def test_the_oracle_calls_half_a_transaction_torn() -> None:
    history = History(["a", "b"])
    both = history.record(0, [Deed("a", 0, 1), Deed("b", 0, 2)], stamp=1, origin=1)
    later = history.record(both, [Deed("a", 0, 3)], stamp=2, origin=1)
    assert history.torn(both & history.on["a"])
    assert not history.torn(both)
    assert not history.torn(later)


def test_the_oracle_keeps_what_a_trim_keeps() -> None:
    history = History(["a"])
    apart = [history.record(0, [Deed("a", 0, n)], stamp=n, origin=n) for n in (1, 2, 3)]
    known = history.record(sum(apart), [Deed("a", 0, keep=2)], stamp=9, origin=1)
    assert history.siblings(known, "a") == (((3, 3), 0, 3), ((2, 2), 0, 2))
    late = history.record(0, [Deed("a", 0, 4)], stamp=4, origin=4)
    assert [payload for _, _, payload in history.siblings(known | late, "a")] == [4, 3, 2]


def deliver(sender: Replica, receiver: Replica, after: int = 0, known: VersionVector | None = None) -> int:
    cut = sender.cut(after=after, known=known or VersionVector(), told=0)
    blocks = []
    while not cut.at_end:
        blocks.append(cut.read(2))
    receiver.merge(blocks, cut.entries, Stamp(100), cut.join)
    return cut.arrival


def put(replica: Replica, key: str, payload: int, wall: int) -> None:
    replica.apply(replica.prepare([Op(key, 0, payload)], Stamp(wall)))


def test_a_join_that_changes_no_row_still_makes_every_place_void() -> None:
    """What the sender removed and the receiver never saw is told by no record: only a join may pass it on."""
    holder, middle, remover = (Replica(Origin(n)) for n in (1, 2, 3))
    put(middle, "a", 1, wall=10)
    place = deliver(middle, holder)
    put(holder, "gone", 2, wall=20)
    deliver(holder, remover)
    remover.apply(remover.prepare([Op("gone", 0, REMOVE)], Stamp(30)))
    remover.freeze()
    remover.commit()
    remover.trim()
    deliver(remover, middle)
    deliver(middle, holder, after=place, known=holder.vector)
    assert not holder.row("gone").siblings


def test_a_push_never_tells_of_half_of_anothers_transaction() -> None:
    author, pusher, reader = (Replica(Origin(n)) for n in (1, 2, 3))
    author.apply(author.prepare([Op("a", 0, 1), Op("b", 0, 2)], Stamp(10)))
    put(pusher, "a", 3, wall=11)
    deliver(author, pusher)
    assert pusher.cut_own(after=0, known=reader.vector) is None
    own = pusher.cut_own(after=0, known=author.vector)
    assert own is not None
    assert [key for key, _ in own.read(2).other] == ["a"]
