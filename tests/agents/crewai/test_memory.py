"""`PropagulMemoryStorage` keeps CrewAI's protocol of memory storage, under CrewAI's own `Memory` and by itself."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from crewai.memory.storage.backend import EmbeddingDimensionMismatchError, StorageBackend
from crewai.memory.types import MemoryRecord
from crewai.memory.unified_memory import Memory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from propagul_crewai import PropagulMemoryStorage, memory_storage_factory
from propagul_crewai._scopes import children, is_within, normal

from propagul import AgentStateStore
from propagul.adapters._texts import _locks
from tests.agents.crewai.conftest import SECRET
from tests.agents.crewai.models import CountedModel
from tests.store.world import often_switching

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ["moss", "fern", "stone", "river"]


def embed(texts: list[str]) -> list[list[float]]:
    """How often each of the words is in a text."""
    return [[float(text.count(word)) for word in WORDS] for text in texts]


def record(content: str, scope: str = "/", age_s: float = 0, **fields: Any) -> MemoryRecord:
    created = datetime(2026, 11, 30, 12, tzinfo=UTC).replace(tzinfo=None) - timedelta(seconds=age_s)
    return MemoryRecord(content=content, scope=scope, embedding=embed([content])[0], created_at=created, **fields)


@pytest.fixture
def storage(store: AgentStateStore) -> PropagulMemoryStorage:
    """The memory of a store."""
    return PropagulMemoryStorage(store)


@pytest.fixture
def memory(storage: PropagulMemoryStorage, tmp_path: Path) -> Memory:
    """CrewAI's own memory on it."""
    model = CountedModel(model="counted", calls=str(tmp_path / "calls"))
    return Memory(storage=storage, llm=model, embedder=embed)


def test_it_has_the_fourteen_methods_of_the_protocol(storage: PropagulMemoryStorage) -> None:
    assert isinstance(storage, StorageBackend)
    names = [name for name in vars(StorageBackend) if not name.startswith("_")]
    assert len(names) == 14
    assert all(callable(getattr(storage, name)) for name in [*names, "touch_records", "close"])


def test_crewais_memory_remembers_recalls_and_forgets(memory: Memory) -> None:
    given = {"categories": ["plants"], "importance": 0.5}
    for content, scope in (("moss on a stone", "/garden"), ("a fern", "/garden/shade"), ("the river", "/water")):
        memory.remember(content, scope=scope, metadata={"of": content[:4]}, **given)
    memory.drain_writes()
    matches = memory.recall("moss", depth="shallow", limit=2)
    assert matches[0].record.content == "moss on a stone"
    assert matches[0].record.last_accessed >= matches[0].record.created_at
    assert memory.recall("fern", scope="/garden", depth="shallow")[0].record.scope == "/garden/shade"
    assert memory.list_scopes("/") == ["/garden", "/water"]
    assert memory.info("/garden").record_count == 2
    assert memory.list_categories() == {"plants": 3}
    changed = memory.update(matches[0].record.id, content="moss on a river stone")
    assert memory.recall("river moss", depth="shallow")[0].record.id == changed.id
    assert memory.forget(scope="/garden") == 2
    assert [found.content for found in memory.list_records()] == ["the river"]
    memory.reset()
    assert memory.list_records() == []


def test_what_one_machine_remembers_another_recalls(pair: tuple[AgentStateStore, AgentStateStore]) -> None:
    here, there = map(PropagulMemoryStorage, pair)
    moss, fern = record("moss"), record("fern")
    here.save([moss, fern])
    pair[0].flush_blocking(peers=1)
    assert [found.id for found, _ in there.search(embed(["moss"])[0], limit=1)] == [moss.id]
    assert there.search(embed(["moss"])[0], limit=1)[0][0] == moss
    there.delete(record_ids=[moss.id])
    there.update(fern.model_copy(update={"content": "river", "embedding": embed(["river"])[0]}))
    pair[1].flush_blocking(peers=1)
    assert here.count() == 1
    assert here.search(embed(["river"])[0], min_score=0.9)[0][0].content == "river"


def test_scores_are_cosines_and_the_best_come_first(storage: PropagulMemoryStorage) -> None:
    storage.save([record("moss moss moss"), record("moss fern"), record("fern"), record("nothing")])
    found = storage.search(embed(["moss"])[0], limit=10)
    assert [(match.content, round(score, 3)) for match, score in found[:2]] == [
        ("moss moss moss", 1.0),
        ("moss fern", 0.707),
    ]
    assert {round(score, 3) for _, score in found[2:]} == {0.0}
    assert len(storage.search(embed(["moss"])[0], min_score=0.5)) == 2
    assert len(storage.search(embed(["moss"])[0], limit=1)) == 1
    assert storage.search(embed(["moss"])[0], limit=0) == []


