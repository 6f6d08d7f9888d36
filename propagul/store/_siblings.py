"""The logs of the other processes of a state directory, taken in as if they were peers.

A log is folded into fresh replicas, and what they hold beyond ours is joined as one stream a namespace: it is then in
our log, and nothing of it twice. A log whose process is gone is *adopted*: locked, folded, joined, synced, and only
then removed, so that a crash at any moment leaves it in one log or in both. A log whose process lives is read beside
its writer up to its last whole record: every prefix of a log is a state its replica was in. What comes later arrives
over a link, or when that log is adopted.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from propagul import _system
from propagul.crdt import Replica, codec
from propagul.errors import PropagulError, StoreError
from propagul.log import EventLog, baton
from propagul.log.cold import cold_if_large, filled
from propagul.log.event_reader import EventReader
from propagul.log.fold import Fold
from propagul.log.recovery import scan_directory
from propagul.log.refusal import refusals_of
from propagul.log.snapshot import newest_snapshot
from propagul.log.snapshot_reader import read_snapshot, snapshot_path
from propagul.store._origin import fresh_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from propagul.crdt import Origin, Stamp
    from propagul.log.directory import OtherLog, StateDirectory
    from propagul.log.place import Place
    from propagul.store._namespace import Namespace

_PASSES: Final = 4
"""How often the directory is looked through before what cannot be read is given up for now."""

_RETRY_ROUNDS_MAX: Final = 300
"""A log that cannot be adopted is read again after at most so many rounds."""

_SLICE_ROWS: Final = 256

_log = logging.getLogger("propagul.store")


class Siblings:
    """The other logs of one directory. One call at a time; not in the event loop, for it reads and syncs.

    Args:
        directory: The directory.
        spaces: The namespaces that are logged, by name.

    Attributes:
        adopted: How many logs were adopted since the store was opened.
    """

    def __init__(self, directory: StateDirectory, spaces: Mapping[str, Namespace]) -> None:
        self.adopted = 0
        self._directory = directory
        self._spaces = dict(spaces)
        self._troubles: dict[str, str] = {}
        self._round = 0
        self._retry: dict[str, tuple[int, int]] = {}

    @property
    def troubles(self) -> list[str]:
        """Logs that could not be taken in, and why. They are left as they are and tried again."""
        return list(self._troubles.values())

    def take_in(self) -> None:
        """Join every other log, so that this store knows what all processes had logged before the call.

        What cannot be read is named in `troubles`: one damaged log must not keep the others from being used.

        Raises:
            StoreError: The directory itself cannot be read.
        """
        done: set[str] = set()
        for _ in range(_PASSES):
            others = [other for other in self._directory.others() if other.log_id not in done]
            done.update(other.log_id for other in others if self._try(self._take, other))
            if any(not other.path.is_dir() for other in others if other.log_id not in done):
                done.clear()  # adopted by another process just now: it is in a log that may have been read before
            elif all(other.log_id in done for other in others):
                return

    def adopt(self, others: Collection[OtherLog]) -> bool:
        """Adopt logs whose process is gone; return whether anything new came of it.

        What another process is adopting is left to it, and what failed is tried again in ever longer intervals.
        """
        before = [space.arrival for space in self._spaces.values()]
        self._round += 1
        there = {other.log_id for other in others}
        self._troubles = {log_id: trouble for log_id, trouble in self._troubles.items() if log_id in there}
        for other in others:
            since, wait = self._retry.get(other.log_id, (0, 0))
            if self._round >= since + wait:
                failed = not self._try(self._adopt, other)
                self._retry.pop(other.log_id, None)
                if failed:
                    self._retry[other.log_id] = self._round, min(2 * wait + 1, _RETRY_ROUNDS_MAX)
        return before != [space.arrival for space in self._spaces.values()]

    def _take(self, other: OtherLog) -> None:
        """Adopt a log if its process is gone, or read it where it stands."""
        if other.pid is not None or not self._adopt(other):
            self._join(other.path, _events_beside(other.path))

    def _try(self, take: Callable[[OtherLog], object], other: OtherLog) -> bool:
        """Whether it did not fail; if it did, that is noted."""
        self._troubles.pop(other.log_id, None)
        try:
            take(other)
        except PropagulError as error:
            if other.path.is_dir():
                self._troubles[other.log_id] = f"the log of another process cannot be taken in: {error}"
                _log.warning("store.log_not_taken_in %s", error)
            return False
        return True

    def _adopt(self, other: OtherLog) -> bool:
        """Adopt one; False if another process is at it, or was."""
        orphan = self._directory.adopt(other)
        if orphan is None:
            return False
        with orphan:
            log = EventLog(orphan.path, boot_id=_system.boot_id(), log_id=int(orphan.log_id, 16))
            try:
                own = self._join(orphan.path, _events_of(orphan.path, log))
            finally:
                log.close()
            for name, space in self._spaces.items():
                space.own_too(own[name])
                space.sync()
            self._keep_torn(orphan.log_id, log)
            orphan.remove()
        baton.take(other.log_id)  # the right to go on under its origins ends with it
        self.adopted += 1
        _log.info("store.log_adopted %s", other.log_id)
        return True

    def _join(self, path: Path, events: Iterable[tuple[Place, bytes]]) -> dict[str, dict[Origin, Stamp]]:
        """Fold a log and join what came out; return what was minted in it, by namespace."""
        replicas = {name: Replica(fresh_origin()) for name in self._spaces}
        for name, space in self._spaces.items():
            replicas[name].apart = None if space.sealed is None else space.sealed.apart
        with contextlib.closing(EventReader(path)) as reader:
            fold = Fold(replicas, reader.read)
            fold.cold = cold_if_large(path, reader.read)
            fold.take_all(events)
            for name, space in self._spaces.items():
                join_replica(space, replicas[name])
        return fold.own

    def _keep_torn(self, log_id: str, log: EventLog) -> None:
        """Bytes that a power cut tore are no state, but they are the user's: they stay, beside our own log."""
        torn = log.recovery.torn_copy
        if torn is not None:
            with refusals_of(f"{torn} could not be kept"):
                _system.move(torn, self._directory.log_path / f"{log_id}-{torn.name}")


