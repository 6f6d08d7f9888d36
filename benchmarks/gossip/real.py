"""The figures of real stores over loopback TCP with TLS."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.crew import column, median
from benchmarks.form import Figure, paired
from benchmarks.gossip import change, idle, join, load, many, spread
from benchmarks.gossip.stalls import PARTS
from benchmarks.gossip.virtual import SEED
from benchmarks.store import durable
from benchmarks.workers import WorkloadFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.gossip.crew import Crew


def idling(crew: Crew) -> Iterator[Figure]:
    """What a link costs on which nothing is said, at any number of members."""
    scale = crew.scale
    work = {"seconds": scale.idle_s, "quiet_s": scale.quiet_s, "pulse_s": scale.pulse_s}
    pair = crew.run("propagul", idle.idle, stores=2, **work)
    crowd = crew.run("propagul", spread.silence, size=scale.crowd, seconds=scale.silence_s, seed=SEED)
    detail: dict[str, object] = {
        "measure": "all bytes on the TCP connection, both ways; an exchange is a pulse each way",
        **work,
        **{name: pair[name] for name in ("bytes", "frames")},
    }
    for stores in scale.companies:
        detail |= _company(crew, stores, work)
    detail |= {
        f"{scale.crowd}_virtual_nodes_links": crowd["links"],
        f"{scale.crowd}_virtual_nodes_frames_a_link_s": crowd["frames_a_link_s"],
        f"{scale.crowd}_virtual_nodes_bytes_a_link_s": crowd["bytes_a_link_s"],
        "bytes_a_virtual_frame_above_its_own": spread.RECORD_BYTES,
    }
    yield Figure(name="idle_bytes_per_exchange", unit="B", samples=[pair["bytes_an_exchange"]], detail=detail)
    yield Figure(name="idle_bytes_per_s", unit="B/s", samples=[pair["bytes_a_link_s"]], detail=detail)


def changing(crew: Crew) -> Iterator[Figure]:
    """What one changed key among many costs three stores."""
    work = {"size": crew.scale.small, "changes": crew.scale.changes}
    found = crew.rounds(("propagul", "v090"), change.one_change, **work)
    ours, theirs = found["propagul"], found.get("v090", [])
    detail: dict[str, object] = {
        "measure": "all bytes on all TCP connections until all have it and a second more; the median of the changes",
        "stores": change.STORES,
        **work,
        "until_there_b": median(ours, "until_there_b"),
    }
    peers = f"v090 {median(theirs, 'until_there_b'):,.0f} B" if theirs else ""
    yield Figure(name="one_change_bytes", unit="B", samples=column(ours, "bytes"), peers=peers, detail=detail)
    if theirs:
        detail |= {
            "baseline": "propagul 0.9.0, HMAC, its caps lifted; without the second, for it never rests",
            "v090_until_there_b": median(theirs, "until_there_b"),
            "v090_and_a_second_b": median(theirs, "bytes"),
        }
        ratios = paired(column(ours, "bytes"), column(theirs, "until_there_b"))
        yield Figure(name="one_change_vs_v090", unit="ratio", samples=ratios, peers=peers, detail=detail)


def joining(crew: Crew) -> Iterator[Figure]:
    """How long a join takes, and how long it stops an event loop."""
    size = crew.scale.large
    found = [crew.run("propagul", join.cold_join, size=size, seed=number) for number in range(crew.scale.rounds)]
    logged = crew.run("propagul", join.cold_join, size=size, seed=SEED, scratch=crew.scratch)
    cut = crew.run("propagul", join.cut_join, size=size, seed=SEED)
    detail: dict[str, object] = {
        "keys": size,
        "clock": "wall time, from `start` until it returned complete; content compared",
        "with_directories_s": logged["s"],
        "with_directories_stall_ms": logged["stall_ms"],
        **{f"joiner_{part}": median(found, part) for part in PARTS},
        **{f"sender_{part}": median(found, f"sender_{part}") for part in PARTS},
        **cut,
    }
    yield Figure(name="cold_join_100k_s", unit="s", samples=column(found, "s"), detail=detail)
    worst = [max(each["stall_ms"], each["sender_stall_ms"]) for each in found]
    stalled = {
        "measure": "by how much a timer of 1 ms was late at worst, in either process, until a second after the join",
        "turns": "from one wait of the loop to the next; a timer may have to wait for three",
    }
    yield Figure(name="cold_join_stall_ms", unit="ms", samples=worst, detail=stalled | detail)


def writing(crew: Crew) -> Iterator[Figure]:
    """What a peer that takes everything in costs the writer."""
    by_batch = {
        batch: crew.rounds(("plain", "linked"), load.written, events=crew.scale.events, batch=batch)
        for batch in (1, load.BATCH)
    }
    ratios = {
        batch: paired(column(found["linked"], "cpu_s"), column(found["plain"], "cpu_s"))
        for batch, found in by_batch.items()
    }
    detail: dict[str, object] = {
        "baseline": "the same writes at a store without peers and without a network; neither has a directory",
        "measure": "CPU of the writer's process until its peer said it has the last write; the worse of the two shapes",
        "events": crew.scale.events,
    }
    for batch, found in by_batch.items():
        detail |= _cpu(f"batch_{batch}", found, crew.scale.events)
    yield Figure(
        name="linked_vs_plain_cpu",
        unit="ratio",
        samples=[max(pair) for pair in zip(*ratios.values(), strict=True)],
        peers=", ".join(f"in {batch}s {statistics.median(each):.2f}" for batch, each in ratios.items()),
        detail=detail,
    )


def signing(crew: Crew) -> Iterator[Figure]:
    """What it costs the writer that every row proves who wrote it, with a peer that checks all of them."""
    events = crew.scale.events // 8
    detail: dict[str, object] = {
        "baseline": "the same writes, not signed, at a store without peers and without a network",
        "measure": "CPU of the writer's process until its peer said it has the last write",
        "events": events,
    }
    for batch in (1, load.BATCH):
        found = crew.rounds(("plain", "signed"), load.written, events=events, batch=batch)
        yield Figure(
            name=f"signed_{batch}_vs_plain_cpu",
            unit="ratio",
            samples=paired(column(found["signed"], "cpu_s"), column(found["plain"], "cpu_s")),
            detail=detail | _cpu(f"batch_{batch}", found, events),
        )


def flushing(crew: Crew) -> Iterator[Figure]:
    """How long a writer waits until another machine's log has it."""
    work = {"count": crew.scale.flushes, "scratch": crew.scratch}
    found = [crew.run("propagul", load.flushed, seed=number, **work) for number in range(crew.scale.rounds)]
    syncs = crew.run("propagul", durable.disk, scratch=crew.scratch)
    yield Figure(
        name="flush_peer_p50_ms",
        unit="ms",
        samples=column(found, "p50_ms"),
        detail={
            "measure": "`await store.flush(peers=1)` after a set; both have a directory on this file system",
            "flushes": crew.scale.flushes,
            "p99_ms": median(found, "p99_ms"),
            "max_ms": median(found, "max_ms"),
            "append_and_fdatasync_us": syncs["us"],
        },
    )


