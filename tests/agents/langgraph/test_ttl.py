"""Threads expire when nobody has used them for long."""

from __future__ import annotations

import pytest
from propagul_langgraph import PropagulSaver
from propagul_langgraph._saver import lifetimes

from tests.agents.langgraph.values import put, saver, thread


class Minutes:
    """The module `time` as expiry reads it: set in minutes."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return 60 * self.now

    monotonic = time


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> Minutes:
    clock = Minutes()
    monkeypatch.setattr(lifetimes, "time", clock)
    return clock


def test_a_thread_expires_after_its_last_put(minutes: Minutes) -> None:
    of = saver(ttl={"default_ttl": 60})
    at = put(of, thread(), {"n": 1})
    minutes.now += 50
    put(of, at, {"n": 2}, 2)
    minutes.now += 50
    assert of.get_tuple(thread()) is not None
    minutes.now += 20
    assert of.get_tuple(thread()) is None
    assert of.store.keys("lg/c/") == of.store.keys("lg/x/") == []


def test_reading_keeps_it_alive_only_where_that_counts(minutes: Minutes) -> None:
    one = saver(ttl={"default_ttl": 60, "refresh_on_read": True})
    other = saver(ttl={"default_ttl": 60})
    for of in (one, other):
        put(of, thread(), {"n": 1})
    for _ in range(4):
        minutes.now += 30
        one.get_tuple(thread())
        other.get_tuple(thread())
    assert one.get_tuple(thread()) is not None
    assert other.get_tuple(thread()) is None


def test_reading_often_writes_seldom(minutes: Minutes) -> None:
    of = saver(ttl={"default_ttl": 60, "refresh_on_read": True})
    put(of, thread(), {"n": 1})
    before = of.store.stats.local_writes
    for _ in range(100):
        minutes.now += 0.1
        of.get_tuple(thread())
    assert of.store.stats.local_writes - before <= 10 / 3 + 1


def test_a_sweep_deletes_what_has_expired_and_nothing_else(minutes: Minutes) -> None:
    of = saver(ttl={"default_ttl": 60})
    put(of, thread("old"), {"n": 1})
    minutes.now += 50
    put(of, thread("new"), {"n": 1})
    minutes.now += 20
    assert PropagulSaver(of.store, ttl={"default_ttl": 60}).sweep_ttl() == 1
    assert [found.config["configurable"]["thread_id"] for found in of.list(None)] == ["new"]


def test_a_saver_without_lifetimes_keeps_everything(minutes: Minutes) -> None:
    of = saver()
    put(of, thread(), {"n": 1})
    minutes.now += 10**6
    assert of.get_tuple(thread()) is not None
    assert of.sweep_ttl() == 0


@pytest.mark.parametrize("settings", [{"default_ttl": 0}, {"refresh_on_read": True}, {"default_ttl": 1, "minutes": 2}])
def test_settings_that_say_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="ttl"):
        saver(ttl=settings)
