"""Searches by meaning: what is embedded, whose vectors count, and what an embedding function may do wrong."""

from __future__ import annotations

import asyncio
import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langgraph.store.base import PutOp, SearchOp
from propagul_langgraph.store import PropagulStore

from tests.agents.langgraph_store.world import DIMS, Embedder, by_words, embed, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def vector_rows(store: PropagulStore) -> list[str]:
    return [key.removeprefix("lgs/v/") for key in store.store.keys("lgs/v/")]


def hits(store: PropagulStore, query: str, **options: Any) -> list[tuple[str, float | None]]:
    found = store.search((), query=query, **options)
    return [(item.key, None if item.score is None else round(item.score, 3)) for item in found]


def test_the_nearest_comes_first_with_its_cosine() -> None:
    texts = ["red cat", "blue cat", "green dog", "a dog that is red"]
    with opened(index=by_words()) as store:
        for text in texts:
            store.put(("a",), text, {"text": text})
        found = store.search(("a",), query="red dog")
        vectors = {text: np.array(embed(text)) for text in [*texts, "red dog"]}
        query = vectors["red dog"]
        cosines = {t: float(v @ query / np.linalg.norm(v) / np.linalg.norm(query)) for t, v in vectors.items()}
        assert [item.key for item in found] == sorted(texts, key=lambda text: -cosines[text])
        assert [item.score for item in found] == pytest.approx([cosines[item.key] for item in found], abs=1e-5)


def test_the_best_of_several_vectors_counts() -> None:
    with opened(index=by_words(None, "title", "tags[*]")) as store:
        store.put(("a",), "tagged", {"title": "dog", "tags": ["green", "red cat", "blue"]})
        store.put(("a",), "titled", {"title": "red cat dog", "tags": []})
        found = hits(store, "red cat")
        assert found[0] == ("tagged", 1.0)
        assert [key for key, _ in found] == ["tagged", "titled"]


def test_of_a_replaced_value_nothing_is_found() -> None:
    with opened(index=by_words()) as store:
        store.put(("a",), "k", {"text": "red cat"})
        store.put(("a",), "k", {"text": "green dog"})
        assert hits(store, "green dog") == [("k", 1.0)]
        (other,) = hits(store, "red cat")
        assert other[1] is not None
        assert other[1] < 0.9
        store.put(("a",), "k", {"text": "green dog"}, index=False)
        assert hits(store, "green dog") == [("k", None)]
        assert vector_rows(store) == []
        store.put(("a",), "k", {"text": "green dog"})
        store.delete(("a",), "k")
        assert vector_rows(store) == []
        assert hits(store, "green dog") == []


def test_a_store_without_an_index_ignores_what_concerns_one_and_leaves_no_vectors_behind() -> None:
    with opened(index=by_words()) as store:
        store.put(("a",), "k", {"text": "red cat"})
        plain = PropagulStore(store.store)
        assert [item.score for item in plain.search((), query="red cat")] == [None]
        plain.put(("a",), "k", {"text": "red cat"}, index=["text"])
        assert vector_rows(store) == []
        assert hits(store, "red cat") == [("k", None)]


def test_an_item_whose_vectors_are_not_here_yet_is_found_after_those_that_have_some() -> None:
    with opened(index=by_words()) as store:
        store.put(("a",), "late", {"text": "red cat"})
        store.put(("a",), "here", {"text": "green dog"})
        store.store.delete("lgs/v/a/late")
        assert store.get(("a",), "late") is not None
        assert {item.key for item in store.search(())} == {"late", "here"}
        assert [key for key, _ in hits(store, "red cat")] == ["here", "late"]
        assert hits(store, "red cat", offset=1) == [("late", None)]
        assert hits(store, "red cat", limit=1)[0][0] == "here"


def test_vectors_that_are_not_of_the_item_as_it_is_do_not_count() -> None:
    with opened(index=by_words()) as store:
        store.put(("a",), "k", {"text": "red cat"})
        of_this = store.store.get("lgs/v/a/k")
        assert isinstance(of_this, bytes)
        head, nan = of_this[:12], struct.pack("<f", float("nan")) * DIMS
        for row in (
            b"another." + of_this[8:],
            of_this[:-1],
            of_this[:8] + struct.pack("<I", DIMS + 1) + of_this[12:],
            head,
            b"",
            "text",
            {"x": 1},
        ):
            store.store.set("lgs/v/a/k", row)
            assert hits(store, "red cat") == [("k", None)]
        for row in (head + nan, head + struct.pack("<f", float("inf")) * DIMS):
            store.store.set("lgs/v/a/k", row)
            assert hits(store, "red cat") == [("k", -1.0)]
        store.store.set("lgs/v/nowhere", of_this)
        store.store.set("lgs/v/a/k", head + nan + of_this[12:])
        assert hits(store, "red cat") == [("k", 1.0)]


