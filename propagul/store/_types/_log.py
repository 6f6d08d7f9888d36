"""An ordered log that any replica appends to; every replica that knows the same entries shows them in one order.

One row for each entry, under a key that sorts by the stamp of its append, then by origin, then by its place in the
batch. Entries are never changed. A replica's stamps rise, so an append stands after those its replica made or knew of,
but for the ones of a clock too far ahead to be followed.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul.crdt import LOG, REMOVE, Op
from propagul.errors import StoreCorrupt
from propagul.store import _paths
from propagul.store._types._rows import log, of_kind
from propagul.store._values import freeze_at, thaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from propagul.crdt import Dot, Row
    from propagul.store._types._rows import Rows
    from propagul.store._values import Limits

_POSITION: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{6})")
_BATCH_MAX: Final = 0xFFFFFF
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Entry(NamedTuple):
    """One entry of a log.

    Attributes:
        position: Where it stands: a text that sorts as the log does and never changes. *Use*: as a bound of `range` and
            `truncate`, or kept, to go on from there later.
        value: What was appended; the caller's own.
        at: When, by the clock of whoever appended it; UTC.
        origin: Which process appended it: 64 random bits.
    """

    position: str
    value: object
    at: dt.datetime
    origin: int


class OrderedLog:
    """A list of values that all replicas append to. See `AgentStateStore.log_of`.

    Entries of one process stand in the order of their appends, unless its clock was set back by more than five minutes
    in between. Those of several interleave by time, alike everywhere: one that arrives late may stand before others.
    """

    def __init__(self, rows: Rows, name: str, limits: Limits) -> None:
        self._rows, self._name, self._limits = rows, name, limits
        self._prefix = _paths.prefix(_paths.LOG, name)

    def append(self, value: object) -> str:
        """Append a value and return its position. O(size of the value).

        In a transaction its stamp is not known before the end: use the list of `extend`, which is right by then.

        Raises:
            TypeError, ValueError: It cannot be stored; the message names the path inside it.
            LimitExceeded: It is too large.
        """
        return self.extend([value])[0]

    def extend(self, values: Iterable[object]) -> list[str]:
        """Append all of them as one transaction, or none: they stand side by side. Returns their positions.

        Raises:
            TypeError, ValueError, LimitExceeded: See `append`.
        """
        where = f"log_of({self._name!r})"
        payloads = [freeze_at(f"{where}[+{index}]", value, self._limits) for index, value in enumerate(values)]
        positions: list[str] = []

        def make(dot: Dot, first: int) -> list[Op]:
            positions[:] = [_position(dot, first + index) for index in range(len(payloads))]
            keys = [_paths.element_key(_paths.LOG, self._name, place, limits=self._limits) for place in positions]
            return [Op(key, LOG, payload) for key, payload in zip(keys, payloads, strict=True)]

        if payloads:
            self._rows.commit_with(make)
        return positions

    def range(
        self, start: str | None = None, stop: str | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """Entries of one instant from position `start` up to but not including `stop`, oldest first.

        Args:
            start: First position; an entry need not stand there. From the beginning if None.
            stop: Where to end. At the end if None.
            limit: At most so many.
            reverse: Newest first; start and stop keep their meaning.

        Raises:
            ValueError: A position is none, or the limit is negative.
        """
        low, high = _checked(start), _checked(stop)
        if limit is not None and limit < 0:
            raise ValueError(f"a limit is not negative: {limit}")
        hold = self._rows.hold()
        rows = [
            (place, row)
            for place, row in self._placed(dict(self._rows.under(self._prefix))).items()
            if (low is None or low <= place) and (high is None or place < high)
        ]
        return self._entries(reversed(rows) if reverse else rows, limit, hold)

    def last(self, n: int = 1) -> list[Entry]:
        """The n newest entries, oldest of them first.

        Raises:
            ValueError: n is negative.
        """
        return list(self.range(limit=n, reverse=True))[::-1]

    def truncate(self, *, before: str | None = None, keep: int | None = None) -> int:
        """Remove entries known here, as one transaction; what others append meanwhile stays. Returns how many.

        Args:
            before: Remove those that stand before this position.
            keep: Remove all but so many of the newest.

        Raises:
            TypeError: Neither or both are given.
            ValueError: The position is none, or `keep` is negative.
        """
        if (before is None) == (keep is None):
            raise TypeError("truncate takes either before=position or keep=n")
        if keep is not None and keep < 0:
            raise ValueError(f"keep is not negative: {keep}")
        bound, removed = _checked(before), 0

        def decide(rows: Mapping[str, Row]) -> list[Op]:
            nonlocal removed
            places = sorted(self._placed(rows))
            gone = places[: max(len(places) - (keep or 0), 0)] if bound is None else [p for p in places if p < bound]
            removed = len(gone)
            keys = [_paths.element_key(_paths.LOG, self._name, place, limits=self._limits) for place in gone]
            return [Op(key, LOG, REMOVE) for key in keys]

        self._rows.update((), decide, under=[self._prefix])
        return removed

    def __iter__(self) -> Iterator[Entry]:
        return self.range()

    def __len__(self) -> int:
        return len(self._placed(dict(self._rows.under(self._prefix))))

    def __repr__(self) -> str:
        return f"<log {self._name!r}: {len(self)} entries>"

    def _placed(self, rows: Mapping[str, Row]) -> dict[str, Row]:
        """Rows that are entries, by their position, in the order of the rows."""
        found = ((_paths.parse(key), row) for key, row in rows.items() if of_kind(row, LOG))
        paths = ((typed.path, row) for typed, row in found if typed is not None)
        return {path[0]: row for path, row in paths if len(path) == 1 and _is_position(path[0])}  # type: ignore[misc]  # a position is a str

    def _entries(self, rows: Iterable[tuple[str, Row]], limit: int | None, hold: object) -> Iterator[Entry]:
        """Entries; values that only the disk holds are read as they are taken, and `hold` keeps them there."""
        shown = 0
        for place, row in rows:
            if shown == limit:
                return
            try:
                value = thaw(place, of_kind(row, LOG)[0].payload)
            except StoreCorrupt:
                log.warning("store.log_entry_unreadable name=%r position=%s", self._name, place)
                continue
            shown += 1
            stamp, origin = (int(part, 16) for part in place.split("-")[:2])
            yield Entry(place, value, _time_of(stamp), origin)
        del hold


def _position(dot: Dot, index: int) -> str:
    if index > _BATCH_MAX:
        raise ValueError(f"one transaction appends at most {_BATCH_MAX} entries")
    return f"{dot.stamp:016x}-{dot.origin:016x}-{index:06x}"


def _is_position(value: object) -> bool:
    return isinstance(value, str) and _POSITION.fullmatch(value) is not None


def _checked(position: str | None) -> str | None:
    if position is not None and not _is_position(position):
        raise ValueError("a position is what append returned or an entry holds")
    return position


def _time_of(stamp: int) -> dt.datetime:
    """The moment of a stamp (units of 1.024 us); the end of year 9999 for one that a clock never showed."""
    try:
        return _EPOCH + dt.timedelta(microseconds=stamp * 1024 // 1000)
    except OverflowError:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
