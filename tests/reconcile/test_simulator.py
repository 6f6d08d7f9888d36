"""Whatever goes wrong on the way, the end is the same. `make sim` runs as many seeds as you like."""

from __future__ import annotations

import os

import pytest

from tests.reconcile.simulator import Run

SEEDS = 1000 if os.environ.get("LONG_TESTS") else 10


@pytest.mark.parametrize("first", range(0, SEEDS, 5))
def test_every_order_of_faults_and_edits_ends_alike_and_deletes_nothing_undeclared(first: int) -> None:
    for seed in range(first, first + 5):
        Run(seed).go()
