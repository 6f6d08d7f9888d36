"""What a state directory says of itself, and how one of an older format becomes one of ours.

    state/                    the directory
    state.migrating-<n>/      its successor of format n, while it is being made; complete once it has a room.json
    state.format-<n>/         its predecessor of format n, kept until somebody removes it
    state.migrating.lock      held by the process that migrates

A migration reads the old directory and fills a new one beside it; that one is synced, then the old is renamed away and
the new one into its place. A crash before the first rename leaves the old directory (and a draft that is thrown away),
one between the two is finished by whoever opens next, and no process finds the place empty and founds a room there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from propagul import _system
from propagul.errors import StoreCorrupt, StoreError, StoreLocked
from propagul.log.lock_file import LockFile, pid_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Migration: TypeAlias = Callable[[Path, Path], None]

_log = logging.getLogger(__name__)

FORMAT = 2

MIGRATIONS: dict[int, Migration] = {}
"""By the format it starts from: fills the second directory, empty and private, with the first one's content in the next
format. The first stays as it is. Label, lock and identity are not its business."""

LOCK = "lock"
MIGRATION_WAIT_S = 600.0

_LABEL = "room.json"
_CARRIED = ("identity.key", "retention.json")
"""Files that belong to the directory and to no format."""


class Label(NamedTuple):
    """What `room.json` says."""

    room: str
    format: int


def find_or_make(path: Path) -> None:
    """See to it that there is a directory: finish a migration that a crash cut short, or make an empty one.

    Raises:
        StoreLocked: Another process is migrating it and takes too long.
        OSError: It cannot be made.
    """
    place = path.resolve()
    if path.is_dir():
        if _migration_lock(place).exists():  # under way, or left by a crash
            with _turn_to_migrate(place):
                return
        return
    if _successor(place) is not None:
        with _turn_to_migrate(place):
            successor = _successor(place)
            if successor is not None and not place.exists():
                _log.warning("interrupted migration finished: %s", place)
                _system.move(successor, place)
                _system.sync_directory(place.parent)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def is_older(path: Path, room: str) -> bool:
    """Whether a directory must be migrated before it can be used; False also for one without a label.

    Raises:
        StoreError: It belongs to another room or a newer version.
        StoreCorrupt: Its label is damaged.
    """
    label = read_label(path)
    if label is None:
        return False
    if label.format > FORMAT:
        raise StoreError(f"{path} has format {label.format}, made by a newer version; this one reads format {FORMAT}")
    if label.room != room:
        raise StoreError(f"{path} holds the room {label.room!r}, not {room!r}; rooms never merge")
    return label.format < FORMAT


def claim(path: Path, room: str) -> None:
    """Label an unlabelled directory; of two processes that try together one succeeds. Then check whose it is.

    Raises:
        StoreError: It is another room's, or not of our format.
        StoreCorrupt: The label is damaged, or gone although there are logs.
        OSError: The label cannot be written.
    """
    label = path / _LABEL
    has_logs = any(entry.is_dir() for entry in (path / "log").glob("*"))  # looked at first: a label is older than logs
    if not label.exists():
        if has_logs:
            raise StoreCorrupt(f"{label} is gone although there are logs; it must name the room and the format")
        with contextlib.suppress(FileExistsError):
            _system.create_private(label, _encode(Label(room, FORMAT)))
        _system.sync_directory(path)
    if is_older(path, room):
        raise StoreError(f"an older version is using {path}; stop it")


def migrate(path: Path) -> None:
    """Bring a directory one format further, unless another process has done so meanwhile.

    Raises:
        StoreError: No migration is known from its format, or it failed; the directory is as it was.
        StoreLocked: Processes of the older version use it, or another migration takes too long.
        OSError: The disk refused, or the directory cannot be renamed (a mount point, for example).
    """
    place = path.resolve()
    with _turn_to_migrate(place):
        label = read_label(place)
        if label is None or label.format >= FORMAT:
            return
        step = MIGRATIONS.get(label.format)
        if step is None:
            raise StoreError(_no_way_from(path, label.format))
        lock = LockFile.take(place / LOCK)
        if lock is None:
            raise StoreLocked(f"{path} is to be migrated, but process {pid_in(place / LOCK) or '?'} uses it; stop it")
        with lock:
            successor = _write_successor(place, label, step)
            if _system.WINDOWS:  # renames no directory with an open file in it
                lock.close()
            predecessor = _free_name(place, f"format-{label.format}")
            _system.move(place, predecessor)
            _system.move(successor, place)
            _system.sync_directory(place.parent)
    _log.warning("state directory migrated: %s, format %s kept in %s", place, label.format, predecessor.name)


def _write_successor(place: Path, label: Label, step: Migration) -> Path:
    successor = place.with_name(f"{place.name}.migrating-{label.format + 1}")
    if successor.exists():
        shutil.rmtree(successor)
    successor.mkdir(mode=0o700)
    step(place, successor)
    for name in _CARRIED:
        if (place / name).exists():
            _system.create_private(successor / name, (place / name).read_bytes())
    _sync_tree(successor)
    _system.write_private(successor / _LABEL, _encode(Label(label.room, label.format + 1)))
    _system.sync_directory(place.parent)
    return successor


def _successor(place: Path) -> Path | None:
    """The complete successor of a directory that is not there, if its predecessor was renamed away for it."""
    names = os.listdir(place.parent) if place.parent.is_dir() else []  # noqa: PTH208 - names suffice
    if place.exists() or not any(name.startswith(f"{place.name}.format-") for name in names):
        return None
    drafts = [place.with_name(name) for name in sorted(names) if name.startswith(f"{place.name}.migrating-")]
    return next((draft for draft in drafts if (draft / _LABEL).exists()), None)


@contextlib.contextmanager
def _turn_to_migrate(place: Path) -> Iterator[None]:
    path = _migration_lock(place)
    lock = LockFile.wait(path, MIGRATION_WAIT_S)
    if lock is None:
        raise StoreLocked(f"{place} is being migrated by process {pid_in(path) or '?'}; wait for it")
    with lock:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps it
                path.unlink()


def _migration_lock(place: Path) -> Path:
    return place.with_name(f"{place.name}.migrating.lock")


def read_label(path: Path) -> Label | None:
    """What a directory says of itself; None if it says nothing.

    Raises:
        StoreCorrupt: It is damaged.
    """
    label = path / _LABEL
    try:
        found = json.loads(label.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    match found:
        case {"room": str(room), "format": int(number)} if not isinstance(number, bool):
            return Label(room, number)
    raise StoreCorrupt(f"{label} is damaged: it must name the room and the format")


def _encode(label: Label) -> bytes:
    return json.dumps(label._asdict()).encode()


def _no_way_from(path: Path, number: int) -> str:
    if number == 1:
        return (
            f"{path} has format 1, which was a development format and never released; this version reads format "
            f"{FORMAT}. Move the directory away and start with a new one"
        )
    return f"{path} has format {number}; this version reads format {FORMAT} and knows no way from there"


def _free_name(place: Path, suffix: str) -> Path:
    path, count = place.with_name(f"{place.name}.{suffix}"), 1
    while path.exists():
        count += 1
        path = place.with_name(f"{place.name}.{suffix}-{count}")
    return path


def _sync_tree(directory: Path) -> None:
    for folder, _, files in os.walk(directory):
        for name in files:
            descriptor = _system.open_private(Path(folder, name))
            try:
                _system.sync_contents(descriptor)
            finally:
                os.close(descriptor)
        _system.sync_directory(Path(folder))
