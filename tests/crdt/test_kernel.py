"""The kernel does what Python does, byte for byte, or leaves it to Python; it loses, leaks and breaks nothing."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import pydoc
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import weakref
from array import array
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

import pytest

from propagul import AgentStateStore, ClosedError, LimitExceeded, LocalProtocolError, StoreBusy
from propagul.crdt import REMOVE, Op, Origin, Replica, Stamp, stamp_of_ns
from propagul.crdt import twins as kernel_or_none
from propagul.crdt.arrivals import newest_of
from propagul.log import records
from propagul.log.recovery import scan_directory
from propagul.log.segment import SegmentFile, segment_paths
from propagul.store._clock import SystemClock
from propagul.store._map import StateMap
from propagul.store._upkeep import Upkeep
from tests.crdt.histories import LONG, rows_of, take, whole
from tests.crdt.kernels import compiled, load, said_by
from tests.workshop.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from propagul.crdt.capture import Capture

KEYS = [f"key {number}" for number in range(12)] + ["schlüssel", "\U0001f511"]

LENGTHS = (0, 1, 31, 32, 33, 255, 256, 257, 65535, 65536, 65537, 100_000)
EDGES = [sign * 2**power + off for power in (5, 7, 8, 15, 16, 31, 32, 63) for off in (-1, 0, 1) for sign in (1, -1)]
VALUES: list[object] = [
    *("a" * length for length in LENGTHS),
    *(b"\xff" * length for length in LENGTHS),
    *(edge for edge in EDGES if -(2**63) <= edge < 2**64),
    *(None, True, False, 0, 0.0, -0.0, 1.5, -1e300, float("inf"), "schön", "\U0001f600" * 20),
    *([], {}, [1, "two", {"three": b"3"}], {"a": None}, datetime(2026, 1, 1, tzinfo=UTC), 2**64 - 1),
]
REFUSED: list[tuple[object, object]] = [
    ("", 1), ("\0x", 1), ("k" * 1025, 1), (1, 1), (None, 1), (b"k", 1), ("\ud800", 1), ("k", 2**64),
    ("k", -(2**63) - 1), ("k", float("nan")), ("k", "\ud800"), ("k", object()), ("k", (1,)), ("k", {1, 2}),
    ("k", "v" * (1 << 20) + "v"), ("k", b"v" * (1 << 20) + b"v"),
]  # fmt: skip


class Text(str):
    """Not exactly a str."""

    __slots__ = ()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory)


@pytest.fixture(scope="module")
def module(library: Path) -> types.ModuleType:
    return load(library)


@pytest.fixture(autouse=True)
def kernel(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores of these tests have the kernel that was compiled here, whatever is installed."""
    monkeypatch.setenv("PROPAGUL_KERNEL", "on")
    monkeypatch.setattr(kernel_or_none, "_found", lambda: module)


@contextlib.contextmanager
def opened(path: Path | None = None, *, short: bool = True, **options: object) -> Iterator[AgentStateStore]:
    """A store with the kernel, or without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROPAGUL_KERNEL", "on" if short else "off")
        store = AgentStateStore("room", port=None, path=path, **options)  # type: ignore[arg-type]  # the caller's
    assert has_kernel(store) == short
    try:
        yield store
    finally:
        store.close()


def has_kernel(store: AgentStateStore) -> bool:
    return "set" in vars(store)


def long_ways(store: AgentStateStore) -> list[str]:
    """The keys of writes that reach Python from now on, as far as they are of the kind the kernel knows."""
    reached: list[str] = []
    put = store._put_plain

    def counted(key: str, payload: object) -> bool:
        reached.append(key)
        return put(key, payload)  # type: ignore[arg-type]  # what came

    store._put_plain = counted
    return reached


def columns(store: AgentStateStore) -> list[object]:
    """Everything the table says, and what is minted."""
    replica = store._state._replica
    return [*said_by(store._state.table), (replica.clock.last, replica.minted, replica.origin)]


def align(*stores: AgentStateStore) -> None:
    """Have stores mint the same stamps: their clocks go by ones, from a time that the wall clock does not reach."""
    start = stamp_of_ns(time.time_ns()) + 200_000_000
    for store in stores:
        replica = store._state._replica
        replica.renew(Origin(7))
        replica.clock.last = Stamp(start)


def events(path: Path) -> list[bytes]:
    """What the log in a store's directory holds; every checksum is checked on the way."""
    logs = [log for log in (path / "log").iterdir() if log.is_dir()]
    assert len(logs) == 1
    return [event for _, event in scan_directory(logs[0])]


