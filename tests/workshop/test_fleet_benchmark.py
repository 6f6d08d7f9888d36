"""The fleet benchmark: its figures, the engine beside the node, the bytes that a socket tells, runs that diverge."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from benchmarks.fleet import crew as crews
from benchmarks.fleet import faults, figures, run
from benchmarks.fleet.carried import IS_TOLD, Carried
from benchmarks.fleet.crew import Crew, Scale
from benchmarks.fleet.desk import DOCUMENT
from benchmarks.fleet.engine import MODELS, Engine
from benchmarks.fleet.goals import GOALS, NAMES
from benchmarks.fleet.members import member_presence
from benchmarks.form import Report
from benchmarks.gossip.relay import LOOPBACK
from fleet_app.backends import Scanner
from fleet_app.desired import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# As they stand in the project's list of figures, which other runs are compared by: never rename one.
FLEET = (
    *("idle_cpu_pct", "idle_rss_mb", "gossip_bytes_per_s_watched", "gossip_bytes_per_s_unwatched"),
    *("detect_s", "edit_to_action_s", "plan_50x20_s", "fault_runs_diverged"),
)

LOOKS_MAX = 20

TINY = Scale(rounds=1, boxes=4, settle_s=0.5, unwatched_s=3.0, watched_s=3.0, faulty=2)


class Here:
    """Runs workloads in this process, where nobody looks at the numbers."""

    def run(self, workload: Callable[..., Mapping[str, float]], **parameters: object) -> Mapping[str, float]:
        return workload(**json.loads(json.dumps(parameters)))


class Found:
    """Returns what a workload would have measured."""

    def __init__(self, **found: float) -> None:
        self._found = found

    def run(self, workload: Callable[..., Mapping[str, float]], **parameters: object) -> Mapping[str, float]:  # noqa: ARG002
        return self._found


def test_the_figures_of_the_fleet_have_their_fixed_names() -> None:
    assert NAMES == FLEET
    assert sorted(name for names in run.GROUPS for name in names) == sorted(FLEET)
    assert set(GOALS) == set(FLEET)


def test_the_full_run_has_the_sizes_its_figures_are_named_after() -> None:
    full = crews.FULL
    assert (full.rounds >= 5, full.boxes, full.faulty) == (True, 50, 1000)
    assert full.unwatched_s >= 60
    assert len(MODELS) == 10
    document = parse(DOCUMENT.read_bytes(), "fleet.yaml")
    assert len(document.models) == 20


@pytest.mark.long
def test_every_figure_is_measured(tmp_path: Path) -> None:
    found = Report(benchmark="fleet", names=NAMES, goals=GOALS)
    assert not run.measure(found, Crew(TINY, None, tmp_path)), found.left_out
    assert set(NAMES) - found.figures.keys() <= {"detect_s"}, found.left_out
    assert found.figures["fault_runs_diverged"].value == 0


def test_a_node_sees_at_the_benchmarks_engine_what_the_other_members_say_of_theirs() -> None:
    async def look() -> None:
        async with Engine() as engine:
            url = f"http://{LOOPBACK}:{engine.port}"
            (said,) = (seen.model_copy(update={"url": url}) for seen in member_presence("member").backends)
            scanner = Scanner(urls=[url], detect=False)
            for _ in range(LOOKS_MAX):  # one asks about some of ten models, and takes only so long
                await scanner.scan_once()
                if scanner.current() == (said,):
                    break
            assert scanner.current() == (said,)

    asyncio.run(look())


@pytest.mark.skipif(not IS_TOLD, reason="a socket does not tell here")
def test_what_a_link_carries_is_counted_both_ways_and_kept_when_it_ends() -> None:
    async def carry() -> tuple[int, int, int]:
        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(3000)
            writer.write(bytes(500))
            await reader.read()
            writer.close()

        async with await asyncio.start_server(swallow, LOOPBACK, 0) as server:
            port = server.sockets[0].getsockname()[1]
            carried = Carried(os.getpid(), 1, [port])
            before = carried.bytes()
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(bytes(3000))
            await reader.readexactly(500)
            during = carried.bytes()
            writer.close()
            await writer.wait_closed()
            return before, during, carried.bytes()

    assert asyncio.run(carry()) == (0, 3500, 3500)


def test_a_seed_that_diverges_is_counted_and_the_others_are_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def simulator(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        first, seeds = map(int, command[-2:])
        for seed in range(first, first + seeds):
            ran.append(seed)
            if seed in {3, 6}:
                return subprocess.CompletedProcess(command, 1, f"seed {seed}: copies differ\n  again: ...\n", "")
        return subprocess.CompletedProcess(command, 0, "one end state", "")

    monkeypatch.setattr(subprocess, "run", simulator)
    assert faults.diverge(seeds=9) == {"runs": 9, "diverged": 2, "first_diverged": 3}
    assert sorted(ran) == list(range(9))


def test_a_simulator_that_breaks_is_no_run_that_ended_well(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = subprocess.CompletedProcess([], 1, "", "ModuleNotFoundError: No module named 'tests'")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: broken)
    with pytest.raises(AssertionError, match="No module named"):
        faults.diverge(seeds=1)


def test_a_round_is_a_sample_and_the_bytes_have_no_figure_where_nobody_can_count_them(tmp_path: Path) -> None:
    measured = {
        f"{name}_{when}_{number}": 1.0 + number
        for name in ("cpu_pct", "rss_mb")
        for when in ("watched", "unwatched")
        for number in (0, 1)
    }
    measured |= {
        f"{name}_{when}_0": 1.0 for name in ("figures_age_s", "oldest_figures_s") for when in ("watched", "unwatched")
    }
    found = {figure.name: figure for figure in figures.resting(Crew(TINY, None, tmp_path, Found(**measured)))}
    assert found.keys() == {"idle_cpu_pct", "idle_rss_mb"}
    assert list(found["idle_cpu_pct"].samples) == [1.0, 2.0]
