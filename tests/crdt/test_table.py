"""The table's costs and corners; what it holds is shown against a plain dict in test_machine.py."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from propagul.crdt import ABSENT, Dot, Origin, Row, Sibling, Stamp
from propagul.crdt.arrivals import CHUNK
from propagul.crdt.capture import Capture
from propagul.crdt.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul.crdt import Block
    from propagul.crdt.listing import Listing

REMOVED = Row((), {Origin(1): Stamp(5)})


def filled(keys: int) -> Table:
    table = Table()
    for number in range(keys):
        table.write(f"k{number}", 0, number, number + 1, 1)
    return table


def read_all(capture: Capture | Listing, most: int = 100) -> list[Block]:
    blocks = []
    while block := capture.read(most):
        blocks.append(block)
    return blocks


def keys_in(blocks: list[Block]) -> list[str]:
    return [key for block in blocks for key in (*(row[0] for row in block.plain), *(key for key, _ in block.other))]


# What it costs.


def test_a_key_costs_at_most_150_bytes_over_itself_and_its_value() -> None:
    keys, value = [f"key number {n}" for n in range(50_000)], "v" * 10
    gc.collect()
    tracemalloc.start()
    try:
        table = Table()
        for number, key in enumerate(keys):
            table.write(key, 0, value, number + 1, 1)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held / len(keys) < 150


def test_what_changed_since_is_found_without_looking_at_what_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROPAGUL_KERNEL", "off")  # the twin looks at the columns' memory
    table = filled(20 * CHUNK)
    place = table.arrival
    table.write("k3", 0, "new", place + 1, 1)
    looked = _Counted(table._arrivals)
    table._journal._arrivals = looked  # type: ignore[assignment]  # it only looks up
    assert table._journal.since(place) == [3]
    assert looked.count <= CHUNK


def test_a_key_written_for_ever_leaves_no_trail() -> None:
    table = filled(10)
    for number in range(20 * CHUNK):
        table.write("k1", 0, number, number + 100, 1)
    journal = table._journal
    assert sum(len(slots) for slots, _ in journal._swept) + len(journal.newest) <= 2 * CHUNK
    assert [table._keys[slot] for slot in journal.since(9)] == ["k9", "k1"]


def test_rows_spread_thin_by_rewriting_are_still_found_in_order() -> None:
    """Each chunk keeps few live entries; chunks are joined, and gaps in the numbers do no harm."""
    table = filled(3 * CHUNK)
    for number in range(0, 3 * CHUNK, 7):
        table.write(f"k{number}", 0, "again", 10**6 + number, 1)
    for number in range(6 * CHUNK):
        table.write("k0", 0, number, 10**7 + number, 1)
    quiet = [f"k{n}" for n in range(3 * CHUNK) if n % 7]
    again = [f"k{n}" for n in range(7, 3 * CHUNK, 7)]
    assert keys_in(read_all(table.capture(1))) == [*quiet, *again, "k0"]
    for after in (1, 50, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK):
        expected = [key for key in quiet if int(key[1:]) + 1 > after]
        assert keys_in(read_all(table.capture(after))) == [*expected, *again, "k0"]


def test_a_capture_of_a_few_rows_keeps_nothing_of_the_others() -> None:
    """A slow peer costs what it lacks, and not what is written meanwhile."""
    table = filled(1000)
    capture = table.capture(998)
    whole = table.capture(0)
    whole.read(990)
    for number in range(1000):
        table.write(f"k{number}", 0, "new", 5000 + number, 1)
    assert len(capture._former) <= 2
    assert len(whole._former) <= 10
    assert keys_in(read_all(capture)) == ["k998", "k999"]


# Captures.


def test_a_table_with_no_capture_open_leaves_nothing() -> None:
    table = filled(10)
    capture = table.capture(0)
    capture.read(3)
    capture.close()
    dropped = table.capture(0)
    del dropped
    assert table._captures == []
    table.write("k1", 0, "new", 99, 1)
    assert capture._former == {}


def test_a_capture_is_told_though_another_one_is_let_go_of_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a capture may let go of it without the lock, in the middle of a write."""
    table = filled(5)
    held = [table.capture(0), table.capture(0), table.capture(0)]
    second, third = held[1:]
    leave = Capture.leave

    def leave_and_let_go(self: Capture, slot: int, before: tuple[str, Row] | None) -> None:
        leave(self, slot, before)
        held.clear()

    monkeypatch.setattr(Capture, "leave", leave_and_let_go)
    table.write("k1", 0, "new", 99, 1)
    for capture in (second, third):
        assert {item[0]: item[1] for block in read_all(capture) for item in block.plain}["k1"] == 1


