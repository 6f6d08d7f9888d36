"""The figures of what runs in virtual time: how a write spreads through a crowd, and what a stalled peer costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.crew import column, median
from benchmarks.form import Figure
from benchmarks.gossip import spread, stalled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.gossip.crew import Crew

SEED = 1


def spreading(crew: Crew) -> Iterator[Figure]:
    """How fast and how dear a write reaches everybody, in good times and in bad ones; a sample is a write."""
    scale = crew.scale
    work = {"warmups": scale.warmups, "writes": scale.writes, "others": scale.others, "lossy": scale.lossy}
    found = crew.run("propagul", spread.spread, size=scale.crowd, seed=SEED, **work)
    good, bad = (_unnumbered(found, name) for name in ("write", "lossy"))
    detail: dict[str, object] = {
        "measure": "virtual time, exact for the seed; a sample is a write of an author that wrote before",
        "nodes": scale.crowd,
        "seed": SEED,
        "links": found["links"],
        "link_ms": "10 to 50, one way, each link its own",
        "loss_pct": 100 * spread.LOSS,
        "warmup_writes": scale.warmups,
        **{part: median(good, part) for part in ("p50_ms", "p99_ms", "last_ms", "copies")},
        **{part: median(good, part) for part in ("frames_a_node", "bytes_a_node")},
        "frames_counted_s": spread.APART_S,
        **{name: value for name, value in found.items() if name.startswith(("first_", "fresh_"))},
    }
    yield Figure(name="des10k_p99_ms", unit="ms", samples=column(good, "p99_ms"), detail=detail)
    yield Figure(name="des10k_last_ms", unit="ms", samples=column(good, "last_ms"), detail=detail)
    least = min(*column(good, "coverage_pct"), found["first_coverage_pct"], found["fresh_coverage_pct"])
    yield Figure(name="coverage_pct", unit="%", samples=[least], detail=detail)
    yield Figure(
        name="payload_copies",
        unit="copies",
        samples=column(good, "copies"),
        detail=detail | {"goal": "of two pairs that are allowed, late with few copies or early with more, the second"},
    )
    yield Figure(
        name="des10k_lossy_last_ms",
        unit="ms",
        samples=column(bad, "last_ms"),
        detail={
            "measure": "the same crowd afterwards, its last live node",
            "loss_pct": 100 * spread.LOSS_MUCH,
            "dead_pct": 100 * spread.DEAD,
            "coverage_pct": min(column(bad, "coverage_pct")),
            **{part: median(bad, part) for part in ("p50_ms", "p99_ms", "copies", "frames_a_node", "bytes_a_node")},
        },
    )


def stalling(crew: Crew) -> Iterator[Figure]:
    """What a peer costs that lives and acknowledges nothing."""
    scale = crew.scale
    work = {"keys": scale.small, "per_s": scale.per_s, "minutes": scale.minutes, "budget_s": scale.budget_s}
    found = crew.run("propagul", stalled.stalled, seed=SEED, **work)
    yield Figure(
        name="stalled_peer_mb",
        unit="MB",
        samples=[found["mb"]],
        detail={
            "measure": "what the interpreter allocated more at the end than after the first virtual minute",
            **{f"{name}_asked_for": number for name, number in work.items()},
            **found,
        },
    )


def _unnumbered(found: Mapping[str, float], name: str) -> list[dict[str, float]]:
    """The writes of a kind, as `spread` numbered them."""
    writes: list[dict[str, float]] = []
    while mine := {
        key.partition("_")[2]: value for key, value in found.items() if key.startswith(f"{name}{len(writes)}_")
    }:
        writes.append(mine)
    return writes
