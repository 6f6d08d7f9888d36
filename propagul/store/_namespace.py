"""One namespace at one node: replica, log and listeners behind one lock.

Writers come from any thread, gossip from the loop's. The written contract of this file, in this order: **log, then
apply, then tell**. A write that the log refused changes nothing; a stream is one log record and becomes visible in one
step.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgpack

from propagul.crdt import REGISTER, Change, Cut, Dot, Entry, Replica, VersionVector, codec, stamp_of_ns
from propagul.errors import PeerProtocolError, StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from propagul.crdt import Origin, Row, Stamp
    from propagul.log import EventLog

_WRITE, _STREAM = 0, 1


@dataclass(slots=True)
class Traffic:
    """What has happened in a namespace since it was opened."""

    local_writes: int = 0
    remote_rows: int = 0


class SharedLog:
    """One event log under several namespaces: records in the order in which they were acknowledged.

    record = [kind, namespace, ...]
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = threading.Lock()

    def append(self, record: list[object]) -> None:
        """Append one record; see `EventLog.append`."""
        packed = cast("bytes", msgpack.packb(record))
        with self._lock:
            self._log.append(packed)

    def sync(self) -> None:
        """Force the log to the disk."""
        with self._lock:
            self._log.sync()

    def recover(self, spaces: Mapping[str, Namespace]) -> None:
        """Fold everything the log kept into its namespaces. Call once, before the first append.

        Raises:
            StoreCorrupt: A segment is damaged, or a record passed its checksum and is still not ours.
        """
        for packed in self._log.recover():
            try:
                kind, name, *body = cast("list[object]", codec.unpack(packed))
                spaces[cast("str", name)].fold(cast("int", kind), body)
            except (PeerProtocolError, ValueError, TypeError, KeyError) as error:
                raise StoreCorrupt("the event log holds a record this version cannot read") from error