def test_a_text_without_length_is_near_to_nothing() -> None:
    with opened(index=by_words()) as store:
        store.put(("a",), "k", {"text": " "})
        store.put(("a",), "cat", {"text": "cat"})
        assert hits(store, "cat") == [("cat", 1.0), ("k", 0.0)]
        assert sorted(hits(store, "   ")) == [("cat", 0.0), ("k", 0.0)]
        assert {score for _, score in hits(store, "")} == {None}


def test_each_text_of_a_batch_is_embedded_once() -> None:
    embedder = Embedder()
    with opened(index=by_words(embedder)) as store:
        ops = [PutOp(("a",), str(number), {"text": ["cat", "dog"][number % 2]}) for number in range(6)]
        store.batch([*ops, PutOp(("a",), "0", {"text": "cat"}), PutOp(("a",), "off", {"text": "x"}, index=False)])
        assert embedder.calls == [["cat", "dog"]]
        store.batch([SearchOp((), query="cat"), SearchOp(("a",), query="cat"), SearchOp(())])
        assert embedder.calls[1:] == [["cat"]]
        assert len(hits(store, "cat")) == 7


def test_very_many_vectors_of_an_item_are_kept_in_several_rows() -> None:
    def wide(texts: Sequence[str]) -> list[list[float]]:
        return [[float(text == f"tag {number}") for number in range(3000)] for text in texts]

    with opened(index={"dims": 3000, "embed": wide, "fields": ["tags[*]"]}) as store:
        tags = [f"tag {number}" for number in range(100)]
        store.put(("a",), "k", {"tags": tags})
        store.put(("a", "k"), "1", {"tags": ["tag 0"]})
        assert vector_rows(store) == ["a/k", "a/k#1", "a/k#2", "a/k#3", "a/k#4", "a/k/1"]
        assert hits(store, "tag 99") == [("k", 1.0), ("1", 0.0)]
        store.put(("a",), "k", {"tags": tags[:30]})
        assert vector_rows(store) == ["a/k", "a/k#1", "a/k/1"]
        assert hits(store, "tag 29")[0] == ("k", 1.0)
        assert hits(store, "tag 99")[0][1] == 0.0
        store.delete(("a",), "k")
        assert vector_rows(store) == ["a/k/1"]


def test_a_search_finds_among_more_than_one_block_of_rows() -> None:
    with opened(index=by_words()) as store:
        store.batch([PutOp(("a", str(number % 7)), str(number), {"text": f"w{number}"}) for number in range(1500)])
        for number in (0, 255, 256, 1499):
            assert hits(store, f"w{number}", limit=1) == [(str(number), 1.0)]
        assert len(store.search(("a", "3"), query="w1", limit=5000)) == len(range(3, 1500, 7))


def test_filters_and_pages_hold_for_what_is_near() -> None:
    with opened(index=by_words()) as store:
        for number in range(30):
            store.put(("a",), f"{number:02}", {"text": "cat " + "dog " * number, "even": number % 2 == 0})
        near = [key for key, _ in hits(store, "cat", filter={"even": True}, limit=100)]
        assert near == [f"{number:02}" for number in range(0, 30, 2)]
        assert [key for key, _ in hits(store, "cat", filter={"even": True}, limit=4, offset=3)] == near[3:7]
        assert hits(store, "cat", filter={"even": "no"}) == []


# --- the embedding function --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([1.0] * 3, r"shape \(3,\), not of 2 numbers"),
        ([[1.0, 2.0]], r"shape \(1, 2\), not of 2 numbers"),
        ([1.0, float("nan")], "NaN or an infinity"),
        ([1.0, 1e300], "NaN or an infinity"),
    ],
)
def test_what_is_no_vector_is_refused_and_nothing_stored(vectors: Any, message: str) -> None:
    with opened(index={"dims": 2, "embed": lambda texts: [vectors] * len(texts)}) as store:
        with pytest.raises(ValueError, match=message):
            store.put(("a",), "k", {"n": 1})
        with pytest.raises(ValueError, match=message):
            store.search((), query="x")
        with pytest.raises(ValueError, match=message):
            asyncio.run(store.aput(("a",), "k", {"n": 1}))
        assert store.store.get_all() == {}


