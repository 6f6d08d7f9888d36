"""How what is declared lies in the replica: one row a field.

    desired/models/<name>/<field>[/<key>]     [value, [author, seconds, via]]
    desired/nodes/<id>/<field>[/<key>]        the same
    desired/settings/<field>                  the same

So edits of different fields merge by themselves, and of one field written twice at once both values are there to be
shown. Names are percent-encoded. Rows come from other machines: one that cannot be read declares nothing, and is named.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast
from urllib.parse import quote, unquote

from fleet_app.desired.fields import TABLES, Table, is_key, is_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

DESIRED: Final = "desired/"


class Rows(Protocol):
    """As much of a store as is needed here."""

    def items(self, prefix: str) -> Iterator[tuple[str, object]]:
        """Keys with their values."""

    def keys(self, prefix: str) -> list[str]:
        """Keys alone."""

    def siblings(self, key: str) -> list[object]:
        """Every value of a key, the one that holds first."""

    def set(self, key: str, value: object) -> None:
        """Write one."""

    def delete(self, key: str) -> bool:
        """Remove one."""

    def transaction(self) -> AbstractContextManager[object]:
        """What is written inside is seen whole or not at all."""


class By(NamedTuple):
    """Who wrote something.

    Attributes:
        author: A person, as the system calls them, and the box: `ann@attic`.
        at_s: When, in seconds since the epoch, by that box's clock.
        via: From what: `cli`, `page`, `python`, or `file fleet.yaml`.
    """

    author: str
    at_s: float
    via: str


class Place(NamedTuple):
    """Where a value stands.

    Attributes:
        table: `models`, `nodes` or `settings`.
        name: The model's name or the node's id; empty for settings.
        field: Which field.
        key: Its key, in a field that is a mapping; else empty.
    """

    table: Table
    name: str
    field: str
    key: str = ""

    @property
    def row(self) -> str:
        """The key of its row."""
        parts = [self.table, *([quote(self.name, safe=":")] if self.name else []), self.field]
        return DESIRED + "/".join([*parts, *([quote(self.key, safe="")] if self.key else [])])

    def __str__(self) -> str:
        return ".".join(part for part in self if part)


@functools.lru_cache(maxsize=8192)
def place_of(row: str) -> Place | None:
    """The place of a row; None for one that no version so far writes."""
    table, *parts = row.removeprefix(DESIRED).split("/")
    if table not in TABLES:
        return None
    name, field, key = [*([""] if table == "settings" else []), *parts, "", "", ""][:3]
    found = Place(cast("Table", table), unquote(name), field, unquote(key))
    return found if is_place(found) and found.row == row else None


def is_place(place: Place) -> bool:
    """Whether a value may stand there: the table has such a field, and name and key are some."""
    known = TABLES[place.table].get(place.field)
    is_named = not place.name if place.table == "settings" else is_name(place.name)
    if known is None or not is_named or known.open_keys != bool(place.key):
        return False
    return not place.key or is_key(place.field, place.key)


@dataclass(frozen=True, slots=True)
class Value:
    """What is declared at one place.

    Attributes:
        value: The value that holds, in the form that `fields` keeps.
        by: Who wrote it.
        rivals: What others wrote at the same time and is something else: a conflict.
    """

    value: object
    by: By
    rivals: tuple[Value, ...] = ()


class Unreadable(NamedTuple):
    """A row that cannot be read, and why."""

    row: str
    why: str


def read(rows: Rows) -> tuple[dict[Place, Value], list[Unreadable]]:
    """Everything that is declared, by its place, and what cannot be read."""
    values: dict[Place, Value] = {}
    unreadable: list[Unreadable] = []
    for row, _ in rows.items(DESIRED):
        place = place_of(row)
        if place is None:
            unreadable.append(Unreadable(row, "is of a newer version"))
            continue
        try:
            found = [_value(place, packed) for packed in rows.siblings(row)]
        except ValueError as error:
            unreadable.append(Unreadable(row, str(error)))
            continue
        for held in found[:1]:
            values[place] = Value(held.value, held.by, tuple(one for one in found[1:] if one.value != held.value))
    return values, unreadable


def packed(value: object, by: By) -> object:
    """The row's value."""
    return [value, list(by)]


def _value(place: Place, packed: object) -> Value:
    """Read a row.

    Raises:
        ValueError: It is not of that form, or its value is none for this field.
    """
    match packed:
        case [value, [str(author), int() | float() as at_s, str(via)]] if math.isfinite(at_s):
            by = By(author[:128], float(at_s), via[:128])
        case _:
            raise ValueError("is of a newer version")
    return Value(TABLES[place.table][place.field].read(value), by)
