"""Which values are in memory: those written last, up to a budget; older ones stand in the log alone.

The log is a sequence of events, the newest snapshot first. Eviction walks along it: what an event holds that is still
in a row is replaced by the place of that event. So nothing need be known of a value while it is in memory, writing
costs nothing more, and what goes first is what was written longest ago.

A compaction gives every evicted value a new place: that is the same walk, over the new snapshot. The files before it
go only when it is done, and when nobody reads them who began before.
"""

from __future__ import annotations

import weakref
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from propagul.log.cold import contents, is_large
from propagul.log.place import in_snapshot, number_of, offset_of, place_of
from propagul.log.recovery import scan_directory
from propagul.log.snapshot_reader import read_snapshot, snapshot_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from propagul.log.cold import ColdValues
    from propagul.log.place import Place
    from propagul.store._namespace import Namespace

MEMORY_BYTES: Final = 256 * 1024 * 1024
"""How many bytes of values stay in memory, by default."""

MEMORY_BYTES_MIN: Final = 1024 * 1024

_SLICE_VALUES: Final = 256
_FRAME_BYTES: Final = 12


class Hold:
    """Keeps the files of a log that are there now, until it is let go of."""

    __slots__ = ("__weakref__",)


class Eviction:
    """Keeps the values in memory within a budget. One call at a time, but for `grown`, `is_full` and `hold`.

    Args:
        directory: The log's.
        cold: Reads what was evicted.
        budget_bytes: Bytes of log whose values may be in memory.
    """

    def __init__(self, directory: Path, cold: ColdValues, budget_bytes: int) -> None:
        self._directory = directory
        self._cold = cold
        self._budget = budget_bytes
        self._spaces: dict[str, Namespace] = {}
        self._walked: Place = 0
        self._ahead = 0
        self._counted: Place = 0
        self._has_evicted = False
        self._holds: weakref.WeakSet[Hold] = weakref.WeakSet()

    def serve(self, spaces: Mapping[str, Namespace], start: Place, end: Place, size: int, *, evicted: bool) -> None:
        """Begin: the state was read from a log of this size, its large values left there or not."""
        self._spaces = {name: space for name, space in spaces.items() if space.journal is not None}
        self._counted, self._has_evicted = end, evicted
        self._walked, self._ahead = (end, 0) if evicted else (start, size)

    @property
    def is_full(self) -> bool:
        """Whether as many values are in memory as may be."""
        return self._ahead > self._budget

    def hold(self) -> Hold:
        """Keep what is on the disk readable for as long as the result is held."""
        hold = Hold()
        self._holds.add(hold)
        return hold

    @property
    def is_held(self) -> bool:
        """Whether somebody reads who began before the last compaction."""
        return len(self._holds) > 0

    def grown(self, place: Place) -> None:
        """The log has grown up to a place."""
        same = place >> 40 == self._counted >> 40
        self._ahead += place - self._counted if same else offset_of(place)
        self._counted = place

    def run(self) -> None:
        """Evict what was written longest ago, until half of the budget is free.

        Raises:
            StoreError: The log cannot be read. What was evicted before can.
        """
        for place, event in self._events(self._walked):
            self._walked = place
            if self._ahead <= self._budget // 2:
                return
            self._evict(place, event)
            self._ahead -= len(event) + _FRAME_BYTES
        self._ahead = 0

    def compacted(self, number: int, snapshot_bytes: int, end: Place) -> None:
        """A snapshot stands for what was before: evicted values find their places there.

        Args:
            number: The snapshot's.
            snapshot_bytes: Its size.
            end: Of the log now.

        Raises:
            StoreError: It cannot be read; the older files must stay.
        """
        self._counted, log_bytes = end, offset_of(end)
        if self._has_evicted:
            for place, event in read_snapshot(snapshot_path(self._directory, number)):
                self._evict(place, event)
            self._walked, self._ahead = place_of(number, 0), log_bytes
        else:
            self._walked, self._ahead = place_of(number, 0, snapshot=True), snapshot_bytes + log_bytes
        if self.is_full:
            self.run()

    def _events(self, start: Place) -> Iterator[tuple[Place, bytes]]:
        """What the log holds from a place on: first of a snapshot, then of the segments."""
        number = number_of(start)
        found = scan_directory(self._directory, first=number)
        if in_snapshot(start):
            rest = read_snapshot(snapshot_path(self._directory, number))
            return chain((item for item in rest if item[0] >= start), found)
        return (item for item in found if item[0] >= start)

    def _evict(self, place: Place, event: bytes) -> None:
        """Replace what the event holds and a row still has by its place."""
        name, written = contents(event)
        space = self._spaces.get(name)
        if space is None:
            return
        large = ((key, dot, ordinal) for ordinal, (key, dot, payload) in enumerate(written) if is_large(payload))
        while some := list(islice(large, _SLICE_VALUES)):
            self._has_evicted = True
            space.evict([(key, dot, self._cold.at(place, ordinal)) for key, dot, ordinal in some])
