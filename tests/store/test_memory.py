"""Values leave memory beyond a budget and come back from the log, whatever happens to the log meanwhile."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from propagul import AgentStateStore
from propagul.crdt import EMPTY, Change, Evicted, VersionVector, codec
from propagul.errors import StoreError
from propagul.log.place import in_snapshot, number_of, offset_of
from propagul.log.segment import segment_paths
from propagul.store import _disk
from propagul.store._verify import verify
from propagul.store._watch import Watcher
from tests.gossip.taking import taken
from tests.store.test_compaction import disk_of, killed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from propagul.store._watch import Change as Seen

MIB = 1024 * 1024


def lone(path: Path) -> AgentStateStore:
    return AgentStateStore("room", port=None, path=path, memory_bytes=MIB)


def text(number: int) -> str:
    return f"{number:08d}" * 256


def filled(path: Path, count: int = 2000) -> tuple[AgentStateStore, dict[str, object]]:
    """A store that holds four times of what may be in memory, and what it holds."""
    store, expected = lone(path), {}
    for number in range(count):
        value: object = (text(number), text(number).encode(), [text(number), number], number)[number % 4]
        store.set(f"k{number}", value)
        expected[f"k{number}"] = value
    evict(store)
    return store, expected


def evict(store: AgentStateStore) -> None:
    """What the disk's own thread does in its own time."""
    disk_of(store)._evict_quietly()


def evicted_places(store: AgentStateStore) -> list[int]:
    table = store._state.table
    payloads = [sibling.payload for key in table.slots for sibling in table.row(key).siblings]
    return [payload >> 32 for payload in payloads if isinstance(payload, Evicted)]


def there(store: AgentStateStore) -> bool:
    """Whether every evicted value stands in a file that is there."""
    directory = disk_of(store).directory.log_path
    segments = segment_paths(directory)
    snapshots = {int(path.stem) for path in directory.glob("*.snap")}
    return all(number_of(p) in (snapshots if in_snapshot(p) else segments) for p in evicted_places(store))


@contextmanager
def nothing_compacts_by_itself() -> Iterator[None]:
    with mock.patch.object(_disk, "COMPACT_BYTES", 1 << 40):
        yield


def test_values_beyond_the_budget_leave_memory_and_are_read_all_the_same(tmp_path: Path) -> None:
    store, expected = filled(tmp_path)
    assert store.stats.evicted > 700
    assert all(store.get(key) == value for key, value in expected.items())
    assert store.get_all() == expected
    assert store.stats.evicted > 700
    store.close()
    again = lone(tmp_path)
    assert again.stats.evicted == 1500
    assert again.get_all() == expected
    again.close()


def test_a_store_within_its_budget_keeps_every_value_in_memory(tmp_path: Path) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    for number in range(2000):
        store.set(f"k{number}", text(number))
    evict(store)
    store.compact()
    assert store.stats.evicted == 0
    store.close()


def test_without_a_path_every_value_stays(tmp_path: Path) -> None:
    del tmp_path
    store = AgentStateStore("room", port=None, memory_bytes=MIB)
    for number in range(2000):
        store.set(f"k{number}", text(number))
    assert (store.stats.evicted, store.get("k7")) == (0, text(7))
    store.close()


def test_compaction_gives_every_evicted_value_a_new_place(tmp_path: Path) -> None:
    store, expected = filled(tmp_path)
    for number in range(0, 2000, 3):
        store.set(f"k{number}", expected.setdefault(f"k{number}", None) and number)
        expected[f"k{number}"] = number
    store.delete("k1")
    del expected["k1"]
    for _ in range(3):
        store.set("again", "and again")
        store.compact()
        assert there(store)
        assert store.get_all() == {**expected, "again": "and again"}
    found = killed(store, tmp_path, tmp_path.parent / "copy")
    assert found.get_all() == {**expected, "again": "and again"}
    found.close()


def test_reads_go_on_while_the_log_is_compacted_under_them(tmp_path: Path) -> None:
    store, expected = filled(tmp_path)
    keys, failed, done = list(expected), [], threading.Event()

    def read() -> None:
        chance = random.Random(1)
        while not done.is_set():
            key = chance.choice(keys)
            if store.get(key) != expected[key]:
                failed.append(key)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for round_ in range(6):
        store.set("round", round_)
        store.compact()
    done.set()
    for reader in readers:
        reader.join()
    assert failed == []
    store.close()