def test_a_slot_used_again_is_read_as_it_was() -> None:
    table = filled(4)
    table.drop("k0")
    free_then, taken_then = table.capture(0), table.capture(1)
    table.write("new in a free slot", 0, "n", 50, 1)
    table.drop("k2")
    table.write("new in a taken slot", 0, "n", 51, 1)
    table.drop("k3")
    assert keys_in(read_all(free_then, 2)) == ["k1", "k2", "k3"]
    assert keys_in(read_all(taken_then, 2)) == ["k1", "k2", "k3"]
    assert sorted(key for key, _ in table) == ["k1", "new in a free slot", "new in a taken slot"]


def test_a_row_that_becomes_plain_while_it_is_captured_is_read_as_it_was() -> None:
    table = Table()
    sibling = Sibling(Dot(Stamp(3), Origin(1)), 0, "v")
    table.put("k", Row((sibling,), {Origin(1): Stamp(3), Origin(2): Stamp(9)}))
    capture = table.capture(0)
    table.replace("k", Row((sibling,), {Origin(1): Stamp(3)}))
    assert table.special == 0
    assert [row.context for _, row in capture.read(5).other] == [{1: 3, 2: 9}]


def test_a_listing_is_read_as_it_was_whatever_is_changed_twice_dropped_made_again_or_new() -> None:
    table = filled(6)
    listing = table.listing("k", 10)
    assert listing is not None
    assert [item[0] for item in listing.read(2).plain] == ["k0", "k1"]
    for stamp in (50, 51):
        table.write("k1", 0, "read already", stamp, 1)
        table.write("k2", 0, "changed twice", stamp, 1)
    table.drop("k3")
    table.write("k3", 0, "made again", 52, 1)
    table.drop("k4")
    table.write("k44", 0, "in its place", 53, 1)
    assert {item[0]: item[1] for block in read_all(listing) for item in block.plain} == {
        "k2": 2,
        "k3": 3,
        "k4": 4,
        "k5": 5,
    }
    listing.close()
    assert table._captures == []
    assert list(table.keys_under("k")) == ["k0", "k1", "k2", "k3", "k44", "k5"]


def test_a_listing_of_more_than_is_wanted_is_none() -> None:
    table = filled(5)
    assert table.listing("k", 4) is None
    assert table.listing("k1", 1) is not None


def test_the_length_of_a_capture_is_what_there_is_to_read() -> None:
    table = filled(6)
    table.write("k1", 0, "new", 99, 1)
    assert [len(table.capture(after)) for after in (0, 1, 2, 5, 6, 7)] == [6, 5, 5, 2, 1, 0]


# Rows.


def test_a_removal_record_is_a_row_without_a_value() -> None:
    table = filled(1)
    table.put("k0", REMOVED)
    assert (len(table), table.special, table.get("k0")) == (1, 1, ABSENT)
    assert table.row("k0") is REMOVED
    table.drop("k0")
    assert (len(table), table.special, table.get("k0")) == (0, 0, ABSENT)
    with pytest.raises(KeyError):
        table.drop("k0")


def test_a_place_skipped_is_behind_every_later_change() -> None:
    table = filled(3)
    before = table.arrival
    table.skip()
    assert table.arrival == before + 1
    assert keys_in(read_all(table.capture(before))) == []
    table.write("k1", 0, "new", 99, 1)
    assert keys_in(read_all(table.capture(before))) == keys_in(read_all(table.capture(before + 1))) == ["k1"]
    assert keys_in(read_all(table.capture(2))) == ["k2", "k1"]


class _Counted:
    def __init__(self, arrivals: Sequence[int]) -> None:
        self.arrivals, self.count = arrivals, 0

    def __getitem__(self, slot: int) -> int:
        self.count += 1
        return self.arrivals[slot]