class Twins(NamedTuple):
    """Two stores to which the same happens."""

    quick: AgentStateStore
    slow: AgentStateStore

    def both(self, act: Callable[[AgentStateStore], object]) -> None:
        """One act on both; it ends in the same way."""
        ends: list[object] = []
        for store in self:
            try:
                ends.append(repr(act(store)))
            except (ValueError, TypeError, LimitExceeded) as error:
                ends.append(f"{type(error).__name__}: {error}")
        assert ends[0] == ends[1]


@contextlib.contextmanager
def twins(path: Path | None) -> Iterator[Twins]:
    with (
        opened(None if path is None else path / "quick") as quick,
        opened(None if path is None else path / "slow", short=False) as slow,
    ):
        align(quick, slow)
        yield Twins(quick, slow)


class Dice:
    """Random acts on twins."""

    def __init__(self, pair: Twins, seed: int) -> None:
        self.pair, self.random = pair, random.Random(seed)
        self.open: list[Callable[[], object]] = []
        self.seen: dict[int, list[object]] = {id(store): [] for store in pair}
        self.foreign = Replica(Origin(9))

    def roll(self) -> None:  # noqa: C901, PLR0912 - one case an act
        dice, key, value = self.random, self.random.choice(KEYS), self.random.choice(VALUES)
        match dice.randrange(40):
            case 0:
                self.pair.both(lambda store: store.delete(key))
            case 1:
                self.pair.both(lambda store: self._transaction(store, key, value))
            case 2:
                self._open_captures()
            case 3:
                self._listen()
            case 4 | 5 | 6:
                while self.open:
                    self.open.pop()()
            case 7:
                self._merge_foreign(key)
            case 8:
                self.pair.both(lambda store: store.set(key, value, block=False))
            case 9:
                refused_key, refused = dice.choice(REFUSED)
                self.pair.both(lambda store: store.set(refused_key, refused))  # type: ignore[arg-type]  # refused
            case 10:
                self.pair.both(lambda store: store.counter("n").add(3))
            case 11:
                origin = Origin(dice.randrange(1, 2 ** dice.randrange(2, 64)))
                for store in self.pair:
                    replica = store._state._replica
                    last = replica.clock.last
                    replica.renew(origin)
                    replica.clock.last = last
            case _:
                self.pair.both(lambda store: store.set(key, value))
        self.pair.both(lambda store: store.get(key, "none"))

    def _transaction(self, store: AgentStateStore, key: str, value: object) -> object:
        with store.transaction():
            store.set(key, value)
            store.set("other", 1)
            return store.get(key), store.get("other"), store.get("never", 5)

    def _open_captures(self) -> None:
        for store in self.pair:
            self.open.append(functools.partial(self._read, store, store._state.table.capture(0)))

    def _read(self, store: AgentStateStore, capture: Capture) -> None:
        with store._lock:
            while block := capture.read(5):
                self.seen[id(store)].append(block)
            capture.close()

    def _listen(self) -> None:
        for store in self.pair:
            seen = self.seen[id(store)]
            self.open.append(store._state.listen(lambda change, local, seen=seen: seen.append((change, local))))  # type: ignore[misc]  # a default

    def _merge_foreign(self, key: str) -> None:
        wall = stamp_of_ns(time.time_ns())
        self.foreign.apply(self.foreign.prepare([Op(key, 0, "foreign")], wall))
        for store in self.pair:
            with store._state.lock:
                take(store._state._replica, whole(self.foreign), wall)


@pytest.mark.parametrize("kept", ["in memory", "in a log"])
@pytest.mark.parametrize("seed", range(6))
def test_random_histories_leave_the_same_rows_and_the_same_log(kept: str, seed: int, tmp_path: Path) -> None:
    with (
        mock.patch.object(Upkeep, "_is_untidy", return_value=False),  # the short way counts no batches towards it
        mock.patch("propagul.store._disk.COMPACT_BYTES", 2**40),  # the whole log is compared
        twins(tmp_path if kept == "in a log" else None) as pair,
    ):
        dice = Dice(pair, seed)
        for number in range(10_000 if LONG else 800):
            dice.roll()
            if number % 50 == 0:
                assert columns(pair.quick) == columns(pair.slow)
        assert columns(pair.quick) == columns(pair.slow)
        assert rows_of(pair.quick._state._replica) == rows_of(pair.slow._state._replica)
        assert pair.quick._state._replica.vector == pair.slow._state._replica.vector
        assert pair.quick.get_all() == pair.slow.get_all()
        quick, slow = dice.seen.values()
        assert quick == slow
        assert quick
    if kept == "in a log":
        assert events(tmp_path / "quick") == events(tmp_path / "slow")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__} {str(value)[:12]}")