def test_who_began_to_read_before_a_compaction_reads_to_the_end(tmp_path: Path) -> None:
    store, expected = filled(tmp_path)
    items = store.items()
    entries = [next(items)]
    outgoing = store._state.cut(after=0, known=VersionVector(), told=0)
    for number in range(2000):
        store.set(f"k{number}", 0)
    before = set(segment_paths(disk_of(store).directory.log_path))
    store.compact()
    assert before <= set(segment_paths(disk_of(store).directory.log_path)), "somebody still reads these"
    entries += items
    assert dict(entries) == expected
    sent = [codec.decode_block(block) for block in taken(outgoing.blocks())]
    assert {p[0] for block in sent for p in block.plain} == set(expected)
    del items, outgoing
    disk_of(store)._drop_quietly()
    assert before.isdisjoint(segment_paths(disk_of(store).directory.log_path)), "nobody reads them any more"
    assert there(store)
    store.close()


def test_typed_structures_conflicts_and_transactions_are_read_from_the_disk(tmp_path: Path) -> None:
    store, other = lone(tmp_path), AgentStateStore("room", port=None)
    for number in range(200):
        store.log_of("log").append(text(number))
        store.map_of("map")["a", str(number)] = text(number)
    store.set("mine", text(1))
    other.set("mine", text(2))
    pull(store, other)
    for number in range(2000):
        store.set(f"k{number}", text(number))
    evict(store)
    assert [entry.value for entry in store.log_of("log")] == [text(number) for number in range(200)]
    assert store.map_of("map").to_dict() == {"a": {str(number): text(number) for number in range(200)}}
    assert store.map_of("map").get(("a", "7")) == text(7)
    assert isinstance(store._state.row("mine").siblings[0].payload, Evicted)
    assert sorted(map(str, store.get_conflicts("mine"))) == [text(1), text(2)]
    with store.transaction():
        assert store.get("k3") == text(3)
        store.set("k3", text(4))
        assert store.get("k3") == text(4)
    assert store.resolve("mine", lambda values: max(map(str, values))) == text(2)
    assert store.get_conflicts("mine") == []
    store.close()
    other.close()


def pull(receiver: AgentStateStore, sender: AgentStateStore) -> bool:
    """Everything of one store, as a link would bring it."""
    outgoing = sender._state.cut(after=0, known=receiver._state.hello()[1], told=0)
    incoming = receiver._state.incoming()
    for block in taken(outgoing.blocks()):
        incoming.add(block)
    return incoming.apply(outgoing.entries, outgoing.join)


def test_a_stream_longer_than_the_budget_stays_on_the_disk(tmp_path: Path) -> None:
    sender, expected = filled(tmp_path / "sender", 4000)
    receiver = lone(tmp_path / "receiver")
    with nothing_compacts_by_itself():
        assert pull(receiver, sender)
        assert receiver.get("k17") == expected["k17"]
        receiver._state.settle_all()
        assert receiver.stats.evicted > 1500
        assert receiver.get_all() == expected
        found = killed(receiver, tmp_path / "receiver", tmp_path / "copy")
    assert found.get_all() == expected
    found.close()
    sender.close()


def test_a_stream_that_is_being_staged_moves_with_a_compaction(tmp_path: Path) -> None:
    sender, expected = filled(tmp_path / "sender", 4000)
    receiver = lone(tmp_path / "receiver")
    outgoing = sender._state.cut(after=0, known=VersionVector(), told=0)
    incoming = receiver._state.incoming()
    for number, block in enumerate(taken(outgoing.blocks())):
        incoming.add(block)
        if number in (50, 90):
            receiver.set("mine", number)
            receiver.compact()
    incoming.apply(outgoing.entries, outgoing.join)
    assert receiver.get_all() == {**expected, "mine": 90}
    receiver.compact()
    assert there(receiver)
    assert receiver.get_all() == {**expected, "mine": 90}
    receiver.close()
    sender.close()


def test_aget_reads_the_disk_in_a_thread(tmp_path: Path) -> None:
    store, expected = filled(tmp_path)
    threads: list[int] = []
    read = disk_of(store)._read

    def noted(place: int) -> bytes:
        threads.append(threading.get_ident())
        return read(place)

    async def main() -> None:
        assert await store.aget("k0") == expected["k0"]
        assert await store.aget("k1999") == expected["k1999"]
        assert await store.aget("nothing", "default") == "default"

    with mock.patch.object(disk_of(store).journal.cold, "_read", noted):
        asyncio.run(main())
    assert threads
    assert threading.get_ident() not in threads
    store.close()


