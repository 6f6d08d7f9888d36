"""Which engine answers: a pure order over the places that serve a model, and the words that explain it.

Placements of one exact model name come in; nothing here substitutes another model. Fewest requests in flight first,
this node before others on a tie, then by name. Nodes that are known only through others come after all that have a
link, since a tunnel to them may not open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fleet_app.view import Placement

PLACES_EXPLAINED_MAX = 6


class Engine(NamedTuple):
    """One engine of the fleet: the node it belongs to and its address there."""

    node: str
    url: str


def engine_of(placement: Placement) -> Engine:
    """The engine a placement is at."""
    return Engine(placement.node.id, placement.backend.url)


def rank(placements: Iterable[Placement], load: Mapping[Engine, int]) -> tuple[Placement, ...]:
    """Order the placements, best first; those no path reaches are left out.

    Args:
        placements: Where one model is served.
        load: Requests in flight an engine; an engine that is not in it counts as idle.
    """

    def cost(place: Placement) -> tuple[bool, int, bool, str, str, str]:
        node = place.node
        engine = engine_of(place)
        return node.reach == "relayed", load.get(engine, 0), node.reach != "here", node.name, node.id, engine.url

    return tuple(sorted((place for place in placements if place.node.reach != "none"), key=cost))


def explain(order: Sequence[Placement], load: Mapping[Engine, int]) -> str:
    """Say in words why the first of `order` was chosen; safe as a header value."""
    shown = order[:PLACES_EXPLAINED_MAX]
    places = ", ".join(f"{header_text(place.node.name)} {load.get(engine_of(place), 0)}" for place in shown)
    more = f", and {len(order) - len(shown)} more" if len(order) > len(shown) else ""
    return f"least in flight, this node first on a tie: {places}{more}"


def header_text(text: str) -> str:
    """`text` with everything but printable ASCII percent-encoded: names come from other machines."""
    return quote(text, safe=" !#$&'()*+,/:;=?@[]~")
