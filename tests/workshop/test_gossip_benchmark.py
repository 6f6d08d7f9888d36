"""The gossip benchmark: its figures, the relay that counts, the crowd that is a function of its seed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import workers
from benchmarks.form import Report
from benchmarks.gossip import crew as crews
from benchmarks.gossip import real, run, spread, stalled
from benchmarks.gossip.crew import Crew, Scale
from benchmarks.gossip.crowd import Crowd
from benchmarks.gossip.goals import GOALS, NAMES, NEEDS
from benchmarks.gossip.relay import LOOPBACK, Relay
from benchmarks.workers import WorkloadFailed
from propagul.gossip import LinkDown, LinkKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# As they stand in the project's list of figures, which other runs are compared by: never rename one.
GOSSIP = (
    *("des10k_p99_ms", "des10k_last_ms", "des10k_lossy_last_ms", "coverage_pct", "payload_copies"),
    *("idle_bytes_per_exchange", "idle_bytes_per_s", "one_change_bytes", "one_change_vs_v090", "cold_join_100k_s"),
    *("cold_join_stall_ms", "stalled_peer_mb", "linked_vs_plain_cpu", "signed_1_vs_plain_cpu"),
    *("signed_256_vs_plain_cpu", "flush_peer_p50_ms", "stores200_p99_ms"),
)

TINY = Scale(
    rounds=1,
    crowd=40,
    warmups=2,
    writes=2,
    others=1,
    lossy=1,
    silence_s=10.0,
    small=200,
    changes=1,
    large=500,
    companies=(3,),
    idle_s=0.6,
    quiet_s=0.3,
    pulse_s=0.2,
    per_s=20,
    minutes=2,
    budget_s=0.0,
    events=512,
    flushes=5,
    stores=4,
    store_writes=2,
)


class Here:
    """Runs workloads in this process, where nobody looks at the numbers."""

    def run(self, workload: Callable[..., Mapping[str, float]], **parameters: object) -> Mapping[str, float]:
        return workload(**json.loads(json.dumps(parameters)))


def report() -> Report:
    return Report(benchmark="gossip", names=NAMES, goals=GOALS)


def test_the_figures_of_gossip_have_their_fixed_names() -> None:
    assert NAMES == GOSSIP
    assert sorted(name for names in run.GROUPS for name in names) == sorted(GOSSIP)
    assert NEEDS.keys() < GOALS.keys()


@pytest.mark.long
def test_every_figure_is_measured_or_says_why_it_is_not(tmp_path: Path) -> None:
    found = report()
    assert not run.measure(found, Crew(TINY, None, tmp_path, Here())), found.left_out
    assert found.left_out == {"one_change_vs_v090": "v090 is missing: peers were not looked for"}
    assert found.figures.keys() == set(NAMES) - found.left_out.keys()
    assert found.figures["coverage_pct"].value == 100
    assert found.figures["idle_bytes_per_exchange"].value == 2 * (3 + spread.RECORD_BYTES)
    assert found.figures["cold_join_100k_s"].detail["cut_links"] == 2
    assert found.figures["one_change_bytes"].value > 2 * 121


def test_the_full_run_has_the_sizes_its_figures_are_named_after() -> None:
    full = crews.FULL
    assert full.rounds >= 5
    assert (full.crowd, full.small, full.large, full.stores) == (10_000, 10_000, 100_000, 200)
    assert (full.per_s, full.minutes) == (1000, 60)
    assert full.quiet_s > 2 * full.pulse_s, "or what stores say when they link saves pulses that are counted"


def test_a_crowd_is_a_function_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes that order their sets differently, so that no order of theirs is in it."""

    def crowd(seed: int, hashing: str) -> Mapping[str, float]:
        monkeypatch.setenv("PYTHONHASHSEED", hashing)
        work = {"warmups": 2, "writes": 1, "others": 1, "lossy": 1}
        return workers.ours().run(spread.spread, size=40, seed=seed, **work)

    first = crowd(1, "1")
    assert crowd(1, "2") == first
    assert crowd(2, "1") != first


def test_an_arrival_in_the_crowd_is_noted_at_its_instant() -> None:
    """Two nodes and nothing lost: it takes what the link takes."""
    observed = spread.Observed(Crowd(2, seed=1))
    observed.crowd.run(spread.LINKS_S)
    (end,) = observed.crowd.members[0].ends.values()
    wave = observed.write(0)
    assert wave.arrived_s == {1: pytest.approx(end.delay_s, abs=1e-9)}
    assert wave.copies == 1


def test_a_node_that_never_hears_of_a_write_is_not_covered() -> None:
    observed = spread.Observed(Crowd(3, seed=1))
    observed.crowd.run(spread.LINKS_S)
    for member in observed.crowd.members[1:]:
        member.is_dead = True
    wave = observed.write(0)
    measured = spread.measured(wave, live=3)
    assert (measured["coverage_pct"], measured["last_ms"]) == (0, 1000 * spread.GIVEN_UP_S)


def test_the_relay_counts_every_byte_both_ways_and_changes_none() -> None:
    sent = bytes(range(256)) * 4096

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1000):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def through() -> tuple[bytes, int]:
        async with await asyncio.start_server(echo, LOOPBACK, 0) as server:
            async with Relay(server.sockets[0].getsockname()) as relay:
                reader, writer = await asyncio.open_connection(LOOPBACK, relay.port)
                writer.write(sent)
                back = await reader.readexactly(len(sent))
                writer.close()
                return back, relay.carried

    back, carried = asyncio.run(through())
    assert back == sent
    assert carried == 2 * len(sent)


def test_a_relay_cuts_once_and_lets_the_next_connection_through() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            await reader.read(-1)
        writer.close()

    async def cut() -> tuple[int | None, bool]:
        async with await asyncio.start_server(swallow, LOOPBACK, 0) as server:
            async with Relay(server.sockets[0].getsockname()) as relay:
                relay.cut_at = 1000
                reader, writer = await asyncio.open_connection(LOOPBACK, relay.port)
                writer.write(bytes(2000))
                with pytest.raises(ConnectionResetError):
                    await reader.readexactly(1)
                writer.close()
                _, again = await asyncio.open_connection(LOOPBACK, relay.port)
                again.write(bytes(5000))
                while relay.carried < 7000:
                    await asyncio.sleep(0.001)
                alive = not again.transport.is_closing()
                again.close()
                return relay.cut_at, alive

    assert asyncio.run(asyncio.wait_for(cut(), 10.0)) == (None, True)


def test_a_peer_that_was_dropped_or_acknowledges_is_no_stalled_peer() -> None:
    link = stalled.StalledLink(keys=10, per_s=20, seed=1)
    link.second()
    link.check()
    link.node.handle(LinkDown(LinkKey(1)), 2.0)
    with pytest.raises(AssertionError, match="not stalled"):
        link.check()


def test_real_stores_that_do_not_hold_it_all_in_a_process_fall_back_to_memory(tmp_path: Path) -> None:
    class NoSockets(Here):
        def run(self, workload: Callable[..., Mapping[str, float]], **parameters: object) -> Mapping[str, float]:
            if parameters["over"] == "tcp":
                raise WorkloadFailed("many: OSError: [Errno 24] Too many open files")
            return super().run(workload, **parameters)

    (figure,) = real.crowding(Crew(TINY, None, tmp_path, NoSockets()))
    assert figure.detail["over"] == "propagul.testing.MemoryNetwork"
    assert "Too many open files" in str(figure.detail["tcp_failed"])
