"""Lists are kept element by element: every version reads as it was, and costs what is new in it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from propagul_langgraph import PropagulSaver

from tests.agents.langgraph.ciphers import Aes
from tests.agents.langgraph.values import put, saver, thread, values_at

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.serde.base import SerializerProtocol

PAYLOAD = 300

Edit = tuple[str, int, int]

EDITS = ["append", "extend", "trim", "drop_last", "replace", "mutate", "remove", "again", "copy", "fork", "reopen"]
EDITS += ["write", "write_and_mutate"]
edits = st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 40), st.integers(0, 40)), max_size=40)


def edited(messages: list[BaseMessage], edit: Edit, serial: int) -> list[BaseMessage]:
    """The next version of a list. Messages that stay are the same objects, as reducers leave them."""
    what, first, second = edit
    after, at = messages[:], first % len(messages) if messages else 0
    match what:
        case "append" | "extend" | "write" | "write_and_mutate":
            count = second % 9 if what == "extend" else 1
            after += [AIMessage("x" * PAYLOAD, id=f"{serial}.{n}") for n in range(count)]
        case "trim":
            del after[: first % 5]
        case "drop_last":
            del after[-1:]
        case "replace":
            after[at : at + 1] = [HumanMessage(f"replaced {serial}", id=str(serial))]
        case "mutate" if messages:  # in place, as some nodes do
            messages[at].additional_kwargs["seen"] = serial
        case "remove":
            del after[at : at + 1]
        case "again":
            after += messages[at : at + 1]
        case "copy":
            after = [message.model_copy(deep=True) for message in messages]
    return after


def play(of: PropagulSaver, steps: list[Edit]) -> None:
    """Put one version after the other, and read all of them again."""
    messages: list[BaseMessage] = [AIMessage("y" * PAYLOAD, id=f"first {n}") for n in range(12)]
    stored: list[tuple[RunnableConfig, list[BaseMessage]]] = []
    at: RunnableConfig = thread()
    for serial, edit in enumerate(steps):
        if edit[0] == "fork" and stored:
            at, kept = stored[edit[1] % len(stored)]
            messages = [message.model_copy(deep=True) for message in kept]
        if edit[0] == "reopen" and stored:  # a process that knows nothing of what was put
            of = PropagulSaver(of.store, serde=of.serde)
            messages = values_at(of, at)["messages"]  # type: ignore[assignment]  # what was put
        messages = edited(messages, edit, serial)
        if edit[0].startswith("write") and stored:  # by a task, before the channel takes it
            of.put_writes(at, [("messages", messages[-1:])], f"task {serial}")
        if edit[0] == "write_and_mutate":
            messages[-1].additional_kwargs["seen"] = serial
        at = put(of, at, {"messages": messages}, serial + 1)
        stored.append((at, [message.model_copy(deep=True) for message in messages]))
    for config, then in stored:
        assert values_at(of, config)["messages"] == then
        assert values_at(PropagulSaver(of.store, serde=of.serde), config)["messages"] == then


@given(edits)
@settings(max_examples=25)
def test_every_version_of_a_list_reads_as_it_was(steps: list[Edit]) -> None:
    play(saver(), steps)


@given(edits)
@settings(max_examples=25)
def test_and_under_a_cipher(steps: list[Edit]) -> None:
    play(saver(serde=EncryptedSerializer(Aes(), JsonPlusSerializer())), steps)


def grown(of: PropagulSaver, turns: int, window: int | None = None) -> list[int]:
    """Bytes in the rows after each turn of a thread that gets one message a turn."""
    messages: list[BaseMessage] = []
    at, sizes = thread(), []
    for turn in range(turns):
        messages = [*messages, AIMessage("x" * PAYLOAD, id=str(turn))][-(window or turns) :]
        at = put(of, at, {"messages": messages}, turn + 1)
        sizes.append(sum(len(key) + len(cast("bytes", value)) for key, value in of.store.items("lg/")))
    return sizes


def test_a_turn_of_a_long_thread_costs_what_one_of_a_short_thread_does() -> None:
    sizes = grown(saver(), 200)
    costs = [after - before for before, after in pairwise(sizes)]
    own = PAYLOAD + 250  # a message, its fields and names
    assert sum(costs[150:]) < 1.1 * sum(costs[50:100]) < 1.1 * 50 * (own + 700)


def test_so_does_a_turn_of_a_thread_that_keeps_the_last_messages_only() -> None:
    sizes = grown(saver(), 200, window=40)
    costs = [after - before for before, after in pairwise(sizes)]
    assert sum(costs[150:]) < 1.3 * sum(costs[50:100])


def test_under_a_cipher_an_unchanged_message_is_stored_once() -> None:
    of = saver(serde=EncryptedSerializer(Aes(), JsonPlusSerializer()))
    sizes = grown(of, 60)
    costs = [after - before for before, after in pairwise(sizes)]
    assert max(costs[20:]) < 2 * (PAYLOAD + 700)


def test_a_thread_resumed_by_another_process_stores_no_message_again() -> None:
    first = saver()
    grown(first, 50)
    second = PropagulSaver(first.store)
    found = second.get_tuple(thread())
    assert found is not None
    rows = set(first.store.keys("lg/e/"))
    messages = [*found.checkpoint["channel_values"]["messages"], AIMessage("x" * PAYLOAD, id="new")]
    put(second, found.config, {"messages": messages}, 51)
    new = set(first.store.keys("lg/e/")) - rows
    assert len(new) <= 2  # the message, and at most one version of the list
    assert sum(len(cast("bytes", first.store.get(key))) for key in new) < PAYLOAD + 500  # which says what is new in it


@pytest.mark.parametrize("serde", [None, EncryptedSerializer(Aes(), JsonPlusSerializer())], ids=["plain", "cipher"])
def test_what_a_task_wrote_and_the_channel_that_took_it_share_one_row(serde: SerializerProtocol | None) -> None:
    of = saver(serde=serde)
    question, message = HumanMessage("hi", id="0"), AIMessage("x" * PAYLOAD, id="1")
    at = put(of, thread(), {"messages": [question]})
    of.put_writes(at, [("messages", [message])], "task")
    rows = len(of.store.keys("lg/e/"))
    put(of, at, {"messages": [question, message]}, 2)
    assert len(of.store.keys("lg/e/")) == rows


def test_lists_of_numbers_are_one_value() -> None:
    of = saver()
    at = put(of, thread(), {"numbers": list(range(1000))})
    assert len(of.store.keys("lg/e/")) == 1
    assert values_at(of, at)["numbers"] == list(range(1000))


def test_content_larger_than_a_row_is_kept_in_pieces() -> None:
    of, large = saver(), "z" * 3_000_000
    at = put(of, thread(), {"text": large, "list": [large, "y" * 100]})
    assert values_at(PropagulSaver(of.store), at) == {"text": large, "list": [large, "y" * 100]}


def test_values_of_all_kinds_come_back_as_they_were() -> None:
    values: dict[str, Any] = {
        "none": None,
        "bytes": b"\0" * 100,
        "empty": [],
        "nested": [[1, 2, ["x" * 100]], {"a": [AIMessage("hi", id="1")]}],
        "tuple": ("a", 1),
        "map": {1: "one", "two": 2.5},
    }
    of = saver()
    at = put(of, thread(), values)
    read = values_at(PropagulSaver(of.store), at)
    serde = JsonPlusSerializer()
    assert read == {name: serde.loads_typed(serde.dumps_typed(value)) for name, value in values.items()}
