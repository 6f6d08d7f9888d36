"""Calls that wait leave the event loop, and the store that runs in it, what they need."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, LocalProtocolError
from propagul.adapters import Timeline, asynchronous, in_thread, waiting_once
from tests.store.syncs import CountedSyncs
from tests.store.world import ROOM, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_many_that_wait_for_a_peer_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async def append(store: AgentStateStore, name: int) -> None:
        line = Timeline(store, "space", str(name), str)
        await in_thread(lambda: line.append(["x" * 100_000]))

    async def scenario() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # which the store sends cold values by
        small = AgentStateStore(
            ROOM, 1, 0, "127.0.0.1", path=tmp_path, secret=SECRET, durability="peers:1", memory_bytes=1024 * 1024
        )
        async with loopback("peer") as peer, small as store:
            store.add_peer(*address(peer))
            await until(store.linked)
            await asyncio.gather(*(append(store, name) for name in range(60)))
            assert len(peer.keys("space/items/")) == 60

    run(scenario)


def test_what_is_written_in_a_block_waits_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(store: AgentStateStore) -> None:
        with waiting_once(store):
            for number in range(5):
                store.set(f"k{number}", number)

    async def scenario() -> None:
        async with AgentStateStore(ROOM, port=None, path=tmp_path / "started", durability="group") as started:
            with pytest.raises(LocalProtocolError, match="event loop"):
                write(started)
            assert len(started) == 0
            await in_thread(lambda: write(started))
            assert len(started) == 5

    run(scenario)
    syncs = CountedSyncs(monkeypatch)
    for durability, count in (("os", 0), ("group", 1), ("each", 5)):
        store = AgentStateStore(ROOM, port=None, path=tmp_path / durability, durability=durability)
        syncs.count = 0
        write(store)
        assert syncs.count == count
        store.close()


def test_a_call_sees_the_transaction_it_is_made_in() -> None:
    async def scenario() -> None:
        line = Timeline(store, "space", "name", str)
        with store.transaction():
            await in_thread(lambda: line.append(["1"]))
            assert store.keys("space/items/") != []
            assert await asyncio.to_thread(lambda: len(line.read())) == 1
        assert len(line.read()) == 1

    store = AgentStateStore("room", port=None)
    run(scenario)
    store.close()


def test_what_a_call_raises_is_raised() -> None:
    async def scenario() -> None:
        found = await asyncio.gather(in_thread(lambda: 1 / 0), return_exceptions=True)
        assert [type(one) for one in found] == [ZeroDivisionError]

    run(scenario)


@pytest.mark.parametrize("ends", [lambda: None, lambda: 1 / 0])
def test_a_call_that_is_cancelled_twice_has_ended_when_it_returns(ends: Callable[[], object]) -> None:
    async def scenario() -> None:
        may_end, said = threading.Event(), list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        calling = asyncio.ensure_future(in_thread(lambda: may_end.wait() and ends()))
        for _ in range(3):
            await asyncio.sleep(0)
            calling.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not calling.done()
        may_end.set()
        await asyncio.wait([calling])
        assert calling.cancelled()
        gc.collect()
        assert said == []

    run(scenario)


def test_a_method_made_asynchronous_is_the_same_but_for_the_loop() -> None:
    class Adder:
        def add(self, one: int, *, other: int = 2) -> int:
            """Add."""
            assert threading.current_thread().name.startswith("propagul")
            return one + other

        aadd = asynchronous(add)

    assert asyncio.run(Adder().aadd(1)) == asyncio.run(Adder().aadd(1, other=2)) == 3
    assert inspect.iscoroutinefunction(Adder.aadd)
    assert (inspect.signature(Adder.aadd), Adder.aadd.__doc__) == (inspect.signature(Adder.add), "Add.")
