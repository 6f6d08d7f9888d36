"""The simulator is not blind: bugs that are planted into what decides are found within a few seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet_app.desired import ModelSpec
from fleet_app.desired import decision as deciding
from fleet_app.desired.placement import Standing, standing
from fleet_app.desired.selector import Selector
from tests.reconcile.simulator import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    Plant = Callable[[pytest.MonkeyPatch], None]

SEEDS = 6


def _contested_is_absent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ModelSpec, "is_contested", property(lambda _: False))
    patch.setattr(ModelSpec, "is_absent", property(lambda spec: spec._get("state") == "absent"))


def _everywhere_is_meant(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Selector, "matches", lambda *_: True)


def _nothing_said_is_absent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ModelSpec, "is_absent", property(lambda spec: spec._get("state") != "present"))


def _one_replica_less(patch: pytest.MonkeyPatch) -> None:
    def fewer(*arguments: object, **options: object) -> Standing:
        found = standing(*arguments, **options)  # type: ignore[arg-type]
        return Standing(wanted=found.wanted - 1, counted=found.counted, candidates=found.candidates)

    patch.setattr(deciding, "standing", fewer)


@pytest.mark.parametrize(
    "plant",
    [_contested_is_absent, _everywhere_is_meant, _nothing_said_is_absent, _one_replica_less],
)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        _search()


def _search() -> None:
    for seed in range(SEEDS):
        Run(seed).go()
