"""The past: what a replica saw of a key and held at a moment, against a record that the test keeps itself."""

from __future__ import annotations

import math
import random
import re
import shutil
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from propagul import (
    AgentStateStore,
    ClosedError,
    LocalProtocolError,
    NotRetained,
    Retention,
    StoreCorrupt,
    StoreError,
    _system,
)
from propagul.crdt import VersionVector, stamp_of_ns
from propagul.store import _streams
from propagul.store._history import stamp_at, time_of
from propagul.store._watch import visible
from propagul.testing import MemoryNetwork, VirtualClock
from tests.crdt.histories import LONG
from tests.gossip.taking import taken
from tests.store.world import ROOM, Island, on_island

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from propagul import Version
    from propagul.crdt import Change, Stamp
    from propagul.store._disk import Disk

ALL = Retention("all")


class WallClock(VirtualClock):
    """A virtual clock without a loop: whoever holds it moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = super().time_ns()

    def time_ns(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def lone(path: Path | None, clock: WallClock, retention: Retention | None = ALL) -> AgentStateStore:
    """A store that links with nobody."""
    transport = MemoryNetwork(clock).transport("lone")
    return AgentStateStore(ROOM, transport=transport, clock=clock, path=path, retention=retention)


def disk_of(store: AgentStateStore) -> Disk:
    disk = store._disk
    assert disk is not None
    return disk


def compact(store: AgentStateStore) -> None:
    disk_of(store).compact()


def folder_of(store: AgentStateStore) -> Path:
    return disk_of(store).directory.log_path / "history"


def told(versions: Sequence[Version]) -> list[tuple[object, ...]]:
    """Versions as plain tuples."""
    return [(v.value, v.deleted, v.at, v.cause, v.conflict) for v in versions]


def values(versions: Sequence[Version]) -> list[object]:
    return [version.value for version in versions]


# --- what a retention is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "seconds"),
    [("none", 0), ("all", math.inf), ("30s", 30), ("5m", 300), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_a_retention_is_a_length_of_time(length: str, seconds: float) -> None:
    assert Retention(length).seconds == seconds
    assert repr(Retention(length)) == f"Retention('{length}')"


def test_a_retention_in_seconds_equals_the_same_length_in_words() -> None:
    assert Retention(seconds=3600) == Retention("1h") != Retention("2h")
    assert hash(Retention(seconds=3600)) == hash(Retention("1h"))
    assert repr(Retention(seconds=2.5)) == "Retention(seconds=2.5)"


@pytest.mark.parametrize("length", ["", "7", "d", "7 d", "-7d", "0d", "1.5h", "7D", "7days", "\u0667d", "1d2h", "None"])
def test_a_text_that_is_no_length_is_refused_and_told_what_is(length: str) -> None:
    with pytest.raises(ValueError, match="whole number with s, m, h, d or w"):
        Retention(length)


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_seconds_that_are_no_length_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="more than 0 and finite"):
        Retention(seconds=seconds)


@pytest.mark.parametrize("wrong", [{"length": 7}, {"seconds": True}, {"seconds": "7"}])
def test_a_retention_of_the_wrong_type_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="retention"):
        Retention(**wrong)  # type: ignore[arg-type]  # that is the point


def test_a_retention_is_said_once() -> None:
    for wrong in ({}, {"length": "7d", "seconds": 7}):
        with pytest.raises(ValueError, match="exactly one of them"):
            Retention(**wrong)  # type: ignore[arg-type]  # that is the point


# --- asking ------------------------------------------------------------------------------------------------------


def test_a_store_without_a_path_has_no_past_and_says_what_it_takes() -> None:
    store = lone(None, WallClock())
    store.set("task", 1)
    with pytest.raises(LocalProtocolError, match=r"path.*retention"):
        store.history("task")
    with pytest.raises(LocalProtocolError, match=r"path.*retention"):
        store.at(datetime.now(UTC))
    store.close()


def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    store = lone(tmp_path, WallClock())
    with pytest.raises(ValueError, match="time zone"):
        store.at(datetime(2027, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="0 or more"):
        store.history("task", -1)
    with pytest.raises(ValueError, match="counter"):
        store.history("\0ctokens\0")
    store.close()
    with pytest.raises(ClosedError):
        store.history("task")
    with pytest.raises(ClosedError):
        store.at(datetime.now(UTC))


def test_a_moment_and_its_stamp_are_the_same_in_every_time_zone() -> None:
    chance = random.Random(1)
    for _ in range(1000):
        stamp = stamp_of_ns(chance.randrange(2**60, 2**61))
        moment = time_of(stamp)
        assert moment.tzinfo is UTC
        assert stamp_at(moment) == stamp_at(moment.astimezone(timezone(timedelta(hours=5)))) == stamp
        assert stamp_at(moment - timedelta(microseconds=1)) == stamp - 1


def test_versions_come_oldest_first_and_the_newest_ones_if_limited(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock)
    began = clock.time_ns()
    clock.pass_s(1)
    store.set("task", "a")
    clock.pass_s(1)
    store.set("task", None)
    clock.pass_s(1)
    store.delete("task")
    store.set("other", 1)
    seen = store.history("task")
    when = [time_of(stamp_of_ns(began + n * 10**9)) for n in (1, 2, 3)]
    assert told(seen) == [
        ("a", False, when[0], "local", False),
        (None, False, when[1], "local", False),
        (None, True, when[2], "local", False),
    ]
    assert seen.earliest is None
    assert [len(version.origin) for version in seen] == [16, 16, 0]
    assert store.history("task", 2) == seen[1:]
    assert store.history("task", 0) == store.history("nothing") == []
    store.close()


def test_what_the_past_gives_is_the_callers_own(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock)
    store.set("plan", {"steps": [1]})
    past = store.at(time_of(stamp_of_ns(clock.time_ns())))
    copies = past.get("plan"), store.history("plan")[0].value
    for copy in copies:
        assert isinstance(copy, dict)
        copy["steps"].append(2)
    assert (past.get("plan"), store.history("plan")[0].value) == ({"steps": [1]},) * 2
    assert store.get("plan") == {"steps": [1]}
    store.close()


def test_a_past_state_is_read_like_the_store(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock)
    with store.transaction():
        store.set("b/2", 2)
        store.set("b/1", 1)
        store.set("a", 0)
        store.counter("tokens").add(5)
    past = store.at(time_of(stamp_of_ns(clock.time_ns())))
    clock.pass_s(1)
    store.delete("a")
    assert past.get_all() == {"a": 0, "b/1": 1, "b/2": 2}
    assert list(past.items("b/")) == [("b/1", 1), ("b/2", 2)]
    assert (past.get("a"), past.get("c", "none"), "a" in past, "c" in past, 1 in past) == (
        0,
        "none",
        True,
        False,
        False,
    )
    assert len(past) == 3
    assert past.get_conflicts("a") == []
    assert past.time == time_of(stamp_of_ns(clock.time_ns() - 10**9))
    store.close()


# --- against a record --------------------------------------------------------------------------------------------


@dataclass
class Record:
    """What a replica went through, kept by whoever watches it."""

    clock: VirtualClock
    steps: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)
    states: list[tuple[Stamp, dict[str, object], dict[str, list[object]]]] = field(default_factory=list)
    compacted: dict[datetime | None, int] = field(default_factory=lambda: {None: 0})
    tidied: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def watch(self, store: AgentStateStore) -> None:
        """Write down what happens from now on to a store that was just opened."""
        self.tidied = self.now
        store._state.listen(self._note)

    def compact(self, store: AgentStateStore) -> None:
        before = disk_of(store).compactions
        compact(store)
        if disk_of(store).compactions > before:
            self.compacted[self.now], self.tidied = len(self.steps), self.now

    @property
    def now(self) -> datetime:
        return time_of(stamp_of_ns(self.clock.time_ns()))

    def check(self, store: AgentStateStore, chance: random.Random, retention: Retention) -> None:
        """Compare everything that is kept, and that it is as much as was asked for."""
        earliest = store.history("k0").earliest
        begin = self.tidied - timedelta(seconds=min(retention.seconds, 1e6))
        assert earliest == max((made for made in self.compacted if made is not None and made <= begin), default=None)
        kept = self.steps[self.compacted[earliest] :]
        for key in ("k0", "k1", "k2", "k3"):
            assert told(store.history(key)) == [step for name, step in kept if name == key]
        first = stamp_of_ns(0) if earliest is None else stamp_at(earliest)
        moments = [stamp for stamp, _, _ in self.states if stamp >= first]
        for _ in range(12):
            stamp = chance.choice(moments or [first]) + chance.choice((-1, 0, 0, 1, 10_000))
            if stamp >= first:
                self._check_at(store, stamp)
        if earliest is not None:
            with pytest.raises(NotRetained) as refused:
                store.at(earliest - timedelta(microseconds=1))
            assert refused.value.earliest == earliest

    def _check_at(self, store: AgentStateStore, stamp: int) -> None:
        past = store.at(time_of(stamp))  # type: ignore[arg-type]  # a stamp, by the look of it
        _, state, conflicts = next((s for s in reversed(self.states) if s[0] <= stamp), (0, {}, {}))
        assert past.get_all() == state
        assert len(past) == len(state)
        assert {key: past.get_conflicts(key) for key in state} == {key: conflicts.get(key, []) for key in state}

    def _note(self, change: Change, local: bool) -> None:  # noqa: FBT001 - a listener's signature
        stamp = max(change.after.context.values()) if local else stamp_of_ns(self.clock.time_ns())
        seen = visible(change, local=local)
        if seen is not None:
            step = (seen.value, seen.deleted, time_of(stamp), seen.cause, seen.conflict)
            self.steps.append((change.key, step))
        _, state, conflicts = self.states[-1] if self.states else (0, {}, {})
        siblings: list[object] = [sibling.payload for sibling in change.after.siblings]
        state = {**state, change.key: siblings[0]} if siblings else {k: v for k, v in state.items() if k != change.key}
        self.states.append((stamp, state, {**conflicts, change.key: siblings if len(siblings) > 1 else []}))


class Pair:
    """A store with a past and one without: they write, part and meet; the first is compacted and opened anew."""

    def __init__(self, island: Island, seed: int, path: Path, retention: Retention) -> None:
        self.island, self.path, self.retention = island, path, retention
        self.chance, self.record = random.Random(seed), Record(island.clock)
        self.other = island.make("other")

    async def wander(self) -> None:
        await self.other.start()
        await self.open()
        for number in range(200):
            await self.island.clock.advance(self.chance.choice((0.003, 0.1, 0.7)))
            self.write(f"k{self.chance.randrange(4)}", number)
            await self.disturb()
            if number % 40 == 39:
                await self.island.clock.advance(0.01)
                self.record.check(self.one, self.chance, self.retention)

    async def open(self) -> None:
        transport = self.island.network.transport("one")
        self.one = AgentStateStore(
            ROOM, transport=transport, clock=self.island.clock, path=self.path, retention=self.retention
        )
        self.island.stores.append(self.one)
        self.record.watch(self.one)
        await self.one.start(peers=[("other", 9000)], sync_timeout_s=0.01)

    def write(self, key: str, number: int) -> None:
        writer = self.chance.choice((self.one, self.other))
        if number % 9 == 0:
            with writer.transaction():
                writer.set("k0", "x" * 3000)
                writer.set(key, number)
        elif number % 4 == 0:
            writer.delete(key)
        else:
            writer.set(key, number)

    async def disturb(self) -> None:
        match self.chance.randrange(24):
            case 0 | 1 | 2:
                self.island.network.cut("one", "other")
            case 3 | 4:
                self.island.network.heal("one", "other")
            case 5 | 6:
                self.record.compact(self.one)
            case 7:
                await self.island.finish(self.one.stop())
                await self.open()

    def check_variety(self) -> None:
        """What was compared had something of everything."""
        steps = {(deleted, cause, conflict) for _, (_, deleted, _, cause, conflict) in self.record.steps}
        assert steps >= {(True, "remote", False), (True, "local", False), (False, "remote", True)}
        assert len(self.record.compacted) > 3


@pytest.mark.parametrize("retention", [Retention("none"), Retention(seconds=5), Retention("30s"), ALL], ids=repr)
@pytest.mark.parametrize("seed", range(3 if LONG else 1))
def test_the_past_is_what_a_record_says(
    tmp_path: Path, seed: int, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_streams, "STAGE_BYTES", 20)  # streams of a few rows wait in the log

    async def scenario(island: Island) -> None:
        pair = Pair(island, seed, tmp_path, retention)
        await pair.wander()
        pair.check_variety()

    on_island(scenario)


# --- the window --------------------------------------------------------------------------------------------------


def test_the_window_moves_and_the_error_names_the_earliest_moment(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock, Retention(seconds=2))
    sizes = []
    for number in range(20):
        clock.pass_s(0.5)
        store.set("task", number)
        compact(store)
        clock.pass_s(0.5)
        sizes.append(store.stats.history_bytes)
    assert values(store.history("task")) == [18, 19]
    earliest = store.history("task").earliest
    assert earliest == time_of(stamp_of_ns(clock.time_ns() - 2_500_000_000))
    assert store.at(earliest).get("task") == 17
    with pytest.raises(NotRetained, match=re.escape(earliest.isoformat())) as refused:
        store.at(earliest - timedelta(microseconds=1))
    assert refused.value.earliest == earliest
    assert sizes[0] > 0
    assert len(set(sizes[5:])) == 1
    store.close()


def test_without_a_retention_nothing_is_kept_that_recovery_does_not_need(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock, Retention("none"))
    store.set("task", 1)
    clock.pass_s(1)
    compact(store)
    clock.pass_s(1)
    store.set("task", 2)
    assert values(store.history("task")) == [2]
    assert store.history("task").earliest == time_of(stamp_of_ns(clock.time_ns() - 10**9))
    assert not folder_of(store).exists()
    assert store.stats.history_bytes == 0
    store.close()


def test_a_retention_that_is_taken_back_gives_the_disk_back(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock)
    for number in range(3):
        store.set("task", number)
        compact(store)
    folder, size = folder_of(store), store.stats.history_bytes
    assert size == sum(file.stat().st_size for file in folder.iterdir()) > 0
    store.close()
    store = lone(tmp_path, clock)
    assert store.stats.history_bytes == size
    assert values(store.history("task")) == [0, 1, 2]
    store.close()
    store = lone(tmp_path, clock, Retention("none"))
    assert store.stats.history_bytes == 0
    assert not folder.exists()
    assert store.get("task") == 2
    store.close()


def test_a_program_that_says_nothing_of_retention_keeps_what_another_one_asked_for(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock, Retention("7d"))
    for number in range(3):
        store.set("task", number)
        compact(store)
    store.close()
    store = lone(tmp_path, clock, None)
    store.set("task", 3)
    compact(store)
    assert values(store.history("task")) == [0, 1, 2, 3]
    assert store.stats.retention == "7d"
    clock.pass_s(8 * 86400)
    store.set("task", 4)
    compact(store)
    clock.pass_s(1)
    assert values(store.history("task"))[-1] == 4
    assert 0 not in values(store.history("task"))
    store.close()


def test_whoever_says_it_last_says_it_for_all_who_have_the_directory_open(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock)
    store.set("task", 0)
    compact(store)
    assert (store.stats.retention, store.stats.history_bytes > 0) == ("all", True)
    other = lone(tmp_path, clock, Retention(seconds=2.5))
    assert store.stats.retention == other.stats.retention == "2.5s"
    other.close()
    lone(tmp_path, clock, Retention("none")).close()
    store.set("task", 1)
    compact(store)
    assert (store.stats.retention, store.stats.history_bytes) == ("none", 0)
    store.close()
    assert lone(None, clock, None).stats.retention == ""


@pytest.mark.parametrize(
    "damaged", [b"", b"\xff", b"[]", b'{"format": 1}', b'{"format": 1, "retention": "soon"}',
                b'{"format": 1, "retention": null}', b'{"format": 2, "retention": "7d"}'],
)  # fmt: skip
def test_where_it_cannot_be_read_how_much_to_keep_all_is_kept_until_somebody_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock, Retention("7d"))
    store.set("task", 0)
    compact(store)
    store.close()
    (tmp_path / "retention.json").write_bytes(damaged)
    store = lone(tmp_path, clock, None)
    clock.pass_s(8 * 86400)
    store.set("task", 1)
    compact(store)
    assert values(store.history("task")) == [0, 1]
    assert "cannot be read" in store.stats.retention
    assert "store.retention_not_known" in caplog.text
    store.close()
    if b'"format": 2' in damaged:
        with pytest.raises(StoreError, match="made by a newer version"):
            lone(tmp_path, clock, ALL)
        (tmp_path / "retention.json").unlink()
    store = lone(tmp_path, clock, ALL)
    assert store.stats.retention == "all"
    store.close()
    lone(tmp_path, clock, None).close()  # the directory of the refused one is let go of


def test_compacting_twice_with_nothing_between_is_nothing(tmp_path: Path) -> None:
    store = lone(tmp_path, WallClock())
    compact(store)
    store.set("task", 1)
    compact(store)
    compact(store)
    assert disk_of(store).compactions == 1
    assert values(store.history("task")) == [1]
    store.close()


# --- crashes and damage ------------------------------------------------------------------------------------------


class Crashes:
    """Copies of a directory as a crash would leave it: before and after every step that changes a name in it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = path
        self.copies: list[Path] = []
        for owner, name in ((_system, "move"), (Path, "unlink"), (Path, "rmdir")):
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, step: Callable[..., object]) -> Callable[..., object]:
        def copying(*args: object, **kwargs: object) -> object:
            self.copy()
            try:
                return step(*args, **kwargs)
            finally:
                self.copy()

        return copying

    def copy(self) -> None:
        copy = self._path.with_name(f"{self._path.name}-{len(self.copies)}")
        self.copies.append(copy)
        shutil.copytree(self._path, copy)


