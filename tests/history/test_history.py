from __future__ import annotations

import sqlite3
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import pytest

from fleet_app.history import History, book
from fleet_app.history.events import NAMED_MAX, SETTLE_S
from fleet_app.history.history import LAPSE_S_MAX
from fleet_app.view import FleetView, NodeView
from tests.presence.scene import box, engine, gpu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleet_app.presence import NodePresence

HERE, ATTIC = "here", "attic"
BEGAN = 1_800_000_000.0


class Box:
    """A node's history with a clock of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.now = directory, BEGAN
        self.history = self.open()

    def open(self) -> History:
        self.history = History(self.directory, HERE, wall=lambda: self.now, monotonic=lambda: self.now)
        return self.history

    def restart(self) -> None:
        self.history.close()
        self.open()

    def see(self, seconds: float, attic: NodePresence | None, *, every_s: float = 2.0, **changes: Any) -> None:
        """See the attic like that for so long; None is gone."""
        until = self.now + seconds
        while self.now < until:
            state: Literal["up", "down"] = "down" if attic is None else "up"
            reach = "none" if attic is None else "linked"
            fields: dict[str, Any] = {"state": state, "reach": reach, "heard_s": 0.0, "presence": attic, **changes}
            here = NodeView(id=HERE, name=HERE, state="up", reach="here", heard_s=0.0, presence=box(HERE))
            self.history.saw(FleetView(nodes=(here, NodeView(id=ATTIC, name=ATTIC, **fields))))
            self.now += every_s

    def told(self, **wanted: Any) -> list[tuple[str, str]]:
        """Kind and words of events, oldest first."""
        self.history.flush()
        return [(event.kind, event.words) for event in reversed(self.history.events.latest(**wanted))]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Box]:
    one = Box(tmp_path)
    yield one
    one.history.close()


def test_a_dead_nodes_last_hours_stay_over_a_restart(here: Box) -> None:
    here.see(600, box(cpu=30.0))
    here.see(600, None, every_s=10)
    here.restart()
    series = here.history.series(ATTIC, ("cpu",), start_s=BEGAN, step_s=60)
    assert series.step_s == 60
    assert series.values["cpu"][1:9] == [30.0] * 8
    assert series.values["cpu"][11:] == [None] * len(series.values["cpu"][11:])
    assert here.history.nodes() == [ATTIC, HERE]


def test_this_box_is_kept_by_the_second_for_a_while_and_by_ten_for_longer(here: Box) -> None:
    for second in range(1200):
        here.now = BEGAN + second
        here.history.own(box(cpu=float(second % 10)))
    here.history.flush()
    recent = here.history.series(HERE, ("cpu",), start_s=here.now - 60, step_s=1)
    assert (recent.step_s, recent.values["cpu"][:3]) == (1, [9.0, 0.0, 1.0])
    earlier = here.history.series(HERE, ("cpu",), start_s=BEGAN, step_s=1)
    assert (earlier.step_s, set(earlier.values["cpu"][:100])) == (10, {4.5})


def test_what_is_too_old_or_too_much_is_dropped(here: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "PRUNE_S", -1.0)
    monkeypatch.setattr(book, "EVENTS_MAX", 10)
    here.now = time.time() - 2 * 86_400
    here.see(600, box())
    here.now = time.time() - 1000
    here.see(900, box())
    for number in range(30):
        here.history.events.add("note", "x", f"number {number}")
    here.history.flush()
    here.history.events.add("note", "x", "the last")
    here.history.flush()
    with sqlite3.connect(here.directory / "history.db") as connection:
        steps = connection.execute("SELECT step, min(at) FROM samples GROUP BY step").fetchall()
    oldest = dict(steps)
    assert oldest[60] > time.time() - 86_400 - 120
    assert oldest[300] < time.time() - 86_400
    assert len(here.history.events.latest(1000)) <= 11


def test_how_long_a_node_was_away_is_counted_while_this_one_watches(here: Box) -> None:
    here.see(10, box())
    assert here.history.absence_s(ATTIC) == 0
    here.see(200, None)
    assert here.history.absence_s(ATTIC) == pytest.approx(200, abs=3)
    here.restart()
    here.now += 10_000
    here.see(100, None)
    assert here.history.absence_s(ATTIC) == pytest.approx(300, abs=6)
    here.see(4, box())
    assert here.history.absence_s(ATTIC) == 0
    here.restart()
    assert here.history.absence_s(ATTIC) == 0


def test_a_machine_that_slept_counts_no_absence_for_its_sleep(here: Box) -> None:
    here.see(4, None)
    here.now += 3600
    here.see(4, None)
    assert here.history.absence_s(ATTIC) <= 8 + LAPSE_S_MAX


def test_what_happens_to_a_node_is_told_in_words(here: Box) -> None:
    here.see(SETTLE_S + 2, box())
    here.see(4, box(backends=(engine(models=0),)))
    here.see(4, box(backends=(engine(models=1),)))
    here.see(4, box(backends=(engine().model_copy(update={"condition": "unhealthy", "reason": "it hangs"}),)))
    here.see(4, box(gpus=(gpu(),)))
    here.see(4, box(gpus=(gpu().model_copy(update={"throttled": ()}),)))
    here.see(4, None)
    here.see(4, box())
    assert here.told() == [
        ("engine_came", "ollama at http://127.0.0.1:11434 on attic is there (ready)"),
        ("model_came", "ollama on attic has model-0000:7b"),
        ("engine_condition", "ollama at http://127.0.0.1:11434 on attic is unhealthy: it hangs"),
        ("engine_gone", "ollama at http://127.0.0.1:11434 on attic is gone"),
        ("throttle_began", "GPU 0 of attic is held back: power limit"),
        ("throttle_ended", "GPU 0 of attic runs freely again"),
        ("node_down", "attic cannot be reached"),
        ("node_up", "attic is there"),
    ]


def test_what_was_there_when_this_node_began_is_no_event(here: Box) -> None:
    here.see(4, None)
    here.see(SETTLE_S - 6, box(backends=(engine(),), gpus=(gpu(),)))
    here.see(20, box(backends=(engine(),), gpus=(gpu(),)))
    assert here.told() == []


def test_a_large_change_of_an_inventory_is_a_few_events(here: Box) -> None:
    here.see(SETTLE_S + 2, box(backends=(engine(models=0),)))
    here.see(4, box(backends=(engine(models=500),)))
    told = here.told()
    assert len(told) == NAMED_MAX + 1
    assert told[-1] == ("model_came", f"ollama on attic has {500 - NAMED_MAX} more models")


def test_events_are_found_by_kind_node_and_time_and_come_back_after_a_restart(here: Box) -> None:
    here.history.events.add("pull_began", "llama3.1:8b", "pulling\nllama3.1:8b   to attic", node=ATTIC)
    here.now += 10
    here.history.events.add("pull_failed", "llama3.1:8b", "x" * 1000)
    here.restart()
    assert here.told(kinds=("pull_began",)) == [("pull_began", "pulling llama3.1:8b to attic")]
    assert here.told(node=ATTIC) == [("pull_began", "pulling llama3.1:8b to attic")]
    assert [kind for kind, _ in here.told(since_s=BEGAN + 5)] == ["pull_failed"]
    (failed,) = here.history.events.latest(1)
    assert (failed.node, failed.subject, len(failed.words)) == (HERE, "llama3.1:8b", 256)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_nobody_else_may_read_it(here: Box) -> None:
    here.see(4, box())
    here.history.flush()
    for path in here.directory.glob("history*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["garbage", "cut", "flipped"])
def test_a_damaged_file_is_moved_aside_and_said_and_stops_nothing(tmp_path: Path, damage: str) -> None:
    one = Box(tmp_path)
    one.see(1200, box())
    one.history.close()
    path = tmp_path / "history.db"
    content = path.read_bytes()
    wrong = {
        "garbage": b"no database" * 100,
        "cut": content[: len(content) // 2],
        "flipped": content[:100] + b"\xff" * 8000,
    }
    path.write_bytes(wrong[damage])
    one.open()
    one.see(600, box())
    one.history.flush()
    assert [note for note in one.history.notices if "damaged" in note]
    assert (tmp_path / "history.damaged").exists()
    one.restart()
    assert one.history.series(ATTIC, ("cpu",), start_s=one.now - 600, step_s=60).values["cpu"]
    assert one.history.notices == []
    one.history.close()


def test_a_directory_that_cannot_be_written_costs_the_history_and_nothing_else(tmp_path: Path) -> None:
    one = Box(tmp_path / "is not there")
    one.see(600, None)
    one.history.events.add("note", "x", "y")
    one.history.flush()
    assert one.history.absence_s(ATTIC) > 500
    assert one.told() == []
    assert "not kept" in one.history.notices[0]
    one.history.close()


def test_whoever_tells_never_waits_for_the_disk(here: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    here.history.flush()
    stuck = threading.Event()
    monkeypatch.setattr(here.history._book, "_write", lambda _: stuck.wait(60))
    for _ in range(20_000):
        here.history.events.add("note", "x", "y")
    assert "too slow" in here.history.notices[0]
    stuck.set()
