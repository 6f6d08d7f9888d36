"""The table against a plain dict: rows, arrival order, sweeping, and captures that stay open over all of it.

The dict holds a key's arrival number and row; a capture's truth is a copy of that dict, taken when it was opened.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from propagul.crdt import ABSENT, Dot, Origin, Row, Sibling, Stamp, arrivals
from propagul.crdt import index as runs
from propagul.crdt import row as rows
from propagul.crdt.table import Table
from tests.crdt.histories import LONG, Shape, shape

if TYPE_CHECKING:
    from propagul.crdt import Block
    from propagul.crdt.capture import Capture
    from propagul.crdt.listing import Listing

KEYS = ["k", "k1", "k11", "k2", "k\U0010ffff", "l", "\0k", "\0k1", "\0l"]
PREFIXES = ["", "k", "k1", "z", "\0", "\0k", "\0z"]
CHUNK = 8
"""Small, so that chunks are closed, swept and joined all the time."""

keys = st.sampled_from(KEYS)


class Reading:
    """A capture or a listing, what it must read, and what it has read."""

    def __init__(self, capture: Capture | Listing, truth: dict[str, Shape], *, in_order: bool = False) -> None:
        self.capture, self.truth, self.in_order = capture, truth, in_order
        self.found: dict[str, Shape] = {}

    def read(self, most: int) -> bool:
        """Read on; return whether that was the end."""
        block = self.capture.read(most)
        assert len(block) <= most
        if self.in_order and block and self.found:
            assert max(self.found) < min(key for key, _ in rows_in(block))
        for key, row in rows_in(block):
            assert key not in self.found, "read twice"
            self.found[key] = row
        return not block

    def finish(self) -> None:
        """Read to the end: exactly the rows of its instant."""
        while not self.read(3):
            pass
        assert self.found == self.truth
        assert not self.capture.read(3)
        self.capture.close()


def rows_in(block: Block) -> list[tuple[str, Shape]]:
    found = []
    for key, payload, kind, stamp, origin in block.plain:
        found.append((key, shape(rows.plain(Dot(stamp, origin), kind, payload))))
    for key, row in block.other:
        assert not row.is_plain
        found.append((key, shape(row)))
    return found


def of_one_kind(key: str, prefix: str) -> bool:
    """Whether a key is listed under a prefix: those that begin with NUL are, where the prefix does."""
    return key.startswith(prefix) and (key[0] == "\0") == (prefix[:1] == "\0")


class TableMachine(RuleBasedStateMachine):
    """Every way to change a table, in any order, with captures open."""

    def __init__(self) -> None:
        super().__init__()
        self._small = patch.multiple(arrivals, CHUNK=CHUNK), patch.multiple(runs, RUN=2, _FEW=1)
        for small in self._small:
            small.start()
        self.table = Table()
        self.model: dict[str, tuple[int, Row]] = {}
        self.readings: list[Reading] = []
        self.now = 0
        self.appended = 0

    def teardown(self) -> None:
        for reading in self.readings:
            reading.finish()
        for small in self._small:
            small.stop()
        assert self.table._captures == []

    @initialize(skips=st.integers(0, 2))
    def pass_over(self, skips: int) -> None:
        for _ in range(skips):
            self.table.skip()
            self.now += 1

    @rule(key=keys, kind=st.sampled_from([0, 65_535]), origin=st.integers(1, 2))
    def write(self, key: str, kind: int, origin: int) -> None:
        stamp = self._arrive()
        self.table.write(key, kind, f"v{stamp}", stamp, origin)
        self.model[key] = self.now, rows.plain(Dot(Stamp(stamp), Origin(origin)), kind, f"v{stamp}")

    @rule(key=keys, times=st.integers(2, 3 * CHUNK))
    def rewrite(self, key: str, times: int) -> None:
        """Stale entries, so that sweeping has something to do."""
        for _ in range(times):
            self.write(key, 0, 1)

    @rule(key=keys, siblings=st.integers(0, 3), more=st.booleans())
    def put(self, key: str, siblings: int, more: bool) -> None:  # noqa: FBT001 - drawn by name
        """Any row: a removal record, a plain one in the long form, siblings, a context that says more."""
        stamp = self._arrive()
        held = tuple(Sibling(Dot(Stamp(stamp * 10 - n), Origin(n + 1)), n, f"s{n}") for n in range(siblings))
        extra = {Origin(9): Stamp(stamp)} if more or not siblings else {}
        row = Row(held, {**{s.dot.origin: s.dot.stamp for s in held}, **extra})
        self.table.put(key, row)
        self.model[key] = self.now, row

    @precondition(lambda self: self._special())
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        """As trimming does: the context says less, the place in the arrival order stays."""
        key = data.draw(st.sampled_from(self._special()))
        arrival, row = self.model[key]
        if row.siblings:
            trimmed = Row(row.siblings, {s.dot.origin: s.dot.stamp for s in row.siblings})
            self.table.replace(key, trimmed)
            self.model[key] = arrival, trimmed

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        drops = self.table.drops
        self.table.drop(key)
        assert self.table.drops == drops + 1
        del self.model[key]

    @rule()
    def skip(self) -> None:
        self.table.skip()
        self.now += 1

    @precondition(lambda self: len(self.readings) < 4)
    @rule(back=st.integers(0, 40) | st.just(10**6))
    def capture(self, back: int) -> None:
        after = max(self.now - back, 0)
        self.readings.append(Reading(self.table.capture(after), {k: shape(r) for k, r in self._since(after)}))

    @precondition(lambda self: len(self.readings) < 4)
    @rule(prefix=st.sampled_from(PREFIXES))
    def list_in_order(self, prefix: str) -> None:
        listing = self.table.listing(prefix, len(KEYS))
        assert listing is not None
        truth = {k: shape(r) for k, (_, r) in self.model.items() if of_one_kind(k, prefix)}
        assert len(listing) == len(truth)
        assert not truth or self.table.listing(prefix, len(truth) - 1) is None
        self.readings.append(Reading(listing, truth, in_order=True))

    @rule(prefix=st.sampled_from(PREFIXES), most=st.integers(1, 3))
    def order_some(self, prefix: str, most: int) -> None:
        """As when keys are put in order in slices; what is asked meanwhile must find all the same."""
        self.table.order(prefix, most)

    @precondition(lambda self: self.readings)
    @rule(index=st.integers(0, 3), most=st.integers(1, 4))
    def read(self, index: int, most: int) -> None:
        self.readings[index % len(self.readings)].read(most)

    @precondition(lambda self: self.readings)
    @rule(index=st.integers(0, 3))
    def finish(self, index: int) -> None:
        self.readings.pop(index % len(self.readings)).finish()

    @precondition(lambda self: self.readings)
    @rule(index=st.integers(0, 3), closes=st.booleans())
    def give_up(self, index: int, closes: bool) -> None:  # noqa: FBT001 - drawn by name
        """Close a capture halfway, or just let go of it: the table forgets it."""
        capture = self.readings.pop(index % len(self.readings)).capture
        if closes:
            capture.close()
            capture.close()
        gone = weakref.ref(capture)
        del capture
        assert gone() is None
        assert len(self.table._captures) == len(self.readings)

    def _arrive(self) -> int:
        self.now += 1
        self.appended += 1
        return self.now

    def _since(self, after: int) -> list[tuple[str, Row]]:
        found = sorted((arrival, key) for key, (arrival, _) in self.model.items() if arrival > after)
        return [(key, self.model[key][1]) for _, key in found]

    def _special(self) -> list[str]:
        return sorted(key for key, (_, row) in self.model.items() if not row.is_plain)

    @invariant()
    def it_holds_what_the_dict_holds(self) -> None:
        table = self.table
        assert len(table) == len(self.model)
        assert {k: shape(r) for k, r in table} == {k: shape(r) for k, (_, r) in self.model.items()}
        assert table.arrival == self.now
        assert sorted(table.special_keys()) == self._special()
        assert table.special == len(self._special())
        for key in KEYS:
            arrival, row = self.model.get(key, (0, rows.EMPTY))
            assert shape(table.row(key)) == shape(row)
            assert table.get(key) == (row.siblings[0].payload if row.siblings else ABSENT)
            expected = (0, 0) if key not in self.model else row.siblings[0].dot if row.is_plain else None
            assert table.plain_dot(key) == expected
            assert table.arrived(key) == (arrival if key in self._special() else self.now + 1)

    @invariant()
    def since_any_place_is_what_changed_since_in_order(self) -> None:
        for after in range(self.now + 1):
            slots = self.table._journal.since(after)
            assert [self.table._keys[slot] for slot in slots] == [key for key, _ in self._since(after)]

    @rule(prefix=st.sampled_from(PREFIXES), reverse=st.booleans())
    def what_is_under_a_prefix_is_every_row_there_that_shows_something(self, prefix: str, reverse: bool) -> None:  # noqa: FBT001 - drawn by name
        """Asked now and then, as what is new is put in order at a question only."""
        rows = [(k, row) for k, (_, row) in sorted(self.model.items()) if k.startswith(prefix)]
        under = [(key, shape(row)) for key, row in self.table.under(prefix)]
        assert under == [(key, shape(row)) for key, row in rows if row.siblings]
        keys = [key for key, _ in rows if of_one_kind(key, prefix)]
        assert list(self.table.keys_under(prefix, reverse=reverse)) == (keys[::-1] if reverse else keys)

    @invariant()
    def stale_entries_are_swept(self) -> None:
        """What the journal holds is bounded by the rows, however often they are written."""
        swept = self.table._journal._swept
        held = sum(len(slots) for slots, _ in swept) + len(self.table._journal.newest)
        assert held <= 5 * CHUNK + 2 * len(KEYS)
        assert len(swept) <= held + CHUNK


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=400 if LONG else 40, stateful_step_count=50)
