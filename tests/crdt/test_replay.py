"""What the kernel reads back from a log is what Python reads back, damage included."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import msgpack
import pytest

from propagul.crdt import REMOVE, Batch, Dot, Keep, Op, Origin, Packed, Replica, Stamp, wire
from propagul.errors import StoreError
from propagul.log import fold, records
from tests.crdt.kernels import by, compiled, load, said_by

if TYPE_CHECKING:
    from types import ModuleType

    from propagul.crdt import Action

KEYS = ["a", "k" * 31, "k" * 32, "k" * 256, "schlüssel", "\U0001f511", "\0c\0n", *map(str, range(700))]
NUMBERS = [
    sign * 2**power + off for power in (0, 5, 7, 8, 15, 16, 31, 32, 63) for off in (-1, 0, 1) for sign in (1, -1)
]
ACTIONS: list[Action] = [
    *(number for number in NUMBERS if -(2**63) <= number < 2**64),
    *(None, True, False, 0.0, -1.5, float("inf"), "", "text", "x" * 31, "x" * 32, "x" * 300, "y" * 70_000, "schön"),
    *(b"", b"bytes", b"b" * 300, b"b" * 70_000),
    *(Packed(wire.pack(item)) for item in ([], [1], [1, 2, 3], [0] * 6, [0] * 14, ["z" * 300], ["z" * 70_000])),
    *(REMOVE, Keep(1)),
]  # fmt: skip
SPACES = ("", "presence")
OWN = Origin(2**63 + 7)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(compiled(tmp_path_factory))


def single(key: str, action: Action, stamp: int, origin: int = OWN, *, kind: int = 0, space: str = "") -> bytes:
    """The event of one operation."""
    return fold.encode_batch(space, Batch(Dot(Stamp(stamp), Origin(origin)), [Op(key, kind, action)]))


def outcome(kernel: ModuleType | None, events: list[bytes]) -> list[object]:
    """What folding these events gives, or how it fails; the tables as far as they came."""
    replicas = {space: Replica(Origin(1)) for space in SPACES}
    folding = fold.Fold(replicas, lambda _: b"")
    ended: object = None
    with by(kernel):
        try:
            folding.take_all(enumerate(events))
        except StoreError as error:
            ended = type(error), str(error)
    told = [(said_by(replica.table), list(replica.vector), replica.minted) for replica in replicas.values()]
    return [ended, told if ended is None else None, folding.own if ended is None else None]


def usual(dice: random.Random, count: int) -> list[bytes]:
    """Events as stores write them, of two namespaces and now and then of a renewed origin."""
    events, origin = [], OWN
    keys = KEYS[: dice.choice([3, 20, len(KEYS)])]
    for stamp in range(10, 10 + count):
        origin = Origin(dice.getrandbits(64) | 1) if dice.random() < 0.01 else origin
        space = dice.choice(SPACES) if dice.random() < 0.1 else ""
        if dice.random() < 0.05:
            ops = [Op(dice.choice(keys), 0, dice.choice(ACTIONS)) for _ in range(3)]
            events.append(fold.encode_batch(space, Batch(Dot(Stamp(stamp), origin), ops)))
        elif dice.random() < 0.01:
            events += [fold.encode_floor(space, kind) for kind in (fold.FREEZE, fold.COMMIT)]
        else:
            kind = 0 if dice.random() < 0.95 else 1
            events.append(single(dice.choice(keys), dice.choice(ACTIONS), stamp, origin, kind=kind, space=space))
    return events


@pytest.mark.parametrize("seed", range(12))
def test_a_log_is_folded_to_the_same_state(seed: int, module: ModuleType) -> None:
    events = usual(random.Random(seed), 3000)
    assert outcome(module, events) == outcome(None, events)
    assert outcome(module, events)[0] is None


def test_a_log_longer_than_a_chunk_of_arrivals_is_folded_to_the_same_state(module: ModuleType) -> None:
    events = [single(f"key {number % 3000}", number, number + 1) for number in range(20_000)]
    assert outcome(module, events) == outcome(None, events)


HEAD = b"\x97\x00\xa0"
STRANGE = {
    "nothing": b"",
    "no body": HEAD,
    "another namespace": single("k", 1, 5, space="nobody's"),
    "a long number": HEAD + b"\xcf" + struct.pack(">Q", 5) + b"\x07\xa1k\x00\x01",
    "a long text": HEAD + b"\x05\x07\xd9\x01k\x00\x01",
    "a long kind": HEAD + b"\x05\x07\xa1k\xcc\x00\x01",
    "a signed positive": HEAD + b"\x05\x07\xa1k\x00\xd0\x05",
    "a short float": HEAD + b"\x05\x07\xa1k\x00\xca\x00\x00\x00\x00",
    "a bare list": HEAD + b"\x05\x07\xa1k\x00\x91\x01",
    "a bare map": HEAD + b"\x05\x07\xa1k\x00\x81\x01\x01",
    "a negative stamp": HEAD + b"\xff\x07\xa1k\x00\x01",
    "stamp 0": HEAD + b"\x00\x07\xa1k\x00\x01",
    "a stamp too high": HEAD + b"\xcf" + b"\x80" + bytes(7) + b"\x07\xa1k\x00\x01",
    "origin 0": HEAD + b"\x05\x00\xa1k\x00\x01",
    "no key": HEAD + b"\x05\x07\xa0\x00\x01",
    "a key of bytes": HEAD + b"\x05\x07\xc4\x01k\x00\x01",
    "a key that is no text": HEAD + b"\x05\x07\xa1\xff\x00\x01",
    "a value that is no text": HEAD + b"\x05\x07\xa1k\x00\xa1\xff",
    "a surrogate": HEAD + b"\x05\x07\xa1k\x00\xa3\xed\xa0\x80",
    "an extension of nobody": HEAD + b"\x05\x07\xa1k\x00\xd4\x09\x00",
    "a packed nothing": HEAD + b"\x05\x07\xa1k\x00\xc7\x00\x01",
    "a packed half": HEAD + b"\x05\x07\xa1k\x00\xd4\x01\x92",
    "a packed two": HEAD + b"\x05\x07\xa1k\x00\xd5\x01\x01\x01",
    "not a number": HEAD + b"\x05\x07\xa1k\x00\xcb\x7f\xf8" + bytes(6),
    "a reserved byte": HEAD + b"\x05\x07\xa1k\x00\xc1",
    "two events": single("k", 1, 5) * 2,
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_no_store_wrote_ends_alike(name: str, module: ModuleType) -> None:
    before, after = single("a", 1, 3, 7), single("b", 2, 9, 7)
    events = [before, STRANGE[name], after]
    assert outcome(module, events) == outcome(None, events)


@pytest.mark.parametrize("action", ACTIONS, ids=range(len(ACTIONS)))
def test_an_event_cut_off_anywhere_ends_alike(action: Action, module: ModuleType) -> None:
    event = single("key", action, 2**50)
    for size in [*range(min(len(event), 60)), *range(max(len(event) - 3, 0), len(event))]:
        assert outcome(module, [event[:size]]) == outcome(None, [event[:size]])


def test_any_byte_of_an_event_may_be_another(module: ModuleType) -> None:
    dice = random.Random(3)
    for action in (5, "text", b"bytes", 1.5, Packed(msgpack.packb([1, 2]))):
        good = single("key", action, 2**50)
        for place in range(len(good)):
            for _ in range(12):
                bad = good[:place] + bytes([dice.randrange(256)]) + good[place + 1 :]
                assert outcome(module, [bad, single("z", 1, 2**51)]) == outcome(None, [bad, single("z", 1, 2**51)])


def test_what_is_no_event_is_refused(module: ModuleType) -> None:
    table = Replica(Origin(1)).table
    calls: list[tuple[object, ...]] = [
        (), (table, b"", [], 0), (table, "", [], 0, None), (table, b"", (), 0, None), (1, b"", [], 0, None),
        (table, b"", [], -1, None), (table, b"", [5], 0, None), (table, b"", [(1, "text")], 0, None),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises((TypeError, ValueError, AttributeError)):
            module.replay(*call)
    assert module.replay(table, b"", [], 5, None) == (5, 0, 0)
    assert module.replay(table, HEAD, [(0, single("k", 1, 5)), (1, b"")], 0, wire.known_ext) == (1, 5, OWN)


def segment(dice: random.Random, seed: int, start: int) -> bytes:
    """Records and seals, one behind the other."""
    parts, at = [], start
    for _ in range(30):
        if dice.random() < 0.2:
            part = records.encode_seal(records.Seal(at, dice.randrange(at + 1), dice.randbytes(16)), seed)
        else:
            part = records.encode(dice.randbytes(dice.choice([0, 1, 7, 8, 9, 100, 3000])), at, seed)
        parts.append(part)
        at += len(part)
    return b"".join(parts) + bytes(dice.choice([0, 5, 500]))


@pytest.mark.parametrize("seed", range(10))
def test_a_segment_is_scanned_to_the_same_records_and_the_same_damage(seed: int, module: ModuleType) -> None:
    dice = random.Random(seed)
    mark, start = records.new_seed(), dice.choice([64, 5000, 2**31])
    whole = segment(dice, mark, start)
    for _ in range(150):
        chunk = whole[: dice.choice([len(whole), dice.randrange(len(whole))])]
        if dice.random() < 0.7 and chunk:
            place = dice.randrange(len(chunk))
            chunk = chunk[:place] + bytes([chunk[place] ^ 1 << dice.randrange(8)]) + chunk[place + 1 :]
        found = []
        for kernel in (module, None):
            with by(kernel):
                found.append(records.scan_chunk(chunk, start, 3, mark))
        assert found[0] == found[1]
    with by(module):
        assert len(records.scan_chunk(whole, start, 3, mark).records) > 15


def test_what_is_no_chunk_is_refused(module: ModuleType) -> None:
    calls: list[tuple[object, ...]] = [
        (), ("", 0, 0, 0, 0, []), (b"", -1, 0, 0, 0, []), (b"", 1, 0, 0, 0, []), (b"", 0, 0, 0, 2**32, []),
        (b"", 0, 0, 0, 0, ()), (b"", "0", 0, 0, 0, []),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            module.take_records(*call)


def test_the_kernel_is_what_reads_a_log(module: ModuleType) -> None:
    called: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            called.append(name)
            return getattr(module, name)

    with by(Counting()):  # type: ignore[arg-type]  # as good as one
        fold.Fold({"": Replica(Origin(1))}, lambda _: b"").take_all(enumerate([single("k", 1, 5)]))
        records.scan_chunk(b"", 64, 1, records.new_seed())
    assert [name for name in called if not name.startswith("uncollected")] == ["replay", "take_records"]