def test_every_kind_and_size_of_value_is_logged_as_python_logs_it(value: object, tmp_path: Path) -> None:
    keys = ["k" * length for length in (1, 31, 32, 255, 256, 1024)]
    with twins(tmp_path) as pair:
        for key in keys:
            pair.both(lambda store, key=key: store.set(key, value))  # type: ignore[misc]  # a default
            pair.both(lambda store, key=key: (type(store.get(key)), store.get(key)))  # type: ignore[misc]  # a default
    assert events(tmp_path / "quick") == events(tmp_path / "slow")


@pytest.mark.parametrize(("key", "value"), REFUSED, ids=range(len(REFUSED)))
def test_what_python_refuses_is_refused_in_the_same_words(key: object, value: object) -> None:
    with twins(None) as pair:
        pair.both(lambda store: store.set(key, value))  # type: ignore[arg-type]  # that is the point
        assert columns(pair.quick) == columns(pair.slow)
        assert len(pair.quick) == 0


def test_a_frame_is_the_one_that_python_writes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.set("first", 1)  # begins the segment
        reached = long_ways(store)
        for number in range(2000):
            store.set(f"key {number}", "v" * (number % 300))
        assert len(reached) < 40
    (log,) = (log for log in (tmp_path / "log").iterdir() if log.is_dir())
    for path in segment_paths(log).values():
        segment, content = SegmentFile(path), path.read_bytes()
        for found in segment.scan():
            for place, payload in found:
                at = place & (2**40 - 1)
                framed = records.encode(payload, at, segment.trusted.seed)
                assert content[at : at + len(framed)] == framed


def test_simple_writes_reach_python_once_in_a_chunk_or_a_growth() -> None:
    with opened() as store:
        reached = long_ways(store)
        for turn in range(3):
            for number in range(20_000):
                store.set(f"key {number}", "v" if turn else "w")
        assert 0 < len(reached) < 80
        assert store._state.local_writes == 60_000


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "text", b"bytes", "", 0.0], ids=repr)
def test_scalars_go_the_short_way(value: object) -> None:
    with opened() as store:
        store.set("key", "x")
        arrivals = store._state.table.arrival
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store._state, "write", None)
            store._put_plain = None  # type: ignore[assignment]  # what is called would show
            store.set("key", value)
        assert store.get("key") is value or store.get("key") == value
        assert store._state.table.arrival == arrivals + 1


def entered(block: AbstractContextManager[None]) -> object:
    block.__enter__()
    return block


def goes_to_python(store: AgentStateStore) -> bool:
    reached: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_put_plain", lambda *call: reached.append(call))
        patch.setattr(store, "_before_write", lambda **_: reached.append(1))
        patch.setattr(store._rows, "commit", reached.append)
        store.set("key", "value")
    return bool(reached)


