"""Stores on real TCP links on loopback: what one writes the others have."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from propagul import (
    AgentStateStore,
    IdentityError,
    LinkError,
    LocalProtocolError,
    NotReplicated,
    SyncTimeout,
)
from tests.store.world import OTHER_SECRET, address, loopback, pair, run, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_value_is_readable_right_after_start() -> None:
    async def scenario() -> None:
        async with loopback("a") as a:
            a.set("task", "research")
            b = loopback("b")
            report = await b.start(peers=[address(a)])
            assert b.get("task") == "research"
            assert report.complete
            assert report.rows == 1
            assert [(peer.label, peer.caught_up, peer.trouble) for peer in report.peers] == [("a", True, "")]
            await b.stop()

    run(scenario)


def test_the_readme_example_works_without_a_secret_and_with_sets_before_start() -> None:
    async def scenario() -> None:
        a = loopback(1, secret=None)
        a.set("task", "research")
        await a.start()
        b = loopback(2, secret=None)
        b.set("mine", [1, 2])
        await b.start(peers=[address(a)])
        assert b.get("task") == "research"
        await until(lambda: a.get("mine") == [1, 2])
        await b.stop()
        await a.stop()

    run(scenario)


def test_two_stores_in_the_loops_of_two_threads_are_one_room() -> None:
    a, b = loopback("a"), loopback("b")
    a.start_background()
    a.set("k", 1)
    report = b.start_background(peers=[address(a)])
    assert report.complete
    assert b.get("k") == 1
    arrived = threading.Event()
    a.on_change(lambda key, value: arrived.set() if (key, value) == ("k", 2) else None)
    b.set("k", 2)
    assert arrived.wait(10)
    with pytest.raises(LocalProtocolError, match="started already"):
        a.start_background()
    b.close()
    a.close()
    assert not a.is_running


def test_a_store_in_your_loop_is_not_closed_from_outside_it() -> None:
    async def scenario() -> None:
        async with loopback() as store:
            with pytest.raises(LocalProtocolError, match=r"await store\.stop"):
                store.close()

    run(scenario)


def test_a_deleted_key_is_gone_everywhere_even_the_last_one() -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            a.set("only", 1)
            await until(lambda: "only" in b)
            b.delete("only")
            await until(lambda: "only" not in a)
            assert len(a) == len(b) == 0
            assert a.stats.removal_records == 1
            async with loopback("late") as late:
                late.add_peer(*address(a))
                await until(lambda: late.stats.removal_records)
                assert "only" not in late

    run(scenario)


def test_a_late_replica_does_not_resurrect_a_deleted_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loopback("a") as a:
            late = loopback("late", path=tmp_path)
            await late.start(peers=[address(a)])
            a.set("secret", "old")
            a.set("kept", 1)
            await until(lambda: "kept" in late)
            await late.stop()
            a.delete("secret")
            again = loopback("late", path=tmp_path)
            assert again.get("secret") == "old"
            await again.start(peers=[address(a)])
            assert "secret" not in again
            again.set("probe", 1)
            await until(lambda: "probe" in a)
            assert "secret" not in a
            await again.stop()

    run(scenario)


def test_a_megabyte_and_twenty_thousand_keys_replicate(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loopback("a") as a:
            big = bytes(range(256)) * 4000
            a.set("big", big)
            for number in range(20_000):
                a.set(f"k{number}", number)
            b = loopback("b", path=tmp_path)
            assert (await b.start(peers=[address(a)])).complete
            assert b.get("big") == big
            assert b.get_all() == a.get_all()
            b.set("one byte", 1)
            await until(lambda: "one byte" in a)
            await b.stop()
            again = loopback("b", path=tmp_path)
            assert again.get_all() == a.get_all()
            again.close()

    run(scenario)


def test_two_stores_with_many_keys_each_end_with_all_of_both() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b")
        for number in range(3000):
            a.set(f"a{number}", number)
            b.set(f"b{number}", number)
        await a.start()
        await b.start(peers=[address(a)])
        await until(lambda: len(a) == len(b) == 6000)
        await b.stop()
        await a.stop()

    run(scenario)


def test_two_stores_that_call_themselves_the_same_both_keep_their_data() -> None:
    async def scenario() -> None:
        a, b = loopback(1), loopback(1)
        a.set("a", "a")
        b.set("b", "b")
        await a.start()
        await b.start(peers=[address(a)])
        await until(lambda: a.get_all() == b.get_all() == {"a": "a", "b": "b"})
        assert a.node != b.node
        await b.stop()
        await a.stop()

    run(scenario)


def test_flush_waits_for_the_log_of_another_store() -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            for number in range(50):
                a.set("k", number)
                await a.flush(peers=1)
                assert b.get("k") == number
            with pytest.raises(NotReplicated, match=r"1 of 2 peers .* after 0\.2 s; 1 are linked"):
                await a.flush(peers=2, timeout_s=0.2)
        alone = loopback("alone")
        await alone.flush()
        alone.set("k", 1)
        with pytest.raises(LocalProtocolError, match="not started"):
            await alone.flush(peers=1)
        alone.close()

    run(scenario)


def test_flush_waits_for_writes_recovered_from_the_log_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = loopback("a", path=tmp_path)
        before.set("k", "written before the crash")
        before.close()
        async with loopback("a", path=tmp_path) as a:
            with pytest.raises(NotReplicated, match="0 of 1"):
                await a.flush(peers=1, timeout_s=0.05)
            b = loopback("b")
            await b.start(peers=[address(a)])
            await a.flush(peers=1)
            await b.stop()

    run(scenario)


def test_flush_works_from_another_loop() -> None:
    a, b = loopback("a"), loopback("b")
    a.start_background()
    b.start_background(peers=[address(a)])
    a.set("k", 1)
    asyncio.run(a.flush(peers=1))
    assert b.get("k") == 1
    b.close()
    a.close()


def test_required_peers_that_do_not_answer_end_the_start(free_port: Callable[[], int]) -> None:
    async def scenario() -> None:
        store, port = loopback(), free_port()
        with pytest.raises(SyncTimeout, match=rf"0 of the 1 required peers .*127\.0\.0\.1:{port}"):
            await store.start(peers=[("127.0.0.1", port)], require_peers=1, sync_timeout_s=5)
        assert not store.is_running
        report = await store.start(peers=[("127.0.0.1", port)])
        assert not report.complete
        assert report.peers[0].trouble
        await store.stop()

    run(scenario)


def test_a_peer_that_is_still_recovering_says_so_and_does_not_count(free_port: Callable[[], int]) -> None:
    async def scenario() -> None:
        port = free_port()
        with socket.socket() as deaf:  # takes connections and says nothing, so that `a` goes on waiting for it
            deaf.bind(("127.0.0.1", port))
            deaf.listen()
            a, b = loopback("a", port=(a_port := free_port())), loopback("b")
            starting = asyncio.create_task(a.start(peers=[("127.0.0.1", port)], sync_timeout_s=3))
            with pytest.raises(SyncTimeout, match="0 of the 1"):
                await b.start(peers=[("127.0.0.1", a_port)], require_peers=1, sync_timeout_s=1)
            report = await b.start(peers=[("127.0.0.1", a_port)], sync_timeout_s=0.5)
            assert report.peers[0].recovering
            assert not report.complete
            await starting
        await b.stop()
        await a.stop()

    run(scenario)


def test_a_peer_added_later_is_linked_and_a_removed_one_is_not() -> None:
    async def scenario() -> None:
        async with loopback("a") as a, loopback("b", port=None) as b:
            assert b.addresses == ()
            b.add_peer(*address(a))
            await until(lambda: a.node in b.linked() and b.node in a.linked())
            b.remove_peer(*address(a))
            await until(lambda: not b.linked() and not a.linked())
            assert b.stats.last_drop.endswith("removed by the user")

    run(scenario)


def test_peers_named_before_start_are_dialled_by_it() -> None:
    async def scenario() -> None:
        async with loopback("a") as a:
            a.set("k", 1)
            early, unwanted = loopback("early"), loopback("unwanted")
            early.add_peer(*address(a))
            unwanted.add_peer(*address(a))
            unwanted.remove_peer(*address(a))
            assert (await early.start()).complete
            assert early.get("k") == 1
            assert (await unwanted.start()).peers == ()
            await early.stop()
            await unwanted.stop()

    run(scenario)


def test_four_stores_that_know_one_become_a_full_mesh_and_outlive_it() -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            known = loopback("known")
            await known.start()
            others = [loopback(f"s{number}") for number in range(3)]
            for store in others:
                await store.start(peers=[address(known)])
                stack.push_async_callback(store.stop)
            await until(lambda: all(len(store.linked()) == 3 for store in (known, *others)))
            await known.stop()
            await until(lambda: all(len(store.linked()) == 2 for store in others))
            others[0].set("after", "the known one left")
            await until(lambda: all("after" in store for store in others))

    run(scenario)


def test_a_peer_that_dies_and_returns_is_linked_again(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def scenario() -> None:
        port = free_port()
        async with loopback("a") as a:
            b = loopback("b", port=port, path=tmp_path)
            await b.start(peers=[])
            a.add_peer("127.0.0.1", port)
            await until(lambda: b.node in a.linked())
            await b.stop()
            await until(lambda: not a.linked())
            a.set("k", "written while b was away")
            again = loopback("b", port=port, path=tmp_path)
            await again.start()
            await until(lambda: again.get("k") == "written while b was away")
            assert again.node == b.node
            await again.stop()

    run(scenario)


def test_a_stopped_store_takes_nothing_more_from_whoever_linked_to_it() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b")
        await a.start()
        await b.start(peers=[address(a)])
        await until(a.linked)
        await a.stop()
        await until(lambda: not b.linked())
        b.set("k", 1)
        await b.stop()
        assert "k" not in a

    run(scenario)


def test_stopping_is_quick_and_says_goodbye() -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            await until(lambda: a.members() and b.members())
            began = asyncio.get_running_loop().time()
            await b.stop()
            assert asyncio.get_running_loop().time() - began < 0.3
            assert a.members() == []

    run(scenario)


def test_a_taken_port_is_named() -> None:
    async def scenario() -> None:
        async with loopback("a") as a:
            b = loopback("b", port=address(a)[1])
            with pytest.raises(LinkError, match=f"port {address(a)[1]} on 127.0.0.1 is taken"):
                await b.start()
            await b.stop()

    run(scenario)


@pytest.mark.parametrize(
    ("secret", "room"), [(OTHER_SECRET, "my-project"), ("correct-horse-battery-staple-9", "other-room")]
)
def test_another_secret_or_room_never_merges_and_is_counted(secret: str, room: str) -> None:
    async def scenario() -> None:
        async with loopback("a") as a:
            a.set("k", "ours")
            stranger = loopback("stranger", secret=secret, room=room)
            stranger.set("theirs", 1)
            report = await stranger.start(peers=[address(a)])
            assert not report.complete
            assert report.peers[0].trouble
            await until(lambda: a.stats.refused and stranger.stats.dials_failed)
            assert "k" not in stranger
            assert "theirs" not in a
            assert stranger.stats.links_opened == a.stats.links_opened == 0
            assert a.refusals()[0].host == "127.0.0.1"
            await stranger.stop()

    run(scenario)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "box.example"])
def test_without_a_secret_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(IdentityError, match=r"export PROPAGUL_GOSSIP_SECRET=\S{20,}"):
        AgentStateStore("room", host=host)


def test_the_secret_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROPAGUL_GOSSIP_SECRET", "correct-horse-battery-staple-9")

    async def scenario() -> None:
        async with loopback("a", secret=None) as a, loopback("b") as b:
            b.add_peer(*address(a))
            await until(b.linked)

    run(scenario)


def test_a_callback_hears_of_remote_changes_in_order_and_may_fail() -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            heard: list[tuple[str, object]] = []

            def broken(_key: str, _value: object) -> None:
                raise RuntimeError("a user's mistake")

            stop = b.on_change(lambda key, value: heard.append((key, value)))
            b.on_change(broken)
            b.set("local", "not told")
            for act in (lambda: a.set("k", 1), lambda: a.set("k", 2), lambda: a.delete("k")):
                before = len(heard)
                act()
                await until(lambda before=before: len(heard) > before)  # type: ignore[misc]
            assert heard == [("k", 1), ("k", 2), ("k", None)]
            assert b.stats.callbacks_failed == 3
            stop()
            stop()
            a.set("k", 3)
            await until(lambda: b.get("k") == 3)
            assert len(heard) == 3

    run(scenario)


def test_traffic_moves_the_statistics() -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            before = b.stats
            a.set("k", 1)
            await a.flush(peers=1)
            await until(lambda: b.stats.frames_out > before.frames_out)
            after = b.stats
            for name in ("frames_in", "bytes_in", "frames_out", "bytes_out", "remote_rows", "origins", "keys"):
                assert getattr(after, name) > getattr(before, name), name
            assert (after.links, after.links_opened) == (1, 1)
            a.remove_peer(*address(b))
            b.remove_peer(*address(a))
            await until(lambda: b.stats.links_dropped)

    run(scenario)


def test_the_last_of_many_writes_arrives_though_none_follows_it() -> None:
    """Threads that write need not tell the loop of every write, and never one too few."""

    async def scenario() -> None:
        async with pair() as (a, b):

            def write(thread: int, turn: int) -> None:
                for number in range(thread * 7 + 1):
                    a.set(f"k{thread}", [turn, number])

            for turn in range(150):
                await asyncio.gather(*(asyncio.to_thread(write, thread, turn) for thread in range(4)))
                await until(lambda turn=turn: all(b.get(f"k{n}") == [turn, n * 7] for n in range(4)))  # type: ignore[misc]  # a default

    run(scenario)
