"""The bytes of blocks and events, frozen: logs on people's disks and peers of other versions hold exactly these.

A change that fails here breaks both. It needs a new kind of event or a migration, never a new golden file; the files
under `golden/` are written only with `REWRITE_GOLDEN=1`, for an addition, and read as a diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from propagul.crdt import (
    COUNTER,
    REGISTER,
    REMOVE,
    SET,
    Batch,
    Block,
    Dot,
    Floor,
    Join,
    Keep,
    Op,
    Origin,
    Packed,
    Replica,
    Row,
    Sibling,
    Stamp,
    VersionVector,
    codec,
)
from propagul.log import fold
from tests.crdt.blocks import exactly
from tests.crdt.histories import raise_floor, rows_of

DIRECTORY = Path(__file__).parent / "golden"
BYTES_PER_LINE = 32

A, B, C = Origin(0x1122334455667788), Origin(2**64 - 1), Origin(5)
NOON = 1_748_046_875_000_000
LIST = Packed(bytes.fromhex("9301a17802"))
TABLE = Packed(bytes.fromhex("82a16101a162c0"))
MOMENT = Packed(bytes.fromhex("d6ff6ab14b70"))

BLOCK = Block(
    [
        ("none", None, REGISTER, Stamp(NOON), A),
        ("yes", True, REGISTER, Stamp(NOON + 1), A),
        ("int", -70_000, REGISTER, Stamp(NOON + 1), A),
        ("float", 0.1, COUNTER, Stamp(NOON - 2**40), B),
        ("text \N{SNOWMAN}", "v\N{SNOWMAN}", COUNTER, Stamp(2**63 - 1), B),
        ("bytes", b"\x00\xff", SET, Stamp(1), C),
        ("list", LIST, 65_535, Stamp(NOON), A),
        ("dict", TABLE, REGISTER, Stamp(NOON), A),
        ("time", MOMENT, REGISTER, Stamp(NOON), A),
    ],
    [
        ("removed", Row((), {C: Stamp(9), A: Stamp(NOON)})),
        (
            "siblings",
            Row(
                (Sibling(Dot(Stamp(NOON + 5), A), REGISTER, "newer"), Sibling(Dot(Stamp(NOON), C), SET, LIST)),
                {A: Stamp(NOON + 5), C: Stamp(NOON), B: Stamp(3)},
            ),
        ),
        ("overtaken", Row((Sibling(Dot(Stamp(7), C), REGISTER, 1),), {C: Stamp(8)})),
    ],
)
SIMPLE = Block([(f"k{n}", n, REGISTER, Stamp(NOON + n * n), A) for n in range(3)], [])
"""What most blocks are: everything that can be left out is."""

BATCH = Batch(
    Dot(Stamp(NOON + 9), A),
    [Op("k", REGISTER, "v"), Op("gone", REGISTER, REMOVE), Op("crowded", SET, Keep(64)), Op("l", 65_535, LIST)],
)
ENTRIES = [(A, Stamp(NOON + 5)), (B, Stamp(2**63 - 1)), (C, Stamp(NOON))]
FLOOR = Floor([(C, Stamp(6)), (A, Stamp(NOON - 1))])
JOIN = Join(VersionVector(ENTRIES, FLOOR), FLOOR)

FROZEN = {
    "simple": lambda: codec.encode_block(SIMPLE),
    "block": lambda: codec.encode_block(BLOCK),
    "batch": lambda: fold.encode_batch("room", BATCH),
    "staged": lambda: fold.encode_block("room", 2**47, codec.encode_block(BLOCK)),
    "end": lambda: fold.encode_end("room", 2**47, Stamp(NOON), ENTRIES, None, [codec.encode_block(BLOCK)]),
    "join": lambda: fold.encode_end("room", 2**47, Stamp(NOON), [], JOIN, []),
    "freeze": lambda: fold.encode_floor("room", fold.FREEZE),
    "commit": lambda: fold.encode_floor("room", fold.COMMIT),
    "vector": lambda: fold.encode_vector("room", JOIN.vector, ENTRIES[:1]),
    "rows": lambda: b"".join(fold.encode_rows("room", BLOCK)),
}


def golden(name: str) -> bytes:
    return bytes.fromhex((DIRECTORY / f"{name}.hex").read_text())


def folded(*names: str) -> Replica:
    """What a fresh replica of today makes of events written then."""
    replica = Replica(Origin(1))
    events = [golden(name) for name in names]
    taken = fold.Fold({"room": replica}, events.__getitem__)
    for place, event in enumerate(events):
        taken.take(place, event)
    return replica


@pytest.mark.parametrize("name", FROZEN)
def test_what_is_written_today_is_what_was_written_then(name: str) -> None:
    encoded = FROZEN[name]()
    if os.environ.get("REWRITE_GOLDEN") == "1":
        lines = [encoded[at : at + BYTES_PER_LINE].hex() for at in range(0, len(encoded), BYTES_PER_LINE)]
        (DIRECTORY / f"{name}.hex").write_text("\n".join(lines) + "\n")
    assert encoded == golden(name), "the format is frozen; see the head of this file"


def test_a_block_written_then_is_read_today() -> None:
    assert exactly(codec.decode_block(golden("block"))) == exactly(BLOCK)
    assert exactly(codec.decode_block(golden("simple"))) == exactly(SIMPLE)


def test_a_batch_written_then_is_applied_today() -> None:
    applied = Replica(Origin(1))
    applied.apply(BATCH)
    again = folded("batch")
    assert exactly(rows_of(again)) == exactly(rows_of(applied))
    assert [again.get(key) for key in ("k", "l")] == ["v", LIST]
    assert list(again.vector) == [(A, NOON + 9)]


@pytest.mark.parametrize(("events", "floor"), [(["end"], Floor()), (["staged", "join"], JOIN.floor)])
def test_a_stream_written_then_is_applied_today(events: list[str], floor: Floor) -> None:
    merged = Replica(Origin(1))
    merged.load(BLOCK)
    again = folded(*events)
    assert exactly(rows_of(again)) == exactly(rows_of(merged))
    assert sorted(again.vector) == sorted(ENTRIES)
    assert again.vector.floor == floor


def test_a_snapshot_written_then_is_opened_today() -> None:
    loaded = Replica(Origin(1))
    loaded.load(BLOCK)
    again = folded("vector", "rows")
    assert exactly(rows_of(again)) == exactly(rows_of(loaded))
    assert again.vector == JOIN.vector
    assert again.vector.floor == FLOOR


def test_a_floor_raised_then_is_raised_today() -> None:
    again, same = folded("end", "freeze", "commit"), folded("end")
    raise_floor(same)
    assert again.vector.floor == Floor(ENTRIES)
    assert rows_of(again) == rows_of(same)
    assert "removed" not in dict(again)
