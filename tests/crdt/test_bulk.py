"""What the kernel does with a whole stream leaves the table that Python leaves, and Python's exceptions."""

from __future__ import annotations

import gc
import random
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from propagul.crdt import (
    REMOVE,
    Block,
    Dot,
    Evicted,
    Floor,
    Keep,
    Offer,
    Op,
    Origin,
    Packed,
    Replica,
    Row,
    Sibling,
    Stamp,
    VersionVector,
    bulk,
    codec,
)
from propagul.crdt.arrivals import CHUNK
from propagul.crdt.bulk import take_plains, take_rows
from propagul.crdt.merge import Merge
from propagul.crdt.table import Table
from tests.crdt.histories import WALL, Step, blocks_of, examples, lacking, play, raise_floor, steps, take
from tests.crdt.kernels import by, compiled, load, said_by

if TYPE_CHECKING:
    from types import ModuleType

    from propagul.crdt import Cut
    from propagul.crdt.block import Plain
    from propagul.crdt.capture import Capture

KEYS = [f"key {number}" for number in range(700)] + ["\0c\0one", "\0c\0two", "schlüssel", "\U0001f511"]
PAYLOADS = (None, True, 5, -1.5, "text", "schön", b"bytes", Packed(b"\x93\x01\x02\x03"))


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(compiled(tmp_path_factory))


@examples(150)
@given(history=steps)
def test_any_history_leaves_the_same_tables(module: ModuleType, history: list[Step]) -> None:
    rooms = []
    for kernel in (module, None):
        with by(kernel):
            room = play(history)
            room.tell_all()
            rooms.append([(said_by(replica.table), list(replica.vector)) for replica in room.replicas])
    assert rooms[0] == rooms[1]


class Pair:
    """Two replicas to which the same streams come, one of them taken by the kernel; and those who send them."""

    def __init__(self, kernel: ModuleType, seed: int) -> None:
        self.dice = random.Random(seed)
        self.twins = [(kernel, Replica(Origin(1))), (None, Replica(Origin(1)))]
        self.editors = [Replica(Origin(self.dice.getrandbits(64))) for _ in range(6)]
        self.captures: list[list[Capture]] = [[], []]
        self.seen: list[list[object]] = [[], []]

    def act(self) -> None:
        dice = self.dice
        match dice.randrange(12):
            case 0:
                self.both(raise_floor)
            case 1:
                raise_floor(dice.choice(self.editors))
            case 2:
                sender, receiver = dice.sample(self.editors, 2)
                take(receiver, lacking(sender, receiver))
            case 3:
                self.open_captures()
            case 4:
                self.read_captures()
            case 5:
                ops = self.ops(5)
                self.both(lambda replica: replica.apply(replica.prepare(ops, WALL)))
            case 6 | 7 | 8:
                self.stream(dice.choice(self.editors))
            case _:
                editor = dice.choice(self.editors)
                for op in self.ops(dice.choice([1, 10, 300])):
                    editor.apply(editor.prepare([op], Stamp(WALL + dice.randrange(50))))

    def both(self, act: object) -> None:
        for _, replica in self.twins:
            act(replica)  # type: ignore[operator]  # a function of a replica

    def ops(self, most: int) -> list[Op]:
        dice, keys = self.dice, self.dice.sample(KEYS[: self.dice.choice([5, 60, len(KEYS)])], 5)
        while len(keys) < most:
            keys.append(dice.choice(KEYS))
        actions = [*PAYLOADS * 3, REMOVE, REMOVE, Keep(1), Keep(2)]
        return [Op(key, dice.randrange(3), dice.choice(actions)) for key in keys]

    def stream(self, sender: Replica) -> None:
        cut = lacking(sender, self.twins[0][1])
        blocks = [codec.decode_block(block) for block in codec_blocks(cut)]
        for kernel, replica in self.twins:
            with by(kernel):
                replica.merge(blocks, cut.entries, WALL, cut.join)

    def open_captures(self) -> None:
        for (_, replica), captures in zip(self.twins, self.captures, strict=True):
            captures.append(replica.table.capture(0))

    def read_captures(self) -> None:
        for (kernel, _), captures, seen in zip(self.twins, self.captures, self.seen, strict=True):
            while captures:
                capture = captures.pop()
                with by(kernel):
                    while block := capture.read(50):
                        seen.append(block)
                capture.close()


