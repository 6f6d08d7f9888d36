"""Keys in order against a sorted set, with runs so short that they are parted and emptied all the time."""

from __future__ import annotations

import random
from bisect import bisect_left
from typing import TYPE_CHECKING
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import index as runs
from propagul.crdt.index import RUN, KeyIndex
from tests.crdt.histories import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = st.text("ab\x00\U0010ffff", max_size=4)
ACTS = st.lists(st.tuples(st.sampled_from(["add", "add", "discard", "merge", "take_in"]), TEXTS), max_size=200)


@examples(400)
@given(ACTS, TEXTS, st.booleans())
def test_it_finds_the_keys_under_a_prefix_in_order(acts: list[tuple[str, str]], prefix: str, reverse: bool) -> None:  # noqa: FBT001 - drawn
    index, model = KeyIndex(), set[str]()
    with patch.multiple(runs, RUN=2, _FEW=1):
        for number, (act, key) in enumerate(acts):
            do(index, model, act, key)
            if number % 7 == 0:
                expected = sorted((k for k in model if k.startswith(prefix)), reverse=reverse)
                assert list(index.under(prefix, reverse=reverse)) == expected
                assert index.count(prefix) == len(expected)
        assert list(index.under("")) == sorted(model)
        assert len(index) == len(model)


def do(index: KeyIndex, model: set[str], act: str, key: str) -> None:
    match act:
        case "add":
            index.add(key)
            model.add(key)
        case "discard":
            index.discard(key)
            model.discard(key)
        case "merge":
            keys = [key, key + "b", "a" + key, "b", key]
            index.merge(keys)
            model.update(keys)
        case "take_in":
            index.take_in(2)


def keys_of(count: int) -> Iterator[str]:
    return (f"{number:06}" for number in range(count))


def test_many_keys_that_come_in_any_order_stand_in_short_runs() -> None:
    index, keys = KeyIndex(), list(keys_of(20 * RUN))
    for key in random.Random(7).sample(keys, len(keys)):
        index.add(key)
    while index.take_in(100):
        assert all(0 < len(run) <= 2 * RUN for run in index._runs)
    assert list(index.under("")) == keys
    assert list(index.under("0012")) == keys[bisect_left(keys, "0012") : bisect_left(keys, "0013")]
    assert index._lasts == [run[-1] for run in index._runs]
    index.discard("001234")
    assert len(list(index.under("00123"))) == 9


def test_a_slice_of_new_keys_leaves_the_others_for_later() -> None:
    index = KeyIndex()
    for key in keys_of(1000):
        index.add(key)
    assert index.take_in(300)
    assert sum(map(len, index._runs)) == 300
    assert list(index.under("00099")) == [f"{number:06}" for number in range(990, 1000)]
    assert not index.take_in(300)


def test_a_question_looks_at_the_runs_it_answers_from_only() -> None:
    index = KeyIndex()
    index.merge(keys_of(20 * RUN))
    for place, run in enumerate(index._runs):
        if not (run[0] <= "005000" <= run[-1]):
            index._runs[place] = [None] * len(run)  # type: ignore[list-item]  # whoever looks at these falls over
    assert list(index.under("005000")) == ["005000"]