def crowding(crew: Crew) -> Iterator[Figure]:
    """How fast a write reaches hundreds of real stores in one process; in memory where sockets do not bear it."""
    scale, detail = crew.scale, dict[str, object]()
    work = {"stores": scale.stores, "writes": scale.store_writes, "warmups": scale.warmups, "quiet_s": scale.quiet_s}
    try:
        over, found = "TCP with TLS", crew.run("propagul", many.many, over="tcp", seed=SEED, **work)
    except WorkloadFailed as failure:
        over, found = (
            "propagul.testing.MemoryNetwork",
            crew.run("propagul", many.many, over="memory", seed=SEED, **work),
        )
        detail["tcp_failed"] = str(failure)
    detail |= {"over": over, "measure": "over all writes and stores, one author, one process", **work, **found}
    yield Figure(name="stores200_p99_ms", unit="ms", samples=[found["p99_ms"]], detail=detail)


def _company(crew: Crew, stores: int, work: Mapping[str, float]) -> dict[str, object]:
    """What a link costs among more stores, or why that is not known."""
    name = f"{stores}_stores"
    try:
        found = crew.run("propagul", idle.idle, stores=stores, **work)
    except WorkloadFailed as failure:
        return {name: f"not measured: {failure}"}
    return {f"{name}_{part}": found[part] for part in ("links", "bytes_a_link_s", "bytes_an_exchange")}


def _cpu(name: str, found: Mapping[str, list[Mapping[str, float]]], events: int) -> dict[str, float]:
    """Microseconds an event, of a plain store and of one that has a peer."""
    ((contender, linked),) = ((who, found[who]) for who in found if who != "plain")
    return {
        f"{name}_plain_us": 1e6 * median(found["plain"], "cpu_s") / events,
        f"{name}_{contender}_us": 1e6 * median(linked, "cpu_s") / events,
        f"{name}_receiver_us": 1e6 * median(linked, "receiver_cpu_s") / events,
        f"{name}_events_per_s": events / median(linked, "wall_s"),
    }
