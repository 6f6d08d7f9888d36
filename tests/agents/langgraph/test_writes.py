"""What tasks wrote to a checkpoint: of ordinary writes the first counts, of special ones the last, in one order."""

from __future__ import annotations

from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from tests.agents.langgraph.machines import Machines, on_two
from tests.agents.langgraph.values import got, put, saver, thread


def test_a_write_that_is_repeated_with_another_value_stays_the_first() -> None:
    of = saver()
    at = put(of, thread(), {"n": 1})
    of.put_writes(at, [("n", 1), ("m", 1)], "task")
    of.put_writes(at, [("n", 2), ("m", 2), ("o", 2)], "task")
    assert got(of, at).pending_writes == [("task", "n", 1), ("task", "m", 1), ("task", "o", 2)]


def test_an_interrupt_an_error_and_a_resume_are_the_last() -> None:
    of = saver()
    at = put(of, thread(), {"n": 1})
    for value in (1, 2):
        of.put_writes(at, [(INTERRUPT, value), (ERROR, value), (RESUME, value)], "task")
    assert sorted(got(of, at).pending_writes or []) == [
        ("task", name, 2) for name in sorted([ERROR, INTERRUPT, RESUME])
    ]


def test_reducers_see_writes_by_path_then_task_then_place() -> None:
    of = saver()
    at = put(of, thread(), {"n": 1})
    of.put_writes(at, [("n", 1), ("n", 2)], "b", "path 2")
    of.put_writes(at, [("n", 3)], "a", "path 2")
    of.put_writes(at, [("n", 4)], "z", "path 1")
    assert [value for _, _, value in got(of, at).pending_writes or []] == [4, 3, 1, 2]


def test_what_two_machines_wrote_for_one_task_at_once_is_the_same_everywhere() -> None:
    async def scenario(both: Machines) -> None:
        at = put(both.a, thread(), {"n": 1})
        await both.settle()
        both.cut()
        both.a.put_writes(at, [("n", "first")], "task")
        both.a.put_writes(at, [(INTERRUPT, "first")], "task")
        await both.pass_time(5)
        both.b.put_writes(at, [("n", "second"), ("m", "second")], "task")
        both.b.put_writes(at, [(INTERRUPT, "second")], "task")
        await both.heal()
        expected = [("task", INTERRUPT, "second"), ("task", "n", "first"), ("task", "m", "second")]
        assert got(both.a, at).pending_writes == got(both.b, at).pending_writes == expected

    on_two(scenario)
