"""A store's directory: what it held comes back at open, and is compacted while the store runs.

Opening folds the newest snapshot and the segments behind it into the replicas. Compacting ends the current segment,
writes what the replicas hold at that instant beside it, in slices, and only then lets the older segments go: a crash at
any moment leaves one or the other. It runs in a thread of its own and holds the store's lock for one slice at a time.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul import _system
from propagul.crdt import Origin, Stamp, stamp_of_ns
from propagul.errors import ClosedError, PropagulError, StoreBusy, StoreError
from propagul.log import EventLog, StateDirectory, baton
from propagul.log.cold import ColdValues, filled
from propagul.log.event_log import PENDING_BYTES_MAX, SEGMENT_BYTES
from propagul.log.fold import Fold, encode_rows, encode_vector
from propagul.log.history import Archive, encode_made
from propagul.log.place import in_snapshot, number_of, offset_of, place_of
from propagul.log.snapshot import SnapshotWriter, drop_snapshots_before, newest_snapshot
from propagul.log.snapshot_reader import SnapshotReader, read_snapshot, snapshot_path
from propagul.store._eviction import MEMORY_BYTES, MEMORY_BYTES_MIN, Eviction
from propagul.store._journal import GROWTH_BYTES, Journal
from propagul.store._retention import KeptRetention
from propagul.store._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from propagul.crdt import Replica
    from propagul.log.place import Place
    from propagul.store._instant import SnapshotCut
    from propagul.store._namespace import Namespace
    from propagul.store._retention import Retention

COMPACT_BYTES: Final = 16 * 1024 * 1024
"""A log shorter than this, or than what its last snapshot came to, is not compacted."""

SYNC_BYTES: Final = 4 * 1024 * 1024
"""When this much is not on the disk yet it is synced in the background, whatever the durability."""

_SLICE_ROWS: Final = 256

_CACHED_PART: Final = 8
"""This part of the budget is for what was read back last."""

_log = logging.getLogger("propagul.store")


class Keep(NamedTuple):
    """How much is kept of what was.

    Attributes:
        retention: How long what was compacted away stays readable; None for as the directory says.
        memory_bytes: About how many bytes of values may be in memory.
    """

    retention: Retention | None = None
    memory_bytes: int = MEMORY_BYTES


class Disk:
    """An open state directory, its log, and the thread that compacts it.

    Args:
        path: The directory.
        room: Its room.
        lock: The store's.
        alone: Whether no other process may use the directory meanwhile.
        wall_ns: Wall clock, nanoseconds since the epoch.
        keep: How much, and where.

    Attributes:
        archive: What is kept of the past.
        retention: How much of it.
        compactions: How often the log was compacted.
        is_pressing: Whether so much is pending that a write must ask `relieve` first.
    """

    __slots__ = ("__dict__", "is_pressing")  # slots: what the kernel reads in place

    def __init__(
        self,
        path: Path,
        room: str,
        lock: threading.Lock,
        wall_ns: Callable[[], int],
        keep: Keep,
        *,
        alone: bool,
    ) -> None:
        if keep.memory_bytes < MEMORY_BYTES_MIN:
            raise ValueError(f"memory_bytes is at least {MEMORY_BYTES_MIN}, not {keep.memory_bytes}")
        self.directory = StateDirectory(path, room, alone=alone)
        here = self.directory.log_path
        self.log = EventLog(
            here,
            lock=lock,
            boot_id=_system.boot_id(),
            log_id=int(self.directory.log_id, 16),
        )
        self.retention = KeptRetention(path, keep.retention)
        self.archive = Archive(here, int(self.directory.log_id, 16), self.retention.seconds)
        self._snapshots = SnapshotReader(here)
        self.journal = Journal(self.log, ColdValues(self._read, keep.memory_bytes // _CACHED_PART))
        self.eviction = Eviction(here, self.journal.cold, keep.memory_bytes)
        self.journal.has_room = self.eviction.has_room
        self.journal.hold = self.eviction.hold
        self._memory_bytes = keep.memory_bytes
        self.compactions = 0
        self._lock = lock
        self._wall_ns = wall_ns
        self._spaces: dict[str, Namespace] = {}
        self._snapshot_bytes = 0
        self._first = self._needed = self._dropped = 1
        self._closing = False
        self._compacting = threading.Lock()
        self._worker, self._walker = Worker("propagul-disk"), Worker("propagul-memory")
        self.is_pressing = False

    # --- opening and closing -------------------------------------------------------------------------------------

    def recover(self, replicas: Mapping[str, Replica]) -> dict[str, dict[Origin, Stamp]]:
        """Fold everything that is kept into the replicas; return, by namespace, which origins minted in this log.

        Raises:
            StoreCorrupt: Something acknowledged is damaged, or passed its checksum and is still not ours.
            StoreError: What was asked to be kept cannot be written down.
        """
        size = sum(path.stat().st_size for path in self.directory.log_path.iterdir() if path.is_file())
        self.retention.settle()
        fold = Fold(replicas, self.log.read)
        fold.cold = self.journal.cold if size > self._memory_bytes else None
        fold.take_all(self._events())
        self._recovered_bytes = size
        left = baton.take(self.directory.log_id)
        for space, (origin, stamp) in {} if left is None else left.stamps.items():
            if space in replicas and replicas[space].vector.stamp_of(Origin(origin)) == stamp:
                replicas[space].go_on(Origin(origin), Stamp(stamp))
        return fold.own

    def serve(self, spaces: Mapping[str, Namespace]) -> None:
        """What to write down when it is time to compact."""
        self._spaces = dict(spaces)
        self.journal.on_growth, self.journal.on_staged = self._grown, self._look_at_pending
        start = place_of(self._first, 0, snapshot=self._snapshot_bytes > 0)
        size, is_evicted = self._recovered_bytes, self._recovered_bytes > self._memory_bytes
        self.eviction.serve(spaces, start, self.log.end, size, evicted=is_evicted)

    def close(self) -> None:
        """Sync, leave the right to our origins to whoever opens the log next, and let go. Idempotent."""
        self._closing = True
        self.eviction.end()
        self._worker.end()
        self._walker.end()
        with self._compacting:
            try:
                self.log.close()
                self._snapshots.close()
                self._leave_baton()
            finally:
                self.directory.close()

    def _events(self) -> Iterator[tuple[Place, bytes]]:
        number = newest_snapshot(self.directory.log_path)
        if number is not None:
            path = snapshot_path(self.directory.log_path, number)
            self._first = self._needed = self._dropped = number
            self._snapshot_bytes = path.stat().st_size
            yield from read_snapshot(path)
        self._retire_quietly()
        yield from self.log.recover(self._first)

    def _leave_baton(self) -> None:
        spaces, self._spaces = self._spaces, {}
        stamps = {name: (space.origin, space.minted) for name, space in spaces.items() if space.minted}
        if stamps:
            baton.leave(self.directory.log_id, stamps)

    # --- compaction ----------------------------------------------------------------------------------------------

    def compact(self) -> int:
        """Write a snapshot of what the replicas hold and drop the log behind it; return its size in bytes.

        Raises:
            StoreError: The disk refused; the log is as it was.
        """
        with self._compacting:
            if self.eviction.is_full:
                self.eviction.run()  # what is in memory at the cut stays there until the snapshot is on the disk
            for space in self._spaces.values():
                space.tidy_alone()
                space.settle_all()
            self.log.sync()  # so that ending the segment has little left to wait for
            with self.eviction.lock, self._lock:
                number = self.log.rotate()
                if number == self._first:
                    return self._snapshot_bytes  # nothing was written since
                self.journal.cut_at = place_of(number, 0)
                self.eviction.cut(number)
                cuts = [(space, space.snapshot()) for space in self._spaces.values() if space.journal is not None]
                made = max(self._wall(), *(space.minted for space, _ in cuts))
            try:
                size = self._write_snapshot(number, encode_made(cuts[0][0].name, made), cuts)
            except BaseException:
                self.eviction.uncut(self._first, snapshot=self._snapshot_bytes > 0)
                raise
            self._first, self._snapshot_bytes = number, size
            self.eviction.compacted(number, size)
            self._needed = number
            self._drop()
            self.compactions += 1
            return size

    def _write_snapshot(self, number: int, head: bytes, cuts: Sequence[tuple[Namespace, SnapshotCut]]) -> int:
        """Write what was cut, in slices, while writers go on; return its size when it is on the disk."""
        with SnapshotWriter(self.directory.log_path, number) as writer:
            writer.write(head)
            for space, cut in cuts:
                for event in _events_of(space, cut):
                    writer.write(event)
                    if self._closing:
                        raise ClosedError("the store is closed; its log is compacted another time")
            self._move_staged()
            self.log.sync()
            writer.commit()
            return writer.size

    def _drop(self) -> None:
        """Let go of what the newest snapshot stands for, unless it is still read."""
        if self._dropped == self._needed or self.eviction.is_held:
            return
        with self.archive.lock:
            self.archive.retire(self._needed, self._wall())
            self.log.drop_before(self._needed)
            self._snapshots.forget_before(self._needed)
            drop_snapshots_before(self.directory.log_path, self._needed)
        self._dropped = self._needed

    def _read(self, place: Place) -> bytes:
        """The event at a place, in a segment or in a snapshot. From any thread."""
        return self._snapshots.read_block(place) if in_snapshot(place) else self.log.read(place)

    def _retire_quietly(self) -> None:
        """At open: a crash may have come before what a snapshot stands for was moved away."""
        try:
            with self.archive.lock:
                self.archive.retire(self._first, self._wall())
        except StoreError as error:
            _log.warning("store.history_not_kept %s", error)

    def _wall(self) -> Stamp:
        return stamp_of_ns(self._wall_ns())

    def _move_staged(self) -> None:
        for staged in self.journal.staging():
            moves = staged.move(self.journal.cut_at)
            more = True
            while more:
                with self._lock:
                    more = next(moves, None) is not None

    def _grown(self, place: Place) -> None:
        """Have the worker sync what is pending, and compact if the log has outgrown what it says."""
        self._look_at_pending()
        begun = max(self._first, number_of(self.journal.cut_at))
        length = (number_of(place) - begun) * SEGMENT_BYTES + offset_of(place)
        length -= sum(staged.bytes for staged in self.journal.staging())  # these would only be moved
        if length > max(COMPACT_BYTES, self._snapshot_bytes):
            self._worker.do(self._compact_quietly)
        if self._dropped != self._needed:
            self._worker.do(self._drop_quietly)

    def _look_at_pending(self) -> None:
        pending = self.log.pending_bytes
        self.eviction.grown(self.log.end)
        self.is_pressing = self.log.is_pressing(PENDING_BYTES_MAX - GROWTH_BYTES) or self.eviction.is_late
        if pending > SYNC_BYTES:
            self._worker.do(self._sync_quietly)
        if self.eviction.is_full:
            self._walker.do(self._evict_quietly)

    def relieve(self, *, block: bool) -> None:
        """Before a write while `is_pressing`: have the disk catch up, or refuse.

        Raises:
            StoreBusy: Too much is pending, and `block` is false.
            StoreError: The disk refused.
        """
        self.log.throttle(block=block)
        if self.eviction.is_late:
            if not block:
                raise StoreBusy("more values than `memory_bytes` allows wait to leave memory; try again in a moment")
            self.eviction.run()
        self.is_pressing = False

    def _evict_quietly(self) -> None:
        try:
            self.eviction.run()
        except PropagulError as error:
            _log.warning("store.eviction_failed %s", error)

    def _drop_quietly(self) -> None:
        try:
            with self._compacting:
                self._drop()
        except PropagulError as error:
            _log.warning("store.old_log_not_dropped %s", error)

    def _sync_quietly(self) -> None:
        try:
            self.log.sync()
        except PropagulError as error:
            _log.warning("store.sync_failed %s", error)

    def _compact_quietly(self) -> None:
        try:
            self.compact()
        except PropagulError as error:
            _log.warning("store.compaction_failed %s", error)


def _events_of(space: Namespace, cut: SnapshotCut) -> Iterator[bytes]:
    yield encode_vector(space.name, cut.vector, cut.own)
    while True:
        with space.lock:
            block = cut.rows.read(_SLICE_ROWS)
        if not block:
            return
        yield from encode_rows(space.name, filled(block))
