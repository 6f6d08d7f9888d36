"""What a put waits for, where it may, and that it never stops an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from propagul_langgraph import PropagulSaver

from propagul import AgentStateStore, LocalProtocolError, NotReplicated
from tests.agents.langgraph.values import checkpoint, got, put, saver, thread, values_at
from tests.store.syncs import CountedSyncs
from tests.store.world import address, loopback, pair, run

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig


def test_sync_calls_work_inside_the_loop_that_the_store_runs_in() -> None:
    async def scenario() -> None:
        async with loopback() as store:
            of = PropagulSaver(store)
            put(of, thread(), {"n": 1})
            assert values_at(of, thread()) == {"n": 1}

    run(scenario)


def test_where_a_put_would_have_to_wait_in_that_loop_it_says_so_and_stores_nothing() -> None:
    async def scenario() -> None:
        async with pair() as (a, _):
            of = PropagulSaver(a, replicas=1)
            with pytest.raises(LocalProtocolError, match="event loop"):
                put(of, thread(), {"n": 1})
            assert of.get_tuple(thread()) is None

    run(scenario)


def test_so_does_one_that_would_have_to_wait_for_the_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = AgentStateStore(room="t", port=None, path=tmp_path, durability="group")
        async with store:
            of = PropagulSaver(store)
            with pytest.raises(LocalProtocolError, match="event loop"):
                put(of, thread(), {"n": 1})
            assert of.get_tuple(thread()) is None
            await of.aput(thread(), checkpoint({"n": 1}, {"n": 1}), {"source": "loop", "step": 1}, {"n": 1})
            assert values_at(of, thread()) == {"n": 1}

    run(scenario)


def test_a_put_with_replicas_has_been_logged_there_when_it_returns() -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            of, there = PropagulSaver(a, replicas=1), PropagulSaver(b)
            for n in range(20):
                at = await of.aput(thread(), checkpoint({"n": n}, {"n": n}), {"source": "loop", "step": n}, {"n": n})
                assert values_at(there, at) == {"n": n}
                await of.aput_writes(at, [("__interrupt__", n)], "task")
                assert got(there, at).pending_writes == [("task", "__interrupt__", n)]
            await asyncio.to_thread(put, of, thread("2"), {"n": 1})
            assert values_at(there, thread("2")) == {"n": 1}
            await of.adelete_thread("1")
            assert there.get_tuple(thread()) is None

    run(scenario)


@pytest.mark.parametrize(
    ("channel", "is_last"),
    [("n", False), ("__interrupt__", True), ("__resume__", True), ("__error__", True), ("__return__", True)],
)
def test_what_a_checkpoint_follows_is_synced_with_that_and_the_rest_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, channel: str, is_last: bool
) -> None:
    store = AgentStateStore(room="t", port=None, path=tmp_path, durability="group")
    of, syncs = PropagulSaver(store), CountedSyncs(monkeypatch)
    at = put(of, thread(), {"messages": [str(n) * 100 for n in range(9)]})
    assert syncs.count == 1
    of.put_writes(at, [(channel, ["x" * 100])], "task")
    assert syncs.count == 1 + is_last
    assert got(of, at).pending_writes == [("task", channel, ["x" * 100])]
    asyncio.run(of.aput_writes(at, [(channel, 2)], "other"))
    assert syncs.count == 1 + 2 * is_last
    asyncio.run(of.aput(at, checkpoint({"n": 1}, {"n": 1}), {"source": "loop", "step": 1}, {"n": 1}))
    assert syncs.count == 2 + 2 * is_last
    of.prune(["1"])
    of.delete_thread("1")
    assert syncs.count == 4 + 2 * is_last
    store.close()


def test_a_put_without_enough_replicas_raises_and_is_stored_here() -> None:
    of = PropagulSaver(loopback(), replicas=1, replicas_timeout_s=0.1)
    of.store.start_background()
    try:
        with pytest.raises(NotReplicated):
            put(of, thread(), {"n": 1})
        assert values_at(of, thread()) == {"n": 1}
    finally:
        of.store.close()


def test_several_threads_and_event_loops_share_a_saver() -> None:
    of, threads, failed = saver(), 8, []

    def work(number: int) -> None:
        try:
            at = thread(str(number % 4))
            for n in range(50):
                at = put(of, at, {"n": n, "text": "x" * 200}, n + 1) if number < 4 else asyncio.run(aput(at, n))
        except Exception as error:  # noqa: BLE001 # collected for the assertion
            failed.append(error)

    async def aput(at: RunnableConfig, n: int) -> RunnableConfig:
        return await of.aput(at, checkpoint({"n": n}, {"n": n + 1}), {"source": "loop", "step": n}, {"n": n + 1})

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    assert failed == []
    for number in range(4):
        assert len(list(of.list(thread(str(number))))) == 100


def test_the_second_machine_goes_on_where_the_first_one_stopped() -> None:
    async def scenario() -> None:
        async with loopback("a") as a:
            async with loopback("b") as b:
                b.add_peer(*address(a))
                at = await PropagulSaver(b).aput(
                    thread(), checkpoint({"n": 1}, {"n": 1}), {"source": "loop", "step": 1}, {"n": 1}
                )
                await b.flush(peers=1)
            put(PropagulSaver(a), at, {"n": 2}, 2)
            assert values_at(PropagulSaver(a), thread()) == {"n": 2}

    run(scenario)
