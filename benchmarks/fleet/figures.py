"""Workloads turned into figures."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.fleet import acting, faults, quiet
from benchmarks.form import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.fleet.crew import Crew


def resting(crew: Crew) -> Iterator[Figure]:
    """What a node costs while nothing happens."""
    scale = crew.scale
    found = crew.run(
        "propagul",
        quiet.rest,
        boxes=scale.boxes,
        rounds=scale.rounds,
        settle_s=scale.settle_s,
        look_s=(scale.unwatched_s, scale.watched_s),
        scratch=crew.scratch,
    )
    fleet = {"boxes": scale.boxes, "busy": "one in five", "models": 10, "look_s": scale.unwatched_s}
    watched_pct = statistics.median(_rounds(found, "cpu_pct_watched"))
    yield Figure(
        name="idle_cpu_pct",
        unit="% of a core",
        samples=_rounds(found, "cpu_pct_unwatched"),
        peers=f"{watched_pct:.2f} while somebody watches elsewhere",
        detail=fleet | {"watched": watched_pct},
    )
    yield Figure(name="idle_rss_mb", unit="MB", samples=_rounds(found, "rss_mb_unwatched"), detail=fleet)
    for when in ("watched", "unwatched"):
        if samples := _rounds(found, f"bytes_per_s_{when}"):
            age_s, oldest_s = (
                statistics.median(_rounds(found, f"{name}_{when}")) for name in ("figures_age_s", "oldest_figures_s")
            )
            links = max(_rounds(found, f"links_{when}"))
            yield Figure(
                name=f"gossip_bytes_per_s_{when}",
                unit="B/s",
                samples=samples,
                peers=f"others' figures there are {age_s:.1f} s old, the oldest {oldest_s:.1f} s",
                detail=fleet
                | {"figures_age_s": age_s, "oldest_figures_s": oldest_s, "links": links}
                | {"counted": "bytes of TCP's streams both ways: frames, TLS records and handshakes"},
            )


def acting_soon(crew: Crew) -> Iterator[Figure]:
    """How soon a node acts, and how long a plan takes."""
    scale = crew.scale
    found = crew.run(
        *("propagul", acting.act),
        boxes=scale.boxes,
        rounds=scale.rounds,
        settle_s=scale.settle_s,
        scratch=crew.scratch,
    )
    fleet = {"boxes": scale.boxes}
    if samples := _rounds(found, "detect_s"):
        yield Figure(name="detect_s", unit="s", samples=samples, detail=fleet)
    yield Figure(name="edit_to_action_s", unit="s", samples=_rounds(found, "action_s"), detail=fleet)
    detail = fleet | {"models": 20, "steps": found["steps"]}
    yield Figure(name="plan_50x20_s", unit="s", samples=_rounds(found, "plan_s"), detail=detail)


def ending_alike(crew: Crew) -> Iterator[Figure]:
    """What random faults and orders of events come to."""
    found = crew.run("propagul", faults.diverge, seeds=crew.scale.faulty)
    yield Figure(name="fault_runs_diverged", unit="runs", samples=[found["diverged"]], detail=dict(found))


def _rounds(found: Mapping[str, float], name: str) -> list[float]:
    """One measure over the rounds."""
    return [found[key] for number in range(len(found)) if (key := f"{name}_{number}") in found]