def test_a_watcher_is_told_the_value_that_the_disk_holds(tmp_path: Path) -> None:
    sender, expected = filled(tmp_path / "sender", 4000)
    receiver = lone(tmp_path / "receiver")
    seen: dict[str, object] = {}

    async def main() -> None:
        async def watch() -> None:
            async for change in receiver.watch():
                seen[change.key] = change.value

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        pull(receiver, sender)
        while receiver._state.settle():
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while len(seen) < len(expected):
                await asyncio.sleep(0)
        watching.cancel()

    with nothing_compacts_by_itself():
        asyncio.run(main())
    assert seen == expected
    receiver.close()
    sender.close()


def test_a_state_that_is_there_no_more_is_passed_over_for_the_newer_one(tmp_path: Path) -> None:
    store, _ = filled(tmp_path)
    loop = asyncio.new_event_loop()
    watcher = Watcher("", loop)
    row = store._state.row("k0")
    assert isinstance(row.siblings[0].payload, Evicted)
    watcher.offer(Change("k0", EMPTY, row), local=False)
    for number in range(2000):
        store.set(f"k{number}", "newer")
    store.compact()
    watcher.offer(Change("k0", row, store._state.row("k0")), local=True)
    watcher.close()
    seen = loop.run_until_complete(collected(watcher))
    loop.close()
    assert [(change.key, change.value) for change in seen] == [("k0", "newer")]
    store.close()


async def collected(watcher: Watcher) -> list[Seen]:
    return [change async for change in watcher.changes()]


def test_the_log_of_another_process_is_taken_in_without_its_values_in_memory(tmp_path: Path) -> None:
    first, expected = filled(tmp_path)
    with mock.patch("propagul.log.cold.FOLDED_BYTES_MAX", 0):
        second = lone(tmp_path)
        assert second.get_all() == expected
        first.close()
        third = lone(tmp_path)
        assert third.get_all() == expected
        assert [report.faults for report in verify(tmp_path)] == [[]] * len(list(verify(tmp_path)))
    second.close()
    third.close()


def test_older_files_stay_until_every_evicted_value_has_its_new_place(tmp_path: Path) -> None:
    store, expected = filled(tmp_path)
    refusal = mock.patch("propagul.store._eviction.read_snapshot", side_effect=StoreError("not now"))
    with refusal, pytest.raises(StoreError, match="not now"):
        store.compact()
    disk_of(store)._drop_quietly()
    assert there(store)
    assert store.get_all() == expected
    store.set("again", 1)
    store.compact()
    assert there(store)
    assert min(segment_paths(disk_of(store).directory.log_path)) > 1
    assert store.get_all() == {**expected, "again": 1}
    store.close()


def test_closing_waits_for_no_compaction(tmp_path: Path) -> None:
    store, expected = filled(tmp_path)
    begun = threading.Event()
    events_of = _disk._events_of

    def endless(*arguments: object) -> Iterator[bytes]:
        while True:
            begun.set()
            yield from events_of(*arguments)  # type: ignore[arg-type]  # what it is called with

    with mock.patch.object(_disk, "_events_of", endless):
        disk_of(store)._worker.do(disk_of(store)._compact_quietly)
        assert begun.wait(20)
        store.close()
    again = lone(tmp_path)
    assert again.get_all() == expected
    again.close()


def damage(store: AgentStateStore, place: int) -> None:
    path = segment_paths(disk_of(store).directory.log_path)[number_of(place)]
    with path.open("r+b") as file:
        file.seek(offset_of(place) + 100)
        file.write(b"\xff\xff")


def test_damage_to_an_evicted_value_is_an_error_and_hides_no_other(tmp_path: Path) -> None:
    with nothing_compacts_by_itself():
        store, expected = filled(tmp_path)
    payload = store._state.table.get("k0")
    assert isinstance(payload, Evicted)
    damage(store, payload >> 32)
    with pytest.raises(StoreError, match="holds no sound record"):
        store.get("k0")
    assert store.get_all() == {key: value for key, value in expected.items() if key != "k0"}
    store.close()


@pytest.mark.parametrize("too_little", [0, -1, MIB - 1])
def test_a_budget_below_a_mebibyte_is_refused(too_little: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="memory_bytes is at least"):
        AgentStateStore("room", port=None, path=tmp_path, memory_bytes=too_little)


def test_eviction_walks_on_by_itself_as_the_log_grows(tmp_path: Path) -> None:
    store = lone(tmp_path)
    with nothing_compacts_by_itself():
        for number in range(6000):
            store.set(f"k{number % 3000}", text(number))
        eventually(lambda: store.stats.evicted > 1500)
    assert all(store.get(f"k{number}") == text(3000 + number) for number in range(3000))
    store.close()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = threading.Event()
    for _ in range(2000):
        if condition():
            return
        deadline.wait(0.01)
    raise AssertionError("it did not happen in time")
