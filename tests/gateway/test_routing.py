"""The order of places is a pure function of load, nearness and name, and it explains itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet_app.gateway.openai_errors import MODELS_NAMED_MAX, model_not_found
from fleet_app.gateway.routing import Engine, engine_of, explain, header_text, rank
from fleet_app.view import NodeView, Placement, Reach
from tests.gateway.rig import engine


def place(name: str, reach: Reach = "linked", url: str = "http://127.0.0.1:1") -> Placement:
    node = NodeView(id=f"id-{name}", name=name, state="up", reach=reach, heard_s=0.0, presence=None)
    return Placement(node=node, backend=engine(url, "m"))


def names(order: tuple[Placement, ...]) -> list[str]:
    return [one.node.name for one in order]


def test_least_in_flight_then_here_then_by_name() -> None:
    places = [place("c"), place("b"), place("z", "here"), place("a", "relayed"), place("x", "none")]
    assert names(rank(places, {})) == ["z", "b", "c", "a"]
    load = {engine_of(places[2]): 2, engine_of(places[1]): 1}
    assert names(rank(places, load)) == ["c", "b", "z", "a"]


@given(st.permutations([place("a"), place("b"), place("c", "here"), place("a", url="http://127.0.0.1:2")]), st.data())
def test_the_order_does_not_depend_on_the_order_of_what_comes_in(places: list[Placement], data: st.DataObject) -> None:
    load = {engine_of(one): data.draw(st.integers(0, 3)) for one in sorted(places, key=engine_of)}
    assert rank(places, load) == rank(list(reversed(places)), load)
    counts = [load[engine_of(one)] for one in rank(places, load)]
    assert counts == sorted(counts)


def test_the_trace_names_every_place_and_its_load_and_is_bounded() -> None:
    order = rank([place("box-a"), place("box-b")], {Engine("id-box-a", "http://127.0.0.1:1"): 3})
    trace = explain(order, {Engine("id-box-a", "http://127.0.0.1:1"): 3})
    assert "box-b 0, box-a 3" in trace
    assert len(explain(tuple(place(f"n{i}" * 20) for i in range(500)), {})) < 600


@given(st.text())
def test_any_name_is_safe_in_a_header(name: str) -> None:
    text = header_text(name.encode("utf-8", "replace").decode())
    assert text.isascii()
    assert text.isprintable()


def test_an_unknown_model_names_a_bounded_list_of_those_there_are() -> None:
    message = str(model_not_found(f"model-{i:04}" for i in range(500)))
    assert "model-0000" in message
    assert f"and {500 - MODELS_NAMED_MAX} more" in message
    assert len(message) < 600
