"""Which nodes a selector means."""

from __future__ import annotations

import pytest

from fleet_app.desired.selector import Selector
from tests.desired.facts import node

NODES = [
    node("attic", vram_gib=24, labels={"gpu": "nvidia", "room": "attic"}),
    node("cellar", vram_gib=7.9, labels={"gpu": "nvidia"}),
    node("laptop", labels={"gpu": "none"}),
]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("all", ["attic", "cellar", "laptop"]),
        ("attic", ["attic"]),
        ("ATTIC", ["attic"]),
        (NODES[1].id, ["cellar"]),
        (NODES[1].id[:10], ["cellar"]),
        (["attic", "laptop"], ["attic", "laptop"]),
        ({"labels": {"gpu": "nvidia"}}, ["attic", "cellar"]),
        ({"labels": {"gpu": "nvidia"}, "vram_gb": ">=8"}, ["attic"]),
        ({"vram_gb": 7}, ["attic", "cellar"]),
        ({"vram_gb": ">=24"}, ["attic"]),
        ({"vram_gb": ">24"}, []),
        ({"vram_gb": "<=24"}, ["attic", "cellar"]),
        ({"vram_gb": "<24"}, ["cellar"]),
        ({"vram_gb": "=24"}, ["attic"]),
        ({"vram_gb": "<8"}, ["cellar"]),
        ({"nodes": ["cellar"], "labels": {"room": "attic"}}, []),
        ({"vram_gb": "<123456.654321"}, ["attic", "cellar"]),
    ],
)
def test_every_part_must_hold_and_what_cannot_be_told_does_not(where: object, names: list[str]) -> None:
    selector = Selector.read(where)
    assert [place.name for place in NODES if selector.matches(place)] == names
    again = Selector.read(selector.packed())
    assert (again.vram_gb, again.labels, again.packed()) == (selector.vram_gb, selector.labels, selector.packed())


@pytest.mark.parametrize(
    "where",
    [
        {"vram_gb": "9" * 400},
        None,
        "",
        [],
        {},
        5,
        [1],
        {"nodes": "attic"},
        {"labels": []},
        {"labels": {"a": 1}},
        {"vram_gb": True},
        {"x": 1},
    ],
)
def test_what_is_no_selector_is_refused(where: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Selector.read(where)
