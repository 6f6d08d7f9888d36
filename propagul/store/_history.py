"""The past of a store: what this replica saw of a key, and what it held at a moment.

Both are folded afresh from what the log still has, into a replica of their own: O(retained log) in time, O(state) in
memory, beside the writers and without stopping them. Call them in a thread where that matters. Only compaction waits
until they have read. What is told is what *this* replica went through: concurrent writes elsewhere appear when they
arrived here, and what a stream brought in one step is one step.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from propagul.crdt import ABSENT, Change, Origin, Replica, Stamp, stamp_of_ns
from propagul.crdt.payload import Absent
from propagul.crdt.row import EMPTY
from propagul.errors import NotRetained, StoreCorrupt
from propagul.log.fold import BATCH, Fold
from propagul.log.history import base_at, believed, moment_of
from propagul.store import _values
from propagul.store._instant import blocks_of
from propagul.store._ownership import Reading
from propagul.store._rows import live
from propagul.store._signed import is_there
from propagul.store._watch import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul.crdt import Apart, Found, Payload, Row
    from propagul.log.history import Archive, Base, Retained
    from propagul.log.place import Place

_RUN_MAX: Final = 4096

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One state that a key had here.

    Attributes:
        key: The key.
        payload: What it held, as it is stored; ABSENT if the step deleted it.
        at: When this replica saw it, in UTC; never before the version that precedes it. A local write has the time of
            its stamp, which may be a little ahead of this machine's clock where others' clocks are.
        origin: Which process wrote the winner, as 16 hexadecimal digits; empty for a deletion.
        cause: `local` for a write of this store, `remote` for one that arrived.
        conflict: Whether the key had several siblings after the step; `payload` is then that of the winner.
    """

    key: str
    payload: Found
    at: datetime
    origin: str
    cause: Literal["local", "remote"]
    conflict: bool

    @property
    def deleted(self) -> bool:
        """Whether the key was gone; tells a deletion from a stored None."""
        return self.payload is ABSENT

    @property
    def value(self) -> object:
        """The value, the caller's own; None if deleted."""
        return None if isinstance(self.payload, Absent) else _values.thaw(self.key, self.payload)


class History(list[Version]):
    """Versions of a key, oldest first.

    Attributes:
        earliest: From when on they are complete; None if nothing was ever let go. What the key held before the first
            version is in `store.at(earliest)`.
    """

    def __init__(self, versions: deque[Version], earliest: datetime | None) -> None:
        super().__init__(versions)
        self.earliest = earliest


class PastState:
    """What a replica held at a moment. Read-only; values are the caller's own.

    What counters, sets, logs and maps are made of is not listed.

    Attributes:
        time: The moment, in UTC.
    """

    def __init__(self, replica: Replica, time: datetime, reading: Reading) -> None:
        self._replica = replica
        self._reading = reading
        self.time = time

    def get(self, key: str, default: object = None) -> object:
        """The value of a key then: the newest of its siblings where there were several."""
        winner = self._row(key).winner
        value = ABSENT if winner is None else _values.thaw(key, winner.payload)
        return default if isinstance(value, Absent) else value

    def get_all(self, prefix: str = "") -> dict[str, object]:
        """Keys under a prefix with their values, sorted by key; see `AgentStateStore.get_all`. O(rows)."""
        return dict(self.items(prefix))

    def items(self, prefix: str = "") -> Iterator[tuple[str, object]]:
        """Like `get_all`, one pair at a time."""
        for key, payload in sorted(self._live(prefix), key=lambda item: item[0]):
            try:
                value = _values.thaw(key, payload)
            except StoreCorrupt:
                continue
            yield key, value

    def get_conflicts(self, key: str) -> list[object]:
        """All values of a key that were written concurrently, the one `get` returns first; empty without a conflict."""
        siblings = self._row(key).siblings
        return [_values.thaw(key, s.payload) for s in siblings] if len(siblings) > 1 else []

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and is_there(self._row(key))

    def __len__(self) -> int:
        return sum(1 for _ in self._live(""))

    def _live(self, prefix: str) -> Iterator[tuple[str, Payload]]:
        blocks = blocks_of(self._replica.capture(), contextlib.nullcontext())
        return live(map(self._reading.shown, blocks), prefix)

    def _row(self, key: str) -> Row:
        return self._reading.opened(self._replica.row(key))


