"""The figures: what each group measures, and how it becomes a ratio."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.agents import flows, loops
from benchmarks.crew import column, median
from benchmarks.form import Figure, interleave, paired

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.agents.crew import Crew
    from benchmarks.form import Measure

    Rounds = Mapping[str, Sequence[Mapping[str, float]]]

SHORT_B, LONG_B, WINDOW, WRITERS = 500, 2000, 50, 4

_SAVERS = ("memory", "sqlite", "aiosqlite", "propagul")
BASELINES = {
    "memory": "InMemorySaver",
    "sqlite": "SqliteSaver on a file, as from_conn_string opens it: WAL, and synchronous=FULL as is sqlite's default",
}


def growing(crew: Crew) -> Iterator[Figure]:
    """A thread that grows by a step at a time, with durability="sync"."""
    more = ("propagul_group", "propagul_replicated")
    short = crew.rounds((*_SAVERS, *more), loops.grow, size=SHORT_B, steps=crew.scale.short, scratch=crew.scratch)
    long = crew.rounds(_SAVERS, loops.grow, size=LONG_B, steps=crew.scale.long, scratch=crew.scratch)
    yield _against("put_p50_os_vs_sqlite", short, "put_p50_ms", ("propagul", "sqlite"), longer=long)
    yield _against("put_p50_group_vs_sqlite", short, "put_p50_ms", ("propagul_group", "sqlite"))
    replicated, sqlite = short["propagul_replicated"], short["sqlite"]
    yield Figure(
        name="put_p50_replicated_ms",
        unit="ms",
        samples=column(replicated, "put_p50_ms"),
        peers=f"sqlite {median(sqlite, 'put_p50_ms'):.3g} ms (goal: not above)",
        detail={"vs_sqlite": median(replicated, "put_p50_ms") / median(sqlite, "put_p50_ms"), "replicas": 1},
    )
    yield _against("steps_vs_inmemory", short, "steps_per_s", ("propagul", "memory"), longer=long)
    yield _against("steps_vs_sqlite", short, "steps_per_s", ("propagul", "sqlite"), longer=long)
    yield _against("bytes_vs_sqlite", long, "bytes", ("propagul", "sqlite"))
    ours = long["propagul"]
    yield Figure(
        name="bytes_vs_payload",
        unit="ratio",
        samples=paired(column(ours, "bytes"), column(ours, "payload")),
        peers=f"sqlite {median(long['sqlite'], 'bytes') / median(ours, 'payload'):.3g}",
        detail={
            "bytes": median(ours, "bytes"),
            "payload": median(ours, "payload"),
            "payload_is": "characters of the messages",
        },
    )


def resuming(crew: Crew) -> Iterator[Figure]:
    """The first `get_tuple` of a thread in a process that has just opened the files."""
    with tempfile.TemporaryDirectory(dir=crew.scratch) as scratch:
        readers: dict[str, Measure] = {}
        for contender in ("propagul", "sqlite"):
            (directory := Path(scratch) / contender).mkdir()
            work = {"contender": contender, "directory": str(directory), "size": LONG_B, "steps": crew.scale.long}
            crew.run(contender, loops.write_threads, **work)
            readers[contender] = _reading(crew, contender, directory)
        measured = interleave(readers, crew.scale.rounds)
    yield _against("resume_vs_sqlite", measured, "get_ms", ("propagul", "sqlite"))
    yield _long_and_short(crew)


def _reading(crew: Crew, contender: str, directory: Path) -> Measure:
    return lambda _: crew.run(contender, loops.read_threads, contender=contender, directory=str(directory))


def _long_and_short(crew: Crew) -> Figure:
    """A thread of many turns against one of 50, both holding the same number of messages; and both holding all."""
    turns, ratios, medians = crew.scale.turns, dict[str, list[float]](), dict[str, float]()
    for kept, window in (("last", WINDOW), ("all", 0)):
        with tempfile.TemporaryDirectory(dir=crew.scratch) as scratch:
            readers: dict[str, Measure] = {}
            for name, length in (("long", turns), ("short", WINDOW)):
                (directory := Path(scratch) / name).mkdir()
                work = {"directory": str(directory), "turns": length, "window": window, "size": SHORT_B}
                crew.run("propagul", loops.put_turns, **work)
                readers[name] = _reading(crew, "propagul", directory)
            read = interleave(readers, crew.scale.rounds)
        ratios[kept] = paired(column(read["long"], "get_ms"), column(read["short"], "get_ms"))
        medians |= {f"{kept}_{name}_ms": median(found, "get_ms") for name, found in read.items()}
    return Figure(
        name="resume_5000_vs_50",
        unit="ratio",
        samples=ratios["last"],
        peers=f"holding all messages: {statistics.median(ratios['all']):.3g}",
        detail={
            "turns": turns,
            "thread": f"each holds its last {WINDOW} messages: what is compared is the length of the history",
            **medians,
            "all_messages_ratio": statistics.median(ratios["all"]),
            "all_messages_is": f"threads that hold all their messages: {turns} are made again against {WINDOW}",
        },
    )


def writing_together(crew: Crew) -> Iterator[Figure]:
    """Several processes on one directory, against as many on one sqlite file."""
    measured = crew.rounds(
        ("propagul", "sqlite"),
        loops.beside_each_other,
        writers=WRITERS,
        size=SHORT_B,
        steps=crew.scale.short,
        scratch=crew.scratch,
    )
    yield _against("four_writers_vs_sqlite", measured, "steps_per_s", ("propagul", "sqlite"))


def saving_flows(crew: Crew) -> Iterator[Figure]:
    """A flow's state, saved after each method."""
    if (runner := crew.flows) is None:
        return

    def saving(contender: str) -> Measure:
        work = {"contender": contender, "saves": crew.scale.saves, "scratch": crew.scratch}
        return lambda number: runner.run(flows.save, seed=number, **work)

    measured = interleave({who: saving(who) for who in ("propagul", "sqlite")}, crew.scale.rounds)
    more = {"baseline": "SQLiteFlowPersistence", "state_bytes": flows.STATE_BYTES}
    yield _against("crew_save_vs_sqlite", measured, "save_p50_ms", ("propagul", "sqlite"), more=more)


def _against(
    name: str,
    measured: Rounds,
    measure: str,
    who: tuple[str, str],
    *,
    longer: Rounds | None = None,
    more: Mapping[str, object] | None = None,
) -> Figure:
    """Ours over theirs, round by round; the same of a longer workload in the detail."""
    ours, theirs = who
    medians = {f"{each}_{measure}": median(found, measure) for each, found in measured.items()}
    detail: dict[str, object] = {"baseline": BASELINES[theirs], **medians}
    peers = f"{theirs} {medians[f'{theirs}_{measure}']:.4g}, ours {medians[f'{ours}_{measure}']:.4g}"
    if longer is not None:
        ratio = statistics.median(paired(column(longer[ours], measure), column(longer[theirs], measure)))
        detail |= {"longer_ratio": ratio}
        detail |= {f"longer_{each}_{measure}": median(found, measure) for each, found in longer.items()}
        peers += f"; the longer thread {ratio:.3g}"
    samples = paired(column(measured[ours], measure), column(measured[theirs], measure))
    return Figure(name=name, unit="ratio", samples=samples, peers=peers, detail=detail | dict(more or {}))