def codec_blocks(cut: Cut) -> list[bytes]:
    """All rows of a cut in blocks as large as they come."""
    packed: list[bytes] = []
    while not cut.at_end:
        packed += codec.encode_blocks(cut.read(codec.BLOCK_ROWS_MAX))
    return packed


@pytest.mark.parametrize("seed", range(8))
def test_large_streams_leave_the_same_table_under_captures_growth_and_sweeps(seed: int, module: ModuleType) -> None:
    pair = Pair(module, seed)
    for number in range(220):
        pair.act()
        if number % 10 == 0:
            (_, quick), (_, slow) = pair.twins
            assert said_by(quick.table) == said_by(slow.table)
            assert quick.vector == slow.vector
    pair.read_captures()
    assert pair.seen[0] == pair.seen[1]
    assert len(pair.twins[0][1].table.slots) > 500


def row(*siblings: tuple[int, int], **further: int) -> Row:
    """A row of siblings by their dots; `o3=5` says that stamp 5 of origin 3 was seen too."""
    made = tuple(Sibling(Dot(Stamp(s), Origin(o)), 0, f"{o} {s}") for s, o in sorted(siblings, reverse=True))
    context = {Origin(o): Stamp(s) for s, o in sorted(siblings)}
    return Row(made, context | {Origin(int(name[1:])): Stamp(s) for name, s in further.items()})


ROWS = [
    row((5, 1)), row((5, 2)), row((6, 1)), row((5, 1), (5, 2)), row((5, 1), (6, 2)), row((6, 1), (5, 2)),
    row((7, 3), o1=5), row((7, 3), o1=5, o2=5), row((4, 3), o1=9), row((5, 1), o1=9), row((5, 2), o1=9),
    row(o1=5), row(o1=6, o2=6), row((2**63 - 1, 2**64 - 1)), row((5, 1), (5, 2), (5, 3), o4=8),
    row(*((9, origin) for origin in range(1, 70))), row((8, 2), (8, 5), o1=6, o9=1), Row((), {}),
]  # fmt: skip
VECTORS = [
    VersionVector(),
    VersionVector([(Origin(1), Stamp(5)), (Origin(2), Stamp(5))]),
    VersionVector([(Origin(2), Stamp(6))], Floor([(Origin(1), Stamp(5)), (Origin(3), Stamp(7))])),
    VersionVector([], Floor([(Origin(o), Stamp(9)) for o in range(1, 80)])),
]


@pytest.mark.parametrize("here", VECTORS, ids=range(len(VECTORS)))
def test_any_two_rows_join_to_the_same(here: VersionVector, module: ModuleType) -> None:
    for ours in ROWS:
        for theirs in ROWS:
            tables = []
            for take_all in (module.take_rows, take_rows):
                table = Table()
                if ours.context:
                    table.put("key", ours)
                merge = Merge(table, here, None, None)
                take_all(table, here, [("key", theirs)], merge.join)
                tables.append((said_by(table), table.row("key"), merge.crowded))
            assert tables[0] == tables[1]
            assert type(tables[0][1]) is Row
            assert all(type(s) is Sibling and type(s.dot) is Dot for s in tables[0][1].siblings)


@pytest.mark.parametrize("quick", [True, False])
def test_the_collector_passes_over_what_there_is_a_million_of(quick: bool, module: ModuleType) -> None:  # noqa: FBT001 - a parameter
    with by(module if quick else None):
        table = Table()
        for number in range(CHUNK + 5):
            table.write(f"key {number}", 0, Evicted(number), number + 1, 7)
        offer = Offer()
        offer.add(Block([("key", Evicted(5), 0, Stamp(1), Origin(2))], []))
    seen = [table.values, table._keys, *table.values[:CHUNK], offer._payloads, offer.plain_at(0)[0]]
    assert {gc.is_tracked(each) for each in seen} == {not quick}
    assert not gc.is_tracked(offer.by_key)
    assert len(table.values) == len(table._keys) == CHUNK + 5
    wrongs: list[tuple[object, ...]] = [(5,), ((),), ([], [0]), ([1], ["0"]), ([], 5)]
    for wrong in wrongs:
        with pytest.raises((TypeError, IndexError)):
            (module.uncollected_at if len(wrong) > 1 else module.uncollected)(*wrong)


MANY: list[Plain] = [(key, payload, 2**16 - 1, Stamp(2**63 - 1), Origin(2**64 - 1))
                     for key, payload in zip(KEYS, PAYLOADS * 99, strict=False)]  # fmt: skip


