"""The benchmarks' form, and the smallest workloads of the store's, without peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from benchmarks import workers
from benchmarks.__main__ import command
from benchmarks.form import Figure, Options, Report, at_least, at_most, interleave, paired, publish
from benchmarks.peers import PeerEnvironment
from benchmarks.store import crew as crews
from benchmarks.store import durable, local, replicated, run
from benchmarks.store.crew import Crew, Scale
from benchmarks.store.goals import GOALS, NAMES, NEEDS
from tests.workshop.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# As they stand in the project's list of figures, which other runs are compared by: never rename one.
STORE = (
    *("set_vs_dict", "set_vs_pycrdt", "set_vs_loro", "get_vs_dict_100k", "get_vs_pycrdt", "mem_per_key_b"),
    *("mem_vs_pycrdt", "one_change_overhead_b", "delta1000_vs_pycrdt", "merge10_vs_pycrdt", "full_state_vs_theory"),
    *("churn_growth_pct", "vv_memory_kb_after_10k_restarts", "vv_wire_equal_b", "origins_after_1k_clean_restarts"),
    *("durable_set_vs_sqlite_normal", "durable_set_vs_sqlite_full", "recovery_events_per_s"),
)

TINY = Scale(
    rounds=1, small=200, large=300, changed=50, churned=500, incarnations=100, restarts=3, visitors=2, synced=10
)


class Here:
    """Runs workloads in this process, where nobody looks at the numbers, unless they end by being killed."""

    def run(self, workload: Callable[..., Mapping[str, float]], **parameters: object) -> Mapping[str, float]:
        if workload is durable.write_and_die:
            return workers.ours().run(workload, **parameters)
        return workload(**json.loads(json.dumps(parameters)))


def report(**goals: float) -> Report:
    """An empty report with goals to be reached from below."""
    return Report(benchmark="store", names=NAMES, goals={name: at_least(goal) for name, goal in goals.items()})


def figure(name: str, *samples: float, **detail: object) -> Figure:
    return Figure(name=name, unit="ratio", samples=samples, detail=detail)


def printed(found: Report) -> str:
    """The table as text, each row one line."""
    console = Console(width=400)
    with console.capture() as capture:
        console.print(found.table())
    return capture.get()


def test_the_figures_of_the_store_have_their_fixed_names() -> None:
    assert NAMES == STORE
    assert sorted(name for names in run.GROUPS for name in names) == sorted(STORE)
    assert NEEDS.keys() < GOALS.keys()


def test_a_figure_is_the_median_of_the_ratios_of_its_rounds() -> None:
    found = figure("set_vs_dict", *paired([2.0, 30.0, 4.0], [4.0, 10.0, 4.0]))
    assert found.value == 1.0
    assert found.as_json() == {"value": 1.0, "unit": "ratio", "rounds": 3, "min": 0.5, "max": 3.0, "detail": {}}


def test_contenders_are_measured_in_turn_round_by_round() -> None:
    order: list[str] = []

    def contender(name: str) -> Callable[[int], dict[str, float]]:
        def measure(number: int) -> dict[str, float]:
            order.append(f"{name}{number}")
            return {"round": number}

        return measure

    measured = interleave({"a": contender("a"), "b": contender("b")}, rounds=2)
    assert order == ["a0", "b0", "a1", "b1"]
    assert measured["b"] == [{"round": 0}, {"round": 1}]


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (at_least(4), 4.0, "holds"),
        (at_least(4), 1.0, "short by 3 (75%)"),
        (at_most(40), 40, "holds"),
        (at_most(40), 50, "short by 10 (25%)"),
    ],
)
def test_a_missed_goal_says_by_how_much(goal: object, value: float, verdict: str) -> None:
    assert getattr(goal, "verdict")(value) == verdict  # noqa: B009 - parametrized


def test_a_missed_goal_is_a_line_of_the_table_and_the_file_holds_what_was_measured(tmp_path: Path) -> None:
    found = report(set_vs_dict=0.5)
    found.add([figure("set_vs_dict", 0.25, dict_per_s=1234567.0)])
    assert "short by 0.25 (50%)" in printed(found)
    publish(found, Options(json=tmp_path / "figures.json"))
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written.keys() == {"benchmark", "quick", "machine", "figures"}
    assert written["machine"].keys() == {"cpu", "cores", "python"}
    assert list(written["figures"]) == ["set_vs_dict"]
    assert written["figures"]["set_vs_dict"]["detail"] == {"dict_per_s": 1234600.0}


def test_a_quick_run_says_so() -> None:
    quick = Report(benchmark="store", names=NAMES, goals={}, quick=True)
    assert "QUICK" in printed(quick)
    assert quick.as_json()["quick"] is True
    assert Options.parse("store", ["--quick"]).rounds < 5 <= Options.parse("store", []).rounds


def test_each_benchmark_of_a_run_over_all_writes_a_file_of_its_own() -> None:
    options = Options.parse("", ["--quick", "--json", "figures.json"])
    assert command("store", options) == ["benchmarks.store", "--quick", "--json", "figures.store.json"]
    assert command("gossip", Options()) == ["benchmarks.gossip"]


def test_a_figure_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(KeyError, match="set_vs_nothing"):
        report().add([figure("set_vs_nothing", 1.0)])


def test_a_peer_that_cannot_be_installed_is_missing_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    environment = PeerEnvironment(tmp_path / "peers", {"no-such-peer-of-ours": "1.0"})
    environment.prepare()
    assert environment.missing["no-such-peer-of-ours"].startswith("could not be installed: ")


@pytest.mark.long
def test_figures_of_a_missing_peer_are_named_and_not_guessed(tmp_path: Path) -> None:
    environment = PeerEnvironment(tmp_path / "peers", {"pycrdt": "0.14.13"})
    environment.missing = {"pycrdt": "could not be installed: no index", "loro": "gone", "propagul": "gone"}
    found = report()
    assert not run.measure(found, Crew(TINY, environment, tmp_path, Here())), found.left_out
    if sys.platform.startswith("linux"):
        assert found.left_out.keys() == NEEDS.keys()
    assert found.figures.keys() == set(NAMES) - found.left_out.keys()
    assert found.left_out["get_vs_pycrdt"] == "pycrdt is missing: could not be installed: no index"
    assert "set_vs_loro" not in found.as_json()["figures"]  # type: ignore[operator]  # an object of the file
    assert "not measured: loro is missing: gone" in printed(found)


def test_a_group_that_breaks_takes_its_own_figures_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(crew: Crew) -> Iterator[Figure]:
        crew.run("dict", durable.recover, count=1, seed=1, directory=str(tmp_path / "nothing" / "here"))
        raise AssertionError("unreachable")
        yield

    groups = {("recovery_events_per_s",): breaks, ("vv_memory_kb_after_10k_restarts",): replicated.vector_memory}
    monkeypatch.setattr(run, "GROUPS", groups)
    found = report()
    assert run.measure(found, Crew(TINY, None, tmp_path)) == 1
    assert "what was acknowledged is not what is there" in found.left_out["recovery_events_per_s"]
    assert found.figures.keys() == {"vv_memory_kb_after_10k_restarts"}


def test_a_worker_in_a_peers_interpreter_does_not_see_our_package() -> None:
    isolated = workers.Interpreter(Path(sys.base_prefix, "bin", "python3"), isolated=True)
    if not isolated.python.exists():
        pytest.skip("no interpreter without our packages here")
    with pytest.raises(workers.WorkloadFailed, match="No module named 'propagul'"):
        isolated.run(durable.clean_restarts, count=1, scratch="")


def test_a_recovered_log_was_left_by_a_process_that_was_killed(tmp_path: Path) -> None:
    crew = Crew(TINY, None, tmp_path)
    wrote = crew.run("propagul", durable.write_and_die, count=50, seed=1, directory=str(tmp_path))
    assert wrote == {"events": 50, "killed": 1}
    command = [sys.executable, "-P", str(ROOT / "benchmarks" / "worker.py"), "benchmarks.store.durable"]
    given = json.dumps({"count": 50, "seed": 1, "directory": str(tmp_path / "second")})
    done = subprocess.run([*command, "write_and_die", given], capture_output=True, check=False)
    assert done.returncode != 0
    assert crew.run("propagul", durable.recover, count=50, seed=1, directory=str(tmp_path))["per_s"] > 0


def test_the_full_run_has_at_least_five_rounds_and_the_sizes_its_figures_are_named_after() -> None:
    full = crews.FULL
    assert full.rounds >= 5
    assert (full.large, full.changed, full.churned) == (100_000, 1000, 1_000_000)
    assert (full.incarnations, full.restarts) == (10_000, 1000)
    assert local.V090_KEYS < 4096
