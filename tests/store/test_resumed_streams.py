"""A long join whose connection breaks goes on over the next one, and is one stream in the end."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice, product
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from propagul import AgentStateStore
from propagul.crdt import codec
from propagul.log.fold import block_of
from propagul.store._journal import Journal
from propagul.store._roll import Roll
from propagul.store._streams import _SLICE_ROWS, IncomingStream
from propagul.store._upkeep import Upkeep
from tests.gossip.simulator import MemoryLog
from tests.gossip.taking import taken
from tests.store.test_compaction import disk_of
from tests.store.test_memory import pull
from tests.store.world import FAST, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 25_000
CUTS = 5
CUT_AFTER_BYTES = 70_000


class Proxy:
    """A port that forwards to another one and cuts each of its first connections after so many bytes.

    Args:
        target: Where to.
        on_cut: Called at each cut.
    """

    def __init__(self, target: tuple[str, int], on_cut: Callable[[int], None]) -> None:
        self.cuts = 0
        self._target = target
        self._on_cut = on_cut
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> tuple[str, int]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return host, port

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        await until(lambda: not self._open)

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        far, to_far = await asyncio.open_connection(*self._target)
        writers = {to_near, to_far}
        self._open |= writers
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(near, to_far, None, writers))
                group.create_task(self._copy(far, to_near, CUT_AFTER_BYTES if self.cuts < CUTS else None, writers))
        finally:
            for writer in writers:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            self._open -= writers

    async def _copy(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        most: int | None,
        writers: set[asyncio.StreamWriter],
    ) -> None:
        copied = 0
        with contextlib.suppress(OSError):
            while (most is None or copied < most) and (some := await source.read(16 * 1024)):
                target.write(some)
                await target.drain()
                copied += len(some)
        if most is not None and copied >= most:
            self.cuts += 1
            self._on_cut(self.cuts)
        for writer in writers:
            writer.transport.abort()


class Join:
    """A sender with many rows, and a receiver whose connection to it is cut several times.

    Args:
        tmp_path: Where the sender's state is.
        receiver_path: Where the receiver's is; None for one in memory.

    Attributes:
        sender: The sender.
        shown: What it shows in the end.
        received: The number of rows of each block that came.
        joins: How many snapshot joins the receiver has taken.
    """

    def __init__(self, tmp_path: Path, receiver_path: Path | None) -> None:
        self.sender = loopback("sender", path=tmp_path / "sender")
        self.shown: dict[str, object] = {}
        self.received: list[int] = []
        self.joins = 0
        self._receiver_path = receiver_path
        with self.sender.transaction():
            for number in range(ROWS):
                self.sender.set(f"k{number}", f"value {number}")

    def run(self, on_cut: Callable[[int], None] = lambda _: None) -> None:
        """Until both show the same; `on_cut` is called at each cut, with its number."""
        add = IncomingStream.add

        def count(stream: IncomingStream, block: bytes) -> None:
            self.received.append(len(codec.decode_block(block)))
            add(stream, block)

        async def scenario() -> None:
            await self.sender.start()
            proxy = Proxy(address(self.sender), on_cut)
            receiver = AgentStateStore(
                "my-project", "receiver", None, path=self._receiver_path, secret=SECRET, config=FAST
            )
            await receiver.start(peers=[await proxy.open()])
            await until(lambda: proxy.cuts == CUTS and receiver.get_all() == self.sender.get_all(), 50)
            self.joins = receiver.stats.joins
            self.shown = self.sender.get_all()
            await receiver.stop()
            await proxy.close()
            await self.sender.stop()

        nobody_names_an_address = mock.patch.object(Roll, "enrol")  # or they would find a way around the proxy
        with mock.patch.object(IncomingStream, "add", count), nobody_names_an_address:
            run(scenario)


def reopened(path: Path, room: str = "my-project") -> dict[str, object]:
    store = AgentStateStore(room, port=None, path=path, secret=SECRET if room == "my-project" else None)
    shown = store.get_all()
    store.close()
    return shown


def raise_floor(store: AgentStateStore) -> None:
    with mock.patch.object(Upkeep, "_is_untidy", return_value=True):
        for _ in range(3):
            store._state.tidy(lambda _: True)


@pytest.mark.parametrize("kept", ["in memory", "in a log"])
def test_each_cut_costs_at_most_one_block(tmp_path: Path, kept: str) -> None:
    path = None if kept == "in memory" else tmp_path / "receiver"
    join = Join(tmp_path, path)
    join.run()
    assert ROWS <= sum(join.received) <= ROWS + CUTS * _SLICE_ROWS
    assert path is None or reopened(path) == join.shown


@pytest.mark.parametrize("floor", ["", "a snapshot join"])
def test_what_changes_between_the_connections_comes_with_the_rest(tmp_path: Path, floor: str) -> None:
    """And stands in the log so that whoever reads it has the newer rows."""
    join = Join(tmp_path, tmp_path / "receiver")
    if floor:
        join.sender.set("gone", 1)
        join.sender.delete("gone")
        raise_floor(join.sender)

    def change(cut: int) -> None:
        for number in range(0, ROWS, 500):
            join.sender.set(f"k{number}", f"changed {cut}")
        for number in range(cut, ROWS, 1000):
            join.sender.delete(f"k{number}")
        for number in range(50):
            join.sender.set(f"new {cut} {number}", number)

    join.run(change)
    assert join.joins == bool(floor)
    changed = CUTS * (ROWS // 500 + ROWS // 1000 + 50)
    assert sum(join.received) <= ROWS + CUTS * _SLICE_ROWS + changed
    assert reopened(tmp_path / "receiver") == join.shown


def test_a_floor_that_rose_past_what_came_has_the_stream_begin_anew(tmp_path: Path) -> None:
    join = Join(tmp_path, tmp_path / "receiver")

    def change(cut: int) -> None:
        if cut == CUTS:
            for number in range(0, ROWS, 2):
                join.sender.delete(f"k{number}")
            raise_floor(join.sender)

    join.run(change)
    assert join.joins == 1
    assert sum(join.received) > ROWS
    assert len(join.shown) == ROWS // 2
    assert reopened(tmp_path / "receiver") == join.shown


@pytest.mark.parametrize("compactions", list(product([False, True], repeat=3)), ids=str)
def test_a_log_that_is_compacted_meanwhile_has_the_newer_rows(tmp_path: Path, compactions: tuple[bool, ...]) -> None:
    """A row that came twice stands twice in the log, and both are moved; the older one must not become the newer."""
    sender, receiver = AgentStateStore("room", port=None), AgentStateStore("room", port=None, path=tmp_path)
    for number in range(1000):
        sender.set(f"k{number}", f"old {number}" * 50)
    sender.delete("k999")
    raise_floor(sender)
    receiver.set("k1", "concurrent")
    disk_of(receiver).journal.has_room = lambda _: False  # large values stay in the log
    with mock.patch("propagul.store._streams.STAGE_BYTES", 4000):
        incoming = receiver._state.incoming()
        outgoing = sender._state.cut(after=0, known=receiver._state.hello()[1], told=0)
        for block in islice(taken(outgoing.blocks()), 8):
            incoming.add(block)
        assert outgoing.join is not None
        for number, compact in enumerate(compactions):
            if compact:
                receiver.compact()
            sender.set("k2", f"newer {number}" * 50)
            sender.delete(f"k{3 + number}")
            outgoing = sender._state.cut(after=0, known=receiver._state.hello()[1], told=0, held=outgoing.position)
            assert outgoing.goes_on
            incoming.go_on()
            for block in islice(taken(outgoing.blocks()), None if number == 2 else 2):
                incoming.add(block)
        incoming.apply(outgoing.entries, outgoing.join)
    shown = receiver.get_all()
    assert shown == {**sender.get_all(), "k1": shown["k1"]}
    assert len(receiver.get_conflicts("k1")) == 2
    receiver.close()
    assert reopened(tmp_path, "room") == shown
    sender.close()


def test_a_delta_does_not_go_on_where_the_floor_alone_tells_of_removals(tmp_path: Path) -> None:
    """What was removed before the cut, was still to come and is forgotten now is in no row of the rest."""
    sender, receiver = AgentStateStore("room", port=None), AgentStateStore("room", port=None, path=tmp_path)
    for number in range(1000):
        sender.set(f"k{number}", number)
    pull(receiver, sender)
    for number in range(1000):
        sender.delete(f"k{number}") if number > 500 else sender.set(f"k{number}", "changed")
    _, known, _ = receiver._state.hello()
    broken = sender._state.cut(after=0, known=known, told=0)
    assert len(list(islice(taken(broken.blocks()), 3))) == 3
    assert sender._state.cut(after=0, known=known, told=0, held=broken.position).goes_on
    raise_floor(sender)
    again = sender._state.cut(after=0, known=known, told=0, held=broken.position)
    assert not again.goes_on
    assert again.join is not None
    sender.close()
    receiver.close()


def test_a_position_means_nothing_in_another_life_of_its_sender(tmp_path: Path) -> None:
    """Its slots and arrivals are others then, though it holds the same rows."""
    path, shown = tmp_path / "sender", {f"k{number}": number for number in range(1000)}
    sender = AgentStateStore("room", port=None, path=path)
    for key, value in shown.items():
        sender.set(key, value)
    _, known, _ = AgentStateStore("room", port=None)._state.hello()
    broken = sender._state.cut(after=0, known=known, told=0)
    assert len(list(islice(taken(broken.blocks()), 3))) == 3
    assert sender._state.cut(after=0, known=known, told=0, held=broken.position).goes_on
    sender.close()
    again = AgentStateStore("room", port=None, path=path)
    assert again.get_all() == shown
    assert not again._state.cut(after=0, known=known, told=0, held=broken.position).goes_on
    again.close()


def test_blocks_of_a_stream_that_went_on_keep_their_order_in_the_log() -> None:
    log = MemoryLog()
    staged = Journal(log).stage("")
    for block in (b"1", b"2", b"3"):
        staged.add(block)
    staged.resumed = True
    moved = list(staged.move(before=1))
    assert moved == [0, 1, 2]
    assert staged.places == sorted(staged.places)
    assert [block_of(log.read(place)) for place in staged.places] == [b"1", b"2", b"3"]
    assert list(staged.move(before=1)) == []
