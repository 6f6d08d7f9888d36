"""What a store holds, of one instant and by name: plain keys, and each counter, set, log and map as one thing.

For whoever shows or copies a store rather than uses it. Reads rows once; nothing here writes. What this version cannot
read is left out of lists and counted by `faults`, so that one bad row hides no other.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul.crdt import LOG, SET, Stamp
from propagul.errors import StoreCorrupt
from propagul.store import _paths
from propagul.store._history import time_of
from propagul.store._instant import rows_of
from propagul.store._signed import is_there
from propagul.store._types import read_cell
from propagul.store._types._leaves import inner_nodes, leaves_of, stands_in_the_way, tree_of
from propagul.store._types._rows import of_kind
from propagul.store._values import TYPED_MARK, thaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from propagul.crdt import Row, Sibling
    from propagul.store._map import StateMap
    from propagul.store._paths import Element
    from propagul.store._types._leaves import Path

VALUE: Final = "value"
TYPES: Final = {_paths.COUNTER: "counter", _paths.SET: "set", _paths.LOG: "log", _paths.MAP: "map"}
"""What the kinds of structures are called."""

POSITION: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{6})")
"""What an entry of a log is found by: stamp and origin of its append, and its place in that."""

OTHER: Final = "other"
"""The type of a row that no version known here writes."""


class Version(NamedTuple):
    """One of the values that a key has.

    Attributes:
        value: The caller's own.
        at: When it was written, by the clock of whoever wrote it; UTC.
        origin: Which process wrote it, as 16 hexadecimal digits.
    """

    value: object
    at: dt.datetime
    origin: str


class Disagreement(NamedTuple):
    """A key, or a leaf of a map, with values that were written concurrently.

    Attributes:
        path: Of the leaf; empty for a key.
        versions: Newest first.
        hidden_by: A leaf below, where the path is also an inner node of the map.
    """

    path: Path
    versions: list[Version]
    hidden_by: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One key or structure.

    Attributes:
        name: The key, or what the structure is called.
        type: `value`, `counter`, `set`, `log`, `map`, or `other` for what this version does not know.
        rows: Its rows by key, sorted by it, removal records left out.
        hold: What keeps values that only the disk holds readable.
    """

    name: str
    type: str
    rows: tuple[tuple[str, Row], ...]
    hold: object = field(default=None, repr=False, compare=False)

    def value(self) -> object:
        """The value as a reader of the store sees it: an int of a counter, a list of a set or log, a dict of a map.

        Raises:
            StoreCorrupt: The value of a plain key is one that this version cannot read.
        """
        match self.type:
            case "value":
                return thaw(self.name, self.rows[0][1].siblings[0].payload)
            case "counter":
                return sum(read_cell(self.name, row).value for _, row in self._cells())
            case "set":
                return self.elements()
            case "log":
                return [version.value for _, version in self.entries()]
            case "map":
                return tree_of(self.leaves(), 0)
        return None

    def versions(self) -> list[Version]:
        """Every value of a plain key, newest first."""
        return self._versions(self.rows[0][1].siblings)

    def elements(self) -> list[Element]:
        """The elements of a set: bytes, then ints, then texts."""
        return [path[0] for path, row in self._paths() if len(path) == 1 and of_kind(row, SET)]

    def entries(self) -> Iterator[tuple[str, Version]]:
        """The entries of a log, oldest first, each with its position, which says when and by whom it was appended."""
        for path, row in self._paths():
            if len(path) == 1 and type(path[0]) is str and POSITION.fullmatch(path[0]):
                stamp, origin, _ = path[0].split("-")
                for version in self._versions(of_kind(row, LOG)[:1]):
                    yield path[0], version._replace(at=_time_of(Stamp(int(stamp, 16))), origin=origin)

    def leaves(self) -> list[tuple[Path, object]]:
        """The leaves of a map that are shown, sorted by path."""
        leaves = leaves_of(self.rows)
        inner = inner_nodes(leaves)
        shown = ((path, self._versions(held[:1])) for path, held in leaves.items() if path not in inner)
        return [(path, versions[0].value) for path, versions in shown if versions]

    def disagreements(self) -> list[Disagreement]:
        """What was written concurrently here and not settled. Counters, sets and logs never disagree."""
        if self.type == VALUE:
            versions = self.versions()
            return [Disagreement((), versions)] if len(versions) > 1 else []
        return self._leaf_disagreements() if self.type == "map" else []

    def faults(self) -> int:
        """How many of its values this version cannot read."""
        siblings = [sibling for _, row in self.rows for sibling in row.siblings]
        return len(siblings) - len(self._versions(siblings))

    def _leaf_disagreements(self) -> list[Disagreement]:
        leaves = leaves_of(self.rows)
        inner = inner_nodes(leaves)
        found = []
        for path, held in leaves.items():
            hidden_by = inner.get(path) if stands_in_the_way(held) else None
            if len(held) > 1 or hidden_by:
                found.append(Disagreement(path, self._versions(held), hidden_by))
        return found

    def _versions(self, siblings: Iterable[Sibling]) -> list[Version]:
        found = []
        for dot, _, payload in siblings:
            with contextlib.suppress(StoreCorrupt):
                found.append(Version(thaw(self.name, payload), _time_of(dot.stamp), f"{dot.origin:016x}"))
        return found

    def _cells(self) -> Iterator[tuple[Element, Row]]:
        return ((path[0], row) for path, row in self._paths() if len(path) == 1 and type(path[0]) is int)

    def _paths(self) -> Iterator[tuple[tuple[Element, ...], Row]]:
        parsed = ((_paths.parse(key), row) for key, row in self.rows)
        return ((typed.path, row) for typed, row in parsed if typed is not None)


def holdings(store: StateMap, prefix: str = "") -> list[Holding]:
    """Everything whose key or name begins so, of one instant, sorted by name. O(rows)."""
    state = store._state  # noqa: SLF001 - the store's own package; its public face shows keys one at a time
    hold, rows = state.hold(), rows_of(state.blocks())
    return holdings_of(((key, row) for key, row in rows if is_there(row)), prefix, hold)


def holdings_of(rows: Iterable[tuple[str, Row]], prefix: str = "", hold: object = None) -> list[Holding]:
    """Like `holdings`, of rows that each have a sibling."""
    found: dict[tuple[str, str], list[tuple[str, Row]]] = {}
    for key, row in rows:
        name, kind = _called(key)
        if name.startswith(prefix):
            found.setdefault((name, kind), []).append((key, row))
    held = [
        Holding(name=name, type=kind, rows=tuple(sorted(rows, key=lambda item: item[0])), hold=hold)
        for (name, kind), rows in found.items()
    ]
    return sorted(held, key=lambda holding: (holding.name, holding.type))


def _called(key: str) -> tuple[str, str]:
    if not key.startswith(TYPED_MARK):
        return key, VALUE
    typed = _paths.parse(key)
    return (key, OTHER) if typed is None else (typed.name, TYPES[typed.kind])


def _time_of(stamp: Stamp) -> dt.datetime:
    """The moment of a stamp; the end of the year 9999 for one that no clock showed."""
    try:
        return time_of(stamp)
    except OverflowError:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
