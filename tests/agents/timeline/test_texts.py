"""Texts of any length stand in rows, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propagul_timeline import Texts, path, printed

from propagul import AgentStateStore

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = "é🙂x" * 200_000


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    with_nobody = AgentStateStore("room", port=None)
    yield with_nobody
    with_nobody.close()


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


@given(st.lists(st.tuples(st.text(), st.text()), unique=True))
def test_different_names_have_different_paths_of_two_steps(pairs: list[tuple[str, str]]) -> None:
    paths = [path(*pair) for pair in pairs]
    assert len(set(paths)) == len(pairs)
    assert all(one.count("/") == 1 for one in paths)


@given(st.text(st.characters(codec=None)))
def test_any_text_is_printed_as_json_that_a_row_takes(text: str) -> None:
    assert printed([text]).encode()
