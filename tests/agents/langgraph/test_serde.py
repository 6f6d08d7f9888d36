"""What rows hold is as the saver's serde made it, and is read as strictly as that says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from propagul_langgraph import MissingContent, PropagulSaver

from propagul import StoreCorrupt
from tests.agents.langgraph.ciphers import Aes
from tests.agents.langgraph.values import got, put, saver, thread, values_at

CANARY = "a prompt that nobody may read"


@dataclass
class Note:
    text: str


def test_a_class_that_nobody_allowed_is_not_made() -> None:
    of = saver()
    at = put(of, thread(), {"note": Note("hi"), "message": AIMessage("hi", id="1")})
    values = values_at(PropagulSaver(of.store), at)
    assert values["message"] == AIMessage("hi", id="1")
    assert values["note"] == {"text": "hi"}


def test_a_graphs_own_classes_are_allowed_to_its_copy_of_the_saver_and_both_share_all_else() -> None:
    of = saver()
    own: Any = of.with_allowlist([(Note.__module__, Note.__name__)])
    assert own is not of
    at = put(own, thread(), {"notes": [Note("x" * 100)] * 3})
    assert values_at(own, at) == {"notes": [Note("x" * 100)] * 3}
    at = put(own, at, {"notes": [Note("x" * 100)] * 4}, 2)
    of.delete_thread("1")
    assert own.get_tuple(thread()) is None
    put(own, at, {"notes": []}, 3)
    assert of.get_tuple(thread()) is None


def test_no_plain_text_of_a_ciphered_thread_is_in_the_store() -> None:
    of = saver(serde=EncryptedSerializer(Aes(), JsonPlusSerializer()))
    at = put(of, thread(), {"messages": [AIMessage(CANARY, id="1")], "text": CANARY}, question=CANARY)
    of.put_writes(at, [("messages", [AIMessage(CANARY, id="2")]), ("text", CANARY)], "task")
    assert got(of, at).metadata["question"] == CANARY  # type: ignore[typeddict-item]  # metadata may hold more
    for key, value in of.store.items():
        assert CANARY.encode() not in value, key  # type: ignore[operator]  # bytes


def test_whoever_has_another_key_reads_nothing() -> None:
    of = saver(serde=EncryptedSerializer(Aes(), JsonPlusSerializer()))
    at = put(of, thread(), {"text": CANARY})
    with pytest.raises(Exception, match=r"^(?!.*a prompt)"):
        PropagulSaver(of.store, serde=EncryptedSerializer(Aes(), JsonPlusSerializer())).get_tuple(at)


def test_filter_keys_are_names_and_nothing_else() -> None:
    of = saver()
    odd: Any = {"a' OR 1=1 --": 5, "x.y": 6}
    at = put(of, thread(), {"n": 1}, **odd)
    found = [found.config for found in of.list(thread(), filter={"a' OR 1=1 --": 5, "x.y": 6})]
    assert found == [at]
    assert list(of.list(thread(), filter={"' OR '1'='1": 5})) == []
    assert [found.config for found in of.list(thread(), filter={"nothing": None})] == [at]


@pytest.mark.parametrize("cut", ["lg/e/", "lg/c/", "lg/w/"])
def test_rows_that_no_saver_wrote_are_named_and_made_into_nothing(cut: str) -> None:
    of = saver()
    at = put(of, thread(), {"messages": [AIMessage("x" * 300, id=str(n)) for n in range(20)]})
    of.put_writes(at, [("n", 1)], "task")
    for key in of.store.keys(cut):
        of.store.set(key, b"\x93" + os.urandom(20))
    with pytest.raises((StoreCorrupt, NotImplementedError, ValueError)):
        PropagulSaver(of.store).get_tuple(at)


def test_content_that_has_not_arrived_hides_its_checkpoint_and_no_older_one() -> None:
    of = saver()
    first = put(of, thread(), {"text": "x" * 300})
    second = put(of, first, {"text": "y" * 300}, 2)
    key = next(key for key in of.store.keys("lg/e/") if b"y" * 300 in of.store.get(key))  # type: ignore[operator]  # bytes
    of.store.delete(key)
    fresh = PropagulSaver(of.store)
    assert got(fresh, thread()).config == first
    with pytest.raises(MissingContent, match="'1'"):
        fresh.get_tuple(second)


def test_versions_go_on_from_another_savers() -> None:
    of = saver()
    assert of.get_next_version(None, None) == 1
    assert of.get_next_version(1, None) == 2
    assert of.get_next_version("00000000000000000000000000000041.0.2435", None) == 42  # type: ignore[arg-type]  # another saver's
