"""Writing what depends on what was read: one step, that neither threads nor what arrives come between."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from propagul import REMOVE, AgentStateStore, LimitExceeded, Limits, LocalProtocolError
from propagul.crdt import Evicted
from tests.store.test_memory import filled, pull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    store = AgentStateStore("room", port=None)
    yield store
    store.close()


@pytest.fixture
def other() -> Iterator[AgentStateStore]:
    store = AgentStateStore("room", port=None)
    yield store
    store.close()


def test_every_value_of_a_key_is_a_sibling(store: AgentStateStore, other: AgentStateStore) -> None:
    assert store.siblings("k") == []
    store.set("k", 1)
    assert store.siblings("k") == [1]
    other.set("k", [2])
    pull(store, other)
    assert store.siblings("k") == store.get_conflicts("k") == [[2], 1]
    store.delete("k")
    assert store.siblings("k") == []


def test_what_is_decided_is_written_and_a_removal_is_one(store: AgentStateStore) -> None:
    store.set("a", 1)
    assert store.update(("a", "b"), lambda held: {"a": REMOVE, "b": [held["a"], held["b"]]})
    assert store.get_all() == {"b": [[1], []]}
    assert not store.update(("b",), lambda _: {})
    assert not store.update(("a",), lambda _: {"a": REMOVE})  # it is not there
    assert store.get_all() == {"b": [[1], []]}


def test_it_is_one_transaction(store: AgentStateStore, other: AgentStateStore) -> None:
    store.update(("a", "b"), lambda _: {"a": 1, "b": 2})
    assert len({dot for key in ("a", "b") for dot in store._state.row(key).dots}) == 1
    pull(other, store)
    assert other.get_all() == {"a": 1, "b": 2}


def test_it_is_decided_anew_where_something_arrived_meanwhile(store: AgentStateStore, other: AgentStateStore) -> None:
    store.set("seen", 1)
    other.set("counted", 5)
    calls: list[object] = []

    def count(held: dict[str, list[object]]) -> dict[str, object]:
        if not calls:
            pull(store, other)
        calls.append(held["counted"])
        return {"counted": 1 + sum(int(str(value)) for value in held["counted"])}

    assert store.update(("counted", "seen"), count)
    assert calls == [[], [5]]
    assert (store.get("counted"), store.get_conflicts("counted")) == (6, [])


def test_threads_lose_nothing(store: AgentStateStore) -> None:
    def add() -> None:
        for _ in range(200):
            store.update(("n",), lambda held: {"n": int(str(held["n"][0])) + 1 if held["n"] else 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("n") == 800


def test_in_a_transaction_it_is_refused(store: AgentStateStore) -> None:
    """What it compares would not be what is there when the transaction is written."""
    with store.transaction():
        store.set("a", 1)
        with pytest.raises(LocalProtocolError, match="outside of"):
            store.update(("a",), lambda _: {"a": 2})
    assert store.get("a") == 1


def test_what_cannot_be_written_leaves_everything_as_it_was() -> None:
    store = AgentStateStore("room", port=None, limits=Limits(value_bytes=10))
    with pytest.raises(ValueError, match="'b' was not read"):
        store.update(("a",), lambda _: {"a": 1, "b": 2})
    with pytest.raises(LimitExceeded):
        store.update(("a", "b"), lambda _: {"a": 1, "b": "x" * 11})
    with pytest.raises(TypeError, match="'b'"):
        store.update(("a", "b"), lambda _: {"a": 1, "b": object()})
    with pytest.raises(ValueError, match="key"):
        store.update(("",), lambda _: {})
    assert store.get_all() == {}
    store.close()


def test_values_that_only_the_disk_holds_are_read_without_the_lock(tmp_path: Path) -> None:
    store, expected = filled(tmp_path, 4000)
    assert store.stats.evicted > 1500
    key = next(key for key in expected if isinstance(store._state.table.get(key), Evicted))
    free: list[bool] = []

    def shorten(held: dict[str, list[object]]) -> dict[str, object]:
        free.append(not store._state.lock.locked())
        assert held[key] == [expected[key]]
        return {key: "short"}

    assert store.update((key,), shorten)
    assert (store.get(key), free) == ("short", [True])
    store.close()