def test_a_vector_for_each_text_is_asked_for() -> None:
    with opened(index={"dims": 2, "embed": lambda _: [[1.0, 2.0]]}) as store:
        with pytest.raises(ValueError, match="returned 1 vectors for 2 texts"):
            store.batch([PutOp(("a",), key, {"n": key}) for key in "bc"])
        assert store.store.get_all() == {}


def test_an_embedding_function_that_fails_fails_the_put() -> None:
    def failing(_: Sequence[str]) -> list[list[float]]:
        raise ConnectionError("no model")

    with opened(index={"dims": 2, "embed": failing}) as store:
        with pytest.raises(ConnectionError, match="no model"):
            store.put(("a",), "k", {"n": 1})
        store.put(("a",), "k", {"n": 1}, index=False)
        with pytest.raises(ConnectionError, match="no model"):
            asyncio.run(store.asearch((), query="x"))
        assert len(store.search(())) == 1


def test_what_cannot_be_embedded_whole_says_which_item_it_is() -> None:
    with opened(index={"dims": DIMS, "embed": Embedder()}) as store:
        with pytest.raises(TypeError, match=r"the item 'k' in \('a',\) cannot be embedded: .*bytes"):
            store.put(("a",), "k", {"raw": b"\0"})
        store.put(("a",), "k", {"raw": b"\0", "text": "red"}, index=["text"])
        assert hits(store, "red") == [("k", 1.0)]


def test_any_number_of_dimensions_is_taken_where_none_is_said() -> None:
    with opened(index={"embed": lambda texts: [[1.0] * len(text) for text in texts], "fields": ["text"]}) as store:
        store.put(("a",), "three", {"text": "abc"})
        store.put(("a",), "two", {"text": "ab"})
        assert hits(store, "xyz") == [("three", 1.0), ("two", None)]
        with pytest.raises(ValueError, match=r"shape \(2,\), not of 3 numbers"):
            store.put(("a",), "both", {"text": ["abc", "ab"]}, index=["text[*]"])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"dims": 2}, "embed must be provided"),
        ({"dims": 0, "embed": embed}, "dims is a number above 0, not 0"),
        ({"dims": "2", "embed": embed}, "dims is a number above 0"),
        ({"dims": 2, "embed": embed, "distance_type": "l2"}, "index knows dims, embed, fields, not distance_type"),
        ({"dims": 2, "embed": embed, "fields": "text"}, "fields is a list of fields such as"),
    ],
)
def test_settings_that_are_none_are_refused(index: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message), opened(index=index):
        pass


# --- event loops -------------------------------------------------------------------------------------------------


def test_an_async_function_embeds_for_async_calls_only() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def aembed(texts: Sequence[str]) -> list[list[float]]:
        loops.append(asyncio.get_running_loop())
        return [embed(text) for text in texts]

    async def main(store: PropagulStore) -> None:
        await store.aput(("a",), "k", {"text": "red cat"})
        (found,) = await store.asearch((), query="red cat")
        assert found.score == pytest.approx(1.0, abs=1e-5)
        assert set(loops) == {asyncio.get_running_loop()}

    with opened(index={"dims": DIMS, "embed": aembed, "fields": ["text"]}) as store:
        asyncio.run(main(store))
        with pytest.raises(ValueError, match="no sync function"):
            store.put(("a",), "sync", {"text": "x"})
        assert store.get(("a",), "k") is not None


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_embedding_does_not_hold_up_the_event_loop(gate: threading.Event) -> None:
    def waits_for_the_loop(texts: Sequence[str]) -> list[list[float]]:
        assert gate.wait(20)
        return [embed(text) for text in texts]

    async def main(store: PropagulStore) -> None:
        for call in (store.aput(("a",), "k", {"text": "red"}), store.asearch((), query="red")):
            gate.clear()
            task = asyncio.ensure_future(call)
            await asyncio.sleep(0)
            await store.aput(("a",), "other", {"text": "x"}, index=False)
            assert not task.done()
            gate.set()
            await task
        assert len(await store.asearch((), query="red")) == 2

    with opened(index={"dims": DIMS, "embed": waits_for_the_loop, "fields": ["text"]}) as store:
        asyncio.run(main(store))


def test_a_search_reads_the_rows_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    async def main(store: PropagulStore) -> None:
        await store.aput(("a",), "k", {"text": "red"})
        items = store.store.items

        def noted(prefix: str) -> Iterator[tuple[str, object]]:
            threads.append(threading.get_ident())
            return items(prefix)

        monkeypatch.setattr(store.store, "items", noted)
        assert len(await store.asearch((), query="red")) == len(await store.asearch(())) == 1
        assert threads
        assert threading.get_ident() not in threads

    with opened(index=by_words()) as store:
        asyncio.run(main(store))
