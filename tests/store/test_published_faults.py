"""The faults that `propagul` 0.9.0 was published with, and the truths of ours that it would fail.

Its replicas held 4,096 keys, numbered their writes from 0 at every start, sent their whole state to a random peer twice
a second, and kept nothing on a disk. What follows is one test a fault, here or, where it stands elsewhere already:

| what happened in 0.9.0 | the test |
|---|---|
| deleting the last key was never told: an empty map sent nothing | `tests/store/test_replication.py::test_a_deleted_key_is_gone_everywhere_even_the_last_one` |
| over 1 MB of state nothing at all was replicated any more, and the statistics said all was well | `tests/store/test_replication.py::test_a_megabyte_and_twenty_thousand_keys_replicate` |
| what the receiver of a state lacked in turn was computed and thrown away | `tests/store/test_replication.py::test_two_stores_with_many_keys_each_end_with_all_of_both` |
| values that nobody can store were stored all the same | `tests/store/test_map.py::test_a_value_that_cannot_be_stored_is_named_with_its_path` |
"""  # noqa: E501 - a table

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.world import Island, address, loopback, on_island, run, until

ROOT = Path(__file__).resolve().parents[2]

DAY_S = 86_400.0

WRITE_AND_DIE = """
import os, signal, sys
from propagul import AgentStateStore
store = AgentStateStore("my-project", port=None, path=sys.argv[1])
store.set("task", "research")
store.set("step", 3)
store.delete("step")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_tests_that_are_named_above_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", __doc__ or "")
    assert len(named) == 4
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


# --- a crash ----------------------------------------------------------------------------------------------------------


def test_the_first_write_after_a_crash_is_never_swallowed_whatever_was_written_before() -> None:
    """0.9.0 numbered its writes anew: after W writes, a crash and a recovery from peers, the next W were lost."""

    async def scenario(island: Island) -> None:
        for writes in (1, 2, 3, 5, 10):
            peer = await island.start(f"peer{writes}")
            before = await island.start(f"agent{writes}", f"peer{writes}", label="1")
            for number in range(writes):
                before.set("task", number)
            await island.clock.advance(0.5)
            await island.finish(before.stop())
            after = await island.start(f"agent{writes}", f"peer{writes}", label="1")
            assert after.get("task") == writes - 1
            after.set("task", "published")
            await island.clock.advance(0.5)
            assert (after.get("task"), peer.get("task")) == ("published", "published")
            assert peer.get_conflicts("task") == []

    on_island(scenario)


def test_a_write_before_start_after_a_crash_ends_as_one_value_everywhere_and_loses_none() -> None:
    """0.9.0 gave the same tag to both values, and one node kept "new" and the other "old" for ever."""

    async def scenario() -> None:
        async with loopback(2) as peer:
            first = loopback(1)
            await first.start(peers=[address(peer)])
            first.set("task", "old")
            await until(lambda: peer.get("task") == "old")
            await first.stop()
            again = loopback(1)
            again.set("task", "new")
            await again.start(peers=[address(peer)])
            await until(lambda: peer.get("task") == "new")
            assert again.get("task") == "new"
            assert again.get_conflicts("task") == peer.get_conflicts("task") == ["new", "old"]
            await again.stop()

    run(scenario)


def test_state_survives_kill_9_without_any_peer(tmp_path: Path) -> None:
    """0.9.0 kept nothing on a disk: after a restart without peers the store was empty."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE_AND_DIE, str(tmp_path)], cwd=ROOT, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    store = loopback(1, path=tmp_path, port=None)
    assert store.get_all() == {"task": "research"}
    store.close()


def test_when_start_returns_the_state_of_the_peer_is_there() -> None:
    """0.9.0 returned from start before it had received anything: the next line of its README printed None."""

    async def scenario() -> None:
        async with loopback(2) as peer:
            for number in range(500):
                peer.set(f"task/{number}", number)
            store = loopback(1)
            await store.start(peers=[address(peer)])
            at_once = store.get_all()
            assert at_once == {f"task/{number}": number for number in range(500)}
            await store.stop()

    run(scenario)


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_no_key_is_dropped_however_many_there_are() -> None:
    """0.9.0 dropped every key beyond 4,096 without an error, so two nodes with 3,000 each never agreed."""

    async def scenario(island: Island) -> None:
        a, b = island.make("a"), island.make("b")
        for number in range(5000):
            a.set(f"a{number}", number)
            b.set(f"b{number}", number)
        assert (len(a), a.get("a4999")) == (5000, 4999)
        await a.start()
        await b.start(peers=[("a", 9000)])
        await island.clock.advance(1)
        assert len(a) == len(b) == 10_000
        assert a.get_all() == b.get_all()

    on_island(scenario)


