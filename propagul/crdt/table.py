"""Rows by key, in columns and in arrival order.

Most rows are plain: one sibling that has seen nothing else. Those stand in columns (a payload, a stamp, an origin, a
kind), at about 130 bytes a key over the key and the value themselves; the rest are `Row` objects beside them, with
their winner in the columns too, so that reading a key is two look-ups whatever its row is.

Every change of a row takes the next arrival number and appends its slot to the journal; a slot's older entries are
stale and swept away in small steps. So "what changed since" costs O(changes).
A `Capture` reads the table as it was at one instant while writers go on: whoever changes a row that it has yet to read
leaves the row's former state with it.
"""

from __future__ import annotations

import weakref
from array import array
from itertools import chain, compress
from typing import TYPE_CHECKING, Final

from propagul.crdt import row as rows
from propagul.crdt.arrivals import Arrivals
from propagul.crdt.bulk import uncollected
from propagul.crdt.capture import Capture
from propagul.crdt.dot import Dot, Origin, Stamp
from propagul.crdt.index import KeyIndex
from propagul.crdt.listing import Listing
from propagul.crdt.payload import ABSENT
from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul.crdt.payload import Evicted, Found
    from propagul.crdt.row import Row

INDEXED: Final = "\0"
_GROWTH_MIN: Final = 256


