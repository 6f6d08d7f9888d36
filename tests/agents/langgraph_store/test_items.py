"""Items of one store: what is kept of them, how they are found, and what is refused."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from itertools import pairwise
from typing import Any

import pytest
from langgraph.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, PutOp, SearchOp

from propagul import LimitExceeded, StoreCorrupt
from tests.agents.langgraph_store.world import Clock, opened

LONG = "label " * 30


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def test_an_item_keeps_when_it_was_first_put_until_it_is_deleted() -> None:
    clock = Clock()
    first = at(clock())
    with opened(now=clock) as store:
        store.put(("a",), "k", {"n": 1})
        clock.pass_minutes(1)
        store.put(("a",), "k", {"n": 2})
        item = store.get(("a",), "k")
        assert item is not None
        assert (item.value, item.created_at, item.updated_at) == ({"n": 2}, first, at(clock()))
        store.delete(("a",), "k")
        assert store.get(("a",), "k") is None
        store.put(("a",), "k", {"n": 3})
        item = store.get(("a",), "k")
        assert item is not None
        assert item.created_at == at(clock())


def test_an_item_is_readable_in_the_store_itself() -> None:
    clock = Clock()
    with opened(now=clock) as store:
        store.put(("users", "1"), "prefs", {"theme": "dark"})
        store.put(("users", "a b"), "prefs", {"theme": "dark"})
        plain, hashed = store.store.get_all("lgs/").items()
        assert plain[0] == "lgs/i/users/1/prefs"
        assert plain[1] == {"value": {"theme": "dark"}, "created": at(clock()), "updated": at(clock())}
        assert hashed[1] == {**plain[1], "names": [["users", "a b"], "prefs"]}


def test_what_a_caller_holds_is_its_own() -> None:
    with opened() as store:
        value = {"list": [1]}
        store.put(("a",), "k", value)
        value["list"].append(2)
        item = store.get(("a",), "k")
        assert item is not None
        item.value["list"].append(3)
        assert store.search(("a",))[0].value == {"list": [1]}


def test_results_stand_in_the_order_of_the_operations_and_see_nothing_of_the_same_batch() -> None:
    with opened() as store:
        store.put(("a",), "old", {"n": 0})
        results = store.batch(
            [
                PutOp(("a",), "k", {"n": 1}),
                GetOp(("a",), "k"),
                PutOp(("a",), "k", {"n": 2}),
                PutOp(("a",), "old", None),
                SearchOp(("a",)),
                GetOp(("a",), "old"),
                ListNamespacesOp(),
                PutOp(("b",), "k", {"n": 3}),
            ]
        )
        assert [results[index] for index in (0, 1, 2, 3, 7)] == [None] * 5
        assert [item.key for item in results[4]] == ["old"]  # type: ignore[union-attr]  # it is there
        assert results[5].value == {"n": 0}  # type: ignore[union-attr]  # it is there
        assert results[6] == [("a",)]
        assert {(item.namespace, item.key): item.value["n"] for item in store.search(())} == {
            (("a",), "k"): 2,
            (("b",), "k"): 3,
        }


def test_a_search_without_a_query_shows_the_newest_first() -> None:
    clock = Clock()
    with opened(now=clock) as store:
        for number in range(20):
            store.put(("a", str(number % 3)), f"k{number * 7 % 20}", {"n": number})
            clock.pass_minutes(1)
        store.put(("a", "0"), "k0", {"n": 99})
        assert [item.value["n"] for item in store.search(("a",), limit=4)] == [99, 19, 18, 17]
        assert [item.value["n"] for item in store.search(("a",), limit=3, offset=2)] == [18, 17, 16]
        assert {item.score for item in store.search(("a",))} == {None}


def test_a_prefix_ends_with_a_label_and_is_no_pattern() -> None:
    with opened() as store:
        for namespace in (("foo",), ("foobar",), ("foo", "bar"), ("FOO",), ("*",), ("foo_",), ("f%",)):
            store.put(namespace, "k", {})
        found = {item.namespace for item in store.search(("foo",), limit=100)}
        assert found == {("foo",), ("foo", "bar")}
        assert [item.namespace for item in store.search(("*",))] == [("*",)]
        assert store.list_namespaces(prefix=("foo",)) == [("foo",), ("foo", "bar")]


@pytest.mark.parametrize("depth", [1, 5, 12, 24])
def test_labels_of_any_length_are_found_by_every_prefix(depth: int) -> None:
    namespace = tuple(f"{number}-{LONG if number % 2 else 'x' * 75}" for number in range(depth))
    key = "key " * 1000
    with opened() as store:
        store.put(namespace, key, {"n": 1}, ttl=5)
        assert store.get(namespace, key) is not None
        for size in range(depth + 1):
            (item,) = store.search(namespace[:size])
            assert (item.namespace, item.key) == (namespace, key)
            assert store.list_namespaces(prefix=namespace[:size]) == [namespace]
        assert max(map(len, store.store.keys())) < 1000
        store.delete(namespace, key)
        assert store.store.keys() == []


def test_no_two_names_share_a_row() -> None:
    names = [
        (("a", "b"), "c"),
        (("a",), "b/c"),
        (("a/b",), "c"),
        (("a",), "b"),
        (("a", "b"), ""),
        (("a",), "~b"),
        (("A",), "b"),
        (("a",), "b "),
    ]
    with opened() as store:
        for number, name in enumerate(names):
            store.put(*name, {"n": number})
        assert [store.get(*name).value["n"] for name in names] == list(range(len(names)))  # type: ignore[union-attr]  # it is there
        assert {(item.namespace, item.key) for item in store.search((), limit=100)} == set(names)


def test_a_key_that_is_no_text_is_taken_as_text() -> None:
    with opened() as store:
        store.put(("a",), 7, {"n": 1})  # type: ignore[arg-type]  # wrong on purpose
        assert store.get(("a",), "7") is not None


def test_a_list_of_labels_is_as_good_as_a_tuple() -> None:
    with opened() as store:
        store.put(["a", "b"], "k", {"n": 1})  # type: ignore[arg-type]  # wrong on purpose
        (item,) = store.search(["a"])  # type: ignore[arg-type]  # wrong on purpose
        assert item.namespace == ("a", "b")
        assert store.get(["a", "b"], "k") == store.get(("a", "b"), "k") is not None  # type: ignore[arg-type]  # wrong on purpose
        assert store.list_namespaces(prefix=["a"]) == [("a", "b")]  # type: ignore[arg-type]  # wrong on purpose
        store.delete(["a", "b"], "k")  # type: ignore[arg-type]  # wrong on purpose
        assert store.search(()) == []


# --- filters -----------------------------------------------------------------------------------------------------


def found(filters: dict[str, Any], *values: dict[str, Any]) -> list[int]:
    """Which of the values a filter finds, by their place."""
    with opened() as store:
        store.batch([PutOp(("a",), str(number), value) for number, value in enumerate(values)])
        return sorted(int(item.key) for item in store.search((), filter=filters, limit=100))


def test_names_of_a_filter_are_names_of_the_value_whatever_they_look_like() -> None:
    odd = ["a.b", "a'; DROP TABLE items; --", "$.a", "*", "a[0]", "", "$gt"]
    for name in odd:
        assert found({name: 1}, {name: 1}, {"a": {"b": 1}}, {"a": 1}, {name: 2}) == [0]


def test_numbers_are_ordered_as_numbers_and_texts_as_texts() -> None:
    assert found({"n": {"$gt": 9}}, {"n": 10}, {"n": "10"}, {"n": "9"}, {"n": None}, {}, {"n": [1]}) == [0, 1]
    assert found({"day": {"$gte": "2026-02-01"}}, {"day": "2026-01-31"}, {"day": "2026-02-01"}, {"day": 5}) == [1]
    day = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
    assert found({"day": {"$lt": day}}, {"day": day - dt.timedelta(days=1)}, {"day": day}, {"day": "x"}) == [0]
    assert found({"day": {"$lt": day.replace(tzinfo=None)}}, {"day": day}) == []


def test_what_has_no_order_is_not_found_and_hides_nothing() -> None:
    assert found({"n": {"$lte": 5}}, {"n": {"x": 1}}, {"n": 5}, {"n": "five"}) == [1]


@pytest.mark.parametrize("filters", [{"n": {"$regex": "x"}}, {"n": {"m": {"$in": []}}}, {"n": [{"$or": 1}]}])
def test_an_operator_that_there_is_not_is_refused_even_where_nothing_is(filters: dict[str, Any]) -> None:
    with opened() as store, pytest.raises(ValueError, match=r"a filter knows \$eq, \$gt, \$gte, \$lt, \$lte, \$ne"):
        store.search((), filter=filters)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", [(), ("",), ("a.b",), ("langgraph",), (1,), ("a\0",)])
def test_a_namespace_that_is_none_is_refused(namespace: tuple[Any, ...]) -> None:
    with opened() as store:
        with pytest.raises(InvalidNamespaceError):
            store.put(namespace, "k", {})
        if namespace not in ((), ("langgraph",)):
            with pytest.raises(InvalidNamespaceError):
                store.batch([PutOp(namespace, "k", {})])


def test_bad_operations_are_refused_before_anything_is_done() -> None:
    bad: list[tuple[Any, type[Exception], str]] = [
        (PutOp(("a",), "k", [1]), TypeError, "the value of 'k' in .'a',. is a dict, not list"),  # type: ignore[arg-type]  # wrong on purpose
        (GetOp("users", "k"), TypeError, "a namespace is a tuple of labels, not 'users'"),  # type: ignore[arg-type]  # wrong on purpose
        (SearchOp("users"), TypeError, "a namespace is a tuple"),  # type: ignore[arg-type]  # wrong on purpose
        (ListNamespacesOp((MatchCondition("prefix", "a"),)), TypeError, "a namespace is a tuple"),  # type: ignore[arg-type]  # wrong on purpose
        (PutOp(("a",), 1, {}), TypeError, "a key is a str, not int"),  # type: ignore[arg-type]  # wrong on purpose
        (PutOp(("a",), "k", {}, index="text"), TypeError, r"index is a list of fields such as .* not 'text'"),  # type: ignore[arg-type]  # wrong on purpose
        (PutOp(("a",), "k", {}, index=True), TypeError, "index is a list of fields"),  # type: ignore[arg-type]  # wrong on purpose
        (PutOp(("a",), "k", {}, ttl=0), ValueError, "ttl is a number of minutes above 0, not 0"),
        (PutOp(("a",), "k", {}, ttl=float("nan")), ValueError, "ttl is a number"),
        (SearchOp((), limit=-1), ValueError, "limit and offset are 0 or more, not -1 and 0"),
        (SearchOp((), offset=-1), ValueError, "limit and offset"),
        (SearchOp((), filter=[1]), TypeError, "a filter is a dict, not list"),  # type: ignore[arg-type]  # wrong on purpose
        (ListNamespacesOp(max_depth=0), ValueError, "max_depth is 1 or more, not 0"),
        (ListNamespacesOp((MatchCondition("infix", ("a",)),)), ValueError, "by prefix or suffix, not by 'infix'"),  # type: ignore[arg-type]  # wrong on purpose
        (("get", "k"), TypeError, "not tuple"),
        (PutOp(("a",) * 25, "k", {}), LimitExceeded, "25 labels, the limit is 24"),
        (SearchOp(("a",) * 25), LimitExceeded, "25 labels, the limit is 24"),
    ]
    with opened() as store:
        for op, error, message in bad:
            with pytest.raises(error, match=message):
                store.batch([PutOp(("a",), "k", {"n": 1}), op])
            assert store.search(()) == []


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"t": (1, 2)}, TypeError, r"\['value'\]\['t'\] is a tuple; use a list"),
        ({"o": object()}, TypeError, r"\['value'\]\['o'\] is a object"),
        ({"x": float("nan")}, ValueError, r"\['value'\]\['x'\] is NaN"),
        ({"x": "y" * 2_000_000}, LimitExceeded, "the limit is 1048576"),
    ],
)
def test_a_value_that_cannot_be_stored_says_why_and_leaves_the_item_as_it_was(
    value: dict[str, Any], error: type[Exception], message: str
) -> None:
    with opened() as store:
        store.put(("a",), "k", {"n": 1}, ttl=5)
        before = store.store.get_all()
        for ttl in (None, 9):
            with pytest.raises(error, match=message):
                store.put(("a",), "k", value, ttl=ttl)
            assert store.store.get_all() == before


def test_a_row_that_is_no_item_is_named_where_asked_for_and_hides_no_other() -> None:
    with opened() as store:
        store.put(("a",), "k", {"n": 1})
        names = [["b c"], "k"]
        good = store.store.get("lgs/i/a/k")
        assert isinstance(good, dict)
        for number, row in enumerate(
            [
                5,
                {},
                {**good, "value": 1},
                {**good, "ttl": "x"},
                {**good, "updated": "yesterday"},
                {**good, "vectors": 1},
            ]
        ):
            store.store.set(f"lgs/i/a/bad{number}", row)
            with pytest.raises(StoreCorrupt, match=f"'lgs/i/a/bad{number}' is no item that this version can read"):
                store.get(("a",), f"bad{number}")
        for number, row in enumerate([good, {**good, "names": names}, {**good, "names": [5, "k"]}]):
            store.store.set(f"lgs/i/~{number}/k", row)
        store.store.set("lgs/i/~0/~1", {**good, "names": [["x"] * 30, "k"]})
        assert [item.key for item in store.search((), limit=100)] == ["k"]
        assert store.list_namespaces() == [("a",)]
        store.put(("a",), "bad0", {"n": 2})
        assert store.get(("a",), "bad0").value == {"n": 2}  # type: ignore[union-attr]  # it is there


def test_fields_of_later_versions_are_passed_over() -> None:
    with opened() as store:
        store.put(("a",), "k", {"n": 1})
        row = store.store.get("lgs/i/a/k")
        assert isinstance(row, dict)
        store.store.set("lgs/i/a/k", {**row, "colour": "red"})
        assert store.get(("a",), "k").value == {"n": 1}  # type: ignore[union-attr]  # it is there


# --- threads and loops -------------------------------------------------------------------------------------------


def test_many_threads_put_and_find() -> None:
    with opened() as store:

        def work(number: int) -> None:
            for step in range(30):
                store.put(("a", str(number)), str(step), {"n": step}, ttl=5 if step % 2 else None)
                store.put(("shared",), "k", {"n": [number, step]})
                assert store.get(("a", str(number)), str(step)) is not None

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.search(("a",), limit=1000)) == 120
        created = store.get(("shared",), "k")
        assert created is not None
        assert created.created_at < created.updated_at


def test_one_store_serves_threads_and_loops_alike() -> None:
    with opened() as store:

        async def main(name: str) -> list[str]:
            await store.aput(("a",), name, {"n": 1})
            store.put(("a",), f"{name} sync", {"n": 1})
            assert await store.aget(("a",), f"{name} sync") is not None
            assert await store.alist_namespaces() == [("a",)]
            await store.adelete(("a",), name)
            return [item.key for item in await store.asearch(("a",), limit=100)]

        assert asyncio.run(main("one")) == ["one sync"]
        assert sorted(asyncio.run(main("two"))) == ["one sync", "two sync"]


def test_stores_of_other_roots_see_nothing_of_each_other() -> None:
    from propagul_langgraph.store import PropagulStore

    with opened() as one:
        other = PropagulStore(one.store, root="other/")
        one.put(("a",), "k", {"n": 1})
        assert other.get(("a",), "k") is None
        assert other.search(()) == other.list_namespaces() == []
        other.put(("a",), "k", {"n": 2})
        assert [item.value for item in one.search(())] == [{"n": 1}]


def test_times_of_puts_never_fall_together_in_the_list() -> None:
    with opened() as store:
        for number in range(50):
            store.put(("a",), str(number), {"n": number})
        times = [item.updated_at for item in store.search((), limit=100)]
        assert all(newer >= older for newer, older in pairwise(times))
        assert len(times) == 50
