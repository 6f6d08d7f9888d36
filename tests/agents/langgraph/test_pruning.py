"""Pruning removes what nobody needs, and nothing that somebody may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import _messages_delta_reducer
from propagul_langgraph import PropagulSaver

from tests.agents.langgraph.machines import Machines, on_two
from tests.agents.langgraph.values import got, put, saver, thread, values_at

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver


def turns(of: PropagulSaver, count: int, at: RunnableConfig | None = None, *, window: int = 1000) -> RunnableConfig:
    """A thread with one message more each turn, up to a window."""
    found = None if at is None else got(of, at)
    messages: list[BaseMessage] = [] if found is None else found.checkpoint["channel_values"]["messages"]
    at = at or thread()
    for turn in range(count):
        messages = [*messages, AIMessage("x" * 300, id=f"{len(messages)}.{turn}")][-window:]
        at = put(of, at, {"messages": messages, "n": turn}, turn + 1)
    return at


def test_what_is_kept_reads_as_before_and_goes_on() -> None:
    of = saver(prune_grace_s=0)
    at = turns(of, 60)
    before = values_at(of, at)
    of.prune(["1"])
    fresh = PropagulSaver(of.store)
    assert [found.config for found in fresh.list(thread())] == [at]
    assert values_at(fresh, thread()) == before
    further = turns(fresh, 30, at)
    assert len(values_at(PropagulSaver(of.store), further)["messages"]) == 90  # type: ignore[arg-type]  # a list


def test_content_goes_when_its_grace_is_over_and_not_before() -> None:
    of = saver(prune_grace_s=3600)
    at = turns(of, 40, window=5)
    of.prune(["1"])
    rows = of.store.keys("lg/e/")
    assert len(rows) == 40  # every message there ever was
    soon = PropagulSaver(of.store, prune_grace_s=0)
    soon.prune(["1"])
    assert len(of.store.keys("lg/e/")) == 5
    assert len(values_at(soon, at)["messages"]) == 5  # type: ignore[arg-type]  # a list


def test_a_machine_that_was_cut_off_goes_on_from_what_was_pruned() -> None:
    async def scenario(both: Machines) -> None:
        at = turns(both.a, 10)
        await both.settle()
        both.cut()
        resumed = turns(both.b, 3, at)
        turns(both.a, 5, at, window=2)
        both.a.prune(["1"])
        await both.heal()
        for one in (both.a, both.b):
            assert len(values_at(one, resumed)["messages"]) == 13  # type: ignore[arg-type]  # a list
            assert len(one.heads("1")) == 2

    on_two(scenario)


def test_content_that_is_referred_to_again_is_written_again() -> None:
    of = saver(prune_grace_s=3600)
    message = AIMessage("x" * 300, id="1")
    at = put(of, thread(), {"messages": [message]})
    at = put(of, at, {"messages": [HumanMessage("y" * 300, id="2")]}, 2)
    of.prune(["1"])
    key = next(key for key in of.store.keys("lg/e/") if b"x" * 300 in of.store.get(key))  # type: ignore[operator]  # bytes
    written = of.store.stats.local_writes
    other = PropagulSaver(of.store)
    put(other, at, {"messages": [message]}, 3)
    assert of.store.stats.local_writes - written == 2  # the checkpoint, and that content
    assert key in of.store


def test_content_that_was_swept_is_written_again_by_the_same_saver() -> None:
    of = saver(prune_grace_s=0)
    message = AIMessage("x" * 300, id="1")
    at = put(of, thread(), {"n": 1})
    of.put_writes(at, [("messages", [message])], "task")
    of.store.delete(of.store.keys("lg/w/")[0])  # on another machine, say
    of.prune(["1"])
    assert of.store.keys("lg/e/") == []
    at = put(of, at, {"messages": [message]}, 2)
    assert values_at(PropagulSaver(of.store), at) == {"messages": [message]}


def test_every_head_is_kept() -> None:
    async def scenario(both: Machines) -> None:
        root = turns(both.a, 3)
        await both.settle()
        both.cut()
        turns(both.a, 2, root)
        turns(both.b, 2, root)
        await both.heal()
        heads = both.a.heads("1")
        both.a.prune(["1"])
        assert both.a.heads("1") == heads
        assert len(list(both.a.list(thread()))) == 2

    on_two(scenario)


class State(TypedDict):
    messages: Annotated[list[BaseMessage], DeltaChannel(_messages_delta_reducer, snapshot_frequency=7)]


def delta_graph(of: BaseCheckpointSaver[Any]) -> Any:
    """A graph whose messages are kept as deltas, with a snapshot at every seventh."""

    def answer(state: State) -> dict[str, object]:
        number = len(state["messages"])
        return {"messages": [AIMessage(f"answer {number}", id=f"a{number}")]}

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=of)


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 9])
def test_what_a_delta_channel_is_rebuilt_from_is_kept(runs: int) -> None:
    of = saver(prune_grace_s=0)
    graph, config = delta_graph(of), thread()
    del config["configurable"]["checkpoint_ns"]
    for run in range(runs):
        graph.invoke({"messages": [HumanMessage(f"question {run}")]}, config)
        before = graph.get_state(config).values
        of.prune(["1"])
        assert delta_graph(PropagulSaver(of.store)).get_state(config).values == before
    assert len(before["messages"]) == 2 * runs
    assert len(list(of.list(thread()))) < 2 * 7 + 3


def test_the_history_of_a_delta_channel_is_what_it_is_in_memory() -> None:
    found = []
    for of in (saver(), InMemorySaver()):
        graph, config = delta_graph(of), {"configurable": {"thread_id": "1"}}
        for run in range(6):
            graph.invoke({"messages": [HumanMessage(f"question {run}", id=str(run))]}, config)
        told = [
            of.get_delta_channel_history(config=state.config, channels=["messages", "nothing"])
            for state in graph.get_state_history(config)
        ]
        found.append([{name: [write[1:] for write in one["writes"]] for name, one in each.items()} for each in told])
        assert len(told) == 18
    assert found[0] == found[1]


def test_a_strategy_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="keep_latest, delete, not 'oldest'"):
        saver().prune(["1"], strategy="oldest")


def test_a_copy_is_whole_and_apart() -> None:
    of = saver(prune_grace_s=0)
    at = turns(of, 20)
    of.put_writes(at, [("messages", [AIMessage("w" * 300, id="w")])], "task")
    of.copy_thread("1", "2")
    of.delete_thread("1")
    fresh = PropagulSaver(of.store)
    copied = list(fresh.list(thread("2")))
    assert len(copied) == 20
    assert [len(found.checkpoint["channel_values"]["messages"]) for found in copied] == list(range(20, 0, -1))
    assert got(fresh, thread("2")).pending_writes == [("task", "messages", [AIMessage("w" * 300, id="w")])]
    assert fresh.get_tuple(thread("1")) is None