@pytest.mark.parametrize(
    "forbid",
    [
        lambda store: store._state.listen(lambda *_: None),
        lambda store: store._state.table.capture(0),
        lambda store: entered(store.transaction()),
        lambda store: setattr(store, "_waits", True),
        lambda store: setattr(store._disk, "is_pressing", True),
        lambda store: setattr(store._disk.journal, "sync_each", True),
        lambda store: setattr(store._disk.log._writer, "room", 0),
        lambda store: setattr(store._disk.journal, "_grown", 7),
        lambda store: setattr(store._state._replica.clock, "last", 2**62),
        lambda store: store._state._replica.renew(Origin(5)),
        lambda store: store._state._replica.apply(store._state._replica.prepare([Op("key", 0, REMOVE)], Stamp(0))),
        lambda store: store.set("key", [1]),
        lambda store: store._state.table.drop("key"),
    ],
    ids=range(13),
)
def test_what_python_must_see_is_left_to_python(forbid: Callable[[AgentStateStore], object], tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.set("key", "value")
        store.set("key", "value")
        assert not goes_to_python(store)
        kept = forbid(store)
        assert goes_to_python(store)
        del kept
        store._disk.is_pressing = store._disk.journal.sync_each = store._waits = False  # type: ignore[union-attr]  # a path was given


def test_a_running_store_hears_of_each_write() -> None:
    with opened() as store, pytest.MonkeyPatch.context() as patch:
        heard: list[str] = []
        store.set("key", 1)
        patch.setattr(store, "_wrote_locally", lambda: heard.append("it"))
        store.set("key", 2)
        assert heard == []
        store._tells = object()  # type: ignore[assignment]  # it is only asked whether there is one
        store._put_plain = None  # type: ignore[assignment]  # what is called would show
        store.set("key", 3)
        assert heard == ["it"]
        store._tells = None
        store.set("key", 4)
        assert heard == ["it"]


def test_a_write_waits_for_whoever_is_inside_the_lock() -> None:
    with opened() as store:
        store.set("key", 1)
        with store._lock:
            writer = threading.Thread(target=store.set, args=("key", 2))
            writer.start()
            writer.join(0.2)
            assert writer.is_alive()
            assert store.get("key") == 1
        writer.join(10)
        assert store.get("key") == 2


@pytest.mark.parametrize("kept", ["in memory", "in a log"])
@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("value", ["text", 1, [1]])
def test_a_closed_store_refuses(kept: str, short: bool, value: object, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    with opened(tmp_path if kept == "in a log" else None, short=short) as store:
        store.set("key", "value")
    with pytest.raises(ClosedError):
        store.set("key", value)
    assert store.get("key") == "value"


def test_a_busy_disk_refuses_who_would_not_wait(tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreBusy("the disk is behind")

    with opened(tmp_path) as store, pytest.MonkeyPatch.context() as patch:
        store.set("key", 1)
        patch.setattr("propagul.log.event_log.EventLog.throttle", refuse)
        store._disk.is_pressing = True  # type: ignore[union-attr]  # a path was given
        with pytest.raises(StoreBusy):
            store.set("key", 2)
        assert store.get("key") == 1
        store._disk.is_pressing = False  # type: ignore[union-attr]  # as above


@pytest.mark.parametrize("kept", ["in memory", "in a log"])
def test_four_threads_write_in_one_order_and_lose_nothing(kept: str, tmp_path: Path) -> None:
    path, turns = (tmp_path if kept == "in a log" else None), 50_000
    done = threading.Event()
    with opened(path) as store:

        def write(thread: int) -> None:
            for number in range(turns):
                store.set(f"{thread} {number % 997}" if number % 3 else f"shared {number % 97}", number)

        def disturb() -> None:
            while not done.is_set():
                stop = store._state.listen(lambda *_: None)
                capture = store._state.table.capture(0)
                store.set("disturbed", "x")
                stop()
                capture.close()
                store.get_all("shared")
                time.sleep(0.002)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        disturber = threading.Thread(target=disturb)
        for thread in (*threads, disturber):
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        disturber.join()
        table = store._state.table
        stamps = [table._stamps[slot] for slot in table._journal.since(0)]
        assert stamps == sorted(set(stamps))
        assert len(table._journal.since(0)) == len(table.slots)
        for writer in range(4):
            for key in range(997):
                assert store.get(f"{writer} {key}") == max(n for n in range(key, turns, 997) if n % 3)
        held = columns(store)[:3]
    if path is not None:
        with opened(path, short=False) as again:
            assert columns(again)[:3] == held


KILLED = """
import os, sys
from tests.crdt.kernels import use
use(sys.argv[2])
from propagul import AgentStateStore
store = AgentStateStore("room", port=None, path=sys.argv[1])
number = store.get("number", 0)
assert "set" in vars(store)
while True:
    for number in range(number + 1, number + 51):
        store.set(f"key {number % 100}", "x" * (number % 500))
        store.set("number", number)
    os.write(1, b"%d\\n" % number)
"""


def test_what_was_acknowledged_survives_kill_9(library: Path, tmp_path: Path) -> None:
    dice, acknowledged = random.Random(1), 0
    for _ in range(60 if LONG else 3):
        command = (sys.executable, "-c", KILLED, str(tmp_path), str(library))
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(dice.randrange(20, 120))]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines(keepends=True)
        acknowledged = max(int(line) for line in lines if line.endswith(b"\n"))
        with opened(tmp_path, short=False) as store:
            number = store.get("number")
            assert isinstance(number, int)
            assert number >= acknowledged
            assert store.get(f"key {number % 100}") == "x" * (number % 500)
            for near in range(max(1, number - 98), number):
                assert store.get(f"key {near % 100}") == "x" * (near % 500)
    assert acknowledged > 1000


def test_a_million_writes_keep_no_memory_and_no_reference() -> None:
    values = [f"value {number}" for number in range(1000)]
    keys = [f"key {number}" for number in range(1000)]
    with opened() as store:

        def write(turns: int) -> None:
            write_one = store.set
            for _ in range(turns):
                for key, value in zip(keys, values, strict=True):
                    write_one(key, value)
                    store.get(key)

        write(30)
        gc.collect()
        counts = [sys.getrefcount(thing) for thing in (*keys, *values, store, store._state.table, None.__class__)]
        tracemalloc.start()
        try:
            write(5)
            before = tracemalloc.get_traced_memory()[0]
            write(1000)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 400_000  # the order of arrival has chunks, which come and go
        assert [sys.getrefcount(t) for t in (*keys, *values, store, store._state.table, None.__class__)] == counts


def test_a_store_that_nobody_holds_is_collected() -> None:
    with opened() as store:
        store.set("key", "value")  # the columns grow
        store.set("key", "value")
        stamps, left = store._state.table._stamps, weakref.ref(store)
        short = store.set
        with pytest.raises(BufferError):
            stamps.frombytes(bytes(8))
    del store, short
    gc.collect()
    assert left() is None
    stamps.frombytes(bytes(8))  # the lease ended with it


@pytest.mark.parametrize("kept", ["in memory", "in a log"])
@pytest.mark.parametrize("key", ["known", "new"])
def test_a_write_for_which_there_is_no_memory_did_not_happen(kept: str, key: str, tmp_path: Path) -> None:
    allocations = pytest.importorskip("_testcapi")
    with opened(tmp_path if kept == "in a log" else None) as store:
        table, filled = store._state.table, 0
        while len(table._stamps) - len(table._keys) < 320 or len(table._journal.newest) > 3000:
            store.set(f"key {filled}", "before")
            filled += 1  # until nothing that Python does, a growth or a chunk's end, is due soon
        store.set("known", "before")
        failed, set_one, fail, succeed = 0, store.set, allocations.set_nomemory, allocations.remove_mem_hooks
        for turn in range(300):
            name = key if key == "known" else f"new {turn}"
            before, arrival = store.get(name), store._state.table.arrival
            for start in range(50):  # every allocation that this write makes fails once
                fail(start)
                try:
                    set_one(name, turn)
                    succeed()
                    break
                except MemoryError:
                    succeed()
                    failed += 1
                    assert (store.get(name), store._state.table.arrival) == (before, arrival)
            assert (store.get(name), store._state.table.arrival) == (turn, arrival + 1)
            assert len(table._keys) == len(table.values) == len(table.slots)
        assert failed >= 300
        expected = store.get_all()
    if kept == "in a log":
        with opened(tmp_path, short=False) as again:
            assert again.get_all() == expected


def test_the_method_looks_like_pythons() -> None:
    with opened() as quick, opened(short=False) as slow:
        for name in ("set", "get"):
            ours, theirs = getattr(quick, name), getattr(slow, name)
            assert inspect.signature(ours) == inspect.signature(theirs)
            assert inspect.ismethod(ours)
            assert ours.__self__ is quick
            assert (ours.__doc__, ours.__name__, ours.__qualname__) == (theirs.__doc__, name, theirs.__qualname__)
            assert inspect.getsource(ours) == inspect.getsource(theirs)
            assert pydoc.render_doc(ours) == pydoc.render_doc(theirs)
            assert repr(ours).split(" of ")[0] == repr(theirs).split(" of ")[0]


@pytest.mark.parametrize(
    ("args", "named"),
    [((), {}), (("k",), {}), (("k", 1, 2), {}), (("k",), {"value": 1}), ((), {"key": "k", "value": 1}),
     (("k", 1), {"block": False}), (("k", 1), {"blocks": False})],
)  # fmt: skip
def test_arguments_are_taken_as_python_takes_them(args: tuple[object, ...], named: dict[str, object]) -> None:
    with twins(None) as pair:
        pair.both(lambda store: store.set(*args, **named))  # type: ignore[arg-type]  # that is the point
        pair.both(lambda store: store.get(*args[:2], **named))  # type: ignore[arg-type]  # likewise
        assert columns(pair.quick) == columns(pair.slow)


@pytest.mark.parametrize("key", [1, None, [], b"k", Text("key"), "", "\0x", "\ud800"])
def test_any_key_may_be_asked_for(key: object) -> None:
    with twins(None) as pair:
        pair.both(lambda store: store.set("key", 5))
        pair.both(lambda store: store.get(key))  # type: ignore[arg-type]  # that is the point
        pair.both(lambda store: store.get(key, "default"))  # type: ignore[arg-type]  # likewise


def test_a_subclass_with_its_own_methods_keeps_them() -> None:
    class Loud(AgentStateStore):
        def get(self, key: str, default: object = None) -> object:
            return f"{super().get(key, default)}!"

    store = Loud("room", port=None)
    store.set("key", "a")
    assert store.get("key") == "a!"
    store.close()


def test_a_store_with_a_clock_of_its_own_asks_that() -> None:
    class Slow(SystemClock):
        def time_ns(self) -> int:
            return 1_800_000_000 * 10**9

    store = AgentStateStore("room", port=None, clock=Slow())
    store.set("key", 1)
    assert store._state._replica.minted == stamp_of_ns(1_800_000_000 * 10**9)
    store.close()


def test_another_object_is_not_written_through_somebody_elses_method() -> None:
    with opened() as one, opened() as other:
        one.set.__func__(other, "key", 1)  # type: ignore[attr-defined]  # a bound method has one
        assert other.get("key") == 1
        assert one.get("key") is None


def test_the_variable_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROPAGUL_KERNEL", "off")
    store = AgentStateStore("room", port=None)
    assert not has_kernel(store)
    store.close()
    monkeypatch.setattr(kernel_or_none, "_found", lambda: None)
    monkeypatch.setenv("PROPAGUL_KERNEL", "on")
    with pytest.raises(LocalProtocolError, match="PROPAGUL_KERNEL is 'on', and this installation has no kernel"):
        AgentStateStore("room", port=None)
    monkeypatch.setenv("PROPAGUL_KERNEL", "fast")
    with pytest.raises(LocalProtocolError, match="takes 'auto', 'on' or 'off'"):
        AgentStateStore("room", port=None)
    monkeypatch.delenv("PROPAGUL_KERNEL")
    store = AgentStateStore("room", port=None)
    assert not has_kernel(store)
    store.close()


@pytest.mark.parametrize("seed", range(20))
def test_the_sweep_keeps_what_pythons_keeps(seed: int, module: types.ModuleType) -> None:
    dice = random.Random(seed)
    arrivals = array("Q", [dice.randrange(100, 130) for _ in range(20)])
    slots = array("I", [dice.randrange(20) for _ in range(30)])
    for when in (range(100, 130), array("Q", range(100, 130))):
        kept, kept_when = module.newest_of(slots, when, arrivals)
        assert (array("I", kept), array("Q", kept_when)) == newest_of(slots, when, arrivals)
    assert module.newest_of(array("I"), range(1, 1), arrivals) == (b"", b"")
    assert module.newest_of(array("I", [99]), range(1, 2), arrivals) == (b"", b"")
    for wrong in (
        (slots, range(3), arrivals),
        (slots, slots, arrivals),
        (arrivals, range(30), arrivals),
        (slots, 5, 5),
    ):
        with pytest.raises((TypeError, ValueError)):
            module.newest_of(*wrong)


def test_columns_that_are_leased_cannot_be_moved_from_under_the_kernel() -> None:
    with opened() as store:
        for number in range(300):
            store.set(f"key {number}", "v")
        with pytest.raises(BufferError):
            store._state.table._stamps.frombytes(bytes(8))


def test_objects_of_another_shape_are_refused(module: types.ModuleType) -> None:
    with opened() as store:
        with pytest.raises((TypeError, AttributeError)):
            module.Getter(StateMap.get, store, types.SimpleNamespace(open_transactions=0), store._table)
        with pytest.raises((TypeError, AttributeError)):
            module.Getter(StateMap.get, store, store._rows, types.SimpleNamespace(slots=5, values=[]))
        with pytest.raises(TypeError):
            module.Setter()