class Table:
    """The rows of one namespace. The caller holds the lock, except for `get`.

    Attributes:
        drops: How many rows were forgotten. *Use:* a `get` without the lock is void if this has changed meanwhile,
            because the slot it read may hold another key by then.
        lessee: Who has the columns' memory at hand lets go of it when this is called; they cannot grow before.
        indexed: The keys that begin with NUL, in order: the rows of counters, sets, logs and nested maps.
        ordered: The other keys, in order, of the slots that `order` has come to. Until somebody asks, those are none.
        slots: For each key the place of its row in the columns. *Use:* reading, like `values`.
        values: For each slot its winner's payload; ABSENT for a removal record or a free slot.
    """

    __slots__ = (
        "_arrivals",
        "_captures",
        "_free",
        "_journal",
        "_keys",
        "_kinds",
        "_ordered_to",
        "_origins",
        "_special",
        "_stamps",
        "drops",
        "indexed",
        "lessee",
        "ordered",
        "slots",
        "values",
    )

    def __init__(self) -> None:
        self.drops = 0
        self.slots: dict[str, int] = {}
        self._keys: list[str] = []
        self.values: list[Found] = []
        self._stamps, self._origins, self._kinds = array("Q"), array("Q"), array("H")
        self._arrivals = array("Q")
        self._special: dict[int, Row] = {}
        self._free: list[int] = []
        self.indexed, self.ordered, self._ordered_to = KeyIndex(), KeyIndex(), 0
        self.lessee: Callable[[], None] | None = None
        self._journal = Arrivals(self.slots, self.values, self._arrivals)
        for column in (self._keys, self.values):
            twin_of(uncollected)(column)
        self._captures: list[weakref.ref[Capture] | weakref.ref[Listing]] = []

    def __len__(self) -> int:
        """Rows held, removal records included."""
        return len(self.slots)

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        return ((key, self._row_at(slot)) for key, slot in self.slots.items())

    @property
    def arrival(self) -> int:
        """The number of the newest change."""
        return self._journal.begin + len(self._journal.newest) - 1

    @property
    def special(self) -> int:
        """How many rows are not plain."""
        return len(self._special)

    def get(self, key: str) -> Found:
        """The winner's payload; ABSENT if there is none."""
        slot = self.slots.get(key)
        return ABSENT if slot is None else self.values[slot]

    def row(self, key: str) -> Row:
        """The row of a key; `row.EMPTY` if nothing is known of it."""
        slot = self.slots.get(key)
        return rows.EMPTY if slot is None else self._row_at(slot)

    def plain_dot(self, key: str) -> tuple[int, int] | None:
        """Stamp and origin of a plain row; (0, 0) if nothing is known of the key; None for any other row."""
        slot = self.slots.get(key)
        if slot is None:
            return 0, 0
        return None if slot in self._special else (self._stamps[slot], self._origins[slot])

    def write(  # noqa: PLR0917 - a row's columns, in their order
        self, key: str, kind: int, payload: Found, stamp: int, origin: int, row: Row | None = None
    ) -> None:
        """Make a key's row plain, or this one, of which the columns hold the winner."""
        slot = self.slots.get(key)
        if slot is None:
            self.slots[key] = slot = self._new_slot(key)
        elif self._captures:
            self._leave(slot)
        if row is not None:
            self._special[slot] = row
        elif self._special:
            self._special.pop(slot, None)
        self.values[slot] = payload
        self._stamps[slot], self._origins[slot], self._kinds[slot] = stamp, origin, kind
        self._journal.append(slot)

    def put(self, key: str, row: Row) -> None:
        """Store any row."""
        winner = row.winner
        if winner is None:
            self.write(key, 0, ABSENT, 0, 0, row)
        else:
            (stamp, origin), kind, payload = winner
            self.write(key, kind, payload, stamp, origin, None if row.is_plain else row)

    def evict(self, key: str, dot: Dot, payload: Evicted) -> bool:
        """Have a sibling's payload elsewhere, if the row still holds it; return whether it did. O(siblings)."""
        slot = self.slots.get(key, -1)
        row = self._special.get(slot)
        if row is None:
            held = slot >= 0 and (self._stamps[slot], self._origins[slot]) == dot
        else:
            held = any(sibling.dot == dot for sibling in row.siblings)
        if held and row is not None:
            siblings = [s._replace(payload=payload) if s.dot == dot else s for s in row.siblings]
            self._special[slot] = row._replace(siblings=tuple(siblings))
            self.values[slot] = siblings[0].payload
        elif held:
            self.values[slot] = payload
        return held

    def replace(self, key: str, row: Row) -> None:
        """Store a row that says the same in fewer words: it keeps its place in the arrival order."""
        slot = self.slots[key]
        if self._captures:
            self._leave(slot)
        if row.is_plain:
            del self._special[slot]
        else:
            self._special[slot] = row

    def drop(self, key: str) -> None:
        """Forget a row. Its slot is used again."""
        self.drops += 1
        slot = self.slots.pop(key)
        if key[0] == INDEXED:
            self.indexed.discard(key)
        elif slot < self._ordered_to:
            self.ordered.discard(key)
        if self._captures:
            self._leave(slot)
        self._special.pop(slot, None)
        self.values[slot], self._keys[slot] = ABSENT, ""
        self._arrivals[slot] = 0
        self._free.append(slot)

    def keys_so_far(self) -> Iterator[str]:
        """The keys of the slots there are now, while the table changes; those dropped meanwhile left out."""
        return filter(None, map(self._keys.__getitem__, range(len(self._keys))))

    def special_keys(self) -> list[str]:
        """Keys whose rows are not plain."""
        return [self._keys[slot] for slot in self._special]

    def arrived(self, key: str) -> int:
        """The arrival number of a row that is not plain; more than any for another one."""
        slot = self.slots.get(key, -1)
        return self._arrivals[slot] if slot in self._special else self.arrival + 1

    def skip(self) -> None:
        """Pass over one arrival number: every place given out so far lies below it."""
        if self._journal.newest:
            self._journal.close_chunk()
        self._journal.begin += 1

    def capture(self, after: int, below: int | None = None) -> Capture:
        """Read the rows that arrived after `after`, as they are now, in slices. Close it, or let go of it.

        With `below`, go on from a `Capture.position`: that is asked of the slots before it only.
        """
        first = below if below is not None else len(self._keys) if after else 0
        changed, numbers = self._journal.since_with_numbers(after) if first else ([], array("Q"))
        if first < len(self._keys):
            chosen = list(map(first.__gt__, changed))
            changed, numbers = list(compress(changed, chosen)), array("Q", compress(numbers, chosen))
        capture = Capture(self, changed, numbers, after, first)
        self._captures.append(weakref.ref(capture, self._captures.remove))
        return capture

    def order(self, prefix: str, most: int | None = None) -> int:
        """Put new keys of the kind of this prefix in order, at most `most`; return how many are left.

        O(log n) for each. Without it a question does so for all.
        """
        if prefix[:1] == INDEXED:
            return self.indexed.take_in(most)
        end = len(self._keys) if most is None else min(self._ordered_to + most, len(self._keys))
        if self._ordered_to < end:
            coming = self._keys[self._ordered_to : end]
            self.ordered.merge([key for key in coming if key and key[0] != INDEXED])
            self._ordered_to = end
        return self.ordered.take_in(most) + len(self._keys) - end

    def keys_under(self, prefix: str, *, reverse: bool = False) -> Iterator[str]:
        """The keys that begin so, in order, removal records included, to be read before the table changes.

        O(log n + keys read), after O(new keys) once. Those that begin with NUL are found by a prefix that does.
        """
        self.order(prefix)
        return self._index(prefix).under(prefix, reverse=reverse)

    def under(self, prefix: str) -> list[tuple[str, Row]]:
        """Rows with a sibling whose key begins with a prefix, sorted by key. O(found), after O(new keys) once."""
        keys = self.keys_under(prefix) if prefix else chain(self.keys_under(INDEXED), self.keys_under(""))
        return [(key, row) for key in keys if (row := self._row_at(self.slots[key])).siblings]

    def listing(self, prefix: str, most: int) -> Listing | None:
        """Read the rows of `keys_under` as they are now, in slices; None for more than `most`.

        Close it, or let go of it.
        """
        self.order(prefix)
        if self._index(prefix).count(prefix) > most:
            return None
        listing = Listing(self, prefix, list(self.keys_under(prefix)))
        self._captures.append(weakref.ref(listing, self._captures.remove))
        return listing

    def _index(self, prefix: str) -> KeyIndex:
        return self.indexed if prefix[:1] == INDEXED else self.ordered

    def _new_slot(self, key: str) -> int:
        if key[0] == INDEXED:
            self.indexed.add(key)
        if self._free:
            slot = self._free.pop()
            if self._captures:
                self._leave(slot)
            self._keys[slot] = key
            if slot < self._ordered_to and key[0] != INDEXED:
                self.ordered.add(key)
            return slot
        slot = len(self._keys)
        self._keys.append(key)
        self.values.append(ABSENT)
        if slot == len(self._stamps):
            if self.lessee is not None:
                self.lessee()
            growth = max(_GROWTH_MIN, slot // 8)
            for column in (self._stamps, self._origins, self._kinds, self._arrivals):
                column.frombytes(bytes(growth * column.itemsize))
        return slot

    def _row_at(self, slot: int) -> Row:
        special = self._special.get(slot)
        if special is not None:
            return special
        value = self.values[slot]
        assert value is not ABSENT
        return rows.plain(Dot(Stamp(self._stamps[slot]), Origin(self._origins[slot])), self._kinds[slot], value)  # type: ignore[arg-type]  # ABSENT is special

    def _leave(self, slot: int) -> None:
        key = self._keys[slot]
        before = (key, self._row_at(slot)) if key else None
        for reference in self._captures[:]:  # whoever lets go of a capture takes it out, lock or not
            capture = reference()
            if capture is not None:
                capture.leave(slot, before)
