"""Real graphs run on it as they do in memory: the same states, histories, interrupts and forks."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.types import Command, Send, interrupt
from propagul_langgraph import PropagulSaver

from tests.agents.langgraph.values import saver

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver


class State(TypedDict):
    messages: Annotated[list[BaseMessage], add_messages]
    n: int
    seen: Annotated[list[str], lambda old, new: old + new]


def child(state: State) -> dict[str, object]:
    return {"n": state["n"] + 1, "seen": [f"child {state['n']}"]}


def graph_of(of: BaseCheckpointSaver[Any]) -> Any:
    """A subgraph, a fan-out, a question to a person, and a node that edits the messages."""
    inner = StateGraph(State)
    inner.add_node("child", child)
    inner.add_edge(START, "child")
    inner.add_edge("child", END)

    def answer(state: State) -> dict[str, object]:
        return {"messages": [AIMessage(f"answer {state['n']}", id=f"a{state['n']}")], "n": state["n"] + 1}

    def spread(state: State) -> list[Send]:
        return [Send("part", {"n": number}) for number in range(state["n"] % 3 + 1)]

    def part(state: State) -> dict[str, object]:
        return {"seen": [f"part {state['n']}"]}

    def ask(state: State) -> dict[str, object]:
        return {"seen": [f"told {interrupt({'question': state['n']})}"]}

    def tidy(state: State) -> dict[str, object]:
        messages = state["messages"]
        if len(messages) > 9:
            return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *messages[-3:]]}
        return {"messages": [RemoveMessage(id=str(messages[0].id))] if len(messages) > 6 else []}

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_node("inner", inner.compile())
    builder.add_node("part", part)
    builder.add_node("ask", ask)
    builder.add_node("tidy", tidy)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", "inner")
    builder.add_conditional_edges("inner", spread, ["part"])
    builder.add_edge("part", "ask")
    builder.add_edge("ask", "tidy")
    builder.add_edge("tidy", END)
    return builder.compile(checkpointer=of)


def told(graph: Any, config: RunnableConfig) -> list[object]:
    """What a person can see of a thread's history: everything but ids and times."""
    return [
        (
            state.values,
            state.next,
            {name: value for name, value in state.metadata.items() if name in {"source", "step"}},
            [(task.name, task.error, [one.value for one in task.interrupts], task.result) for task in state.tasks],
        )
        for state in graph.get_state_history(config)
    ]


def play(graph: Any, chance: random.Random, durability: str) -> list[object]:
    """Some turns of a thread: questions, resumes, updates by hand and forks."""
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    for turn in range(8):
        state = graph.get_state(config)
        act = chance.choice(["go on", "go on", "update", "fork"])
        if act == "update" and state.values:
            graph.update_state(config, {"messages": [HumanMessage(f"by hand {turn}", id=f"h{turn}")]}, as_node="inner")
        elif act == "fork" and state.values:
            past = chance.choice(list(graph.get_state_history(config)))
            graph.update_state(past.config, {"seen": [f"fork {turn}"]}, as_node="answer")
        elif state.interrupts:
            graph.invoke(Command(resume=f"yes {turn}"), config, durability=durability)
        else:
            question = {"messages": [HumanMessage(f"question {turn}", id=f"q{turn}")], "n": turn, "seen": []}
            graph.invoke(question, config, durability=durability)
    return told(graph, config)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("seed", range(4))
def test_a_thread_looks_as_it_does_in_memory(seed: int, durability: str) -> None:
    of = saver()
    ours = play(graph_of(of), random.Random(seed), durability)
    theirs = play(graph_of(InMemorySaver()), random.Random(seed), durability)
    assert ours == theirs
    assert len(ours) >= 8
    assert told(graph_of(PropagulSaver(of.store)), {"configurable": {"thread_id": "1"}}) == theirs


def test_and_so_does_one_in_an_event_loop() -> None:
    async def scenario(make: Callable[[], BaseCheckpointSaver[Any]]) -> list[object]:
        graph, config = graph_of(make()), {"configurable": {"thread_id": "1"}}
        for turn in range(3):
            await graph.ainvoke({"messages": [HumanMessage("q", id=f"q{turn}")], "n": turn, "seen": []}, config)
            await graph.ainvoke(Command(resume="yes"), config)
        return [(state.values, state.next) async for state in graph.aget_state_history(config)]

    assert asyncio.run(scenario(saver)) == asyncio.run(scenario(InMemorySaver))
