"""The rows of a stream on their way out of a table, or into one that nobody watches: one loop for many.

The loops have twins in the kernel (`kernel/bulk.c`) that leave the same table, down to the order of arrival. What a
join means stands in `row`, not here.
"""

from __future__ import annotations

from array import array
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from propagul.crdt.block import Plain
    from propagul.crdt.dot import Dot, Origin
    from propagul.crdt.payload import Evicted, Found, Payload
    from propagul.crdt.row import Row
    from propagul.crdt.table import Table
    from propagul.crdt.vector import VersionVector

    Column = array[int] | bytes


def take_plains(table: Table, seen: Callable[[Origin], int], plains: list[Plain]) -> list[Plain]:
    """Write what is new, or newer from the same origin: neither needs a row to be made.

    Args:
        table: Where to.
        seen: The highest stamp of an origin that is applied here.
        plains: What came; each key at most once.

    Returns:
        Those that are new here and must be joined, in their order.
    """
    plain_dot, write = table.plain_dot, table.write
    origin_before, floor = 0, 0
    left = []
    for plain in plains:
        key, payload, kind, stamp, origin = plain
        if origin != origin_before:
            origin_before, floor = origin, seen(origin)
        if stamp <= floor:
            continue
        known = plain_dot(key)
        if known is None or known[1] not in (0, origin):
            left.append(plain)
        elif known[0] < stamp:
            write(key, kind, payload, stamp, origin)
    return left


def read_slots(table: Table, slots: Sequence[int]) -> tuple[list[Plain], list[tuple[str, Row]]]:
    """The rows in these slots, in their order; free ones left out."""
    plains: list[Plain] = []
    others: list[tuple[str, Row]] = []
    keys, values, special = table._keys, table.values, table._special  # noqa: SLF001 - one loop of the table's
    kinds, stamps, origins = table._kinds, table._stamps, table._origins  # noqa: SLF001 - as before
    for slot in slots:
        if slot in special:
            others.append((keys[slot], special[slot]))
        elif keys[slot]:
            plains.append((keys[slot], values[slot], kinds[slot], stamps[slot], origins[slot]))  # type: ignore[arg-type]  # columns of these types; ABSENT is special
    return plains, others


def load_plains(table: Table, plains: list[Plain]) -> None:
    """Write rows as they are, whatever was there."""
    write = table.write
    for key, payload, kind, stamp, origin in plains:
        write(key, kind, payload, stamp, origin)


def offer_plains(
    by_key: dict[str, int | Row | None], place: int, plains: list[Plain]
) -> tuple[list[Payload], Column, Column, Column]:
    """Turn rows into columns, of which the next place is `place`: enter there where each key is.

    Returns:
        Payloads, kinds, stamps and origins; numbers in arrays, or in the bytes of these.
    """
    by_key.update(zip([plain[0] for plain in plains], count(place), strict=False))
    return (
        [plain[1] for plain in plains],
        array("H", [plain[2] for plain in plains]),
        array("Q", [plain[3] for plain in plains]),
        array("Q", [plain[4] for plain in plains]),
    )


def lacking(
    known: VersionVector, plains: list[Plain], others: list[tuple[str, Row]]
) -> tuple[list[Plain], list[tuple[str, Row]]]:
    """Those rows that say something which a vector does not cover."""
    stamp_of = known.stamp_of
    return (
        [plain for plain in plains if stamp_of(plain[4]) < plain[3]],
        [item for item in others if not item[1].covered_by(known)],
    )


def take_rows(
    table: Table,  # noqa: ARG001 - the twin's
    here: VersionVector,  # noqa: ARG001 - the twin's
    others: list[tuple[str, Row]],
    join: Callable[[str, Row], None],
) -> None:
    """Join rows that are not plain.

    Args:
        table: Where to.
        here: What was applied before the stream.
        others: What came.
        join: Joins one row into this table. *Use:* the twin calls it for what it does not know.
    """
    for key, theirs in others:
        join(key, theirs)


def uncollected(
    items: list[str] | list[Found] | list[Payload] | list[Plain] | list[tuple[str, Dot, Evicted]],
) -> None:
    """Have the collector of cycles pass over a list, the tuples in it and the payloads in these.

    It would look at each of a million, and everybody would wait; and there is nothing to find, as they refer to nothing
    that refers to anything. The kernel can say so, Python cannot: its part is to be called where there is no kernel.
    """


def uncollected_at(values: list[Found], slots: list[int]) -> None:
    """The same for the payloads in these slots."""
