"""A deleted thread stays deleted, whoever writes late; a new run of the same name starts clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import AIMessage
from propagul_langgraph import PropagulSaver

from tests.agents.langgraph.machines import Machines, on_two
from tests.agents.langgraph.values import got, id_of, put, saver, thread, values_at

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_late_put_and_late_writes_do_not_bring_a_thread_back() -> None:
    of = saver()
    at = put(of, thread(), {"n": 1})
    of.delete_thread("1")
    of.put_writes(at, [("n", 2)], "task")
    late = put(of, at, {"n": 2}, 2)
    put(of, late, {"n": 3}, 3)
    assert of.get_tuple(thread()) is None
    assert list(of.list(thread())) == []
    assert of.store.keys("lg/c/") == of.store.keys("lg/w/") == of.store.keys("lg/e/") == []


def test_nor_does_a_subgraph_that_begins_after_the_deletion() -> None:
    of = saver()
    root = put(of, thread(), {"n": 1})
    of.delete_thread("1")
    put(of, thread(checkpoint_ns="child:1"), {"n": 2}, parents={"": id_of(root)})
    assert list(of.list(thread())) == []
    assert list(of.list(None)) == []


def test_a_new_run_of_the_same_name_starts_clean_and_the_late_one_stays_away() -> None:
    of = saver()
    old = put(of, thread(), {"n": 1, "text": "x" * 500})
    of.delete_thread("1")
    new = put(of, thread(), {"n": 10})
    put(of, old, {"n": 2}, 2)
    assert values_at(of, thread()) == {"n": 10}
    assert [found.config for found in of.list(thread())] == [new]
    assert got(of, put(of, new, {"n": 11}, 2)).parent_config == new


def test_the_writes_of_a_new_run_may_come_before_its_checkpoint() -> None:
    of = saver()
    put(of, thread(), {"n": 1})
    of.delete_thread("1")
    first = put(of, thread(), {"n": 10})
    early = id_of(put(saver(), thread(), {"n": 0}))  # an id of now, which nobody here has met
    of.put_writes(thread("1", early), [("n", 11)], "task")
    put(of, first, {"n": 11}, 2, checkpoint_id=early)
    assert got(of, thread()).pending_writes == [("task", "n", 11)]


def test_a_deletion_reaches_other_machines_and_kills_what_they_write_without_knowing() -> None:
    async def scenario(both: Machines) -> None:
        at = put(both.a, thread(), {"n": 1})
        await both.settle()
        both.cut()
        both.a.delete_thread("1")
        late = put(both.b, at, {"n": 2}, 2)
        both.b.put_writes(late, [("n", 3)], "task")
        assert values_at(both.b, thread()) == {"n": 2}
        await both.heal()
        for one in (both.a, both.b):
            assert one.get_tuple(thread()) is None
            assert list(one.list(None)) == []
        put(both.b, late, {"n": 3}, 3)  # its run goes on after it has heard
        await both.settle()
        assert both.a.get_tuple(thread()) is both.b.get_tuple(thread()) is None

    on_two(scenario)


def test_a_thread_begun_again_in_two_places_is_one_thread() -> None:
    async def scenario(both: Machines) -> None:
        put(both.a, thread(), {"n": 1})
        await both.settle()
        both.a.delete_thread("1")
        await both.settle()
        both.cut()
        put(both.a, thread(), {"n": 10})
        put(both.b, thread(), {"n": 20})
        await both.heal()
        assert len(both.a.heads("1")) == len(both.b.heads("1")) == 2
        assert both.a.heads("1") == both.b.heads("1")

    on_two(scenario)


def test_what_two_machines_delete_at_the_same_time_is_deleted_once() -> None:
    async def scenario(both: Machines) -> None:
        put(both.a, thread(), {"n": 1})
        await both.settle()
        both.cut()
        both.a.delete_thread("1")
        put(both.a, thread(), {"n": 10})
        both.b.delete_thread("1")  # knows nothing of the thread that began anew
        await both.heal()
        assert values_at(both.a, thread()) == values_at(both.b, thread()) == {"n": 10}

    on_two(scenario)


@pytest.mark.parametrize(
    "sweep", [lambda of: of.delete_thread("1"), lambda of: of.sweep_ttl(), lambda of: of.prune(["1"])]
)
def test_rows_of_a_dead_thread_that_arrive_late_are_swept(sweep: Callable[[PropagulSaver], object]) -> None:
    async def scenario(both: Machines) -> None:
        at = put(both.a, thread(), {"n": 1})
        alive = put(both.a, thread("2"), {"n": 2})
        await both.settle()
        both.cut()
        both.a.delete_thread("1")
        put(both.b, at, {"text": "x" * 500}, 2)
        await both.heal()
        assert both.a.store.keys("lg/c/")
        sweep(both.a)
        assert [found.config for found in both.a.list(None)] == [alive]
        assert len(both.a.store.keys("lg/c/")) == 1
        assert both.a.store.keys("lg/e/") == []

    on_two(scenario)


def test_a_thread_that_has_not_arrived_here_can_be_deleted_here() -> None:
    async def scenario(both: Machines) -> None:
        both.cut()
        put(both.b, thread(), {"n": 1})
        both.a.delete_thread("1")
        await both.heal()
        assert both.a.get_tuple(thread()) is both.b.get_tuple(thread()) is None

    on_two(scenario)


def test_another_process_knows_a_dead_checkpoint_by_its_id() -> None:
    first = saver()
    at = put(first, thread(), {"n": 1})
    first.delete_thread("1")
    put(PropagulSaver(first.store), at, {"n": 2}, 2)
    assert PropagulSaver(first.store).get_tuple(thread()) is None


def test_other_threads_stay_as_they_are() -> None:
    of = saver()
    put(of, thread("1"), {"n": 1})
    put(of, thread("11"), {"m": [AIMessage("x", id="1")]})
    of.delete_thread("1")
    assert values_at(of, thread("11")) == {"m": [AIMessage("x", id="1")]}


@pytest.mark.parametrize("name", ["a/b", "ä" * 300, "~x", "", "a b\n", "x" * 5000])
def test_names_of_all_kinds_are_names(name: str) -> None:
    of = saver()
    at = put(of, thread(name, checkpoint_ns=name), {"n": 1})
    put(of, thread("other"), {"n": 2})
    assert [found.config for found in of.list(thread(name, checkpoint_ns=name))] == [at]
    assert at["configurable"]["thread_id"] == at["configurable"]["checkpoint_ns"] == name
    of.delete_thread(name)
    assert [found.checkpoint["channel_values"] for found in of.list(None)] == [{"n": 2}]
