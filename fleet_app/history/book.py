"""The file: SQLite in WAL mode, private, written by one thread in batches, read by whoever asks.

    nodes    number, node id
    samples  step, node, at, figures (msgpack): one a slot
    events   at, kind, node, subject, words
    absence  node, seconds

Every table is bounded by age and by rows. A file that SQLite cannot read is moved aside under a name that says so, and
a new one begun; a disk that refuses costs what was to be written and is said in `trouble`. The rule of this file:
nothing that goes wrong in it reaches a caller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgpack

from fleet_app.history.series import FIVES, MINUTES, TENS
from propagul import _system

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from fleet_app.history.figures import Figures

_log = logging.getLogger(__name__)

EVENTS_MAX: Final = 10_000
SAMPLES_MAX: Final = 2_000_000
NODES_MAX: Final = 1_000
BATCH_S: Final = 1.0
"""How long a write may wait for company."""

PRUNE_S: Final = 3600.0
_QUEUED_MAX: Final = 10_000
_BATCH_MAX: Final = 1_000
_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS nodes (number INTEGER PRIMARY KEY, node TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS samples (
    step INTEGER NOT NULL, node INTEGER NOT NULL, at INTEGER NOT NULL, figures BLOB NOT NULL,
    PRIMARY KEY (step, node, at)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, node TEXT NOT NULL, subject TEXT NOT NULL,
    words TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS absence (node TEXT PRIMARY KEY, seconds REAL NOT NULL) WITHOUT ROWID;
"""


class Sample(NamedTuple):
    """Means of one slot."""

    step_s: int
    node: str
    at: int
    figures: Figures


class EventRow(NamedTuple):
    """Something that happened."""

    at: float
    kind: str
    node: str
    subject: str
    words: str


class Absence(NamedTuple):
    """How long a node has been away; 0 forgets it."""

    node: str
    seconds: float


class _End(NamedTuple):
    pass


class _Flush(NamedTuple):
    done: threading.Event


_Item: TypeAlias = "Sample | EventRow | Absence | _Flush | _End"