def test_filters_hold_together_and_scopes_end_at_segments(storage: PropagulMemoryStorage) -> None:
    storage.save(
        [
            record("moss", "/a", categories=["x"], metadata={"k": 1}),
            record("moss", "/a/b", categories=["y"], metadata={"k": 2}),
            record("moss", "/ab", categories=["x"], metadata={"k": 1}),
        ]
    )
    query = embed(["moss"])[0]

    def scopes(**filters: Any) -> list[str]:
        return sorted(found.scope for found, _ in storage.search(query, **filters))

    assert scopes(scope_prefix="/a") == scopes(scope_prefix="a/") == ["/a", "/a/b"]
    assert scopes(scope_prefix="/") == scopes() == ["/a", "/a/b", "/ab"]
    assert scopes(categories=["x", "z"]) == ["/a", "/ab"]
    assert scopes(metadata_filter={"k": 1}, scope_prefix="/a") == ["/a"]
    assert scopes(metadata_filter={"missing": 1}) == []
    assert storage.list_scopes("/a") == ["/a/b"]
    assert storage.get_scope_info("/a").child_scopes == ["/a/b"]
    assert storage.list_categories("/a") == {"x": 1, "y": 1}
    assert (storage.count("/a"), storage.count()) == (2, 3)


def test_records_are_listed_newest_first_a_page_at_a_time(storage: PropagulMemoryStorage) -> None:
    storage.save([record(f"moss {age}", age_s=age) for age in (30, 10, 20)])
    assert [found.content for found in storage.list_records()] == ["moss 10", "moss 20", "moss 30"]
    assert [found.content for found in storage.list_records(limit=1, offset=1)] == ["moss 20"]
    assert storage.list_records(limit=0) == storage.list_records(offset=-1) == []
    info = storage.get_scope_info("/")
    assert info.oldest_record is not None
    assert info.newest_record is not None
    assert info.newest_record - info.oldest_record == timedelta(seconds=20)
    assert storage.get_scope_info("/nowhere").record_count == 0


def test_what_is_deleted_meets_all_that_is_given(storage: PropagulMemoryStorage, store: AgentStateStore) -> None:
    old, new = record("moss", "/a", age_s=100, categories=["x"]), record("moss", "/b", categories=["x"])
    storage.save([old, new, record("fern", "/b")])
    assert storage.delete(record_ids=[old.id, new.id], scope_prefix="/b") == 1
    assert storage.delete(older_than=datetime(2026, 11, 30, 11, 59, tzinfo=UTC)) == 1
    assert storage.delete(categories=["x"]) == 0
    assert storage.delete() == 1
    assert store.keys() == ["crewai/memory/memory/dimension"]


def test_a_changed_record_keeps_its_vector_and_leaves_no_old_one(
    storage: PropagulMemoryStorage, store: AgentStateStore
) -> None:
    moss = record("moss")
    storage.save([moss])
    storage.touch_records([moss.id, "unknown"])
    touched = storage.get_record(moss.id)
    assert touched is not None
    assert touched.last_accessed > moss.last_accessed
    storage.update(moss.model_copy(update={"content": "soft moss", "embedding": None}))
    found, score = storage.search(embed(["moss"])[0])[0]
    assert (found.content, round(score, 3), found.embedding) == ("soft moss", 1.0, embed(["moss"])[0])
    assert len(store.keys("crewai/memory/memory/vector/")) == 1
    found.metadata["mine"] = True
    assert storage.get_record(moss.id) == storage.get_record(moss.id) != found, "what is returned is the caller's own"
    assert storage.get_record("unknown") is None


def test_vectors_of_another_length_are_refused_until_the_memory_is_reset(storage: PropagulMemoryStorage) -> None:
    storage.save([record("moss")])
    wider = MemoryRecord(content="wider", embedding=[1.0] * 5)
    for refused in (
        lambda: storage.save([record("fern"), wider]),
        lambda: storage.update(wider),
        lambda: storage.search([1.0] * 5),
    ):
        with pytest.raises(EmbeddingDimensionMismatchError) as raised:
            refused()
        assert (raised.value.stored_dim, raised.value.new_dim) == (4, 5)
    assert storage.count() == 1, "nothing of a refused batch is saved"
    storage.reset("/nowhere")
    assert storage.count() == 1
    storage.reset()
    storage.save([wider])
    assert storage.search([1.0] * 5)[0][0].content == "wider"


def test_a_long_text_is_kept_whole(storage: PropagulMemoryStorage) -> None:
    long = record("moss " * 400_000)
    storage.save([long])
    found, score = storage.search(embed(["moss"])[0])[0]
    assert found.content == long.content
    assert found.embedding is not None
    assert round(score, 3) == 1.0


