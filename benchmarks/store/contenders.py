"""Every contender as a few callables, its own bound methods where it has them, so that no wrapper is timed.

Peers are imported by name, because the package of that name is there in their own environment only.
"""

from __future__ import annotations

import importlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from propagul import AgentStateStore

ROOM = "bench"


class Opened(NamedTuple):
    """A contender ready to work. When `put` returns, `get` finds the value and an export holds it.

    Attributes:
        put: Writes one key.
        get: Reads one key.
        content: Everything that is in it.
        close: Lets go of it.
        together: A context in which all writes are one transaction; None where that is not offered.
    """

    put: Callable[[str, str], object]
    get: Callable[[str], object]
    content: Callable[[], Mapping[str, object]]
    close: Callable[[], object] = lambda: None
    together: Callable[[], AbstractContextManager[object]] | None = None


class PlainDict:
    """A dict behind one Python method: the ceiling."""

    def __init__(self) -> None:
        self._rows: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        """Write one key."""
        self._rows[key] = value

    def get(self, key: str) -> str | None:
        """Read one key."""
        return self._rows.get(key)

    def content(self) -> dict[str, str]:
        """Everything."""
        return dict(self._rows)


def store(path: str | None = None) -> AgentStateStore:
    """Our store, thread-safe and with its limits as they are by default; not listening."""
    from propagul import AgentStateStore  # noqa: PLC0415 - peers' interpreters import this module too

    return AgentStateStore(ROOM, port=None, path=path)


def open_contender(name: str, directory: str | None = None) -> Opened:
    """Open a contender, empty or as its directory has it.

    Raises:
        KeyError: Nobody has that name.
    """
    return _OPENERS[name](directory)


def _dict(_: str | None) -> Opened:
    plain = PlainDict()
    return Opened(plain.set, plain.get, plain.content)


def _propagul(directory: str | None) -> Opened:
    ours = store(directory)
    return Opened(ours.set, ours.get, ours.get_all, ours.close, ours.transaction)


def _pycrdt(_: str | None) -> Opened:
    pycrdt = importlib.import_module("pycrdt")
    doc = pycrdt.Doc()
    rows = doc.get("rows", type=pycrdt.Map)
    return Opened(rows.__setitem__, rows.__getitem__, rows.to_py, together=doc.transaction)


def _loro(_: str | None) -> Opened:
    doc = importlib.import_module("loro").LoroDoc()
    rows = doc.get_map("rows")
    return Opened(rows.insert, lambda key: rows.get(key).value, rows.get_deep_value)


def _v090(_: str | None) -> Opened:
    theirs = importlib.import_module("propagul").AgentStateStore(ROOM, 1)
    return Opened(theirs.set, theirs.get, theirs.get_all)


def _sqlite(synchronous: str) -> Callable[[str | None], Opened]:
    """sqlite3 in WAL mode, every write a transaction of its own.

    Args:
        synchronous: `NORMAL` survives the end of the process, `FULL` a power cut.
    """

    def opener(directory: str | None) -> Opened:
        assert directory is not None, "this contender lives on a disk"
        database = sqlite3.connect(Path(directory, "rows.sqlite"), isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={synchronous}")
        database.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value TEXT)")
        execute = database.execute

        def put(key: str, value: str) -> None:
            execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (key, value))

        def read(query: str, given: Iterable[str] = ()) -> dict[str, object]:
            return dict(execute(query, tuple(given)).fetchall())

        return Opened(
            put,
            lambda key: read("SELECT key, value FROM rows WHERE key = ?", (key,))[key],
            lambda: read("SELECT key, value FROM rows"),
            database.close,
        )

    return opener


_OPENERS: dict[str, Callable[[str | None], Opened]] = {
    "dict": _dict,
    "propagul": _propagul,
    "propagul_logged": _propagul,
    "pycrdt": _pycrdt,
    "loro": _loro,
    "v090": _v090,
    "sqlite_normal": _sqlite("NORMAL"),
    "sqlite_full": _sqlite("FULL"),
}
