"""One namespace at one node: replica, log and listeners behind the store's lock.

Writers come from any thread, gossip from the loop's. The written contract of this file, in this order: **log, then
apply, then tell**. A write that the log refused changes nothing; a transaction is one event of the log, and so is the
end of a stream; both become visible in one step. Nobody waits for a disk or a network while holding the lock.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from propagul.crdt import EMPTY, REGISTER, REMOVE, Change, Offer, Op, Stamp, stamp_of_ns, stamps_in
from propagul.crdt.bulk import uncollected
from propagul.crdt.hot import local_writer
from propagul.crdt.twins import twin_of
from propagul.log import fold
from propagul.store._compared import ComparedRows
from propagul.store._instant import SnapshotCut
from propagul.store._minting import AHEAD_S_MAX, Minting
from propagul.store._origin import fresh_origin
from propagul.store._reads import Reads
from propagul.store._rows import View
from propagul.store._sealed import sealing
from propagul.store._signed import is_there
from propagul.store._streams import IncomingStream, OutgoingStream, read_position
from propagul.store._traffic import Traffic
from propagul.store._upkeep import Upkeep

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from propagul.crdt import (
        Batch,
        Block,
        Dot,
        Entry,
        Evicted,
        Join,
        Origin,
        Payload,
        Replica,
        Row,
        Sibling,
        VersionVector,
    )
    from propagul.store._journal import Journal, Staged
    from propagul.store._rows import Step
    from propagul.store._sealed import SealedRows


class Namespace(Reads):
    """Implements `propagul.gossip.Source`.

    Attributes:
        table: Its rows in columns. *Use:* reading one key without the lock, as `StateMap.get` does.
        is_linked: Whether others are served from here, so that they must be waited for. Set by the store.
        on_detour: Called with 1 when reading `table` is not enough, as rows of a stream wait, and with -1 when it is.
        minting: Who mints here. *Use:* with the lock held.
        provable: See `Source.provable`.
        put_plain: Write a register where that is simple; False, and nothing happened, where it is not: use `put`.
        tidy: Take the next step towards dropping old removal records and contexts; see `Upkeep.tidy`.

    Args:
        name: Which one it is, in the log and on the wire.
        replica: Its rows; owned by this object from here on.
        lock: The store's.
        journal: Where it is kept; None for an ephemeral namespace.
        wall_ns: Wall clock, nanoseconds since the epoch.
        own: Newest stamps of origins that minted in this namespace's log before.
        sealed: Its rows that prove who wrote them, if there may be any.
    """

    def __init__(
        self,
        name: str,
        replica: Replica,
        lock: threading.Lock,
        journal: Journal | None,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        own: Mapping[Origin, Stamp] | None = None,
        sealed: SealedRows | None = None,
    ) -> None:
        self.name = name
        self.lock = lock
        self.journal = journal
        self.traffic = Traffic() if sealed is None else sealed.guard(Traffic(), replica.table.row, lock)
        self._life = fresh_origin()
        self._replica, self.table, self._wall_ns = replica, replica.table, wall_ns
        self.minting = Minting(name, replica, self._wall, sealed, own or {})
        log_floor = None if journal is None else functools.partial(journal.append_floor, name)
        self.provable = ComparedRows(self) if sealed is not None and sealed.is_whole else None
        self._upkeep = Upkeep(replica, lock, self._wall, self.traffic, log_floor, forgets=self.provable is None)
        self.tidy = self._upkeep.tidy
        self._opened: Callable[[Row], Row] = (lambda row: row) if sealed is None else sealed.opened
        self.is_linked: Callable[[], bool] = lambda: False
        self.on_detour: Callable[[int], None] = lambda _: None
        self._recovered = self.table.arrival - replica.foreign
        self._listeners: list[Callable[[Change, bool], None]] = []
        replica.report(False)
        log = None if journal is None else functools.partial(journal.append_write, name)
        self.put_plain = sealing(sealed, local_writer(replica, lock, wall_ns, stamps_in(AHEAD_S_MAX), log))
        for _, stamp in replica.vector:
            replica.clock.observe(stamp, self._wall())

    def listen(self, listener: Callable[[Change, bool], None]) -> Callable[[], None]:
        """Call `listener(change, local)` for every row change, in order, under the lock; return how to stop.

        A listener must be quick and must not touch the namespace.
        """
        with self._whole():
            self._listeners.append(listener)
            self._replica.report(True)
        return lambda: self._unlisten(listener)

    # --- local side ----------------------------------------------------------------------------------------------

    @property
    def minted(self) -> Stamp:
        """The newest stamp of that origin; 0 if it has none."""
        return self._replica.minted

    @property
    def sealed(self) -> SealedRows | None:
        """Its rows that prove who wrote them."""
        return self.minting.sealed

    def snapshot(self) -> SnapshotCut:
        """Everything held at this instant, to be read in slices. Call with the lock held, and nothing waiting."""
        return SnapshotCut(self._replica.vector.copy(), list(self.minting.entries().items()), self._replica.capture())

    @property
    def local_writes(self) -> int:
        """Rows changed by local writes since it was opened."""
        return self.table.arrival - self._replica.foreign - self._recovered

    @property
    def origin(self) -> Origin:
        """Who mints here now."""
        return self._replica.origin

    def write(self, steps: Iterable[Step]) -> bool:
        """Run steps one after the other and write what they decide as one batch; return whether that was anything.

        Durable as the log is when it returns; a log that refuses leaves no trace. O(operations).
        """
        with self.lock:
            batch = self.minting.prepare(())
            view = View(self._row, self._under, batch.dot)
            for step in steps:
                view.do(step(view))
            if view.ops:
                self._write_batch(batch._replace(ops=list(view.ops.values())))
            return bool(view.ops)

    def put(self, key: str, payload: Payload) -> None:
        """Write a value."""
        if not self.put_plain(key, payload):
            with self.lock:
                self._write((Op(key, REGISTER, payload),))

    def remove(self, key: str) -> bool:
        """Delete a key; False and no write if it was not there."""
        with self.lock:
            if not is_there(self._row(key)):
                return False
            self._write((Op(key, REGISTER, REMOVE),))
            return True

    def forget(self, key: str, row: Row) -> None:
        """Drop an expired row of an ephemeral namespace, unless it changed meanwhile, and tell of it."""
        with self.lock:
            if self._replica.row(key) == row:
                self._replica.forget(key)
                self._tell([Change(key, row, EMPTY)], local=False)

    def own_dots(self) -> list[Dot]:
        """The newest write of each origin of ours: this process's, and those whose writes our log brought back."""
        with self.lock:
            return self.minting.dots()

    def own_too(self, entries: Mapping[Origin, Stamp]) -> None:
        """Count what was minted in a log that was adopted as our own, for as long as this process runs."""
        with self.lock:
            self.minting.own_too(entries)

    def evict(self, values: list[tuple[str, Dot, Evicted]]) -> None:
        """Have payloads elsewhere, where the row of the key still holds the dot."""
        twin_of(uncollected)(values)
        with self.lock:
            for key, dot, payload in values:
                self.table.evict(key, dot, payload)

    def has_moved(self, key: str, sibling: Sibling) -> bool:
        """Whether the row of a key does not hold this sibling just so any more."""
        return all(held is not sibling and held != sibling for held in self.row(key).siblings)

    def hold(self) -> object:
        """What makes every payload that is read from now on readable for as long as it is held."""
        return None if self.journal is None else self.journal.hold()

    def sync(self) -> None:
        """Force the log to the disk."""
        if self.journal is not None:
            self.journal.sync()

    def origins(self) -> int:
        """How many origins the version vector holds."""
        return len(self._replica.vector)

    @property
    def newest_credible(self) -> Stamp:
        """Stamps above this are so far in the future that they are marked as quarantined. A mark, never a rank."""
        return self.minting.newest_credible

    def tidy_alone(self) -> None:
        """Both steps at once, where nobody is linked who must be waited for. Not with the lock held."""
        for _ in range(0 if self.is_linked() else 2):
            self._upkeep.tidy(lambda _: True)

    # --- gossip's side -------------------------------------------------------------------------------------------

    @property
    def arrival(self) -> int:
        """The number of the newest change of rows."""
        return self._replica.arrival

    def hello(self) -> tuple[bytes, VersionVector, int]:
        """See `Source.hello`."""
        with self.lock:
            vector = self._replica.vector
            return vector.digest(), vector.copy(), vector.mark

    def told_since(self, mark: int) -> tuple[list[Entry], int]:
        """See `Source.told_since`."""
        with self.lock:
            return self._replica.vector.since(mark), self._replica.vector.mark

    def covers(self, entries: Iterable[Entry]) -> bool:
        """See `Source.covers`."""
        with self.lock:
            return self._replica.vector.covers_all(entries)

    def cut(self, *, after: int, known: VersionVector, told: int, held: bytes = b"") -> OutgoingStream:
        """See `Source.cut`."""
        with self.lock:
            cut = self._replica.cut(after=after, known=known, told=told, held=read_position(held, self._life))
            return OutgoingStream(self, cut, self._life)

    def cut_own(self, *, after: int, known: VersionVector) -> OutgoingStream | None:
        """See `Source.cut_own`."""
        with self.lock:
            cut = self._replica.cut_own(after=after, known=known)
            return None if cut is None else OutgoingStream(self, cut)

    def incoming(self) -> IncomingStream:
        """See `Source.incoming`."""
        return IncomingStream(self)

    @property
    def is_busy(self) -> bool:
        """See `Source.is_busy`."""
        return self._replica.is_pending

    def receive(
        self,
        staged: Staged | None,
        blocks: Sequence[bytes],
        rows: Sequence[Block] | Offer,
        entries: Sequence[Entry],
        join: Join | None,
    ) -> bool:
        """Log the end of a stream, apply the stream, tell of it; return whether anything was new.

        An offer is effective at once and joined by `settle`; where an earlier one waits, that is joined first.

        Raises:
            StoreError: The log refused it; nothing was applied.
        """
        with self._whole():
            wall = self._wall()
            if self.journal is not None:
                self.journal.end(self.name, staged, wall, entries, join, blocks)
            if isinstance(rows, Offer):
                self.on_detour(1)
                news = self._replica.accept(rows, entries, wall, join)
            else:
                news, changes = self._replica.merge(rows, entries, wall, join)
                self._tell(changes, local=False)
                self._cut_down_crowded()
            self.traffic.remote_rows += len(rows) if isinstance(rows, Offer) else sum(map(len, rows))
            self.traffic.joins += join is not None
            self.traffic.note_skew(self.name, entries, wall)
            self.minting.leave_a_twins_origin()
            return news

    # --- inside the lock -----------------------------------------------------------------------------------------

    def _write(self, ops: Sequence[Op]) -> None:
        self._write_batch(self.minting.prepare(ops))

    def _write_batch(self, batch: Batch) -> None:
        batch = self.minting.seal(batch)
        if self.journal is not None:
            self.journal.append(fold.encode_batch(self.name, batch))
        self.minting.own_too({batch.dot.origin: batch.dot.stamp})
        changes = self._replica.apply(batch)
        self._tell_settled()
        self._tell(changes, local=True)
        self._upkeep.after_batch(self.is_linked)

    def _cut_down_crowded(self) -> None:
        """Cut rows with too many siblings down, by an operation: the others will agree on what is left."""
        ops = self.traffic.cut_down(self.name, {key: self._row(key) for key in self._replica.crowded()})
        if ops:
            self._write(ops)

    def _tell(self, changes: Iterable[Change], *, local: bool) -> None:
        for key, before, after in changes if self._listeners else ():
            change = Change(key, self._opened(before), self._opened(after))
            for listener in self._listeners:
                listener(change, local)

    def _unlisten(self, listener: Callable[[Change, bool], None]) -> None:
        with self.lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
            self._replica.report(bool(self._listeners))

    def _wall(self) -> Stamp:
        return stamp_of_ns(self._wall_ns())