def test_overwriting_leaves_nothing_behind_that_is_stored_or_sent() -> None:
    """0.9.0 kept a tombstone for each overwrite and sent all of them with every message: 489 kB after 50,000."""

    async def scenario(island: Island) -> None:
        a = await island.start("a")
        for number in range(20_000):
            a.set("task", number)
        late = await island.start("late", "a")
        assert late.get("task") == 19_999
        stats = a.stats
        assert (stats.keys, stats.removal_records) == (1, 0)
        assert stats.bytes_out < 4096

    on_island(scenario)


def test_what_was_deleted_stays_deleted_also_when_nobody_remembers_the_deletion(tmp_path: Path) -> None:
    """0.9.0 forgot its oldest tombstones, and a node that had been away brought deleted values back."""

    async def scenario(island: Island) -> None:
        a = await island.start("a")
        leaving = island.make("away", path=tmp_path)
        await leaving.start(peers=[("a", 9000)])
        for number in range(300):
            a.set(f"scratch/{number}", number)
        a.set("secret", "deleted soon")
        await island.clock.advance(1)
        await island.finish(leaving.stop())
        for key in [*a.get_all()]:
            a.delete(key)
        assert a.stats.removal_records == 301
        a.set("later", 1)
        while a.stats.removal_records and island.clock.monotonic() < DAY_S:
            await island.clock.advance(600)
        assert a.stats.removal_records == 0
        away = island.make("away", path=tmp_path)
        assert away.get("secret") == "deleted soon"
        away.set("mine", 2)
        await away.start(peers=[("a", 9000)])
        await island.clock.advance(10)
        assert a.get_all() == away.get_all() == {"later": 1, "mine": 2}

    on_island(scenario)


# --- values -----------------------------------------------------------------------------------------------------------


def test_a_value_is_the_same_at_the_peer_and_one_that_is_refused_is_nowhere_and_stops_nothing() -> None:
    """0.9.0 showed values locally that peers refused, made texts of int keys, and ended replication at any bytes."""
    values: dict[str, object] = {
        "none": None, "bool": True, "int": -(2**63), "float": 0.1, "text": "ü\U0001f600", "bytes": b"\x00\xff",
        "list": [1, [2.0, None]], "dict": {"step": {"n": [1]}, 7: "an int key", b"k": "a bytes key"},
    }  # fmt: skip

    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        for key, value in values.items():
            a.set(key, value)
        for refused in ({"a": {1, 2}}, object(), 2**64, float("nan")):
            with pytest.raises((TypeError, ValueError)):
                a.set("refused", refused)
        await island.clock.advance(1)
        for store in (a, b):
            assert repr(sorted(store.get_all().items())) == repr(sorted(values.items()))  # types too: True is no 1
        b.set("later", "the other way")
        await island.clock.advance(1)
        assert a.get("later") == "the other way"

    on_island(scenario)


# --- who wins ---------------------------------------------------------------------------------------------------------


def test_the_later_write_wins_whatever_the_nodes_are_called() -> None:
    """0.9.0 let the highest node id win: node 2's older value beat node 1's newer one, and was lost unseen."""

    async def scenario(island: Island) -> None:
        two, one = island.make("two", label="2"), island.make("one", label="1")
        two.set("task", "older, of node 2")
        await island.clock.advance(1)
        one.set("task", "newer, of node 1")
        await two.start()
        await one.start(peers=[("two", 9000)])
        await island.clock.advance(1)
        for store in (one, two):
            assert store.get("task") == "newer, of node 1"
            assert store.get_conflicts("task") == ["newer, of node 1", "older, of node 2"]

    on_island(scenario)


def test_a_concurrent_value_that_only_one_of_two_peers_has_is_noticed() -> None:
    """0.9.0 compared the highest tag of each key, so that a node which lacked the other value never asked for it."""

    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b")
        b.set("task", "lower")
        await island.clock.advance(1)
        a.set("task", "higher")
        third = await island.start("third", "a")
        assert third.get_conflicts("task") == []
        third.add_peer("b", 9000)
        await island.clock.advance(5)
        for store in (a, b, third):
            assert store.get_conflicts("task") == ["higher", "lower"]

    on_island(scenario)


def test_two_nodes_of_one_name_lose_nothing() -> None:
    """0.9.0 built tags from the node id that the user chose: of two nodes with the same one, one lost its data."""

    async def scenario(island: Island) -> None:
        a, b = island.make("a", label="1"), island.make("b", label="1")
        for number in range(20):
            a.set(f"a{number}", "of a")
            b.set(f"b{number}", "of b")
        a.set("both", 1)
        b.set("both", 2)
        await a.start()
        await b.start(peers=[("a", 9000)])
        await island.clock.advance(1)
        assert a.get_all() == b.get_all()
        assert len(a) == 41
        assert sorted(map(str, a.get_conflicts("both"))) == ["1", "2"]

    on_island(scenario)
