"""One change of what is declared: field writes that are seen together, and a row that remembers them.

    changes/<milliseconds>-<id>    {by, note, undoes, edits: [[table, name, field, key, before, after], ...]}

`before` and `after` are `[]` for nothing and `[value]` for a value. The row is written in the same transaction as the
fields, so any node can say who changed what, and take it back. The last thousand are kept.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from fleet_app.desired.fields import NAME_CHARACTERS_MAX, TABLES
from fleet_app.desired.rows import By, Place, is_place, packed, read
from fleet_app.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fleet_app.desired.fields import Table
    from fleet_app.desired.rows import Rows, Value

CHANGES: Final = "changes/"
CHANGES_KEPT: Final = 1000
_SLACK: Final = 50
_SKEW_MS_MAX: Final = 3_600_000
_ID = re.compile(r"[0-9]{13}-[0-9a-f]{8}")


class Nothing:
    """There is no value."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = Nothing()


class Edit(NamedTuple):
    """One field's new value, or `NOTHING` to take it away."""

    place: Place
    value: object


class Edited(NamedTuple):
    """One field's value before and after a change; `NOTHING` where there was or is none."""

    place: Place
    before: object
    after: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that was made.

    Attributes:
        id: Rises with time, and above the changes that its author's box had seen: `1764486000000-9f3a11c2`.
        by: Who made it.
        note: In words, what it was for.
        undoes: The id of the change that it took back; empty for most.
        edits: What it did.
    """

    id: str
    by: By
    note: str
    undoes: str
    edits: tuple[Edited, ...]


def checked(edit: Edit) -> Edit:
    """The edit with its value as `fields` keeps it.

    Raises:
        ConfigError: There is no such field, or it is no value for it; the place is named.
    """
    if not is_place(edit.place):
        lack = f"no such field, or a name that is not 1 to {NAME_CHARACTERS_MAX} printable characters"
        raise ConfigError(f"{str(edit.place)[:80]!r}: {lack}")
    if isinstance(edit.value, Nothing):
        return edit
    try:
        return Edit(edit.place, TABLES[edit.place.table][edit.place.field].read(edit.value))
    except ValueError as error:
        raise ConfigError(f"{edit.place}: {error}") from None


def effective(edits: Iterable[Edit], values: Mapping[Place, Value]) -> list[Edited]:
    """What the edits would change. The last for a place counts; writing what holds changes nothing but a conflict."""
    found = []
    for place, value in {edit.place: edit.value for edit in edits}.items():
        held = values.get(place)
        before = NOTHING if held is None else held.value
        if before != value or (held is not None and held.rivals):
            found.append(Edited(place, before, value))
    return found


def commit(rows: Rows, edits: Iterable[Edit], by: By, *, note: str = "", undoes: str = "") -> Change | None:
    """Write the edits as one change; None if they change nothing.

    Raises:
        ConfigError: A value is none for its field.
        LimitExceeded, StoreError: As for a store's `set`; nothing was written.
    """
    kept = [checked(edit) for edit in edits]
    with rows.transaction():
        edited = effective(kept, read(rows)[0])
        if not edited:
            return None
        known = sorted(rows.keys(CHANGES))
        change = Change(
            id=f"{_after(known, int(by.at_s * 1000)):013d}-{secrets.token_hex(4)}",
            by=by,
            note=note[:256],
            undoes=undoes,
            edits=tuple(edited),
        )
        for place, _, after in edited:
            if isinstance(after, Nothing):
                rows.delete(place.row)
            else:
                rows.set(place.row, packed(after, by))
        rows.set(CHANGES + change.id, _packed(change))
        if len(known) >= CHANGES_KEPT + _SLACK:
            for key in known[: len(known) - CHANGES_KEPT]:
                rows.delete(key)
    return change


def changes(rows: Rows) -> list[Change]:
    """Every change that is remembered, the newest first. Rows that cannot be read are left out."""
    found = (_unpacked(key.removeprefix(CHANGES), value) for key, value in rows.items(CHANGES))
    return sorted((change for change in found if change), key=lambda change: change.id, reverse=True)


class Undo(NamedTuple):
    """How a change is taken back.

    Attributes:
        edits: What to write.
        overtaken: Places that somebody changed again since; they stay as they are.
    """

    edits: list[Edit]
    overtaken: list[Place]


def last(known: Iterable[Change]) -> Change | None:
    """The newest change that is no undo and was not taken back."""
    all_of_them = list(known)
    gone = {change.undoes for change in all_of_them}
    return next((change for change in all_of_them if not change.undoes and change.id not in gone), None)


def undo(change: Change, values: Mapping[Place, Value]) -> Undo:
    """How to take a change back, as things are now."""
    found = Undo([], [])
    for place, before, after in change.edits:
        held = values.get(place)
        now = NOTHING if held is None else held.value
        if now == after or (held is not None and held.rivals):
            found.edits.append(Edit(place, before))
        elif now != before:
            found.overtaken.append(place)
    return found


def _after(known: Sequence[str], now_ms: int) -> int:
    """The time in a change's id: now, or after the changes that it saw, where clocks are less than an hour apart."""
    found = (key.removeprefix(CHANGES) for key in reversed(known))
    seen = (int(change_id[:13]) for change_id in found if _ID.fullmatch(change_id))
    return max(now_ms, next((at_ms + 1 for at_ms in seen if at_ms < now_ms + _SKEW_MS_MAX), 0))


def _packed(change: Change) -> object:
    edits = [[*place, _boxed(before), _boxed(after)] for place, before, after in change.edits]
    return {"by": list(change.by), "note": change.note, "undoes": change.undoes, "edits": edits}


def _boxed(value: object) -> list[object]:
    return [] if isinstance(value, Nothing) else [value]


def _unpacked(change_id: str, row: object) -> Change | None:
    match row:
        case {
            "by": [str(author), int() | float() as at_s, str(via)],
            "note": str(note),
            "undoes": str(undoes),
            "edits": list(edits),
        } if _ID.fullmatch(change_id):
            read_edits = [_edited(edit) for edit in edits]
        case _:
            return None
    if None in read_edits:
        return None
    by = By(author[:128], float(at_s), via[:128])
    kept = tuple(cast("list[Edited]", read_edits))
    return Change(id=change_id, by=by, note=note[:256], undoes=undoes[:64], edits=kept)


def _edited(edit: object) -> Edited | None:
    match edit:
        case [str(table), str(name), str(field), str(key), list(before), list(after)] if table in TABLES:
            place = Place(cast("Table", table), name, field, key)
            boxes = (box[0] if box else NOTHING for box in (before, after))
            return Edited(place, *boxes) if is_place(place) else None
        case _:
            return None