def test_a_change_survives_a_deletion_that_did_not_see_it_and_can_be_found() -> None:
    stores = [AgentStateStore("agents", name, 0, "127.0.0.1", secret=SECRET) for name in ("here", "there")]
    here, there = map(PropagulMemoryStorage, stores)
    moss = record("moss")
    try:
        stores[0].start_background()
        stores[1].start_background([stores[0].addresses[0]], require_peers=1)
        here.save([moss])
        stores[0].flush_blocking(peers=1)
        with stores[1].transaction():  # what is written in it goes out together, at its end
            there.update(moss.model_copy(update={"content": "moss, seen elsewhere", "embedding": None}))
            here.delete(record_ids=[moss.id])
        for store in stores:
            store.flush_blocking(peers=1)
        for storage in (here, there):
            found = storage.search(embed(["moss"])[0], min_score=0.5)
            assert [match.content for match, _ in found] == ["moss, seen elsewhere"]
    finally:
        for store in stores:
            store.close()


def test_a_record_that_cannot_be_read_hides_no_other(storage: PropagulMemoryStorage, store: AgentStateStore) -> None:
    storage.save([record("moss")])
    for name, row in (("a", 7), ("b", ["token", 3]), ("c", "{"), ("d", '{"record": 5}')):
        store.set(f"crewai/memory/memory/record/{name}", row)
        assert storage.get_record(name) is None
    assert [found.content for found, _ in storage.search(embed(["moss"])[0])] == ["moss"]
    assert storage.count() == 1


def test_a_search_does_not_wait_for_what_is_being_saved(storage: PropagulMemoryStorage) -> None:
    storage.save([record("moss")])
    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as stack:
            for lock in _locks:  # no text can be put for now
                stack.enter_context(lock)
            saving = pool.submit(storage.save, [record("fern")])
            deadline = time.monotonic() + 20
            while not storage._writing.locked():
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert [found.content for found, _ in storage.search(embed(["moss"])[0])] == ["moss"]
        saving.result()
    assert storage.count() == 2


def test_threads_that_delete_the_same_count_it_once(storage: PropagulMemoryStorage) -> None:
    for number in range(20):
        storage.save([record(f"moss {number}")])
        with often_switching(), ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(lambda _: storage.delete(), range(4))) == 1


def test_memories_of_other_names_know_nothing_of_each_other(store: AgentStateStore) -> None:
    one, other = PropagulMemoryStorage(store, "one"), PropagulMemoryStorage(store, "one/record")
    one.save([record("moss")])
    other.save([record("fern")])
    assert [found.content for found in one.list_records()] == ["moss"]
    one.reset()
    assert other.count() == 1


def test_event_loops_have_the_same(storage: PropagulMemoryStorage) -> None:
    async def use() -> int:
        await storage.asave([record("moss"), record("fern")])
        assert (await storage.asearch(embed(["moss"])[0], limit=1))[0][0].content == "moss"
        return await storage.adelete(categories=None, record_ids=None)

    assert asyncio.run(use()) == 2


def test_a_factory_makes_it_of_a_text_which_can_be_part_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert memory_storage_factory("lancedb") is None
    assert memory_storage_factory("propagul:memory://") is not None
    assert memory_storage_factory("propagul://agents@box2:9000") is not None, "opened when it is used"
    monkeypatch.setattr("crewai.memory.storage.factory._factory", memory_storage_factory)
    memory = Memory(storage=f"propagul:{tmp_path / 'state'}")
    assert memory.model_dump(mode="json")["storage"] == f"propagul:{tmp_path / 'state'}"
    memory._storage.save([record("moss")])
    assert [found.content for found in memory.list_records()] == ["moss"]
    memory.close()


segments = st.lists(st.sampled_from(["a", "ab", "b", "a b"]), max_size=3).map("/".join)


@given(segments, segments)
def test_a_scope_lies_in_another_if_its_segments_begin_with_the_others(scope: str, outer: str) -> None:
    inside, around = normal(scope).split("/")[1:], normal(outer).split("/")[1:]
    expected = around == [""] or inside[: len(around)] == around
    assert is_within(normal(scope), normal(outer)) == expected
    if expected and normal(scope) != normal(outer):
        (child,) = children([normal(scope)], normal(outer))
        assert is_within(normal(scope), child)
        assert is_within(child, normal(outer))


vectors = st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | vectors), max_size=12), vectors)
def test_after_any_changes_a_search_gives_what_numpy_gives(
    store: AgentStateStore, changes: list[tuple[str, list[float] | None]], query: list[float]
) -> None:
    storage, model = PropagulMemoryStorage(store, "model"), dict[str, list[float]]()
    storage.reset()
    for name, vector in changes:
        if vector is None:
            storage.delete(record_ids=[name])
            model.pop(name, None)
        else:
            storage.save([MemoryRecord(id=name, content=name, embedding=vector)])
            model[name] = vector
    found = {match.id: score for match, score in storage.search(query, limit=99, min_score=-2.0)}
    assert found.keys() == model.keys()
    for name, vector in model.items():
        ours, asked = np.asarray(vector, np.float32), np.asarray(query, np.float32)
        norm = float(np.linalg.norm(ours) * np.linalg.norm(asked))
        cosine = float(ours @ asked) / norm if norm > 1e-30 else 0.0
        assert abs(found[name] - cosine) < 1e-3 or norm <= 1e-30