class Past:
    """Reads the past of one namespace from its log.

    Args:
        archive: The log's files.
        space: The namespace.
        wall_ns: Wall clock, nanoseconds since the epoch.
        reading: How its rows are read.
    """

    def __init__(
        self, archive: Archive, space: str, wall_ns: Callable[[], int], reading: Reading | None = None
    ) -> None:
        self._reading = reading or Reading()
        self._archive = archive
        self._space = space
        self._wall_ns = wall_ns

    def versions(self, key: str, limit: int | None) -> History:
        """The newest `limit` versions of a key, oldest first.

        Raises:
            StoreCorrupt: Something that is kept is damaged; the message names the file.
            StoreError: The disk does not give it.
        """
        found: deque[Version] = deque(maxlen=limit)
        with self._archive.lock:
            now = self._now()
            retained = self._archive.retained(now)
            base = retained.bases[0]
            if base.made is None:
                raise StoreCorrupt(str(base.fault))
            replay = _Replay(self._space, retained, base, now, self._reading.apart)
            before = EMPTY
            for step in replay.steps_of(key):
                after = self._reading.opened(replay.replica.row(key))
                version = _version(Change(key, before, after), step) if step.timed else None
                before = after
                if version is not None:
                    found.append(version)
        return History(found, None if base.path is None else time_of(base.made))

    def at(self, time: datetime) -> PastState:
        """What was held at a moment.

        Raises:
            NotRetained: It lies before everything that is kept.
            ValueError: It has no time zone.
            StoreCorrupt, StoreError: As `versions`.
        """
        moment = stamp_at(time)
        with self._archive.lock:
            now = self._now()
            retained = self._archive.retained(now)
            base = base_at(retained.bases, moment)
            if base is None:
                raise _nothing_by(retained.bases)
            replay = _Replay(self._space, retained, base, now, self._reading.apart)
            replay.run(min(moment, now))
        return PastState(replay.replica, time.astimezone(UTC), self._reading)

    def _now(self) -> Stamp:
        return stamp_of_ns(self._wall_ns())


class _Replay:
    """Folds a base and what followed it into a replica of its own."""

    def __init__(self, space: str, retained: Retained, base: Base, now: Stamp, apart: Apart | None) -> None:
        self.replica = Replica(Origin(0))
        self.replica.apart = apart
        self.replica.report(False)
        self._fold = Fold({space: self.replica}, retained.read)
        self._space, self._retained, self._base, self._now = space, retained, base, now

    def run(self, until: Stamp) -> None:
        """Apply what happened up to a moment."""
        self._fold.take_all((place, event) for place, event, _ in self._events(until))

    def steps_of(self, key: str) -> Iterator[_Step]:
        """Apply everything; stop after each event that may have changed a key's row."""
        run, needle = [], key.encode()
        for place, event, step in self._events(self._now):
            run.append((place, event))
            if not step.local or needle in event or len(run) >= _RUN_MAX:
                self._fold.take_all(run)
                run = []
                yield step
        self._fold.take_all(run)

    def _events(self, until: Stamp) -> Iterator[tuple[Place, bytes, _Step]]:
        last = self._base.made or Stamp(0)
        for place, event in self._retained.events(self._base):
            kind, space, stamp = moment_of(event)
            if space != self._space:
                continue
            if stamp is not None:
                last = believed(stamp, last, self._now)
                if last > until:
                    return
            yield place, event, _Step(last, kind == BATCH, stamp is not None)


class _Step(NamedTuple):
    """An event in the order of the log: when it was, whether it was written here, and whether it is no bookkeeping."""

    at: Stamp
    local: bool
    timed: bool


def time_of(stamp: Stamp) -> datetime:
    """The moment of a stamp, in UTC; `stamp_at` gives the stamp back."""
    return _EPOCH + timedelta(microseconds=-(-(stamp << 10) // 1000))


def stamp_at(time: datetime) -> Stamp:
    """The last stamp at or before a moment.

    Raises:
        ValueError: The moment has no time zone.
    """
    if time.tzinfo is None:
        raise ValueError("a moment needs a time zone, such as datetime.now(UTC)")
    return stamp_of_ns((time - _EPOCH) // timedelta(microseconds=1) * 1000)


def _version(row_change: Change, step: _Step) -> Version | None:
    change = visible(row_change, local=step.local)
    if change is None:
        return None
    return Version(
        key=change.key,
        payload=change.payload,
        at=time_of(step.at),
        origin=change.origin,
        cause=change.cause,
        conflict=change.conflict,
    )


def _nothing_by(bases: list[Base]) -> StoreCorrupt | NotRetained:
    """Why there is no base for a moment: the first that can be read is younger, or the one it needs is damaged."""
    oldest = bases[0]
    return StoreCorrupt(str(oldest.fault)) if oldest.made is None else NotRetained(time_of(oldest.made))
