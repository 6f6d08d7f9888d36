"""Everything a store holds as JSON lines: for backups that people can read, and for other programs.

    {"format": "propagul export", "version": 1, "room": ..., "time": ..., "keys": how many follow}
    {"key": ..., "type": "value", "value": ...}      with concurrent values: "siblings": [{value, time, origin}, ...]
    {"key": ..., "type": "counter", "value": int}    likewise "set" (a list), "map" (an object, and "conflicts")
    {"key": ..., "type": "log", "value": [{position, value, time, origin}, ...]}
    {"end": how many lines stand between the first and this one}

Values are written as `_readable` says. A large set, log or map takes several lines with the same key. What reads them
back stands in `_import`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from propagul.store._holdings import OTHER, VALUE, Version, holdings
from propagul.store._readable import dumps, to_json
from propagul.store._types._leaves import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from propagul.store._holdings import Disagreement, Holding
    from propagul.store._map import StateMap

FORMAT, VERSION = "propagul export", 1

Line = dict[str, object]

_PIECE_PARTS: Final = 1000
_PIECE_CHARACTERS: Final = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Exported:
    """What an export left out; complete when its last line was taken.

    Attributes:
        keys: How many keys and structures it holds.
        unreadable: Names of those with a value that this version cannot read; such values are not in it.
    """

    keys: int = 0
    unreadable: list[str] = field(default_factory=list)


def export_lines(store: StateMap, room: str, report: Exported, prefix: str = "") -> Iterator[str]:
    """Yield the lines of an export, each without its end. All of one instant; O(rows) memory for keys, not for text."""
    held = []
    for holding in holdings(store, prefix):
        if holding.type == OTHER or holding.faults():
            report.unreadable.append(holding.name)
        if holding.type != OTHER and (holding.type != VALUE or holding.versions()):
            held.append(holding)
    report.keys = len(held)
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    yield dumps({"format": FORMAT, "version": VERSION, "room": room, "time": now, "keys": len(held)})
    count = 0
    for holding in held:
        for content in _contents(holding):
            count += 1
            yield dumps({"key": holding.name, "type": holding.type, **content})
    yield dumps({"end": count})


def _contents(holding: Holding) -> Iterator[Line]:
    """What the lines of one holding say beside its key and type."""
    match holding.type:
        case "set":
            for piece in _pieces(map(to_json, holding.elements())):
                yield {"value": piece}
        case "log":
            entries = ({"position": place, **_told(version)} for place, version in holding.entries())
            for piece in _pieces(entries):
                yield {"value": piece}
        case "map":
            yield from _map_contents(holding)
        case "counter":
            yield {"value": holding.value()}
        case _:
            versions = holding.versions()
            yield (
                {"siblings": list(map(_told, versions))} if len(versions) > 1 else {"value": to_json(versions[0].value)}
            )


def _map_contents(holding: Holding) -> Iterator[Line]:
    conflicts = [_told_of(found) for found in holding.disagreements()]
    leaves = holding.leaves()
    for start in range(0, max(len(leaves), 1), _PIECE_PARTS):
        told = {"conflicts": conflicts} if conflicts and not start else {}
        yield {"value": to_json(tree_of(leaves[start : start + _PIECE_PARTS], 0)), **told}


def _told(version: Version) -> Line:
    return {"value": to_json(version.value), "time": version.at.isoformat(), "origin": version.origin}


def _told_of(found: Disagreement) -> Line:
    hidden_by = None if found.hidden_by is None else list(found.hidden_by)
    return {"path": list(found.path), "siblings": list(map(_told, found.versions)), "hidden_by": hidden_by}


def _pieces(parts: Iterable[object]) -> Iterator[list[object]]:
    """Cut a long list; an empty one is one piece."""
    piece: list[object] = []
    size = 0
    for part in parts:
        if len(piece) == _PIECE_PARTS or size > _PIECE_CHARACTERS:
            yield piece
            piece, size = [], 0
        piece.append(part)
        size += len(dumps(part))
    yield piece
