"""The map by itself: values, limits, conflicts and threads, without a network."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul import AgentStateStore, ClosedError, LimitExceeded, Limits, LocalProtocolError, StoreCorrupt
from propagul.crdt import Packed
from tests.store.world import Island, on_island

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UTC = dt.UTC


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    store = AgentStateStore("room", port=None)
    yield store
    store.close()


names = st.text() | st.integers(0, 9) | st.binary()
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC)),
    lambda part: (
        st.lists(part, max_size=4) | st.dictionaries(st.text() | st.integers(0, 9) | st.binary(), part, max_size=4)
    ),
    max_leaves=10,
)


@given(values)
def test_what_is_set_is_what_get_returns(value: object) -> None:
    store = AgentStateStore("room", port=None)
    store.set("k", value)
    back = store.get("k")
    assert back == value
    assert type(back) is type(value)
    store.close()


def test_a_returned_value_is_the_callers_own(store: AgentStateStore) -> None:
    mine = {"steps": [1, 2]}
    store.set("k", mine)
    mine["steps"].append(3)
    theirs = store.get("k")
    assert theirs == {"steps": [1, 2]}
    theirs["steps"].append(9)
    assert store.get("k") == {"steps": [1, 2]}


def test_a_datetime_comes_back_as_the_same_moment(store: AgentStateStore) -> None:
    there = dt.timezone(dt.timedelta(hours=5, minutes=45))
    for moment in (dt.datetime(2026, 11, 21, 3, 4, 5, 678901, tzinfo=there), dt.datetime(1, 1, 2, tzinfo=UTC)):
        store.set("at", moment)
        assert store.get("at") == moment


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": [1, {"b": 3j}]}, TypeError, r"store\['k'\]\['a'\]\[1\]\['b'\] is a complex"),
        ({"a": (1, 2)}, TypeError, r"store\['k'\]\['a'\] is a tuple; use a list"),
        ([{1, 2}], TypeError, r"store\['k'\]\[0\] is a set"),
        (dt.datetime(2026, 1, 1), TypeError, r"store\['k'\] is a datetime without a timezone"),  # noqa: DTZ001
        ({"n": [2**64]}, ValueError, r"store\['k'\]\['n'\]\[0\] is "),
        ({(1, 2): 3}, TypeError, r"store\['k'\].*\(1, 2\)"),
        (["\ud800"], ValueError, r"store\['k'\]\[0\] holds a lone surrogate"),
        ([Text("x")], TypeError, r"store\['k'\]\[0\] is a Text"),
    ],
    ids=repr,
)
def test_a_value_that_cannot_be_stored_is_named_with_its_path(
    store: AgentStateStore, value: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.set("k", value)
    assert "k" not in store


def test_nesting_without_end_is_refused(store: AgentStateStore) -> None:
    deep: list[object] = []
    deep.append(deep)
    with pytest.raises(ValueError, match="a cycle"):
        store.set("k", deep)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (7, TypeError, "a key is a str, not int"),
        (b"k", TypeError, "a key is a str, not bytes"),
        ("", ValueError, "a key is not empty"),
        ("\ud800", ValueError, "lone surrogate"),
        ("k" * 1025, LimitExceeded, "has 1025 bytes, the limit is 1024"),
        ("é" * 513, LimitExceeded, "has 1026 bytes"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_key_that_cannot_be_used_is_named(
    store: AgentStateStore, key: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.set(key, 1)


def test_a_value_over_the_limit_is_refused_by_name_size_and_limit(store: AgentStateStore) -> None:
    store.set("k", b"old")
    with pytest.raises(
        LimitExceeded, match=r"the value of store\['k'\] has 1048577 bytes or more, the limit is 1048576; split it"
    ):
        store.set("k", bytes(2**20 + 1))
    assert store.get("k") == b"old"
    store.set("k", bytes(2**20))


def test_limits_stay_within_what_the_protocol_carries() -> None:
    with pytest.raises(LimitExceeded, match="value_bytes"):
        Limits(value_bytes=16 * 2**20 + 1)
    with pytest.raises(LimitExceeded, match="key_bytes"):
        Limits(key_bytes=0)
    store = AgentStateStore("room", port=None, limits=Limits(value_bytes=100))
    with pytest.raises(LimitExceeded, match="the limit is 100"):
        store.set("k", "x" * 101)
    store.close()


def test_a_label_longer_than_peers_take_is_refused_here() -> None:
    with pytest.raises(LimitExceeded, match="node_id has 257 characters, the limit is 256"):
        AgentStateStore("room", "x" * 257, port=None)


def test_reading_is_like_a_mapping(store: AgentStateStore) -> None:
    for key, value in (("b/2", 2), ("a/1", 1), ("a/0", None)):
        store.set(key, value)
    assert store.get_all() == {"a/0": None, "a/1": 1, "b/2": 2}
    assert list(store.get_all()) == ["a/0", "a/1", "b/2"]
    assert list(store.items("a/")) == [("a/0", None), ("a/1", 1)]
    assert len(store) == 3
    assert "a/0" in store
    assert "a" not in store
    assert 7 not in store
    assert store.get("a/0", "default") is None
    assert store.get("nothing", "default") == "default"


def test_a_deleted_key_is_gone_and_deleting_nothing_writes_nothing(store: AgentStateStore) -> None:
    store.set("k", 1)
    assert store.delete("k")
    assert "k" not in store
    assert (store.stats.keys, store.stats.removal_records, store.stats.local_writes) == (0, 1, 2)
    assert not store.delete("k")
    assert not store.delete("never there")
    assert store.stats.local_writes == 2


def test_many_threads_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    with_log = AgentStateStore("room", port=None, path=tmp_path)

    def write(name: int) -> None:
        for number in range(200):
            with_log.set(f"{name}/{number}", number)
            with_log.set("shared", [name, number])

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = with_log.get_all()
    assert len(before) == 8 * 200 + 1
    assert with_log.stats.conflicts == 0, "writers of one process see each other"
    with_log.close()
    again = AgentStateStore("room", port=None, path=tmp_path)
    assert again.get_all() == before
    assert again.stats.recovered_records == 8 * 400
    again.close()


def test_a_closed_store_can_be_read_and_not_written(store: AgentStateStore) -> None:
    store.set("k", 1)
    store.close()
    store.close()
    assert store.get("k") == 1
    for write in (lambda: store.set("k", 2), lambda: store.delete("k")):
        with pytest.raises(ClosedError):
            write()


def test_what_needs_the_network_says_how_to_start_it(store: AgentStateStore) -> None:
    with pytest.raises(LocalProtocolError, match=r"await store\.start"):
        store.invite()


async def make_conflict(island: Island) -> tuple[AgentStateStore, AgentStateStore]:
    a = await island.start("a")
    b = await island.start("b", "a")
    island.network.cut("a", "b")
    a.set("plan", "older")
    await island.clock.advance(1)
    b.set("plan", "newer")
    island.network.heal("a", "b")
    await island.clock.advance(20)
    return a, b


def test_concurrent_writes_are_kept_shown_and_ranked_by_time() -> None:
    async def scenario(island: Island) -> None:
        for store in await make_conflict(island):
            assert store.get("plan") == "newer"
            assert store.get_conflicts("plan") == ["newer", "older"]
            assert store.stats.conflicts == 1

    on_island(scenario)


def test_a_resolved_conflict_is_resolved_everywhere() -> None:
    async def scenario(island: Island) -> None:
        a, b = await make_conflict(island)
        assert a.resolve("plan", lambda siblings: " and ".join(map(str, siblings))) == "newer and older"
        await island.clock.advance(1)
        for store in (a, b):
            assert store.get("plan") == "newer and older"
            assert store.get_conflicts("plan") == []
        assert b.resolve("plan", lambda _: pytest.fail("there is no conflict")) == "newer and older"

    on_island(scenario)


def test_a_choice_made_over_siblings_that_changed_is_made_again() -> None:
    async def scenario(island: Island) -> None:
        a, _ = await make_conflict(island)
        calls: list[list[object]] = []

        def choose(siblings: list[object]) -> object:
            if not calls:
                a.set("plan", "written meanwhile")
            calls.append(siblings)
            return "chosen"

        assert a.resolve("plan", choose) == "written meanwhile"
        assert calls == [["newer", "older"]]

    on_island(scenario)


def test_a_write_after_the_loop_has_gone_is_stored() -> None:
    store = AgentStateStore("room", port=None)
    asyncio.run(_start(store))
    store.set("k", 1)
    assert store.get("k") == 1


async def _start(store: AgentStateStore) -> None:
    await store.start()


def test_a_value_that_nobody_can_read_hides_no_other(store: AgentStateStore) -> None:
    """Rows come from other machines; here one holds bytes that are no value."""
    store.set("good", 1)
    store._state.put("bad", Packed(b"\xc1"))
    store.presence.set("here", 2)
    store._spaces["presence"].put("bad", Packed(b"\xc1"))
    assert store.get_all() == {"good": 1}
    assert list(store.items()) == [("good", 1)]
    assert set(store.presence.get_all()) == {"here"}
    assert store.presence.get("bad") is None
    with pytest.raises(StoreCorrupt, match="'bad'"):
        store.get("bad")