@pytest.mark.parametrize("retention", [Retention("none"), Retention(seconds=2), ALL], ids=repr)
def test_a_crash_at_any_step_of_a_compaction_leaves_a_true_past(
    tmp_path: Path, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = WallClock()
    store = lone(tmp_path / "state", clock, retention)
    written: list[tuple[datetime, int]] = []
    for number in range(8):
        clock.pass_s(0.5)
        store.set("task", number)
        written.append((time_of(stamp_of_ns(clock.time_ns())), number))
        if number % 2:
            clock.pass_s(0.5)
            if number == 7:
                with monkeypatch.context() as patch:
                    crashes = Crashes(tmp_path / "state", patch)
                    compact(store)
            else:
                compact(store)
    assert len(crashes.copies) >= 6
    for copy in crashes.copies:
        check_crashed(lone(copy, clock, retention), written, retention)
    store.close()


def check_crashed(store: AgentStateStore, written: list[tuple[datetime, int]], retention: Retention) -> None:
    """Everything that must be told is, and nothing else."""
    assert store.get_all() == {"task": 7}
    seen = store.history("task")
    kept = [step for step in written if seen.earliest is None or step[0] > seen.earliest]
    assert [(version.at, version.value) for version in seen] == kept
    assert len(kept) >= {Retention("none"): 0, Retention("2s"): 4, ALL: 8}[retention]
    for at, number in kept:
        assert store.at(at).get_all() == {"task": number}
    compact(store)
    assert store.history("task")[: len(kept)] == (seen if retention.seconds > 2 else store.history("task"))
    store.close()


def flip(path: Path, offset: int) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def kept_store(path: Path, clock: WallClock) -> AgentStateStore:
    """A store with three segments and two snapshots behind it, each a second after the other, and a write on top."""
    store = lone(path, clock)
    for number in range(3):
        store.set("task", number)
        clock.pass_s(1)
        compact(store)
    clock.pass_s(1)
    store.set("task", 3)
    return store


@pytest.mark.parametrize("name", ["00000001.log", "00000002.log", "00000003.log"])
def test_damage_in_the_past_is_named_and_stops_no_store(tmp_path: Path, name: str) -> None:
    clock = WallClock()
    store = kept_store(tmp_path, clock)
    path = folder_of(store) / name
    store.close()
    flip(path, 80)
    store = lone(tmp_path, clock)
    assert store.get("task") == 3
    with pytest.raises(StoreCorrupt, match=re.escape(str(path))):
        store.history("task")
    assert store.at(time_of(stamp_of_ns(clock.time_ns()))).get("task") == 3  # from a newer snapshot
    store.close()


@pytest.mark.parametrize("offset", [3, 70, -3])
def test_a_damaged_snapshot_at_the_begin_of_what_is_kept_is_named(tmp_path: Path, offset: int) -> None:
    clock = WallClock()
    store = kept_store(tmp_path, clock)
    folder = folder_of(store)
    (folder / "00000001.log").unlink()
    path = folder / "00000002.snap"
    flip(path, offset)
    with pytest.raises(StoreCorrupt, match=re.escape(str(path))):
        store.history("task")
    with pytest.raises(StoreCorrupt, match=re.escape(str(path))):
        store.at(time_of(stamp_of_ns(clock.time_ns() - int(2.5e9))))
    assert store.at(time_of(stamp_of_ns(clock.time_ns() - 10**9))).get("task") == 2
    store.close()


def test_a_gap_in_the_past_moves_its_begin(tmp_path: Path) -> None:
    clock = WallClock()
    store = kept_store(tmp_path, clock)
    (folder_of(store) / "00000002.log").unlink()
    seen = store.history("task")
    assert values(seen) == [2, 3]
    assert seen.earliest == time_of(stamp_of_ns(clock.time_ns() - 3 * 10**9 + 10**9))
    store.close()


def test_a_bit_that_turns_over_in_the_segment_in_use_is_named_not_read(tmp_path: Path) -> None:
    store = lone(tmp_path, WallClock())
    for number in range(3):
        store.set("task", number)
    path = disk_of(store).directory.log_path / "00000001.log"
    with path.open("r+b") as file:
        file.seek(80)
        byte = file.read(1)[0]
        file.seek(80)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(StoreCorrupt, match=re.escape(str(path))):
        store.history("task")
    store.set("task", 4)
    store.close()


def test_a_history_that_cannot_be_written_is_no_reason_not_to_open(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock)
    store.set("task", 1)
    folder = folder_of(store)
    folder.write_text("in the way")
    with pytest.raises(StoreError, match="history"):
        compact(store)
    store.set("task", 2)
    store.close()
    store = lone(tmp_path, clock)
    assert store.get("task") == 2
    folder.unlink()
    store.set("task", 3)
    compact(store)
    assert values(store.history("task")) == [2, 3]
    store.close()


# --- beside others -----------------------------------------------------------------------------------------------


def test_readers_of_the_past_see_a_whole_prefix_while_others_write_and_compact(tmp_path: Path) -> None:
    store = lone(tmp_path, WallClock())
    compactor = threading.Event()
    done = threading.Event()

    def write() -> None:
        for number in range(6000):
            store.set("task", number)
            if number % 1000 == 999:
                compactor.set()
        done.set()

    def make_room() -> None:
        while not done.is_set():
            if compactor.wait(0.01):
                compactor.clear()
                compact(store)

    threads = [threading.Thread(target=write), threading.Thread(target=make_room)]
    for thread in threads:
        thread.start()
    longest = 0
    while not done.is_set():
        seen = values(store.history("task"))
        assert seen == list(range(len(seen)))
        assert len(seen) >= longest
        longest = len(seen)
    for thread in threads:
        thread.join()
    assert values(store.history("task")) == list(range(6000))
    assert disk_of(store).compactions > 0
    store.close()


@pytest.mark.parametrize("retention", [Retention("none"), ALL], ids=repr)
def test_a_stream_that_waited_through_a_compaction_is_one_step(
    tmp_path: Path, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_streams, "STAGE_BYTES", 20)
    clock = WallClock()
    source, store = lone(None, clock), lone(tmp_path, clock, retention)
    for number in range(1000):
        source.set(f"k{number}", "x" * 100)
    outgoing = source._state.cut(after=0, known=VersionVector(), told=0)
    incoming = store._state.incoming()
    blocks = list(taken(outgoing.blocks()))
    for block in blocks[:2]:
        incoming.add(block)
    clock.pass_s(1)
    compact(store)
    clock.pass_s(1)
    for block in blocks[2:]:
        incoming.add(block)
    incoming.apply(list(outgoing.entries), outgoing.join)
    when = time_of(stamp_of_ns(clock.time_ns()))
    for _ in range(2):
        for key in ("k0", "k999"):
            assert told(store.history(key)) == [("x" * 100, False, when, "remote", False)]
        assert len(store.at(when)) == 1000
        assert len(store.at(when - timedelta(microseconds=2))) == 0
        store.close()
        store = lone(tmp_path, clock, retention)
    assert len(blocks) > 2
    source.close()
    store.close()


# --- clocks ------------------------------------------------------------------------------------------------------


def test_a_clock_that_was_years_ahead_for_a_while_hides_nothing(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock, Retention("1d"))
    store.set("task", "before")
    clock.pass_s(60)
    at_noon = time_of(stamp_of_ns(clock.time_ns()))
    clock.pass_s(1e8)
    store.set("task", "in the future")
    compact(store)
    clock.pass_s(-1e8)
    clock.pass_s(60)
    store.set("task", "after")
    seen = store.history("task")
    assert values(seen) == ["before", "in the future", "after"]
    assert [version.at for version in seen] == sorted(version.at for version in seen)
    assert seen[-1].at == time_of(stamp_of_ns(clock.time_ns()))
    assert store.at(at_noon).get("task") == "in the future"  # its time is not known: that of the step before
    clock.pass_s(1)
    compact(store)
    clock.pass_s(3 * 86_400)
    store.set("task", "later")
    compact(store)
    assert values(store.history("task")) == ["later"]
    store.close()


def test_stamps_that_run_ahead_of_the_clock_stand_before_the_snapshot_that_holds_them(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock)
    for number in range(100):
        store.set("task", number)
    compact(store)
    clock.pass_s(1)
    store.set("task", 100)
    for version in store.history("task"):
        assert store.at(version.at).get("task") == version.value
    store.close()


def test_what_is_held_now_is_known_however_far_stamps_run_ahead(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock, Retention("none"))
    for number in range(100):
        store.set("task", number)
    compact(store)
    assert store.at(time_of(stamp_of_ns(clock.time_ns()))).get("task") == 99
    store.close()


def test_a_clock_that_went_back_leaves_the_order_of_the_log(tmp_path: Path) -> None:
    clock = WallClock()
    store = lone(tmp_path, clock)
    for number, passed_s in enumerate((1, 1, -1000, 1, 2000)):
        clock.pass_s(passed_s)
        store.set("task", number)
    seen = store.history("task")
    assert values(seen) == [0, 1, 2, 3, 4]
    assert [version.at for version in seen] == sorted(version.at for version in seen)
    assert store.at(seen[0].at).get("task") == 0
    assert store.at(seen[-1].at).get("task") == 4
    store.close()
