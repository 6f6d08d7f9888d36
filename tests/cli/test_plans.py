"""How edits are shown before they are made."""

from __future__ import annotations

from fleet_app.cli.plans import difference_lines
from fleet_app.desired import NOTHING, Place
from fleet_app.desired.edits import Edited


def test_a_difference_shows_what_comes_what_goes_and_what_becomes_something_else() -> None:
    edited = [
        Edited(Place("models", "m", "where"), NOTHING, {"labels": {"gpu": "nvidia"}}),
        Edited(Place("models", "m", "loaded"), False, NOTHING),
        Edited(Place("models", "m", "settings", "num_ctx"), 4096, 8192),
        Edited(Place("models", "m", "source"), NOTHING, "fleet.yaml@attic"),
        Edited(Place("nodes", "a1b2", "drain"), NOTHING, True),
    ]
    assert [line.plain for line in difference_lines(edited, {"a1b2": "attic"})] == [
        "- models.m.loaded: false",
        "~ models.m.settings.num_ctx: 4096 -> 8192",
        "+ models.m.where: gpu=nvidia",
        "+ nodes.attic.drain: true",
    ]
