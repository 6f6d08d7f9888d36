"""The figures of stores and replicas that exchange state: bytes, deltas, merges, churn, vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.crew import column, median
from benchmarks.form import Figure, paired
from benchmarks.material import KEY_CHARS, VALUE_CHARS
from benchmarks.store import replication, wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.store.crew import Crew

_HEADERS_B = 3
"""What msgpack puts before a key of 21 and a text of 100 bytes."""


def one_change(crew: Crew) -> Iterator[Figure]:
    """Bytes of one change between linked stores, both ways, whatever the number of keys."""
    found = {size: crew.run("propagul", wire.one_change, size=size, seed=size) for size in _sizes(crew)}
    yield Figure(
        name="one_change_overhead_b",
        unit="B",
        samples=[max(each["over_b"] for each in found.values())],
        detail={
            "measure": "frames of both ends until the answer, less the key and value; encryption not counted",
            **{f"{name}_at_{size}_keys": value for size, each in found.items() for name, value in each.items()},
            "delta_over_b": min(each["sent_b"] for each in found.values()) - KEY_CHARS - VALUE_CHARS,
        },
    )


def full_state(crew: Crew) -> Iterator[Figure]:
    """Bytes of a cold join between linked stores, over keys and values alone."""
    found = crew.run("propagul", wire.cold_join, size=crew.scale.large, seed=1)
    packed = found["theory_b"] + _HEADERS_B * crew.scale.large
    yield Figure(
        name="full_state_vs_theory",
        unit="ratio",
        samples=[found["bytes"] / found["theory_b"]],
        detail={
            "baseline": "bytes of the keys and values alone",
            "keys": crew.scale.large,
            "vs_keys_and_values_as_msgpack": found["bytes"] / packed,
            **found,
        },
    )


def delta(crew: Crew) -> Iterator[Figure]:
    """Producing and applying what changed, as bytes."""
    work = {"size": crew.scale.small, "changed": crew.scale.changed}
    found = crew.rounds(("propagul", "pycrdt", "loro"), replication.delta, **work)
    yield from _against_pycrdt("delta1000_vs_pycrdt", found, work)


def merge(crew: Crew) -> Iterator[Figure]:
    """Merging ten replicas that wrote the same keys at the same time."""
    work = {"size": crew.scale.small, "changed": crew.scale.changed}
    found = crew.rounds(("propagul", "pycrdt", "loro"), replication.merge_editors, **work)
    yield from _against_pycrdt("merge10_vs_pycrdt", found, work | {"editors": replication.EDITORS})


def churn(crew: Crew) -> Iterator[Figure]:
    """What deletes, re-adds and overwrites leave behind."""
    found = crew.run("propagul", replication.churn, size=crew.scale.small, operations=crew.scale.churned, seed=1)
    yield Figure(
        name="churn_growth_pct",
        unit="%",
        samples=[max(found["state_pct"], found["memory_pct"])],
        detail={
            "measure": "the worse of full state in bytes and memory with keys and values; after the floor was raised",
            "keys": crew.scale.small,
            "operations": crew.scale.churned,
            **found,
        },
    )


def vector_memory(crew: Crew) -> Iterator[Figure]:
    """What restarts under fresh origins leave in memory."""
    found = crew.run("propagul", replication.restarts, count=crew.scale.incarnations, seed=1)
    yield Figure(
        name="vv_memory_kb_after_10k_restarts",
        unit="kB",
        samples=[found["bytes"] / 1000],
        detail={"measure": "what the interpreter allocated more, after the floor was raised", **found},
    )


def vector_wire(crew: Crew) -> Iterator[Figure]:
    """What two equal vectors cost a new link."""
    found = crew.run("propagul", wire.equal_vectors, visitors=crew.scale.visitors, scratch=crew.scratch)
    yield Figure(
        name="vv_wire_equal_b",
        unit="B",
        samples=[found["bytes"]],
        detail={"measure": "both ways: the digests in the hellos and the frames that answer them", **found},
    )


def _sizes(crew: Crew) -> tuple[int, int]:
    return crew.scale.small // 100, crew.scale.small


def _against_pycrdt(
    name: str, found: Mapping[str, Sequence[Mapping[str, float]]], work: Mapping[str, int]
) -> Iterator[Figure]:
    if "pycrdt" not in found:
        return
    times = {who: 1000 * median(rounds, "s") for who, rounds in found.items()}
    yield Figure(
        name=name,
        unit="ratio",
        samples=paired(column(found["propagul"], "s"), column(found["pycrdt"], "s")),
        peers=", ".join(f"{'ours' if who == 'propagul' else who} {ms:.1f} ms" for who, ms in times.items()),
        detail={
            "baseline": "pycrdt: get_update of a state vector and apply_update",
            "clock": "process CPU time",
            **work,
            **{f"{who}_ms": ms for who, ms in times.items()},
            **{f"{who}_bytes": median(rounds, "bytes") for who, rounds in found.items()},
            **{
                f"{who}_{part}": median(rounds, part)
                for who, rounds in found.items()
                for part in ("produce_s", "apply_s")
                if part in rounds[0]
            },
        },
    )
