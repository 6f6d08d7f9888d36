"""A long stream is effective at once; nobody can tell that its rows are joined later."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from propagul import AgentStateStore
from propagul.crdt import Offer, Origin, Packed, Stamp, VersionVector, codec
from propagul.crdt.block import Block
from propagul.crdt.merge import Merge
from propagul.errors import PeerProtocolError, StoreFull
from propagul.gossip import Effect, Event, Received
from propagul.store import _streams
from propagul.store._streams import EAGER_ROWS_MAX
from tests.gossip.taking import taken
from tests.store.test_compaction import disk_of, killed
from tests.store.test_memory import pull
from tests.store.world import FAST, Island, address, loopback, on_island, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from propagul.crdt.block import Plain

ROWS = 3 * EAGER_ROWS_MAX


@pytest.fixture
def sender() -> Iterator[AgentStateStore]:
    store = AgentStateStore("room", port=0, config=FAST)
    with store.transaction():
        for number in range(ROWS):
            store.set(f"k{number}", number)
    for number in range(300):
        store.set_of("set").add(number)  # one row each
    yield store
    store.close()


@pytest.fixture
def receiver(tmp_path: Path, sender: AgentStateStore) -> Iterator[AgentStateStore]:
    """A store that has just received all of it and joined none."""
    store = AgentStateStore("room", port=None, path=tmp_path / "receiver")
    store.set("mine", "own")
    store.set("k5", "concurrent")
    pull(store, sender)
    assert store._state.is_busy
    assert len(store._state.table) == 2
    yield store
    store.close()


def test_every_key_shows_the_stream_before_any_row_was_joined(receiver: AgentStateStore) -> None:
    shown = [receiver.get(f"k{number}") for number in (0, 1, ROWS - 1)]
    assert shown == [0, 1, ROWS - 1]
    assert len(receiver._state.table) == 5
    assert "k17" in receiver
    assert "k17x" not in receiver
    assert len(receiver.get_conflicts("k5")) == 2
    assert receiver._state.is_busy


def test_what_needs_every_row_joins_them_first(receiver: AgentStateStore) -> None:
    assert len(receiver) == ROWS + 1
    assert not receiver._state.is_busy
    assert receiver.set_of("set") ^ set(range(300)) == set()


def test_a_write_has_seen_the_row_that_waited(receiver: AgentStateStore, sender: AgentStateStore) -> None:
    receiver.set("k1", "newer")
    receiver.set("k2", ["newer"])
    receiver.delete("k3")
    with receiver.transaction():
        assert receiver.get("k4") == 4
        receiver.set("k4", "newer")
    while receiver._state.settle():
        pass
    assert [receiver.get_conflicts(key) for key in ("k1", "k2", "k3", "k4")] == [[]] * 4
    pull(sender, receiver)
    assert [sender.get(key) for key in ("k1", "k2", "k3", "k4")] == ["newer", ["newer"], None, "newer"]
    assert len(sender.get_conflicts("k5")) == 2


def test_a_crash_before_any_row_was_joined_loses_none(receiver: AgentStateStore, tmp_path: Path) -> None:
    again = killed(receiver, tmp_path / "receiver", tmp_path / "copy")
    assert len(again) == ROWS + 1
    assert again.set_of("set") ^ set(range(300)) == set()
    again.close()


def test_a_compaction_holds_the_rows_that_waited(receiver: AgentStateStore, tmp_path: Path) -> None:
    receiver.compact()
    again = killed(receiver, tmp_path / "receiver", tmp_path / "copy")
    assert len(again) == ROWS + 1
    again.close()


def test_another_long_stream_finds_the_first_one_joined(receiver: AgentStateStore, sender: AgentStateStore) -> None:
    for number in range(ROWS):
        sender.set(f"k{number}", -number)
    pull(receiver, sender)
    assert receiver.get("k7") == -7
    assert receiver.get_all("k") == sender.get_all("k") | {"k5": receiver.get("k5")}


def test_watchers_and_callbacks_hear_of_each_row_once(tmp_path: Path, sender: AgentStateStore) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    heard: list[tuple[str, object]] = []

    async def main() -> None:
        async def watch() -> None:
            async for change in store.watch("k"):
                heard.append((change.key, change.value))  # noqa: PERF401 - the others look at it meanwhile

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        pull(store, sender)
        assert store.get("k9") == 9
        store.set("k9", "mine")
        while store._state.settle():
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while len(heard) < ROWS + 1:
                await asyncio.sleep(0)
        watching.cancel()

    asyncio.run(main())
    assert sorted(map(str, heard)) == sorted(map(str, [*((f"k{n}", n) for n in range(ROWS)), ("k9", "mine")]))
    assert [value for key, value in heard if key == "k9"] == [9, "mine"]
    store.close()


def test_threads_that_read_and_write_while_rows_wait_see_the_stream(receiver: AgentStateStore) -> None:
    wrong: list[str] = []

    def use(offset: int) -> None:
        for number in range(10 + offset, ROWS, 4):
            if receiver.get(f"k{number}") != number:
                wrong.append(f"k{number}")
            receiver.set(f"k{number}", "seen")

    threads = [threading.Thread(target=use, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    while receiver._state.settle():
        pass
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [receiver.get(f"k{number}") for number in range(10, ROWS)] == ["seen"] * (ROWS - 10)
    assert receiver.stats.conflicts == 1


def test_a_disk_that_refuses_the_end_leaves_nothing_of_the_stream(tmp_path: Path, sender: AgentStateStore) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    with (
        mock.patch.object(disk_of(store).journal, "end", side_effect=StoreFull("no space")),
        pytest.raises(StoreFull),
    ):
        pull(store, sender)
    assert (store.get("k1"), len(store), store._state.is_busy) == (None, 0, False)
    assert pull(store, sender)
    assert store.get("k1") == 1
    store.close()


def test_a_join_that_fails_half_way_is_told_and_done_again(
    tmp_path: Path, sender: AgentStateStore, caplog: pytest.LogCaptureFixture
) -> None:
    """As where memory is short for a moment: no row is lost, and gossip goes on."""
    failures = [MemoryError(), MemoryError()]
    take_plain = Merge.take_plain

    def take_or_fail(*arguments: object) -> None:
        if failures and arguments[1] == "k77":
            raise failures.pop()
        take_plain(*arguments)  # type: ignore[arg-type]  # what it was called with

    async def scenario() -> None:
        await sender.start()
        store = loopback("receiver", path=tmp_path / "receiver", secret=None, room="room")
        with mock.patch.object(Merge, "take_plain", take_or_fail):
            await store.start(peers=[address(sender)])
            await until(lambda: not store._state.is_busy)
        assert [store.get(f"k{number}") for number in range(ROWS)] == list(range(ROWS))
        sender.set("later", "heard")
        await until(lambda: store.get("later") == "heard")
        await store.stop()
        await sender.stop()

    run(scenario)
    assert not failures
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [MemoryError, MemoryError]


def test_local_writes_are_counted_apart_from_the_rows_of_streams(receiver: AgentStateStore) -> None:
    receiver.set("k1", "newer")
    assert receiver.stats.local_writes == 3
    assert receiver.stats.remote_rows == ROWS + 300


def test_an_offer_that_names_a_key_twice_is_refused() -> None:
    offer = Offer()
    rows: list[Plain] = [("k", 1, 0, Stamp(5), Origin(1))]
    offer.add(Block(rows, []))
    with pytest.raises(PeerProtocolError, match="twice"):
        offer.add(codec.decode_block(codec.encode_block(Block(rows, []))))


@contextlib.contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """How many more objects of the collector's kind were made than let go of: what it begins its passes by."""
    gc.collect()
    gc.disable()
    try:
        yield lambda: gc.get_count()[0]
    finally:
        gc.enable()


