"""The chat store says what LlamaIndex's own says, over the same histories; what was deleted stays deleted."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.storage.chat_store import SimpleChatStore
from llama_index.core.storage.chat_store.base import BaseChatStore
from propagul_llamaindex import PropagulChatStore

from tests.agents.llamaindex.world import KEYS, both_say_the_same
from tests.store.world import Island, apart, often_switching, on_island, run, waiting
from tests.workshop.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from propagul import AgentStateStore
    from tests.agents.llamaindex.world import Face

MESSAGES = st.builds(
    ChatMessage,
    role=st.sampled_from(["user", "assistant", "tool"]),
    content=st.text() | st.none(),
    additional_kwargs=st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.none()), max_size=2),
)
STEPS = st.one_of(
    st.tuples(st.just("set_messages"), KEYS, st.lists(MESSAGES, max_size=4)),
    st.tuples(st.just("add_message"), KEYS, MESSAGES),
    st.tuples(st.just("add_message"), st.just("a"), MESSAGES),
    st.tuples(st.just("get_messages"), KEYS, st.none()),
    st.tuples(st.just("delete_messages"), KEYS, st.none()),
    st.tuples(st.just("delete_message"), KEYS, st.integers(0, 5)),
    st.tuples(st.just("delete_last_message"), KEYS, st.none()),
    st.tuples(st.just("get_keys"), KEYS, st.none()),
)


def user(*texts: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text) for text in texts]


def texts(messages: list[ChatMessage]) -> list[str | None]:
    return [message.content for message in messages]


async def said(chats: Face, step: tuple[str, str, object]) -> object:
    """What a store says to a step."""
    what, key, told = step
    assert isinstance(chats.store, BaseChatStore)
    if what == "delete_last_message" and not chats.store.get_messages(key):
        return None  # LlamaIndex's own raises IndexError for a chat that is empty
    if what == "get_keys":  # LlamaIndex's own has chats without messages; here that is none
        keys = cast("list[str]", await chats.call(what))
        return sorted(key for key in keys if chats.store.get_messages(key))
    found = await chats.call(what, key, *([] if told is None else [told]))
    return (found or None) if what == "delete_messages" else found


@given(st.lists(STEPS, min_size=10, max_size=25))
def test_over_the_same_history_both_say_the_same(history: list[tuple[str, str, object]]) -> None:
    both_say_the_same(PropagulChatStore, SimpleChatStore(), history, said)


def test_a_message_with_blocks_and_a_large_image_comes_back_whole(store: AgentStateStore) -> None:
    image = ImageBlock(image=bytes(range(256)) * 8000, image_mimetype="image/png")
    message = ChatMessage(role="user", blocks=[TextBlock(text="é"), image], additional_kwargs={"a": {"b": [1]}})
    chats = PropagulChatStore(store)
    chats.add_message("k", message)
    assert chats.get_messages("k") == [message]
    assert chats.delete_last_message("k") == message
    assert len(store) == 0


def test_setting_a_chat_is_one_step_and_leaves_nothing_of_the_former(store: AgentStateStore) -> None:
    chats = PropagulChatStore(store)
    chats.set_messages("k", user("x" * 300_000, "2"))
    chats.set_messages("k", user("3"))
    assert texts(chats.get_messages("k")) == ["3"]
    assert len(store) == 2


def test_of_threads_that_set_a_chat_at_once_one_does(store: AgentStateStore) -> None:
    chats, both = PropagulChatStore(store), [user("1", "2"), user("3", "4")]
    with often_switching(), ThreadPoolExecutor(2) as pool:
        for _ in range(50):
            list(pool.map(lambda messages: chats.set_messages("k", messages), both))
            assert chats.get_messages("k") in both


TALK = """
import sys
sys.path.append("integrations")
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from propagul_llamaindex import PropagulChatStore
with PropagulChatStore.from_conn_string(sys.argv[1]) as chats:
    memory = ChatMemoryBuffer.from_defaults(chat_store=chats, chat_store_key="s", token_limit=4000)
    memory.put(ChatMessage(role="user", content="one"))
    print("put", flush=True)
    sys.stdin.read()
"""


def test_a_memory_goes_on_after_kill_9(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TALK, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "put\n"
        process.kill()
    with PropagulChatStore.from_conn_string(str(tmp_path)) as chats:
        memory = ChatMemoryBuffer.from_defaults(chat_store=chats, chat_store_key="s", token_limit=4000)
        memory.put(ChatMessage(role="user", content="two"))
        assert texts(memory.get_all()) == ["one", "two"]


def test_replicas_keep_what_both_add_and_keep_deleted_what_comes_late() -> None:
    async def scenario(island: Island) -> None:
        here, there = (PropagulChatStore(store) for store in (await island.start("a"), await island.start("b", "a")))
        here.set_messages("kept", user("1"))
        here.set_messages("gone", user("1"))
        here.set_messages("set", user("1"))
        async with apart(island):
            here.add_message("kept", user("here")[0])
            there.add_message("kept", user("there")[0])
            here.delete_messages("gone")
            there.add_message("gone", user("late")[0])
            here.set_messages("set", user("anew"))
            there.add_message("set", user("late")[0])
        for chats in (here, there):
            assert sorted(map(str, texts(chats.get_messages("kept")))) == ["1", "here", "there"]
            assert chats.get_messages("kept") == here.get_messages("kept")
            assert chats.get_messages("gone") == []
            assert texts(chats.get_messages("set")) == ["anew"]
            assert chats.get_keys() == ["kept", "set"]
        there.add_message("gone", user("again")[0])
        await island.clock.advance(30)
        assert texts(here.get_messages("gone")) == ["again"]

    on_island(scenario)


@pytest.mark.parametrize("durability", ["group", "each", "peers:1"])
def test_a_store_that_waits_for_disk_or_peers_does_not_stop_its_loop(durability: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting(durability, tmp_path) as held:
            chats = PropagulChatStore(held)
            await chats.aset_messages("k", user("1", "2"))
            await chats.async_add_message("k", user("3")[0])
            assert texts([await chats.adelete_last_message("k") or user("")[0]]) == ["3"]
            assert await chats.aget_keys() == ["k"]
            assert texts(await chats.adelete_messages("k") or []) == ["1", "2"]

    run(scenario)
