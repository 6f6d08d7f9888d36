"""How `propagul state` prints what it found. Pure functions from holdings to lines.

Names and values were written by others, so nothing of them reaches the terminal as control characters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.cli.frame import printable
from propagul.errors import StoreCorrupt
from propagul.store._readable import dumps, to_json

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from propagul.store._history import Version as PastVersion
    from propagul.store._holdings import Disagreement, Holding, Version

_TYPE_WIDTH = 8
_NAME_CHARACTERS_MAX = 80


def escaped(name: str) -> str:
    """A name on one line, with escapes as Python writes them for what a terminal would obey."""
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode("ascii") for c in name)


def quoted(name: str) -> str:
    """A name in a message."""
    return repr(name if len(name) <= _NAME_CHARACTERS_MAX else name[:_NAME_CHARACTERS_MAX] + "...")


def value_of(holding: Holding) -> object:
    """The value as JSON; None, with what is wrong beside it in `described`, where it cannot be read."""
    try:
        return to_json(holding.value())
    except StoreCorrupt:
        return None


def line(holding: Holding, *, values: bool) -> str:
    """One line of a list: type, name and, if wanted, the value."""
    told = f"{holding.type:<{_TYPE_WIDTH}} {escaped(holding.name)}"
    if values and holding.type != "other":
        told += " = " + ("(not readable by this version)" if _is_unreadable(holding) else dumps(value_of(holding)))
    disputes = len(holding.disagreements())
    return told + (f"  ({disputes} in conflict)" if holding.type == "map" else "  (in conflict)") * bool(disputes)


def described(holding: Holding) -> str:
    """Everything of one holding, as JSON."""
    told: dict[str, object] = {"key": holding.name, "type": holding.type, "value": value_of(holding)}
    if holding.type == "value":
        versions = holding.versions()
        told |= {"time": versions[0].at.isoformat(), "origin": versions[0].origin} if versions else {}
    if disputes := holding.disagreements():
        told["conflicts"] = [_told_of(found) for found in disputes]
    return dumps(told, indent=2)


def as_array(held: Iterable[Holding], *, values: bool) -> Iterator[str]:
    """A list as one JSON array, a line for each holding."""
    yield from _array(
        {"key": item.name, "type": item.type} | ({"value": value_of(item)} if values else {}) for item in held
    )


def past_lines(items: Iterable[tuple[str, object]], *, values: bool, as_json: bool) -> Iterator[str]:
    """A list of what was at a moment."""
    if as_json:
        yield from _array(
            {"key": key, "type": "value"} | ({"value": to_json(value)} if values else {}) for key, value in items
        )
        return
    for key, value in items:
        yield f"{'value':<{_TYPE_WIDTH}} {escaped(key)}" + (f" = {dumps(to_json(value))}" if values else "")


def conflict_lines(held: Iterable[Holding]) -> Iterator[str]:
    """Each key in conflict, and its values under it, numbered for `--resolve`."""
    for holding in held:
        for found in holding.disagreements():
            steps = "".join(f"[{step!r}]" for step in found.path)
            yield escaped(holding.name) + (f" (map) {printable(steps)}" if steps else "")
            for number, version in enumerate(found.versions, 1):
                yield f"  {number}  {_second(version.at)}  {version.origin}  {dumps(to_json(version.value))}"
            if found.hidden_by:
                yield f"     hidden by {printable(''.join(f'[{step!r}]' for step in found.hidden_by))}"


def conflicts_array(held: Iterable[Holding]) -> Iterator[str]:
    """The same as one JSON array."""
    yield from _array(
        {"key": item.name, "type": item.type, **_told_of(found)} for item in held for found in item.disagreements()
    )


def history_line(version: PastVersion) -> str:
    """One state of a key: when, how it came, who wrote it, what."""
    value = "(deleted)" if version.deleted else dumps(to_json(version.value))
    conflict = "  (in conflict)" if version.conflict else ""
    return f"{_second(version.at)}  {version.cause:<6}  {version.origin:<16}  {value}{conflict}"


def history_array(versions: Sequence[PastVersion]) -> Iterator[str]:
    """The same as one JSON array."""
    yield from _array(_told_past(version) for version in versions)


def table(numbers: Mapping[str, object], *, as_json: bool) -> str:
    """Names and what they are, as two columns or one JSON object."""
    if as_json:
        return dumps(dict(numbers), indent=2)
    width = max(map(len, numbers))
    return "\n".join(f"{name:<{width}}  {printable(str(value))}".rstrip() for name, value in numbers.items())


def _told_past(version: PastVersion) -> dict[str, object]:
    what: dict[str, object] = {"deleted": True} if version.deleted else {"value": to_json(version.value)}
    told = {"time": version.at.isoformat(), "cause": version.cause, "origin": version.origin}
    return {**told, **what} | ({"conflict": True} if version.conflict else {})


def _told_of(found: Disagreement) -> dict[str, object]:
    path = {"path": list(found.path)} if found.path else {}
    hidden = {"hidden_by": list(found.hidden_by)} if found.hidden_by else {}
    return {**path, "siblings": [_told(version) for version in found.versions], **hidden}


def _told(version: Version) -> dict[str, object]:
    return {"value": to_json(version.value), "time": version.at.isoformat(), "origin": version.origin}


def _array(items: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """One array with a line for each item, so that it can be streamed and read at a glance."""
    lines = [f"  {dumps(dict(item))}" for item in items]
    yield from ["[", *(f"{line}," for line in lines[:-1]), *lines[-1:], "]"] if lines else ["[]"]


def _is_unreadable(holding: Holding) -> bool:
    return bool(holding.faults())


def _second(time: dt.datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
