from __future__ import annotations

import random
from typing import Any

from fleet_app.presence import NodePresence, Pull
from fleet_app.presence.account import LATE_S, Account
from fleet_app.presence.demand import LINGER_S, Demand
from fleet_app.presence.voice import UNWATCHED_S, UNWATCHED_S_MAX, WATCHED_S, WATCHED_S_MAX, Voice
from tests.presence.scene import Board, box, engine

ROW = "nodes/attic"


class Attic:
    """A node that says what its voice says, second by second."""

    def __init__(self) -> None:
        self.board = Board()
        self.voice = Voice(self.board, row=ROW)
        self.now = 1000.0

    def beats(self, seconds: float, *, watched: bool, **changing: Any) -> int:
        """Beats in so many seconds; `changing` are calls that make a field of each second."""
        self.board.writes.clear()
        until = self.now + seconds
        while self.now < until:
            told = {name: make(int(self.now)) for name, make in changing.items()}
            self.voice.say(box(at_s=1_000_000.0 + self.now, **told), self.now, watched=watched)
            self.now += 0.5
        return self.board.writes.count(ROW)


def swinging(second: int) -> float:
    """Busy for twenty seconds, then idle for as long."""
    return 90.0 if second // 20 % 2 else 10.0


def working(second: int) -> int:
    """Requests under way: more or fewer every second."""
    return second % 7


def test_a_box_that_works_beats_every_two_seconds_while_somebody_watches_and_else_every_fifteen() -> None:
    attic = Attic()
    attic.beats(2, watched=True, in_flight=working)
    assert 25 <= attic.beats(60, watched=True, in_flight=working) <= 60 / WATCHED_S
    attic.beats(UNWATCHED_S, watched=False, in_flight=working)
    assert 3 <= attic.beats(60, watched=False, in_flight=working) <= 60 / UNWATCHED_S


def test_a_box_that_idles_says_so_now_and_then() -> None:
    attic = Attic()
    attic.beats(2, watched=True)
    assert attic.beats(120, watched=True) == 120 / WATCHED_S_MAX
    attic.beats(UNWATCHED_S_MAX, watched=False)
    assert attic.beats(2 * UNWATCHED_S_MAX, watched=False) == 2


def test_the_noise_of_an_idle_processor_is_no_news_and_work_is() -> None:
    attic, noise = Attic(), random.Random(1)
    attic.beats(3, watched=True, cpu=lambda _: abs(noise.gauss(2, 1.5)))
    assert attic.beats(600, watched=True, cpu=lambda _: abs(noise.gauss(2, 1.5))) <= 600 / WATCHED_S_MAX + 3
    assert attic.beats(40, watched=True, cpu=swinging) >= 5


def test_a_load_is_that_of_the_time_between_two_beats() -> None:
    attic = Attic()
    attic.beats(8, watched=True, cpu=lambda second: 100.0 * (second % 2))
    told = read(attic)
    assert told.cpu
    assert 30 <= told.cpu.percent <= 70


def test_who_begins_to_watch_gets_a_beat_at_once() -> None:
    attic = Attic()
    attic.beats(3, watched=False)
    assert attic.beats(0.5, watched=True) == 1
    assert attic.beats(1.0, watched=True) == 0