@pytest.mark.parametrize("logged", [False, True])
def test_a_hundred_thousand_rows_do_not_have_the_collector_go_through_the_process(
    logged: bool,  # noqa: FBT001 - a parameter
    tmp_path: Path,
) -> None:
    """A row that is an object to it means one pass for 700 rows, and for 80,000 one over everything that there is."""
    sender, store = (AgentStateStore("room", port=None, path=path) for path in (None, tmp_path if logged else None))
    values: list[Callable[[int], object]]
    values = [str] if gc.is_tracked(Packed(b"")) else [str, lambda number: {"n": number}]  # without the kernel: tracked
    expected = {f"agents/{number:06}": values[number % len(values)](number) for number in range(100_000)}
    for key, value in expected.items():
        sender.set(key, value)
    cut = sender._state.cut(after=0, known=VersionVector(), told=0)
    blocks, incoming, most = list(taken(cut.blocks())), store._state.incoming(), 0
    with counted() as count:
        for block in blocks:
            incoming.add(block)
            most = max(most, count())
        incoming.apply(cut.entries, None)
        while store._state.settle():
            most = max(most, count())
    assert most < len(expected) / 20
    assert store.get_all() == expected
    sender.close()
    store.close()


def test_each_block_is_logged_when_it_comes_once_a_stream_waits_in_the_log(
    sender: AgentStateStore, tmp_path: Path
) -> None:
    """Many at once keep everybody waiting."""
    store = AgentStateStore("room", port=None, path=tmp_path)
    cut = sender._state.cut(after=0, known=VersionVector(), told=0)
    incoming, logged = store._state.incoming(), list[int]()
    with mock.patch.object(_streams, "STAGE_BYTES", 10_000):
        for block in taken(cut.blocks()):
            incoming.add(block)
            logged.append(sum(len(staged.places) for staged in disk_of(store).journal.staging()))
    begun = logged.count(0)
    assert begun > 1
    assert logged[begun:] == list(range(begun + 1, len(logged) + 1))
    assert incoming.apply(cut.entries, None)
    assert len(store) == ROWS
    store.close()


def test_frames_that_are_there_already_leave_others_their_turns() -> None:
    """Each holds hundreds of rows; two are taken at a time."""
    turns, long = 0, list[int]()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def scenario(island: Island) -> None:
        hub, store = await island.start("hub"), await island.start("store", "hub")
        assert store._network is not None
        node = store._network.mesh.node
        handle = node.handle

        def watched(event: Event, now: float) -> list[Effect]:
            if isinstance(event, Received) and len(event.frame) > 50_000:
                long.append(turns)
            return handle(event, now)

        node.handle = watched  # type: ignore[method-assign]  # it looks on
        island.network.clog("hub", "store")
        with hub.transaction():
            for number in range(4000):
                hub.set(f"k{number}", "x" * 300)
        await island.clock.advance(1.0)
        other = asyncio.create_task(others())
        island.network.unclog("hub", "store")
        while store.get("k3999") is None:
            await island.clock.advance(0.05)
        other.cancel()

    on_island(scenario)
    assert len(long) > 10
    assert max(map(long.count, long)) == 2
