"""Processes that die: what was acknowledged is there, what is gone comes from peers, and no write is ever swallowed."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, StoreFull, StoreLocked
from tests.crdt.histories import LONG
from tests.store.world import SECRET, Island, address, loopback, on_island, run, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACKNOWLEDGER = """
import sys
from propagul import AgentStateStore
store = AgentStateStore("room", port=None, path=sys.argv[1])
number = len(store)
while True:
    store.set(f"k{number}", "x" * (number % 3000))
    print(number, flush=True)
    number += 1
"""

README = """
import asyncio, sys
from propagul import AgentStateStore

async def main():
    path, secret = sys.argv[1:3]
    store = AgentStateStore(room="my-project", node_id=1, port=0, host="127.0.0.1", path=path, secret=secret)
    peers = [("127.0.0.1", int(port)) for port in sys.argv[3:]]
    report = await store.start(peers=peers)
    recovered = store.get("task")
    if "task" not in store:
        store.set("task", "research")
    if peers:
        await store.flush(peers=1)
    print(store.addresses[0].port, recovered, report.complete, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.stop()

asyncio.run(main())
"""

FILLED = """
import asyncio, resource, sys
from propagul import AgentStateStore, GossipConfig, StoreFull
from tests.store.world import address, loopback, until

async def main():
    config = GossipConfig()
    async with loopback("full", path=sys.argv[1], config=config) as full, loopback("other", config=config) as other:
        full.add_peer(*address(other))
        await until(lambda: full.linked())
        full.set("before", 1)
        await until(lambda: "before" in other)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            for number in range(100):  # what is allocated already is filled first
                full.set(f"fill {number}", "x" * 10_000)
        except StoreFull:
            print("set refused", f"fill {number}" in full)
        other.set("theirs", "x" * 100_000)
        await until(lambda: "no space left" in full.stats.last_drop)
        opened = full.stats.links_opened
        await asyncio.sleep(2.0)
        print("not applied", "theirs" in full, "readable", full.get("before"))
        print("redials calmly", full.stats.links_opened - opened < 12)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        full.set("mine", 2)
        await until(lambda: "theirs" in full and other.get("mine") == 2)
        print("caught up")

asyncio.run(main())
"""


@contextmanager
def child(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs until it is killed or its standard input ends."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_every_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    acknowledged = -1
    for life in range(5):
        with child(ACKNOWLEDGER, tmp_path) as process:
            enough = acknowledged + 40 * (life + 1)
            while acknowledged < enough:
                acknowledged = int(line_of(process)[0])
            process.kill()
            assert process.stdout is not None
            acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
        store = AgentStateStore("room", port=None, path=tmp_path)
        missing = [n for n in range(acknowledged + 1) if store.get(f"k{n}") != "x" * (n % 3000)]
        assert missing == []
        store.close()


def test_two_processes_hand_their_state_to_each_other_across_a_crash_and_a_lost_disk(tmp_path: Path) -> None:
    """The README's example: the second process reads the first one's value; so does the first one's successor."""
    with child(README, tmp_path / "1", SECRET) as one:
        port, recovered, _ = line_of(one)
        assert recovered == "None"
        with child(README, tmp_path / "2", SECRET, port) as two:
            other_port, recovered, complete = line_of(two)
            assert (recovered, complete) == ("research", "True")
            one.kill()
            one.wait()
            with child(README, tmp_path / "1", SECRET) as from_its_log:
                assert line_of(from_its_log)[1] == "research"
            with child(README, tmp_path / "a new disk", SECRET, other_port) as from_its_peer:
                assert line_of(from_its_peer)[1:] == ["research", "True"]


def test_a_store_that_is_alone_refuses_and_is_refused_by_other_processes(tmp_path: Path) -> None:
    with child(README, tmp_path, SECRET) as process:
        line_of(process)
        with pytest.raises(StoreLocked, match=f"process {process.pid}"):
            AgentStateStore("my-project", port=None, path=tmp_path, alone=True)


def test_writes_after_recovery_are_never_swallowed(tmp_path: Path) -> None:
    """Restart after restart, with what the log kept or with nothing at all: the write that follows always counts."""

    async def scenario(island: Island) -> None:
        rng = random.Random(5)
        keeper = await island.start("keeper")
        for life in range(200 if LONG else 50):
            path = tmp_path / str(rng.randrange(3)) if rng.random() < 0.7 else None
            store = island.make("worker", path=path)
            if rng.random() < 0.3:
                store.set("task", f"before start {life}")
            await store.start(peers=[("keeper", 9000)])
            for step in range(rng.randrange(1, 4)):
                value = f"life {life} step {step}"
                store.set("task", value)
                assert store.get("task") == value
            await island.clock.advance(0.2)
            assert keeper.get("task") == value
            assert keeper.get_conflicts("task") == []
            if rng.random() < 0.5:
                island.network.crash("worker")
            await island.finish(store.stop())
            island.stores.remove(store)

    on_island(scenario)


def test_a_restored_backup_loses_nothing_and_reuses_no_dot(tmp_path: Path) -> None:
    import shutil

    async def scenario() -> None:
        path = tmp_path / "state"
        async with loopback("keeper") as keeper:
            first = loopback("w", path=path)
            first.set("k", "in the backup")
            await first.start(peers=[address(keeper)])
            await first.stop()
            shutil.copytree(path, tmp_path / "backup")
            second = loopback("w", path=path)
            second.set("k", "after the backup")
            await second.start(peers=[address(keeper)])
            await until(lambda: keeper.get("k") == "after the backup")
            await second.stop()
            restored = loopback("w", path=tmp_path / "backup")
            assert restored.get("k") == "in the backup"
            restored.set("other", "written by the restored one")
            await restored.start(peers=[address(keeper)])
            assert restored.get("k") == "after the backup"
            await until(lambda: keeper.get("other") == "written by the restored one")
            await restored.stop()

    run(scenario)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_refuses_writes_and_gossip_goes_on_when_there_is_space(tmp_path: Path) -> None:
    with child(FILLED, tmp_path) as process:
        output, _ = process.communicate(timeout=60)
    assert output.splitlines() == [
        "set refused False",
        "not applied False readable 1",
        "redials calmly True",
        "caught up",
    ]


def test_a_refused_write_changes_nothing(tmp_path: Path) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    store.set("k", 1)

    log = store._disk.log  # type: ignore[union-attr]
    log._refuse(StoreFull("no space left"))
    for write in (lambda: store.set("k", 2), lambda: store.set("new", 2), lambda: store.delete("k")):
        with pytest.raises(StoreFull):
            write()
    assert store.get_all() == {"k": 1}
    log._refuses = None
    store.set("k", 3)
    store.close()
    again = AgentStateStore("room", port=None, path=tmp_path)
    assert again.get_all() == {"k": 3}
    again.close()


def test_a_torn_tail_is_counted(tmp_path: Path) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    store.set("a", 1)
    store.set("b", 2)
    store.close()
    (segment,) = (tmp_path / "log").glob("*/*.log")
    segment.write_bytes(segment.read_bytes().rpartition(b"\xa1b")[0])
    again = AgentStateStore("room", port=None, path=tmp_path)
    assert again.get_all() == {"a": 1}
    assert again.stats.torn_bytes > 0
    assert again.stats.recovered_records == 1
    again.close()