def test_no_figure_is_overdue_while_a_node_keeps_its_pace_whoever_comes_or_goes() -> None:
    attic, account = Attic(), Account(1000.0)
    for second in range(400):
        attic.beats(1, watched=second // 50 % 2 == 0)
        account.take(attic.board.heard(ROW), attic.now)
        assert not account.is_late(attic.now)


def test_a_box_that_drains_says_so_at_once() -> None:
    attic = Attic()
    attic.beats(3, watched=False)
    assert attic.beats(0.5, watched=False, draining=lambda _: True) == 1


def test_the_first_figures_of_a_box_that_has_just_started_come_at_once() -> None:
    attic = Attic()
    assert attic.beats(1, watched=False, cpu=lambda _: None) == 1
    assert attic.beats(1, watched=False, cpu=lambda _: 30.0) == 1
    assert attic.beats(10, watched=False, cpu=lambda second: None if second % 2 else 30.0) == 0


def test_what_stands_is_written_when_it_changes_and_a_pull_once_a_second() -> None:
    attic = Attic()
    attic.beats(5, watched=False, backends=lambda _: (engine(),))
    attic.beats(60, watched=False, backends=lambda _: (engine(),))
    assert set(attic.board.writes) <= {ROW}

    def pull(_: int) -> tuple[Pull, ...]:
        return (Pull(model="m", url="u", completed_bytes=int(attic.now * 1000)),)

    attic.beats(10, watched=False, pulls=pull)
    assert attic.board.writes.count(f"{ROW}/pulls") == 10
    attic.beats(1, watched=False)
    assert f"{ROW}/pulls" not in attic.board.rows


def test_an_engine_that_is_gone_takes_its_rows_with_it_and_leaves_its_number() -> None:
    attic = Attic()
    one, two = (lambda _: (engine("a"), engine("b"))), (lambda _: (engine("b"), engine("c")))
    attic.beats(2, watched=False, backends=one)
    assert {f"{ROW}/engines/0", f"{ROW}/engines/1", f"{ROW}/models/0/0"} <= attic.board.rows.keys()
    attic.beats(2, watched=False, backends=two)
    told = read(attic)
    assert {one.url for one in told.backends} == {"b", "c"}
    attic.beats(2, watched=False)
    assert not any("engines" in row or "models" in row for row in attic.board.rows)


def read(attic: Attic) -> NodePresence:
    account = Account(attic.now)
    account.take(attic.board.heard(ROW), attic.now)
    told = account.presence(attic.now, attic.now)
    assert told is not None
    return told


def test_figures_that_are_overdue_are_left_out() -> None:
    attic = Attic()
    attic.beats(3, watched=True)
    account = Account(attic.now)
    account.take(attic.board.heard(ROW), attic.now)
    soon, late = attic.now + WATCHED_S_MAX, attic.now + WATCHED_S + WATCHED_S_MAX + LATE_S + 0.1
    before, after = account.presence(soon, soon), account.presence(late, late)
    assert before
    assert before.cpu
    assert not account.is_late(soon)
    assert after
    assert after.cpu is None
    assert after.name == "attic"
    assert account.is_late(late)


def test_the_nodes_clock_is_that_of_when_it_was_last_known_to_live() -> None:
    attic = Attic()
    attic.beats(0.5, watched=True)
    account = Account(attic.now)
    account.take(attic.board.heard(ROW), attic.now)
    then, later = account.presence(attic.now, attic.now), account.presence(attic.now + 9, attic.now + 8)
    assert then
    assert later
    assert later.at_s - then.at_s == 8


class Watched:
    """Two nodes on one board, with a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.board = Board()
        self.a, self.b = self.demand("a"), self.demand("b")

    def demand(self, node: str) -> Demand:
        return Demand(self.board, nodes="nodes/", node=node, monotonic=lambda: self.now)


def test_who_watches_anywhere_is_felt_everywhere() -> None:
    fleet = Watched()
    assert not fleet.a.is_anywhere()
    with fleet.b.watching():
        assert fleet.a.is_anywhere()
        fleet.now += 10 * LINGER_S
        assert fleet.b.is_anywhere()
        assert fleet.a.is_anywhere()
    fleet.now += LINGER_S + 1
    assert not fleet.b.is_anywhere()
    assert not fleet.a.is_anywhere()
    assert fleet.board.rows == {}


def test_a_look_is_felt_for_a_while_and_said_once() -> None:
    fleet = Watched()
    for _ in range(5):
        fleet.a.touch()
    assert fleet.board.writes == ["nodes/a/watching"]
    fleet.now += LINGER_S - 1
    assert fleet.a.is_anywhere()
    assert fleet.b.is_anywhere()
    fleet.now += 2
    assert not fleet.a.is_anywhere()
    assert not fleet.b.is_anywhere()
