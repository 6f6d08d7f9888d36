"""JSON comes back from its pieces as it was, and what is in it twice is stored once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from propagul.adapters import Pieces, Texts

if TYPE_CHECKING:
    from propagul import AgentStateStore

HASH = "0" * 32
marked = st.sampled_from(["~", "~~", f"~={HASH}", f"~*{HASH}", f'"~={HASH}', "~" + "x" * 300])
names = st.text(max_size=3) | marked
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names | st.text(min_size=200)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=50) | st.dictionaries(names, inner, max_size=50), max_leaves=40
)
shared = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def pieces(store: AgentStateStore) -> Pieces:
    return Pieces(store, "pieces/", Texts(store, "parts/"))


@shared
@given(values)
def test_any_json_comes_back_as_it_was_with_its_names_in_order(pieces: Pieces, value: object) -> None:
    assert json.dumps(pieces.whole(pieces.taken(value))) == json.dumps(value)


@shared
@given(st.lists(st.text(max_size=40), max_size=500))
def test_what_is_cut_is_put_together_again(pieces: Pieces, items: list[str]) -> None:
    named = {f"~{number}": item for number, item in enumerate(items)}
    assert pieces.whole(pieces.taken([items, named])) == [items, named]


def test_the_names_of_a_value_are_those_of_all_its_pieces(store: AgentStateStore, pieces: Pieces) -> None:
    first = pieces.taken({f"event {number}": ["x" * number, {"by": "y" * number}] for number in range(300)})
    own = {key.removeprefix("pieces/") for key in store.keys("pieces/")}
    assert pieces.names([first]) == own
    second = pieces.taken({f"event {number}": ["x" * number, {"by": "y" * number}] for number in range(301)})
    more = {key.removeprefix("pieces/") for key in store.keys("pieces/")} - own
    assert more < pieces.names([second])
    assert pieces.names([first, second]) == own | more


@pytest.mark.parametrize("end", ["begins", "ends"])
@pytest.mark.parametrize("kind", [list, dict])
def test_a_hundred_versions_of_what_grows_cost_little_more_than_the_last(
    store: AgentStateStore, pieces: Pieces, kind: type, end: str
) -> None:
    sizes, entries = [], list[tuple[str, dict[str, str]]]()
    for number in range(400):
        entry = (f"event {number}", {"text": f"something of some length happened, {number} " * 20})
        entries.insert(0 if end == "begins" else number, entry)
        if number % 4 == 0:
            value = {"nodes": kind(entries), "by": "a crew"} if kind is dict else [list(one) for one in entries]
            sizes.append(len(json.dumps(value)))
            assert len(pieces.taken(value)) < 4000, "what a row holds of it"
    held = sum(len(key) + len(str(text)) for key, text in store.items())
    assert sum(sizes) > 40 * sizes[-1], "kept whole, they would be this much"
    assert held < 1.7 * sizes[-1]


def test_long_text_in_it_is_kept_and_leaves_nothing_behind(store: AgentStateStore, pieces: Pieces) -> None:
    value = ["é🙂x" * 500_000, "half of a pair: \ud83d" * 20]
    text = pieces.taken(value)
    assert pieces.taken(value) == text
    assert pieces.whole(text) == value
    assert len(store.keys("parts/")) == 12, "once"
    for name in pieces.names([text]):
        Texts(store, "parts/").remove(f"pieces/{name}")
    assert len(store) == 0
    with pytest.raises(LookupError):
        pieces.whole(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f'"~={HASH}"', LookupError),
        (f'["~*{HASH}"]', LookupError),
        (f'{{"~*{HASH}":0}}', LookupError),
        ('"~?"', ValueError),
        ('{"~?":0}', ValueError),
        ('["~*list"]', ValueError),
        ('{"~*list":0}', ValueError),
        ('{"~*object":0}', None),
        ('["~*object"]', ValueError),
        ('"~=object"', None),
        ('"~=itself"', RecursionError),
        ("{", ValueError),
        ("[" * 100_000, RecursionError),
    ],
)
def test_what_is_none_of_ours_is_said(
    store: AgentStateStore, pieces: Pieces, text: str, error: type[Exception] | None
) -> None:
    store.set("pieces/list", '"no list"')
    store.set("pieces/object", '{"n":1}')
    store.set("pieces/itself", '"~=itself"')
    if error is None:
        assert pieces.whole(text) == {"n": 1}
    else:
        with pytest.raises(error):
            pieces.whole(text)
