"""The key-value store says what LlamaIndex's own says, over the same histories; deletion wins over late puts."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import TextNode
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from propagul_llamaindex import PropagulKVStore

from propagul import AgentStateStore, LimitExceeded, Limits
from tests.agents.llamaindex.world import KEYS, both_say_the_same
from tests.store.world import Island, apart, on_island, run, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents.llamaindex.world import Face

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
COLLECTIONS = st.sampled_from(["data", "data", "data", "da/ta", "d"])
VALUES = st.dictionaries(st.text(), JSON, max_size=3)
STEPS = st.tuples(st.sampled_from(["put", "put", "get", "delete", "get_all"]), KEYS, COLLECTIONS, VALUES)


async def said(kv: Face, step: tuple[str, str, str, dict[str, object]]) -> object:
    """What a store says to a step."""
    what, key, collection, value = step
    arguments = {"put": (key, value), "get_all": ()}.get(what, (key,))
    return await kv.call(what, *arguments, collection)


@given(st.lists(STEPS, min_size=10, max_size=25))
def test_over_the_same_history_both_say_the_same(history: list[tuple[str, str, str, dict[str, object]]]) -> None:
    both_say_the_same(PropagulKVStore, SimpleKVStore(), history, said)


def test_many_are_put_in_one_step_and_one_that_is_refused_keeps_all_out() -> None:
    store = AgentStateStore("room", port=None, limits=Limits(value_bytes=1000))
    kv = PropagulKVStore(store)
    kv.put_all([("a", {"n": 1}), ("b", {"n": 2})], batch_size=100)
    assert kv.get_all() == {"a": {"n": 1}, "b": {"n": 2}}
    for wrong in (None, [1], "text"):
        with pytest.raises(TypeError, match="a value is a dict, not"):
            kv.put_all([("a", {"n": 3}), ("b", cast("dict[str, object]", wrong))])
    with pytest.raises(TypeError, match="JSON"):
        kv.put_all([("a", {"n": 3}), ("c", {"n": object()})])
    with pytest.raises(LimitExceeded):
        kv.put_all([("a", {"n": 3}), ("c", {"n": "x" * 5000})])
    assert kv.get_all() == {"a": {"n": 1}, "b": {"n": 2}}
    store.close()


def test_more_than_a_transaction_may_hold_is_put(store: AgentStateStore) -> None:
    kv = PropagulKVStore(store)
    many: list[tuple[str, dict[str, object]]] = [(f"{number}", {"text": "é" * 100_000}) for number in range(100)]
    kv.put_all([*many, ("huge", {"text": "é" * 9_000_000})])
    assert kv.get_all() == dict([*many, ("huge", {"text": "é" * 9_000_000})])
    kv.put_all([])


def test_a_large_value_is_kept_and_what_it_replaces_leaves_nothing_behind(store: AgentStateStore) -> None:
    kv = PropagulKVStore(store)
    large: dict[str, object] = {"text": "é🙂x" * 500_000}
    kv.put("k", large)
    kv.put("k", large)
    assert kv.get("k") == kv.get_all()["k"] == large
    kv.put("k", {"text": "small"})
    assert len(store) == 1
    kv.put("k", large)
    assert kv.delete("k")
    assert len(store) == 1
    assert kv.get("k") is None


def test_an_unreadable_row_hides_no_other(store: AgentStateStore) -> None:
    kv = PropagulKVStore(store)
    kv.put_all([("a", {"n": 1}), ("b", {"n": 2}), ("c", {"n": 3})])
    store.set("llamaindex/rows/data/a", "{")
    store.set("llamaindex/rows/data/b", 5)
    assert kv.get_all() == {"c": {"n": 3}}


def test_a_document_store_works_on_it_and_is_there_in_the_next_process(tmp_path: Path) -> None:
    nodes = [TextNode(id_=f"n{number}", text="x" * 100 * number, metadata={"number": number}) for number in range(5)]
    with PropagulKVStore.from_conn_string(str(tmp_path)) as kv:
        documents = KVDocumentStore(kv)
        documents.add_documents(nodes)
        documents.delete_document("n3")
    with PropagulKVStore.from_conn_string(str(tmp_path)) as kv:
        documents = KVDocumentStore(kv)
        assert sorted(documents.docs) == ["n0", "n1", "n2", "n4"]
        assert documents.get_document("n4") == nodes[4]


def test_replicas_merge_show_what_conflicts_and_keep_deleted_what_was_put_late() -> None:
    async def scenario(island: Island) -> None:
        here, there = (PropagulKVStore(store) for store in (await island.start("a"), await island.start("b", "a")))
        here.put_all([("both", {"n": 0}), ("gone", {"n": 0})])
        async with apart(island):
            here.put("here", {"n": 1})
            there.put("there", {"n": 2})
            here.put("both", {"n": 1})
            there.put("both", {"n": 2})
            assert here.delete("gone")
            await island.clock.advance(1)
            there.put("gone", {"n": 3})  # later, and yet it had not heard
        assert here.get_all() == there.get_all()
        assert sorted(here.get_all()) == ["both", "here", "there"]
        assert sorted(cast("int", one["n"]) for one in here.conflicts("both")) == [1, 2]
        assert here.conflicts("gone") == []
        there.put("gone", {"n": 4})
        there.put("both", {"n": 5})
        await island.clock.advance(30)
        assert (here.get("gone"), here.get("both"), here.conflicts("both")) == ({"n": 4}, {"n": 5}, [])

    on_island(scenario)


def test_large_values_that_replicas_put_at_once_never_mix() -> None:
    async def scenario(island: Island) -> None:
        here, there = (PropagulKVStore(store) for store in (await island.start("a"), await island.start("b", "a")))
        async with apart(island):
            here.put("k", {"text": "a" * 300_000})
            there.put("k", {"text": "b" * 400_000})
        assert here.get("k") == there.get("k")
        assert sorted(len(str(one["text"])) for one in here.conflicts("k")) == [300_000, 400_000]
        assert all(len(set(str(one["text"]))) == 1 for one in here.conflicts("k"))
        there.put("k", {"text": "c"})
        await island.clock.advance(30)
        assert len(here.store) == len(there.store) == 1

    on_island(scenario)


@pytest.mark.parametrize("durability", ["group", "each", "peers:1"])
def test_a_store_that_waits_for_disk_or_peers_does_not_stop_its_loop(durability: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting(durability, tmp_path) as held:
            kv = PropagulKVStore(held)
            await kv.aput("a", {"n": 1})
            await kv.aput_all([("b", {"n": 2}), ("c", {"n": 3})])
            assert await kv.adelete("b")
            assert await kv.aget_all() == {"a": {"n": 1}, "c": {"n": 3}}

    run(scenario)
