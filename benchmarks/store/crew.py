"""Who can be measured here, and how much work a run is."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import crew
from benchmarks.form import ROUNDS_QUICK
from benchmarks.store.goals import PACKAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(crew.Scale):
    """How much work a run is.

    Attributes:
        small: Keys where a state is small, or part of it changes.
        large: Keys where a state is large.
        changed: Keys that change, out of `small`.
        churned: Deletes, re-adds and overwrites of `small` keys.
        incarnations: Restarts of which each takes a fresh origin.
        restarts: Clean restarts of a store with a directory.
        visitors: Origins that two stores both know.
        synced: Sets of which each waits for the disk.
    """

    small: int = 10_000
    large: int = 100_000
    changed: int = 1000
    churned: int = 1_000_000
    incarnations: int = 10_000
    restarts: int = 1000
    visitors: int = 200
    synced: int = 1000


FULL = Scale()
QUICK = Scale(rounds=ROUNDS_QUICK, large=20_000, churned=50_000, restarts=50, visitors=20, synced=200)


class Crew(crew.Crew[Scale]):
    """Runs workloads, each contender's in its own interpreter."""

    packages = PACKAGES
