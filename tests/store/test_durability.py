"""What a write that has returned survives, level by level, and what it costs to wait in the wrong place."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, ClosedError, LocalProtocolError, NotReplicated, StoreBusy
from tests.store.syncs import CountedSyncs
from tests.store.world import ROOM, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("text", ["", "disk", "peers", "peers:", "peers:0", "peers:-1", "peers:1000", "os:1"])
def test_a_level_that_does_not_exist_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="durability is os, group, each or peers:n"):
        AgentStateStore("room", port=None, durability=text)


@pytest.mark.parametrize("level", ["group", "each"])
def test_a_disk_level_without_a_path_is_refused(level: str) -> None:
    with pytest.raises(LocalProtocolError, match="needs a path"):
        AgentStateStore("room", port=None, durability=level)


@pytest.mark.parametrize("level", ["group", "each"])
def test_a_write_returns_after_a_sync_that_covers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path, durability=level)
    syncs = CountedSyncs(monkeypatch)
    for number in range(5):
        store.set(f"k{number}", number)
        assert syncs.count == number + 1
    with store.transaction():
        store.set("a", 1)
        store.set("b", 2)
    store.counter("c").add(1)
    store.delete("a")
    assert syncs.count == 8
    store.close()


def test_at_os_a_write_waits_for_no_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    syncs = CountedSyncs(monkeypatch)
    for number in range(100):
        store.set(f"k{number}", number)
    assert syncs.count == 0
    store.close()


def test_one_sync_serves_everybody_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path, durability="group")
    syncs = CountedSyncs(monkeypatch)
    syncs.gate.clear()
    writers = [threading.Thread(target=store.set, args=(f"k{number}", number)) for number in range(16)]
    for writer in writers:
        writer.start()
    while len(store) < 16:  # visible while it waits
        pass
    syncs.gate.set()
    for writer in writers:
        writer.join()
    assert syncs.count <= 3
    store.close()


def test_writes_that_do_not_wait_are_visible_and_settled_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path, durability="group")
    syncs = CountedSyncs(monkeypatch)
    with store.without_waiting():
        store.set("a", 1)
        with store.without_waiting(), store.transaction():
            store.set("b", {"c": 2})
        store.delete("a")
        assert syncs.count == 0
        assert store.get_all() == {"b": {"c": 2}}
        other = threading.Thread(target=store.set, args=("other", 1))
        other.start()
        other.join()
        assert syncs.count == 1  # another thread's writes wait
        store.set("a", 2)
    assert syncs.count == 1
    store.settle()
    assert syncs.count == 2
    store.set("a", 3)
    assert syncs.count == 3
    store.close()
    with pytest.raises(ClosedError):
        store.settle()


def test_at_each_writes_without_waiting_are_synced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path, durability="each")
    syncs = CountedSyncs(monkeypatch)
    with store.without_waiting():
        store.set("a", 1)
    assert syncs.count == 1
    store.close()


def test_a_write_without_waiting_works_in_the_stores_loop_and_settling_does_not() -> None:
    async def scenario() -> None:
        async with AgentStateStore(ROOM, 1, 0, "127.0.0.1", secret=SECRET, durability="peers:1") as store:
            with store.without_waiting():
                store.set("a", 1)
            with pytest.raises(LocalProtocolError, match="event loop"):
                store.settle()
            assert store.get("a") == 1

    run(scenario)


def test_at_each_a_write_is_not_visible_before_its_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path, durability="each")
    syncs = CountedSyncs(monkeypatch)
    syncs.gate.clear()
    writer = threading.Thread(target=store.set, args=("k", 1))
    writer.start()
    writer.join(0.2)
    assert store._table.get("k") != 1
    syncs.gate.set()
    writer.join()
    assert store.get("k") == 1
    store.close()


def test_a_disk_that_cannot_keep_up_makes_writers_wait_or_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    syncs = CountedSyncs(monkeypatch)
    syncs.gate.clear()
    written = 0
    with contextlib.suppress(StoreBusy):
        for number in range(100):
            store.set(f"k{number}", bytes(512 * 1024), block=False)
            written += 1
    with pytest.raises(StoreBusy, match="wait for the disk"):
        store.set("refused", 1, block=False)
    assert 20 <= written <= 40
    assert f"k{written}" not in store
    waiting = threading.Thread(target=store.set, args=("waits", 1))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert "waits" not in store
    syncs.gate.set()
    waiting.join(20)
    assert store.get("waits") == 1
    store.close()


def test_peers_n_returns_when_they_have_logged_it_and_says_when_they_have_not() -> None:
    async def scenario() -> None:
        store = AgentStateStore(
            "my-project", 1, 0, "127.0.0.1", secret="correct-horse-battery-staple-9", durability="peers:1"
        )
        with pytest.raises(LocalProtocolError, match="not started"):
            store.set("k", 0)
        await store.start()
        with pytest.raises(LocalProtocolError, match="to_thread"):
            store.set("k", 0)
        assert "k" not in store
        async with loopback("other") as other:
            store.add_peer(*address(other))
            await until(store.linked)
            await asyncio.to_thread(store.set, "k", 1)
            assert other.get("k") == 1
        await until(lambda: not store.linked())
        store._durability_timeout_s = 0.1
        with pytest.raises(NotReplicated):
            await asyncio.to_thread(store.set, "k", 2)
        assert store.get("k") == 2
        await store.stop()

    run(scenario)


def test_a_group_write_in_the_stores_own_loop_is_refused_before_it_is_made(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = AgentStateStore("room", port=None, path=tmp_path, durability="group")
        await store.start()
        with pytest.raises(LocalProtocolError, match="to_thread"):
            store.set("k", 1)
        assert "k" not in store
        await asyncio.to_thread(store.set, "k", 1)
        await store.stop()

    run(scenario)


def test_a_thread_waits_for_disk_and_peers_and_not_for_what_it_did_not_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = loopback("waits", path=tmp_path), loopback("other")
    store.set("k", 1)
    syncs = CountedSyncs(monkeypatch)
    store.flush_blocking()  # before it is started, too
    assert syncs.count == 1
    with pytest.raises(LocalProtocolError, match="not started"):
        store.flush_blocking(peers=1)
    other.start_background()
    store.start_background(peers=[address(other)])
    store.set("k", 2)
    syncs.gate.clear()  # the disk does not answer
    syncs.count = 0
    store.flush_blocking(peers=1, disk=False)
    assert (other.get("k"), syncs.count) == (2, 0)
    syncs.gate.set()
    other.close()
    store.set("k", 3)
    with pytest.raises(NotReplicated, match="0 of 1 peers"):
        store.flush_blocking(peers=1, timeout_s=0.1)
    store.close()
    with pytest.raises(ClosedError):
        store.flush_blocking()


def test_without_its_own_disk_flush_waits_for_the_peers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with loopback("other") as other, loopback("waits", path=tmp_path) as store:
            store.add_peer(*address(other))
            await until(store.linked)
            syncs = CountedSyncs(monkeypatch)
            syncs.gate.clear()  # the disk does not answer
            store.set("k", 1)
            await store.flush(peers=1, disk=False)
            assert (other.get("k"), syncs.count) == (1, 0)
            whole = asyncio.create_task(store.flush(peers=1))
            assert not (await asyncio.wait({whole}, timeout=0.1))[0]
            syncs.gate.set()
            await whole
            assert syncs.count == 1

    run(scenario)


def test_the_thread_of_the_stores_own_loop_is_told_and_not_left_waiting_for_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loopback("waits", path=tmp_path) as store:
            for wait in (store.flush_blocking, functools.partial(store.flush_blocking, 1, disk=False)):
                with pytest.raises(LocalProtocolError, match=r"use `await store\.flush\(\)` there"):
                    wait()
            await asyncio.to_thread(store.flush_blocking)

    run(scenario)


def test_who_waits_for_peers_of_a_store_that_is_stopped_is_told() -> None:
    store = loopback("waits")
    store.start_background()
    store.set("k", 1)
    ends: list[BaseException] = []

    def wait() -> None:
        try:
            store.flush_blocking(peers=1, timeout_s=600)
        except (ClosedError, NotReplicated) as error:
            ends.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    store.close()
    waiting.join(20)
    assert [type(end) for end in ends] == [ClosedError]


def test_who_waits_for_peers_in_the_loops_threads_does_not_keep_the_writes_from_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(8))
        small = AgentStateStore(
            ROOM, 1, 0, "127.0.0.1", path=tmp_path, secret=SECRET, durability="peers:1", memory_bytes=1024 * 1024
        )
        async with loopback("peer") as peer, small as store:
            store.add_peer(*address(peer))
            await until(store.linked)
            writes = (asyncio.to_thread(store.set, f"large/{n}", "x" * 900_000) for n in range(24))
            await asyncio.gather(*writes)  # values that only the disk holds are read to be sent
            assert len(peer.keys("large/")) == 24

    run(scenario)
