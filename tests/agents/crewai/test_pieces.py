"""JSON comes back from its pieces as it was, and what grows at its end costs what is new."""

from __future__ import annotations

import json
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from propagul_crewai._pieces import GROUP, pack, references, unpack

from propagul import StoreError

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.text(min_size=300)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=GROUP * 3) | st.dictionaries(st.sampled_from("abcdlors") | st.text(), inner),
    max_leaves=40,
)


@settings(max_examples=25)
@given(values)
def test_any_json_comes_back_as_it_was_with_its_keys_in_order(value: object) -> None:
    pieces: dict[str, str] = {}
    node = json.loads(pack(value, pieces.__setitem__))
    assert json.dumps(unpack(node, pieces.get)) == json.dumps(value)
    assert set(references(node, pieces.get)) == pieces.keys()


@settings(max_examples=15)
@given(st.lists(st.text(max_size=40), max_size=GROUP**2 * 2))
def test_the_groups_of_a_long_list_are_put_together_again(items: list[str]) -> None:
    pieces: dict[str, str] = {}
    assert unpack(json.loads(pack(items, pieces.__setitem__)), pieces.get) == items
    pairs = {str(number): item for number, item in enumerate(items)}
    assert unpack(json.loads(pack(pairs, pieces.__setitem__)), pieces.get) == pairs


def test_a_hundred_versions_of_what_grows_cost_little_more_than_the_last() -> None:
    pieces: dict[str, str] = {}
    record: dict[str, object] = {"nodes": {}, "by": "a crew"}
    sizes, last = [], 0
    for number in range(400):
        nodes = record["nodes"]
        assert isinstance(nodes, dict)
        nodes[f"event {number}"] = {"text": f"something of some length happened, {number} " * 20}
        if number % 4 == 0:
            pack(record, pieces.__setitem__)
            last = len(json.dumps(record))
            sizes.append(last)
    held = sum(map(len, pieces.values()))
    assert sum(sizes) > 40 * last, "kept whole, they would be this much"
    assert held < 1.5 * last


def test_a_missing_piece_is_said() -> None:
    pieces: dict[str, str] = {}
    node = json.loads(pack(["x" * 1000], pieces.__setitem__))
    with pytest.raises(StoreError, match="not here"):
        unpack(node, partial(dict[str, str]().get))
    with pytest.raises(StoreError, match="cannot read"):
        unpack({"newer": 1}, pieces.get)
