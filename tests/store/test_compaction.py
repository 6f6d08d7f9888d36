"""Compaction: the log gets short, nothing is lost, whatever happens meanwhile."""

from __future__ import annotations

import random
import shutil
import threading
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from propagul import AgentStateStore
from propagul.crdt import VersionVector
from propagul.log import fold
from propagul.store import _disk, _streams
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from propagul.store._disk import Disk
    from propagul.store._streams import IncomingStream


def disk_of(store: AgentStateStore) -> Disk:
    assert store._disk is not None
    return store._disk


def killed(store: AgentStateStore, path: Path, copy: Path) -> AgentStateStore:
    """The store as another process finds it after a `kill -9` at this moment."""
    shutil.copytree(path, copy)
    store.close()
    return AgentStateStore("room", port=None, path=copy)


def log_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "log").rglob("*.*") if file.is_file())


def test_a_compacted_log_is_short_and_says_the_same(tmp_path: Path) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    for number in range(20_000):
        store.set(f"k{number % 100}", f"value {number}")
    store.delete("k7")
    store.counter("c").add(3)
    expected, before = store.get_all(), log_bytes(tmp_path)
    disk_of(store).compact()
    assert log_bytes(tmp_path) < before / 20
    assert store.get_all() == expected
    store.set("after", 1)
    store.close()
    again = AgentStateStore("room", port=None, path=tmp_path)
    assert again.get_all() == {**expected, "after": 1}
    assert again.counter("c").value == 3
    assert "k7" not in again
    again.close()


def test_compacting_twice_with_nothing_in_between_changes_nothing(tmp_path: Path) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    disk_of(store).compact()
    store.set("k", 1)
    assert disk_of(store).compact() == disk_of(store).compact()
    assert store.stats.compactions == 1
    store.close()


def test_a_log_that_outgrows_its_state_compacts_itself_while_it_is_written(tmp_path: Path) -> None:
    with mock.patch.object(_disk, "COMPACT_BYTES", 2 * 1024 * 1024):
        store = AgentStateStore("room", port=None, path=tmp_path)
        for number in range(40):
            store.set(f"k{number % 3}", bytes(400_000))
        deadline = threading.Event()
        while store.stats.compactions == 0 and not deadline.wait(0.02):
            pass
        store.set("last", 1)
        store.close()
    again = AgentStateStore("room", port=None, path=tmp_path)
    assert again.get("last") == 1
    assert len(again) == 4
    again.close()
    assert log_bytes(tmp_path) < 40 * 400_000 * 0.9


@pytest.mark.parametrize("seed", range(3))
def test_writers_in_the_middle_of_a_compaction_lose_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "state"
    store = AgentStateStore("room", port=None, path=path)
    for number in range(3000):
        store.set(f"k{number}", number)
    model = store.get_all()
    slices = fold.encode_rows

    def meddle(space: str, block: object) -> Iterator[bytes]:
        for _ in range(20):
            key = f"k{rng.randrange(4000)}"
            if rng.random() < 0.3:
                store.delete(key)
                model.pop(key, None)
            else:
                store.set(key, f"meddled {key}")
                model[key] = f"meddled {key}"
        return slices(space, block)  # type: ignore[arg-type]

    with mock.patch.object(_disk, "encode_rows", meddle):
        disk_of(store).compact()
    assert store.get_all() == model
    again = killed(store, path, tmp_path / "copy")
    assert again.get_all() == model
    again.close()


def staged(source: AgentStateStore, store: AgentStateStore) -> tuple[IncomingStream, Callable[[], object]]:
    """A stream of everything in `source`, staged in the log of `store`, and what ends it."""
    cut = source._state.cut(after=0, known=VersionVector(), told=0)
    incoming = store._state.incoming()
    for block in taken(cut.blocks()):
        incoming.add(block)
    return incoming, lambda: incoming.apply(list(cut.entries), cut.join)


@pytest.mark.parametrize("moment", ["before the compaction", "before the move", "after one block", "after it"])
def test_a_stream_that_ends_during_a_compaction_is_there_after_a_kill(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "state"
    with mock.patch.object(_streams, "STAGE_BYTES", 20):
        source = AgentStateStore("room", port=None)
        for number in range(2000):
            source.set(f"k{number}", "x" * 100)
        store = AgentStateStore("room", port=None, path=path)
        store.set("mine", 1)
        _, end = staged(source, store)
        disk = disk_of(store)
        move = disk._move_staged

        def move_and_end() -> None:
            if moment == "before the move":
                end()
            elif moment == "after one block":
                (only,) = disk.journal.staging()
                moves = only.move(disk.journal.cut_at)
                next(moves)
                end()
            move()

        if moment == "before the compaction":
            end()
        with mock.patch.object(disk, "_move_staged", move_and_end):
            disk.compact()
        if moment == "after it":
            end()
        again = killed(store, path, tmp_path / "copy")
        assert len(again) == 2001
        assert again.get("k1999") == "x" * 100
        again.close()
        source.close()


def test_a_stream_that_never_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    with mock.patch.object(_streams, "STAGE_BYTES", 20):
        source = AgentStateStore("room", port=None)
        source.set("theirs", "x" * 1000)
        store = AgentStateStore("room", port=None, path=tmp_path)
        store.set("mine", 1)
        incoming, _ = staged(source, store)
        incoming.abandon()
        store.close()
        again = AgentStateStore("room", port=None, path=tmp_path)
        assert again.get_all() == {"mine": 1}
        before = log_bytes(tmp_path)
        disk_of(again).compact()
        assert log_bytes(tmp_path) < before
        again.close()
        source.close()