class Book:
    """The file. Writes go through a queue, from any thread; reads open it anew, and belong into a thread.

    Args:
        path: Where it lies; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.Queue[_Item] = queue.Queue(_QUEUED_MAX)
        self.trouble = ""
        self._notice = ""
        self._pruned_at = float("-inf")
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._write_forever, name="propagul history", daemon=True)
        self._thread.start()

    def put(self, row: Sample | EventRow | Absence) -> None:
        """Have it written soon. Never waits: where the disk is too slow it is dropped, and that is said."""
        try:
            self._queue.put_nowait(row)
        except queue.Full:
            self.trouble = f"history is not kept: the disk under {self._path} is too slow"

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was put is written; whether it was in time. Belongs into a thread."""
        done = threading.Event()
        with contextlib.suppress(queue.Full):
            self._queue.put(_Flush(done), timeout=timeout_s)
        return done.wait(timeout_s)

    def close(self) -> None:
        """Write what is left and close the file. Idempotent."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(_End(), timeout=1.0)
            self._thread.join(5.0)

    @property
    def notices(self) -> list[str]:
        """What people should know of the file."""
        return [sentence for sentence in (self._notice, self.trouble) if sentence]

    # --- reading -------------------------------------------------------------------------------------------------

    def samples(self, step_s: int, node: str, start_s: float, end_s: float) -> list[tuple[int, Figures]]:
        """The slots of a node in a span, oldest first."""
        rows = self._read(
            "SELECT at, figures FROM samples WHERE step = ? AND at >= ? AND at < ?"
            " AND node = (SELECT number FROM nodes WHERE node = ?) ORDER BY at",
            (step_s, int(start_s), int(end_s) + 1, node),
        )
        return [(at, msgpack.unpackb(figures)) for at, figures in rows]

    def events(self, *, since_s: float, kinds: Sequence[str], node: str | None, limit: int) -> list[EventRow]:
        """The newest events, newest first."""
        marks = ",".join("?" * len(kinds))
        where = "at >= ?" + (f" AND kind IN ({marks})" if kinds else "") + (" AND node = ?" if node else "")
        rows = self._read(
            f"SELECT at, kind, node, subject, words FROM events WHERE {where} ORDER BY number DESC LIMIT ?",  # noqa: S608 - marks only
            (since_s, *kinds, *([node] if node else []), limit),
        )
        return [EventRow(*row) for row in rows]

    def absences(self) -> dict[str, float]:
        """How long each node has been away."""
        return dict(self._read("SELECT node, seconds FROM absence", ()))

    def nodes(self) -> list[str]:
        """Every node of which something is kept."""
        return [node for (node,) in self._read("SELECT node FROM nodes ORDER BY node", ())]

    def _read(self, question: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        place = self._path.absolute().as_uri() + "?mode=rw"  # or reading would make a file that is not there
        try:
            with contextlib.closing(sqlite3.connect(place, uri=True, timeout=2.0)) as connection:
                return connection.execute(question, values).fetchall()
        except sqlite3.Error as error:
            _log.debug("history.unread error=%s", type(error).__name__)
            return []

    # --- the writer ----------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection | None:
        for _ in range(2):
            try:
                return self._opened()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) and self._path.exists() and _has_header(self._path):
                    self._give_up(error)  # locked, or a disk that refuses: nothing is wrong with the file
                    return None
                self._move_aside()
            except OSError as error:
                self._give_up(error)
                return None
        self._give_up(sqlite3.DatabaseError())
        return None

    def _opened(self) -> sqlite3.Connection:
        os.close(_system.open_private(self._path))
        connection = sqlite3.connect(self._path, timeout=5.0, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 4194304")
            _check(connection)
            connection.executescript(_SCHEMA + f"PRAGMA user_version = {_FORMAT};")
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_up(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or "SQLite cannot use it"
        self.trouble = f"history is not kept: {self._path}: {reason}"
        _log.warning("history.not_kept error=%s", type(error).__name__)

    def _move_aside(self) -> None:
        """Out of the way, under a name that says what it is; the newest such file is kept."""
        aside = self._path.with_suffix(".damaged")
        for end in ("-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            _system.move(self._path, aside)
            self._notice = f"the history of this node was damaged, and begins anew; the old file is {aside}"
            _log.warning("history.damaged")

    def _write_forever(self) -> None:
        self._connection = self._open()
        while True:
            first = self._queue.get()
            batch = [first, *islice(self._company(first), _BATCH_MAX)]
            self._write([row for row in batch if isinstance(row, (Sample, EventRow, Absence))])
            for row in batch:
                if isinstance(row, _Flush):
                    row.done.set()
            if any(isinstance(row, _End) for row in batch):
                break
        if self._connection is not None:
            self._connection.close()

    def _company(self, row: _Item) -> Iterator[_Item]:
        """What comes within `BATCH_S`, or what is there already when somebody waits."""
        until = time.monotonic() + BATCH_S
        with contextlib.suppress(queue.Empty):
            while True:
                if isinstance(row, (_Flush, _End)):
                    until = float("-inf")
                row = self._queue.get(timeout=max(0.0, until - time.monotonic()))
                yield row

    def _write(self, rows: Sequence[Sample | EventRow | Absence]) -> None:
        if self._connection is None or not rows:
            return
        try:
            with self._connection:
                self._insert(self._connection, rows)
                if time.monotonic() - self._pruned_at > PRUNE_S:
                    self._prune(self._connection, time.time())
                    self._pruned_at = time.monotonic()
            self.trouble = ""
        except sqlite3.OperationalError as error:
            self.trouble = f"history is not kept for now: {self._path}: the disk refuses"
            _log.debug("history.refused error=%s", type(error).__name__)
        except sqlite3.DatabaseError:
            self._connection.close()
            self._move_aside()
            self._connection = self._open()

    def _insert(self, connection: sqlite3.Connection, rows: Iterable[Sample | EventRow | Absence]) -> None:
        for row in rows:
            match row:
                case Sample(step_s, node, at, figures):
                    connection.execute("INSERT OR IGNORE INTO nodes (node) VALUES (?)", (node,))
                    connection.execute(
                        "INSERT OR REPLACE INTO samples SELECT ?, number, ?, ? FROM nodes WHERE node = ?",
                        (step_s, at, msgpack.packb(figures), node),
                    )
                case EventRow():
                    connection.execute("INSERT INTO events (at, kind, node, subject, words) VALUES (?,?,?,?,?)", row)
                case Absence(node, seconds) if seconds > 0:
                    connection.execute("INSERT OR REPLACE INTO absence VALUES (?, ?)", row)
                case Absence(node):
                    connection.execute("DELETE FROM absence WHERE node = ?", (node,))

    def _prune(self, connection: sqlite3.Connection, now_s: float) -> None:
        """Drop what is too old, and the oldest of what is too much."""
        numbers = [number for (number,) in connection.execute("SELECT number FROM nodes")]
        for tier in (TENS, MINUTES, FIVES):
            connection.executemany(
                "DELETE FROM samples WHERE step = ? AND node = ? AND at < ?",
                [(tier.step_s, number, int(now_s) - tier.kept_s) for number in numbers],
            )
        connection.execute("DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (EVENTS_MAX,))
        (count,) = connection.execute("SELECT count(*) FROM samples").fetchone()
        if count > SAMPLES_MAX:
            connection.execute(
                "DELETE FROM samples WHERE step = ? AND at < (SELECT at FROM samples WHERE step = ?"
                " ORDER BY at LIMIT 1 OFFSET ?)",
                (FIVES.step_s, FIVES.step_s, count - SAMPLES_MAX),
            )
        connection.execute("DELETE FROM nodes WHERE number NOT IN (SELECT DISTINCT node FROM samples)")


def _check(connection: sqlite3.Connection) -> None:
    """Raise DatabaseError if the file is damaged, or of another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok" or version not in (0, _FORMAT):
        raise sqlite3.DatabaseError("not a history of this version")


def _has_header(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) in (b"", b"SQLite format 3\0")
    except OSError:
        return True
