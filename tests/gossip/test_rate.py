"""What a store sends in all is capped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.gossip import RateCap


def test_a_second_may_go_at_once_and_the_rest_waits_its_time() -> None:
    cap = RateCap(1000)
    assert cap.take(1000, 50.0) == 0.0
    assert cap.take(500, 50.0) == pytest.approx(0.5)
    assert cap.take(500, 50.0) == pytest.approx(1.0)
    assert cap.take(100, 60.0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0.0, 3.0)), max_size=50))
def test_no_second_carries_more_than_two_seconds_worth(sends: list[tuple[int, float]]) -> None:
    cap, now, went = RateCap(1000), 0.0, list[tuple[float, int]]()
    for size, pause_s in sends:
        now += pause_s
        went.append((now + cap.take(size, now), size))
    for at, _ in went:
        inside = [size for other, size in went if at - 1.0 < other <= at]
        assert sum(inside[:-1]) <= 2000 + 1e-6 + max(inside)
