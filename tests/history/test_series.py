from __future__ import annotations

import pytest

from fleet_app.history.figures import Slot, figures_of
from fleet_app.history.series import FIVES, MINUTES, OTHERS, OWN, SECONDS, SLOTS_MAX, TENS, slotted, step_for, tier_for
from tests.presence.scene import box, engine, gpu

NOW = 1_000_000.0
HOUR, DAY = 3600, 86_400


def test_what_is_kept_is_what_people_read() -> None:
    figures = figures_of(box(gpus=(gpu(),), backends=(engine(),), in_flight=3))
    assert figures == {
        "cpu": 12.0,
        "ram": 32.8,
        "disk": 48.1,
        "in_flight": 3.0,
        "queued": 0.0,
        "gpu0": 40.0,
        "vram0": 16.7,
        "temp0": 61.0,
        "power0": 150.0,
    }


def test_what_a_box_cannot_tell_is_not_kept_as_zero() -> None:
    silent = box().model_copy(update={"cpu": None, "ram": None, "disk": None})
    assert figures_of(silent) == {"in_flight": 0.0}


def test_a_slot_has_the_mean_of_what_was_seen_in_it() -> None:
    slot = Slot(10)
    seen = [out for second in range(25) for out in slot.take(1000.0 + second, {"cpu": float(second), "rare": 1.0})]
    assert seen == [(1000, {"cpu": 4.5, "rare": 1.0}), (1010, {"cpu": 14.5, "rare": 1.0})]
    assert list(slot.close()) == [(1020, {"cpu": 22.0, "rare": 1.0})]
    assert list(slot.close()) == []


@pytest.mark.parametrize(
    ("tiers", "back_s", "step_s", "tier"),
    [
        (OWN, 60, 1, SECONDS),
        (OWN, 60, 30, TENS),
        (OWN, HOUR, 1, TENS),
        (OWN, 2 * DAY, 1, FIVES),
        (OTHERS, 60, 1, MINUTES),
        (OTHERS, DAY, 600, FIVES),
        (OTHERS, 30 * DAY, 1, FIVES),
        (OTHERS, 365 * DAY, 1, FIVES),
    ],
)
def test_a_span_is_read_where_it_is_kept(tiers: tuple[object, ...], back_s: float, step_s: float, tier: object) -> None:
    assert tier_for(tiers, NOW - back_s, step_s, NOW) is tier  # type: ignore[arg-type]  # the tuples of that module


def test_a_slot_without_a_measurement_is_a_gap() -> None:
    samples = [(1000, {"cpu": 1.0}), (1030, {"cpu": 4.0, "gpu0": 9.0})]
    series = slotted("a", samples, (), span=(1000, 1050), step_s=10)
    assert series.values == {"cpu": [1.0, None, None, 4.0, None], "gpu0": [None, None, None, 9.0, None]}
    assert slotted("a", samples, ("gpu0", "none"), span=(1000, 1050), step_s=10).values.keys() == {"gpu0", "none"}


def test_no_span_makes_more_slots_than_somebody_can_draw() -> None:
    for tier in (*OWN, *OTHERS):
        for span in (1, tier.step_s, 7 * DAY, 90 * DAY):
            step = step_for(tier, NOW - span, NOW, 0.0)
            series = slotted("a", [(int(NOW) - 1, {"cpu": 1.0})], (), span=(NOW - span, NOW), step_s=step)
            assert step % tier.step_s == 0
            assert 0 < len(series.values["cpu"]) <= SLOTS_MAX