def join_replica(space: Namespace, replica: Replica) -> None:
    """Give a namespace what a replica holds beyond it. What is covered already adds nothing to the log.

    Raises:
        StoreError: Our log refused; nothing was applied.
    """
    if space.covers(replica.vector):
        return
    _, known, _ = space.hello()
    cut = replica.cut(after=0, known=known, told=0)
    stream = space.incoming()
    try:
        while not cut.at_end:
            for packed in codec.encode_blocks(filled(cut.read(_SLICE_ROWS))):
                stream.add(packed)
        stream.apply(cut.entries, cut.join)
        space.settle_all()
    finally:
        stream.abandon()


def _events_of(path: Path, log: EventLog) -> Iterator[tuple[Place, bytes]]:
    """Everything a log holds that nobody else writes, with the checks of an opening."""
    number = newest_snapshot(path)
    if number is not None:
        yield from read_snapshot(snapshot_path(path, number))
    yield from log.recover(number or 1)


def _events_beside(path: Path) -> Iterator[tuple[Place, bytes]]:
    """What a log holds now that somebody may be writing. Changes nothing.

    Raises:
        StoreError: Its writer compacted it meanwhile, or it was adopted: try again.
    """
    with refusals_of(f"{path} cannot be read beside its writer"):  # what was listed may be gone by the next call
        number = max((int(snapshot.stem) for snapshot in path.glob("[0-9]" * 8 + ".snap")), default=None)
        if number is not None:
            yield from read_snapshot(snapshot_path(path, number))
        yield from scan_directory(path, first=number or 1)
    if not path.is_dir():
        raise StoreError(f"{path} was adopted meanwhile")