@pytest.mark.parametrize("plains", [[], MANY[:1], MANY], ids=len)
def test_an_offer_has_the_same_columns(plains: list[Plain], module: ModuleType) -> None:
    found = []
    for kernel in (module, None):
        with by(kernel):
            offer = Offer()
            offer.add(Block(plains, []))
            offer.add(Block([("last", 5, 1, Stamp(2), Origin(3))], []))
        found.append((list(offer.by_key.items()), [offer.plain_at(place) for place in range(len(plains) + 1)]))
    assert found[0] == found[1]
    assert found[0][0][-1] == ("last", len(plains))
    assert [(key, *rest) for (key, _), rest in zip(*found[0], strict=True)][:-1] == plains


@pytest.mark.parametrize(
    "arguments",
    [(), ([], 0, []), ({}, -1, []), ({}, 0, ()), ({}, 0, [1]), ({}, 0, [("k", 1, 0, 1)]), ({}, 0, [(1,) * 5])],
    ids=range(7),
)
def test_what_is_no_plain_row_is_not_offered(arguments: tuple[object, ...], module: ModuleType) -> None:
    with pytest.raises(TypeError):
        module.offer_plains(*arguments)


@pytest.mark.parametrize("quick", [True, False])
def test_what_must_be_joined_comes_back_in_order(quick: bool, module: ModuleType) -> None:  # noqa: FBT001 - a parameter
    table = Table()
    table.put("theirs", row((3, 2)))
    table.put("special", row((3, 2), (3, 3)))
    table.put("ours", row((3, 7)))
    keys = ("theirs", "fresh", "special", "ours")
    plains: list[Plain] = [(key, "new", 0, Stamp(stamp), Origin(7)) for key in keys for stamp in (1, 4)]
    asked: list[Origin] = []

    def seen(origin: Origin) -> int:
        asked.append(origin)
        return 2

    left = (module.take_plains if quick else take_plains)(table, seen, plains)
    assert [plain[0] for plain in left] == ["theirs", "special"]
    assert table.get("fresh") == table.get("ours") == "new"
    assert asked == [7]
    assert table.arrival == 5


WRONG: list[tuple[object, ...]] = [
    (), (None, None, []), (Table(), int, ()), (Table(), int, [1]), (Table(), int, [("k", 1, 0, 1)]),
    (Table(), int, [(1, 1, 0, 1, 1)]), (Table(), int, [("", 1, 0, 1, 1)]), (Table(), int, [("k", 1, 2**16, 1, 1)]),
    (Table(), int, [("k", 1, 0, -1, 1)]), (Table(), int, [("k", 1, 0, 1, 2**64)]), (Table(), str, [("k", 1, 0, 1, 1)]),
    (Table(), {}.__getitem__, [("k", 1, 0, 1, 1)]),
]  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG, ids=range(len(WRONG)))
def test_what_is_no_plain_row_is_refused(arguments: tuple[object, ...], module: ModuleType) -> None:
    with pytest.raises((TypeError, AttributeError, LookupError)):
        module.take_plains(*arguments)


JOIN = Merge(Table(), VersionVector(), None, None).join


@pytest.mark.parametrize(
    "arguments",
    [(), (Table(), None, [], JOIN), (Table(), VersionVector(), (), JOIN),
     (Table(), VersionVector(), [("k",)], JOIN), (Table(), VersionVector(), [(1, row((1, 1)))], JOIN),
     (Table(), VersionVector(), [("k", 5)], JOIN)],
    ids=range(6),
)  # fmt: skip
def test_what_is_no_row_is_refused(arguments: tuple[object, ...], module: ModuleType) -> None:
    with pytest.raises((TypeError, AttributeError)):
        module.take_rows(*arguments)


def test_columns_are_given_back_whatever_happens(module: ModuleType) -> None:
    table = Table()
    rows_and_none: list[object] = [("k", 1, 0, 1, 1), 5]
    for seen, plains in (({}.__getitem__, rows_and_none[:1]), (int, rows_and_none)):
        with pytest.raises((TypeError, KeyError)):
            module.take_plains(table, seen, plains)
        table._stamps.frombytes(bytes(8))  # raises where somebody still holds its memory


