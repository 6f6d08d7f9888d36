"""Texts of any length stand in rows, whole or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul import AgentStateStore, StoreError
from propagul.adapters import Texts, path, printed
from propagul.adapters._texts import PART_CHARS
from tests.store.world import often_switching

LONG = "é🙂x" * 200_000


def test_a_long_text_comes_back_and_leaves_nothing_when_it_is_dropped(store: AgentStateStore) -> None:
    texts = Texts(store, "parts/")
    held, other = texts.stored(LONG), texts.stored(LONG[::-1])
    assert texts.stored("short") == "short"
    assert (texts.text(held), texts.text(other), texts.text("short")) == (LONG, LONG[::-1], "short")
    texts.drop(held)
    texts.drop("short")
    assert (texts.text(held), texts.text(other)) == (None, LONG[::-1])
    texts.drop(other)
    assert len(store) == 0


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_text_that_lacks_a_part_is_none(store: AgentStateStore, which: int) -> None:
    texts = Texts(store, "parts/")
    held = texts.stored(LONG)
    store.delete(store.keys("parts/")[which])
    assert texts.text(held) is None


@pytest.mark.parametrize("held", [None, 5, True, [], ["token"], ["token", "1"], [1, 1], ["token", 10**12], {}])
def test_what_is_no_row_of_a_text_is_none(store: AgentStateStore, held: object) -> None:
    texts = Texts(store, "parts/")
    texts.drop(held)
    assert texts.text(held) is None


def test_a_text_under_a_key_replaces_the_one_before_and_leaves_nothing_of_it(store: AgentStateStore) -> None:
    texts = Texts(store, "parts/")
    for text in (LONG, "short", LONG[::-1]):
        texts.put("rows/a", text)
        assert (texts.get("rows/a"), texts.siblings("rows/a")) == (text, [text])
    assert len(store.keys("parts/")) == len(LONG) // PART_CHARS + 1
    assert list(texts.items("rows/")) == [("rows/a", LONG[::-1])]
    assert texts.remove("rows/a")
    assert not texts.remove("rows/a")
    assert (texts.get("rows/a"), texts.siblings("rows/a"), len(store)) == (None, [], 0)


def test_a_key_that_holds_no_text_is_said_and_hides_no_other(store: AgentStateStore) -> None:
    texts = Texts(store, "parts/")
    texts.put("rows/a", LONG)
    store.delete(store.keys("parts/")[1])
    store.set("rows/b", 7)
    texts.put("rows/c", "c")
    for key in ("rows/a", "rows/b"):
        assert texts.siblings(key) == [None]
        with pytest.raises(StoreError, match=f"{key}' is no text, or a part of it is missing"):
            texts.get(key)
    assert list(texts.items("rows/")) == [("rows/c", "c")]


def test_threads_that_put_a_key_at_once_leave_the_parts_of_one(store: AgentStateStore) -> None:
    texts = Texts(store, "parts/")
    with often_switching(), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: texts.put("row", f"{number}" + LONG), range(100)))
    assert len(store.keys("parts/")) == len(LONG) // PART_CHARS + 1


def test_a_text_that_is_replaced_while_it_is_read_is_there(store: AgentStateStore) -> None:
    texts = Texts(store, "parts/")
    texts.put("row", LONG)
    with often_switching(), ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: list(map(texts.put, ["row"] * 100, [LONG] * 100)))
        while not writing.done():
            assert texts.get("row") == LONG
            assert list(texts.items("row")) == [("row", LONG)]
        writing.result()


@given(st.lists(st.tuples(st.text(), st.text()), unique=True))
def test_different_names_have_different_paths_of_two_steps(pairs: list[tuple[str, str]]) -> None:
    paths = [path(*pair) for pair in pairs]
    assert len(set(paths)) == len(pairs)
    assert all(one.count("/") == 1 for one in paths)


@given(st.text(st.characters(codec=None)))
def test_any_text_is_printed_as_json_that_a_row_takes(text: str) -> None:
    assert printed([text]).encode()
