"""Items that expire: when, what keeps them, and what removes them."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.store.base import PutOp
from propagul_langgraph.store import PropagulStore

from propagul import StoreFull
from tests.agents.langgraph_store.world import Clock, by_words, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langgraph.store.base import TTLConfig

OMIT: TTLConfig = {"omit_expired": True}
TINY = 0.0005
"""Minutes: 30 ms."""


def wait_until(condition: Callable[[], object], deadline_s: float = 20.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rows(store: PropagulStore, kind: str) -> dict[str, object]:
    return store.store.get_all(f"lgs/{kind}/")


def test_an_item_expires_a_lifetime_and_a_twentieth_after_it_was_put() -> None:
    clock = Clock()
    with opened(now=clock, ttl=OMIT) as store:
        store.put(("a",), "k", {"n": 1}, ttl=100)
        store.put(("a",), "for ever", {"n": 1})
        clock.pass_minutes(104.9)
        assert store.get(("a",), "k", refresh_ttl=False) is not None
        assert len(store.search((), refresh_ttl=False)) == 2
        clock.pass_minutes(0.2)
        assert store.get(("a",), "k") is None
        assert [item.key for item in store.search(())] == ["for ever"]
        assert store.sweep_ttl() == 1
        assert len(rows(store, "i")) == 1
        assert rows(store, "x") == {}


def test_what_has_expired_is_shown_until_it_is_swept_unless_it_is_to_be_omitted() -> None:
    clock = Clock()
    with opened(now=clock) as store:
        store.put(("a",), "k", {"n": 1}, ttl=10)
        clock.pass_minutes(20)
        assert store.get(("a",), "k", refresh_ttl=False) is not None
        assert store.list_namespaces() == [("a",)]
        omitting = PropagulStore(store.store, ttl=OMIT, now=clock)
        assert omitting.get(("a",), "k") is None
        assert omitting.list_namespaces() == omitting.search(()) == []
        assert store.sweep_ttl() == 1
        assert store.get(("a",), "k") is None
        assert store.sweep_ttl() == 0


@pytest.mark.parametrize("read", ["get", "search", "search by meaning"])
def test_reading_lets_an_item_live_on(read: str) -> None:
    clock = Clock()
    with opened(now=clock, ttl=OMIT, index=by_words()) as store:
        store.put(("a",), "k", {"text": "red cat"}, ttl=10)
        for _ in range(5):
            clock.pass_minutes(8)
            query = "red" if read == "search by meaning" else None
            assert store.get(("a",), "k") if read == "get" else store.search((), query=query)
        clock.pass_minutes(10.6)
        assert store.get(("a",), "k") is None


def test_reading_writes_nothing_to_the_item_and_not_every_time() -> None:
    clock = Clock()
    with opened(now=clock) as store:
        store.put(("a",), "k", {"n": 1}, ttl=100)
        item, until = rows(store, "i"), rows(store, "x")
        clock.pass_minutes(4.9)
        assert store.get(("a",), "k") is not None
        assert rows(store, "x") == until
        clock.pass_minutes(0.2)
        assert store.get(("a",), "k") is not None
        assert rows(store, "x") == {"lgs/x/a/k": clock() + 6000} != until
        assert rows(store, "i") == item


def test_reading_does_not_count_where_it_is_said_so() -> None:
    clock = Clock()
    with opened(now=clock, ttl={"omit_expired": True, "refresh_on_read": False}) as store:
        for key in ("read", "refreshed"):
            store.put(("a",), key, {"n": 1}, ttl=10)
        clock.pass_minutes(8)
        assert store.get(("a",), "read") is not None
        assert len(store.search(())) == 2
        assert store.get(("a",), "refreshed", refresh_ttl=True) is not None
        clock.pass_minutes(8)
        assert [item.key for item in store.search(())] == ["refreshed"]


def test_only_what_a_search_returns_lives_on() -> None:
    clock = Clock()
    with opened(now=clock, ttl=OMIT) as store:
        for key in ("first", "second"):
            store.put(("a",), key, {"n": 1}, ttl=10)
            clock.pass_minutes(1)
        clock.pass_minutes(7)
        assert [item.key for item in store.search((), limit=1)] == ["second"]
        clock.pass_minutes(4)
        assert [item.key for item in store.search(())] == ["second"]


def test_a_put_begins_a_lifetime_anew_or_ends_it() -> None:
    clock = Clock()
    with opened(now=clock, ttl={"omit_expired": True, "default_ttl": 10}) as store:
        for key in ("again", "shorter", "for ever", "default"):
            store.put(("a",), key, {"n": 1})
        clock.pass_minutes(8)
        store.put(("a",), "again", {"n": 2})
        store.put(("a",), "shorter", {"n": 2}, ttl=1)
        store.put(("a",), "for ever", {"n": 2}, ttl=None)
        assert len(rows(store, "x")) == 3
        clock.pass_minutes(2.6)
        assert {item.key for item in store.search((), refresh_ttl=False)} == {"again", "for ever"}
        clock.pass_minutes(1000)
        assert {item.key for item in store.search((), refresh_ttl=False)} == {"for ever"}
        assert store.sweep_ttl() == 3
        assert rows(store, "x") == {}


def test_an_item_that_expired_and_is_put_again_is_a_new_one() -> None:
    clock = Clock()
    with opened(now=clock, ttl=OMIT) as store:
        store.put(("a",), "k", {"n": 1}, ttl=1)
        clock.pass_minutes(2)
        store.put(("a",), "k", {"n": 2})
        item = store.get(("a",), "k")
        assert item is not None
        assert item.created_at.timestamp() == clock()


def test_a_sweep_removes_all_of_an_item_and_what_is_left_of_others() -> None:
    clock = Clock()
    with opened(now=clock, index=by_words()) as store:
        store.batch([PutOp(("a",), str(number), {"text": "cat"}, ttl=10 + number) for number in range(10)])
        store.store.delete("lgs/i/a/3")  # as if another machine had removed it without knowing of its lifetime
        store.store.set("lgs/x/a/nothing", "no number")
        store.put(("b",), "ever", {"text": "cat"})
        store.store.set("lgs/x/b/ever", 5.0)
        clock.pass_minutes(16)
        assert store.sweep_ttl() == 5
        for kind in "ivx":
            assert store.store.keys(f"lgs/{kind}/a/") == [f"lgs/{kind}/a/{number}" for number in range(6, 10)]
            assert len(store.store.keys(f"lgs/{kind}/b/")) == (kind != "x")


def test_an_item_of_which_nobody_says_until_when_lives_a_lifetime_after_it_was_put() -> None:
    clock = Clock()
    with opened(now=clock, ttl=OMIT) as store:
        store.put(("a",), "k", {"n": 1}, ttl=10)
        store.store.delete("lgs/x/a/k")
        clock.pass_minutes(10)
        assert store.get(("a",), "k", refresh_ttl=False) is not None
        clock.pass_minutes(1)
        assert store.get(("a",), "k") is None


def test_a_full_disk_keeps_nobody_from_reading(tmp_path: Path) -> None:
    clock = Clock()
    with opened(now=clock, path=tmp_path) as store:
        store.put(("a",), "k", {"n": 1}, ttl=10)
        clock.pass_minutes(5)
        log = store.store._disk.log  # type: ignore[union-attr]  # it is there
        log._refuse(StoreFull("no space left"))
        assert store.get(("a",), "k") is not None
        with pytest.raises(StoreFull):
            store.put(("a",), "k", {"n": 2})
        log._refuses = None
        assert store.get(("a",), "k").value == {"n": 1}  # type: ignore[union-attr]  # it is there
        assert rows(store, "x") == {"lgs/x/a/k": clock() + 600}


# --- the thread that sweeps --------------------------------------------------------------------------------------


def test_a_sweeper_sweeps_until_it_is_stopped() -> None:
    with opened(ttl={"sweep_interval_minutes": TINY}) as store:
        done = store.start_ttl_sweeper()
        assert store.start_ttl_sweeper() is done
        store.put(("a",), "k", {"n": 1}, ttl=TINY)
        wait_until(lambda: store.get(("a",), "k", refresh_ttl=False) is None)
        assert store.stop_ttl_sweeper(10)
        assert done.result(10) is None
        store.put(("a",), "k", {"n": 1}, ttl=TINY)
        again = store.start_ttl_sweeper(TINY)
        wait_until(lambda: store.get(("a",), "k", refresh_ttl=False) is None)
        again.cancel()
        wait_until(lambda: store.stop_ttl_sweeper(0))
        assert again.cancelled()


def test_a_sweeper_ends_with_its_store_and_without_an_owner(caplog: pytest.LogCaptureFixture) -> None:
    with opened(ttl={"default_ttl": TINY}) as store:
        store.put(("a",), "k", {"n": 1})
        store.store.close()
        assert store.start_ttl_sweeper(TINY).result(20) is None
        assert not caplog.records
        orphan = PropagulStore(store.store, root="o/", ttl=OMIT)
        done = orphan.start_ttl_sweeper(TINY)
        swept, watched = [], orphan._lifetimes.due
        orphan._lifetimes.due = lambda: swept.append(1) or watched()  # type: ignore[func-returns-value,method-assign]
        wait_until(lambda: swept)
        del orphan
        gc.collect()
        assert done.result(20) is None


def test_a_sweep_that_fails_is_logged_and_the_next_one_sweeps(caplog: pytest.LogCaptureFixture) -> None:
    with opened(ttl=OMIT) as store:
        store.put(("a",), "k", {"n": 1}, ttl=TINY)
        good, failed = store._sweeper._sweep, []

        def failing() -> int:
            failed.append(1)
            raise OSError("the disk is slow")

        store._sweeper._sweep = lambda: failing if not failed else good()  # type: ignore[assignment]  # a method that may be gone
        store.start_ttl_sweeper(TINY)
        wait_until(lambda: store.store.get("lgs/i/a/k") is None)
        assert store.stop_ttl_sweeper(10)
        assert [record.message for record in caplog.records] == ["store.sweep_failed"]


def test_without_lifetimes_there_is_no_sweeper() -> None:
    with opened() as store:
        assert store.start_ttl_sweeper().done()
        assert store.stop_ttl_sweeper()


@pytest.mark.parametrize(
    ("ttl", "message"),
    [
        (
            {"default_tll": 5},
            "ttl knows default_ttl, omit_expired, refresh_on_read, sweep_interval_minutes, not default_tll",
        ),
        ({"default_ttl": 0}, "default_ttl is a number of minutes above 0, not 0"),
        ({"default_ttl": "5"}, "default_ttl is a number"),
        ({"sweep_interval_minutes": -1}, "sweep_interval_minutes is a number"),
    ],
)
def test_settings_that_are_none_are_refused(ttl: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message), opened(ttl=ttl):
        pass
