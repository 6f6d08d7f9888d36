"""The figures of one store by itself: speed, memory, disk."""

from __future__ import annotations

import statistics
import sys
import tempfile
from typing import TYPE_CHECKING

from benchmarks.crew import column, median
from benchmarks.form import Figure, paired
from benchmarks.store import durable, speed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.store.crew import Crew

    Rounds = Mapping[str, Sequence[Mapping[str, float]]]

V090_KEYS = 4000
"""0.9.0 keeps at most 4,096 keys and drops the others without a word."""

BASELINES = {
    "dict": "a dict behind one Python method",
    "pycrdt": "Map[key], each set a transaction of its own",
    "loro": "LoroMap.insert and .get(key).value; it commits when something is exported",
}


def rates(crew: Crew) -> Iterator[Figure]:
    """How fast one key is set and got, in memory."""
    proof = crew.run("propagul", speed.guarded)
    sizes = (crew.scale.small, crew.scale.large)
    measured = crew.rounds(
        ("dict", "propagul", "propagul_logged", "pycrdt", "loro"), speed.rates, sizes=sizes, scratch=crew.scratch
    )
    old = crew.rounds(("v090",), speed.rates, sizes=(V090_KEYS,), scratch=crew.scratch)
    small, large = crew.scale.small, crew.scale.large
    for name, theirs, operation in (
        ("set_vs_dict", "dict", f"set_{small}"),
        ("set_vs_pycrdt", "pycrdt", f"set_{small}"),
        ("set_vs_loro", "loro", f"set_{small}"),
        ("get_vs_dict_100k", "dict", f"get_{large}"),
        ("get_vs_pycrdt", "pycrdt", f"get_{large}"),
    ):
        if theirs in measured:
            kind = operation.partition("_")[0]
            yield _rate(name, theirs, operation, measured, {**proof, **_old(old, f"{kind}_{V090_KEYS}")})


def memory(crew: Crew) -> Iterator[Figure]:
    """What a key costs in memory beside its strings."""
    if not sys.platform.startswith("linux"):
        return
    measured = crew.rounds(
        ("dict", "propagul", "pycrdt", "loro"), speed.memory, size=crew.scale.large, scratch=crew.scratch
    )
    medians = {who: median(found, "full_pass_b") for who, found in measured.items()}
    detail: dict[str, object] = {
        "keys": crew.scale.large,
        "measure": "growth of anonymous resident memory a key; the strings were there before",
        "when": "every key was set, overwritten and read once",
        **{f"{who}_b": value for who, value in medians.items()},
        **{f"{who}_after_set_b": median(found, "set_b") for who, found in measured.items()},
    }
    peers = ", ".join(f"{who} {value:.0f} B" for who, value in medians.items() if who != "propagul")
    ours = column(measured["propagul"], "full_pass_b")
    yield Figure(name="mem_per_key_b", unit="B", samples=ours, peers=peers, detail=detail)
    if "pycrdt" in measured:
        ratios = paired(ours, column(measured["pycrdt"], "full_pass_b"))
        detail |= {"baseline": "pycrdt: one Doc with one Map"}
        yield Figure(name="mem_vs_pycrdt", unit="ratio", samples=ratios, peers=peers, detail=detail)


def disk(crew: Crew) -> Iterator[Figure]:
    """Acknowledged sets against sqlite3, one at a time."""
    for synchronous, count in (("normal", crew.scale.small), ("full", crew.scale.synced)):
        theirs = f"sqlite_{synchronous}"
        measured = crew.rounds(
            ("propagul_logged", theirs), durable.acknowledged_sets, count=count, scratch=crew.scratch
        )
        syncs = crew.run("propagul", durable.disk, scratch=crew.scratch)
        ours_per_s, theirs_per_s = median(measured["propagul_logged"], "per_s"), median(measured[theirs], "per_s")
        yield Figure(
            name=f"durable_set_vs_sqlite_{synchronous}",
            unit="ratio",
            samples=paired(column(measured["propagul_logged"], "per_s"), column(measured[theirs], "per_s")),
            peers=f"sqlite3 {theirs_per_s:,.0f}/s, ours {ours_per_s:,.0f}/s",
            detail={
                "baseline": f"sqlite3, WAL, autocommit, INSERT OR REPLACE, synchronous={synchronous.upper()}",
                "clock": "wall time",
                "durability": "os",
                "sets": count,
                "propagul_per_s": ours_per_s,
                "sqlite_per_s": theirs_per_s,
                "propagul_cpu_per_s": median(measured["propagul_logged"], "cpu_per_s"),
                "sqlite_cpu_per_s": median(measured[theirs], "cpu_per_s"),
                "append_and_fdatasync_us": syncs["us"],
            },
        )


def recovery(crew: Crew) -> Iterator[Figure]:
    """How fast the log of a killed process is opened again."""
    found = []
    for number in range(crew.scale.rounds):
        with tempfile.TemporaryDirectory(dir=crew.scratch) as directory:
            work = {"count": crew.scale.large, "seed": number, "directory": directory}
            crew.run("propagul", durable.write_and_die, **work)
            found.append(crew.run("propagul", durable.recover, **work))
    yield Figure(
        name="recovery_events_per_s",
        unit="events/s",
        samples=column(found, "per_s"),
        detail={
            "clock": "wall time of the constructor; the log is in the page cache",
            "events": crew.scale.large,
            "cpu_events_per_s": median(found, "cpu_per_s"),
            "log_bytes": median(found, "log_bytes"),
        },
    )


def restarts(crew: Crew) -> Iterator[Figure]:
    """How many origins clean restarts leave behind."""
    if not sys.platform.startswith("linux"):
        return
    found = crew.run("propagul", durable.clean_restarts, count=crew.scale.restarts, scratch=crew.scratch)
    yield Figure(
        name="origins_after_1k_clean_restarts",
        unit="origins",
        samples=[found["origins"]],
        detail={"restarts": crew.scale.restarts, "ms_a_restart": found["ms_a_restart"]},
    )


def _rate(name: str, theirs: str, operation: str, measured: Rounds, more: Mapping[str, float]) -> Figure:
    """Ours over theirs in operations a second; the other operations' ratios go into the detail."""
    ours, others = measured["propagul"], measured[theirs]
    per_s = {who: median(found, operation) for who, found in measured.items()}
    ratios = {
        f"{other}_ratio": statistics.median(paired(column(ours, other), column(others, other)))
        for other in sorted(ours[0].keys() & others[0].keys())
    }
    together = f"set_together_{operation.rpartition('_')[2]}"
    return Figure(
        name=name,
        unit="ratio",
        samples=paired(column(ours, operation), column(others, operation)),
        peers=f"{theirs} {per_s[theirs]:,.0f}/s, ours {per_s['propagul']:,.0f}/s",
        detail={
            "baseline": BASELINES[theirs],
            "clock": "process CPU time",
            "operation": operation,
            **{f"{who}_per_s": rate for who, rate in per_s.items()},
            **{
                f"{who}_together_per_s": median(found, together)
                for who, found in measured.items()
                if together in found[0]
            },
            **ratios,
            **more,
        },
    )


def _old(found: Rounds, operation: str) -> dict[str, float]:
    return {f"v090_per_s_at_{V090_KEYS}_keys": median(found["v090"], operation)} if "v090" in found else {}