def test_streams_keep_no_memory_and_no_reference(module: ModuleType) -> None:
    others = [(f"key {number % 50}", ROWS[number % len(ROWS)]) for number in range(1000)]
    plains = [(f"plain {number % 400}", str(number), 0, number + 1, 9) for number in range(1000)]
    here = VECTORS[2]
    before, held = 0, sys.getrefcount(None)
    tracemalloc.start()
    for turn in range(30):
        table = Table()
        module.take_rows(table, here, others, Merge(table, here, None, None).join)
        module.take_plains(table, lambda _: 0, plains)
        del table
        gc.collect()
        if turn == 5:
            before, held = tracemalloc.get_traced_memory()[0], sys.getrefcount(None)
    assert tracemalloc.get_traced_memory()[0] - before < 40_000  # of 24,000 rows of either kind
    assert abs(sys.getrefcount(None) - held) < 50
    tracemalloc.stop()


def test_where_the_kernel_is_streams_go_through_it(module: ModuleType) -> None:
    called: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            called.append(name)
            return getattr(module, name)

    editor, receiver = Replica(Origin(1)), Replica(Origin(2))
    editor.apply(editor.prepare([Op("key", 0, "value")], WALL))
    with by(Counting()):  # type: ignore[arg-type]  # as good as one
        take(receiver, lacking(editor, receiver))
        assert called == ["read_slots", "lacking", "encode_blocks", "decode_block", "take_plains"]
    assert not blocks_of(lacking(editor, receiver))
    with by(None):
        receiver.merge([Block([], [("key", row((1, 5)))])], [], WALL)
    assert len(called) == 5


@pytest.mark.parametrize("is_read", [False, True])
def test_rows_are_loaded_to_the_same_table(is_read: bool, module: ModuleType) -> None:  # noqa: FBT001 - a parameter
    plains: list[Plain] = [
        (KEYS[n * 7 % len(KEYS)], PAYLOADS[n % 8], n % 3, Stamp(n + 1), Origin(n % 5 + 1)) for n in range(3000)
    ]
    tables, seen = [], []
    for load_all in (module.load_plains, bulk.load_plains):
        table = Table()
        for key in KEYS[:20]:
            table.put(key, row((5, 1), (5, 2)))
        table.drop(KEYS[0])
        capture = table.capture(0) if is_read else None
        load_all(table, plains)
        tables.append(said_by(table))
        seen.append(capture.read(1000) if capture is not None else None)
    assert tables[0] == tables[1]
    assert seen[0] == seen[1]


def test_slots_are_read_to_the_same_rows(module: ModuleType) -> None:
    table = Table()
    for number, key in enumerate(KEYS):
        table.put(key, ROWS[number % 7] if number % 3 else row((number + 1, 9)))
    for key in KEYS[5:50:3]:
        table.drop(key)
    for slots in (range(len(KEYS)), [9, 3, 0, 3, 5], [], range(40, 60)):
        found = module.read_slots(table, slots)
        assert found == bulk.read_slots(table, slots)
        assert list(map(type, found[0])) == [tuple] * len(found[0])
        assert not any(map(gc.is_tracked, found[0]))
    table._stamps.frombytes(bytes(8))  # raises where somebody still holds its memory


@pytest.mark.parametrize("known", VECTORS, ids=range(len(VECTORS)))
def test_a_peer_lacks_the_same_rows(known: VersionVector, module: ModuleType) -> None:
    plains: list[Plain] = [(f"{s} {o}", "v", 0, Stamp(s), Origin(o)) for s in range(1, 12) for o in range(1, 9)]
    others = [(str(number), each) for number, each in enumerate(ROWS)]
    found = module.lacking(known, plains, others)
    assert found == bulk.lacking(known, plains, others)
    assert all(here is there for here, there in zip(found[0], bulk.lacking(known, plains, others)[0], strict=True))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("load_plains", ()), ("load_plains", (Table(), ())), ("load_plains", (Table(), [5])), ("load_plains", (5, [])),
     ("lacking", ()), ("lacking", (5, [], [])), ("lacking", (VersionVector(), (), [])),
     ("lacking", (VersionVector(), [5], [])), ("lacking", (VersionVector(), [], [5])),
     ("lacking", (VersionVector(), [], [("k", ((), {1: "5"}))])),
     ("lacking", (VersionVector(), [], [("k", ((), {"1": 5}))])),
     ("read_slots", ()), ("read_slots", (Table(), 5)), ("read_slots", (5, [])), ("read_slots", (Table(), ["0"])),
     ("read_slots", (Table(), [0])), ("read_slots", (Table(), [2**64]))],
    ids=range(17),
)  # fmt: skip
def test_what_are_no_rows_is_refused(name: str, arguments: tuple[object, ...], module: ModuleType) -> None:
    with pytest.raises((TypeError, AttributeError, ValueError)):
        getattr(module, name)(*arguments)
