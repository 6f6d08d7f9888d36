"""Which values are in memory: those written last, up to a budget; older ones stand in the log alone.

The log is a sequence of events, the newest snapshot first. Eviction walks along it: what an event holds that is still
in a row is replaced by the place of that event. So nothing need be known of a value while it is in memory, writing
costs nothing more, and what goes first is what was written longest ago.

A compaction gives every evicted value a new place: that is the same walk, over the new snapshot. The files before it
go only when it is done, and when nobody reads them who began before.
"""

from __future__ import annotations

import threading
import weakref
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from propagul.errors import ClosedError
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
_STEP_EVENTS: Final = 16
_FRAME_BYTES: Final = 12


class Hold:
    """Keeps the files of a log that are there now, until it is let go of."""

    __slots__ = ("__weakref__",)


class Eviction:
    """Keeps the values in memory within a budget. From any thread.

    Args:
        directory: The log's.
        cold: Reads what was evicted.
        budget_bytes: Bytes of log whose values may be in memory.

    Attributes:
        lock: Held for every step of the walk. *Use:* take it before the store's, around `cut`.
    """

    def __init__(self, directory: Path, cold: ColdValues, budget_bytes: int) -> None:
        self.lock = threading.Lock()
        self._directory = directory
        self._cold = cold
        self._budget = budget_bytes
        self._spaces: dict[str, Namespace] = {}
        self._start: Place = 0
        self._events: Iterator[tuple[Place, bytes]] | None = None
        self._appended = 0  # bytes, as `grown` counts them, and nobody else
        self._walked = self._behind_cut = 0  # of these, with `lock` held
        self._counted: Place = 0
        self._has_evicted = self._ended = False
        self._holds: weakref.WeakSet[Hold] = weakref.WeakSet()

    def serve(self, spaces: Mapping[str, Namespace], start: Place, end: Place, size: int, *, evicted: bool) -> None:
        """Begin: the state was read from a log of this size, its large values left there or not."""
        self._spaces = {name: space for name, space in spaces.items() if space.journal is not None}
        self._counted, self._has_evicted = end, evicted
        self._start, self._walked = (end, 0) if evicted else (start, -size)

    @property
    def is_full(self) -> bool:
        """Whether as many values are in memory as may be."""
        return self._held_bytes > self._budget

    def has_room(self, stream_bytes: int) -> bool:
        """Whether the values of a stream of this length may be in memory too; its blocks may be walked over already."""
        return self._held_bytes + stream_bytes <= self._budget

    @property
    def _held_bytes(self) -> int:
        return self._appended - self._walked + self._behind_cut

    @property
    def is_late(self) -> bool:
        """Whether so many are that writers must wait."""
        return self._held_bytes > self._budget * 3 // 2 and self._appended - self._walked > self._budget // 4

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
        """The log has grown up to a place. Call with the store's lock held."""
        same = number_of(place) == number_of(self._counted)
        self._appended += place - self._counted if same else offset_of(place)
        self._counted = place

    def run(self) -> None:
        """Evict what was written longest ago, until half of the budget is free.

        Raises:
            StoreError: The log cannot be read. What was evicted before can.
        """
        more = True
        while more:
            with self.lock:
                more = self._walk(_STEP_EVENTS)

    def end(self) -> None:
        """The store is being closed: walk no further."""
        self._ended = True

    # --- compaction ----------------------------------------------------------------------------------------------

    def cut(self, number: int) -> None:
        """A snapshot begins that stands for what is before this segment. Call with `lock` and the store's held.

        Until it is there, nothing may get a place before the cut: a row that came later is not in it.
        """
        self._behind_cut += self._appended - self._walked
        self._walked, self._start, self._events = self._appended, place_of(number, 0), None
        self._counted = max(self._counted, self._start)

    def uncut(self, first: int, *, snapshot: bool) -> None:
        """The snapshot failed: the log begins where it began before."""
        with self.lock:
            self._walked, self._behind_cut = self._walked - self._behind_cut, 0
            self._start, self._events = place_of(first, 0, snapshot=snapshot), None

    def compacted(self, number: int, snapshot_bytes: int) -> None:
        """The snapshot is there: evicted values find their places in it, before the older files may go.

        Raises:
            StoreError, ClosedError: It was not read to its end; the older files must stay.
        """
        fits = snapshot_bytes + self._appended - self._walked <= self._budget
        if self._has_evicted or not fits:
            for place, event in read_snapshot(snapshot_path(self._directory, number)):
                if self._ended:
                    raise ClosedError("the store is closed; its log is compacted another time")
                with self.lock:
                    self._evict(place, event)
        with self.lock:
            self._behind_cut = 0
            if not self._has_evicted:
                self._walked -= snapshot_bytes
                self._start, self._events = place_of(number, 0, snapshot=True), None

    # --- the walk, with the lock held ----------------------------------------------------------------------------

    def _walk(self, most: int) -> bool:
        """Go on along the log; return whether there is more to do."""
        if self._events is None:
            self._events = self._events_from(self._start)
        for _ in range(most):
            if self._held_bytes <= self._budget // 2 or self._ended:
                return False
            found = next(self._events, None)
            if found is None:
                self._events, self._walked = None, self._appended
                return False
            self._start, event = found
            self._evict(self._start, event)
            self._walked = min(self._appended, self._walked + len(event) + _FRAME_BYTES)
        return True

    def _events_from(self, start: Place) -> Iterator[tuple[Place, bytes]]:
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
        stays = () if space.sealed is None else space.sealed.owned  # these are read under the lock
        large = (
            (key, dot, ordinal)
            for ordinal, (key, dot, payload) in enumerate(written)
            if is_large(payload) and not key.startswith(stays)
        )
        while some := list(islice(large, _SLICE_VALUES)):
            self._has_evicted = True
            space.evict([(key, dot, self._cold.at(place, ordinal)) for key, dot, ordinal in some])