class Namespace:
    """Implements `propagul.gossip.Source`.

    Args:
        name: Which one it is, in the log and on the wire.
        replica: Its rows; owned by this object from here on.
        log: Where it is kept; None for an ephemeral namespace.
        wall_ns: Wall clock, nanoseconds since the epoch.
    """

    def __init__(
        self, name: str, replica: Replica, log: SharedLog | None, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.name = name
        self._replica = replica
        self._log = log
        self._wall_ns = wall_ns
        self._lock = threading.Lock()
        self._own: dict[Origin, Stamp] = {}
        self._listeners: list[Callable[[Change, bool], None]] = []
        self.traffic = Traffic()

    def fold(self, kind: int, body: list[object]) -> None:
        """Apply one record that the log kept.

        Raises:
            PeerProtocolError, ValueError, TypeError: It is no record of ours.
        """
        if kind == _WRITE:
            write = codec.decode_write(body)
            self._replica.clock.observe(write.dot.stamp, stamp_of_ns(self._wall_ns()))
            self._replica.apply_write(write)
            self._own[write.dot.origin] = write.dot.stamp
        elif kind == _STREAM:
            packed, entries = body
            rows = codec.decode_rows(cast("bytes", packed))
            self._replica.merge(rows, codec.unflatten(entries), stamp_of_ns(self._wall_ns()))
        else:
            raise ValueError("a record of an unknown kind")

    def listen(self, listener: Callable[[Change, bool], None]) -> Callable[[], None]:
        """Call `listener(change, local)` for every row change, in order, under the lock; return how to stop.

        A listener must be quick and must not touch the namespace.
        """
        with self._lock:
            self._listeners.append(listener)
        return lambda: self._unlisten(listener)

    # --- local side ----------------------------------------------------------------------------------------------

    def row(self, key: str) -> Row:
        """The row of a key as it is now."""
        return self._replica.row(key)

    def rows(self) -> list[tuple[str, Row]]:
        """Every row of one instant, removal records included."""
        with self._lock:
            return list(self._replica)

    def put(self, key: str, payload: bytes) -> Dot:
        """Write a value; durable as the log is when it returns."""
        with self._lock:
            return self._write(key, payload)

    def remove(self, key: str) -> bool:
        """Delete a key; False and no write if it was not there."""
        with self._lock:
            if not self._replica.row(key).siblings:
                return False
            self._write(key, None)
            return True

    def resolve(self, key: str, expected: Row, payload: bytes) -> bool:
        """Write a value only if the row is still the one that was decided about."""
        with self._lock:
            if self._replica.row(key) is not expected:
                return False
            self._write(key, payload)
            return True

    def forget(self, key: str, row: Row) -> None:
        """Drop an expired row of an ephemeral namespace, unless it changed meanwhile."""
        with self._lock:
            if self._replica.row(key) is row:
                self._replica.forget(key)

    def own_dots(self) -> list[Dot]:
        """The newest write of each origin of ours: this process's, and those whose writes our log brought back."""
        with self._lock:
            return [Dot(stamp, origin) for origin, stamp in self._own.items()]

    def sync(self) -> None:
        """Force the log to the disk."""
        with self._lock:
            if self._log is not None:
                self._log.sync()

    def origins(self) -> int:
        """How many origins the version vector holds."""
        return len(self._replica.vector)

    # --- gossip's side -------------------------------------------------------------------------------------------

    @property
    def arrival(self) -> int:
        """How many row changes there have been."""
        return self._replica.arrival

    def hello(self) -> tuple[bytes, VersionVector, int]:
        """See `Source.hello`."""
        with self._lock:
            vector = self._replica.vector
            return vector.digest(), VersionVector(vector), vector.mark

    def told_since(self, mark: int) -> tuple[list[Entry], int]:
        """See `Source.told_since`."""
        with self._lock:
            return self._replica.vector.since(mark), self._replica.vector.mark

    def covers(self, entries: Iterable[Entry]) -> bool:
        """See `Source.covers`."""
        with self._lock:
            return all(self._replica.vector.covers_entry(origin, stamp) for origin, stamp in entries)

    def cut(self, *, after: int, known: VersionVector, told: int) -> Cut:
        """See `Source.cut`."""
        with self._lock:
            return self._replica.cut(after=after, known=known, told=told)

    def cut_own(self, *, after: int, known: VersionVector) -> Cut:
        """See `Source.cut_own`."""
        with self._lock:
            return self._replica.cut_own(after=after, known=known)

    def merge(self, packed: bytes, entries: Iterable[Entry]) -> bool:
        """See `Source.merge`: decode all, log all, apply all, tell all.

        Raises:
            PeerProtocolError: Not rows; nothing was logged or applied.
            StoreError: The log refused it; nothing was applied.
        """
        rows, adopted = codec.decode_rows(packed), list(entries)
        with self._lock:
            if self._log is not None:
                self._log.append([_STREAM, self.name, packed, codec.flatten(adopted)])
            return self._apply_stream(rows, adopted)

    # --- inside the lock -----------------------------------------------------------------------------------------

    def _write(self, key: str, payload: bytes | None) -> Dot:
        write = self._replica.prepare(key, REGISTER, payload, stamp_of_ns(self._wall_ns()))
        if self._log is not None:
            self._log.append([_WRITE, self.name, *codec.encode_write(write)])
        self.traffic.local_writes += 1
        self._own[write.dot.origin] = write.dot.stamp
        self._tell([self._replica.apply_write(write)], local=True)
        return write.dot

    def _apply_stream(self, rows: list[tuple[str, Row]], entries: list[Entry]) -> bool:
        mark = self._replica.vector.mark
        changes = self._replica.merge(rows, entries, stamp_of_ns(self._wall_ns()))
        self.traffic.remote_rows += len(rows)
        self._tell(changes, local=False)
        return bool(changes) or self._replica.vector.mark != mark

    def _tell(self, changes: Iterable[Change], *, local: bool) -> None:
        for change in changes:
            for listener in self._listeners:
                listener(change, local)

    def _unlisten(self, listener: Callable[[Change, bool], None]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)


def live(rows: Iterable[tuple[str, Row]], prefix: str) -> Iterator[tuple[str, bytes]]:
    """Keys under a prefix with the payload of their winner, removal records left out."""
    for key, row in rows:
        if row.winner is not None and key.startswith(prefix):
            yield key, row.winner.payload
