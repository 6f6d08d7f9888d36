"""Values and keys at the door: what comes back, what is refused and by which name, and what hostile bytes do."""

from __future__ import annotations

import datetime as dt
import enum
import math
import struct
import time
import tracemalloc
from collections import OrderedDict

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from propagul.crdt import Packed
from propagul.errors import LimitExceeded, StoreCorrupt
from propagul.store import _paths
from propagul.store._canonical import DEPTH_MAX
from propagul.store._values import Limits, check_key, freeze, freeze_at, thaw

LIMITS = Limits()
UTC = dt.UTC

texts = st.text()
names = texts | st.integers(-(2**63), 2**64 - 1) | st.binary()
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.binary()
    | st.datetimes(min_value=dt.datetime(1, 1, 2), max_value=dt.datetime(9999, 12, 30), timezones=st.timezones())  # noqa: DTZ001 - hypothesis adds the zone
)
values = st.recursive(
    scalars, lambda part: st.lists(part, max_size=4) | st.dictionaries(names, part, max_size=4), max_leaves=12
)


def canonical(value: object) -> object:
    """The definition: -0.0 is 0.0, moments are in UTC, all else is itself."""
    match value:
        case float():
            return 0.0 if value == 0 else value
        case dt.datetime():
            return value.astimezone(UTC)
        case list():
            return [canonical(part) for part in value]
        case dict():
            return {name: canonical(part) for name, part in value.items()}
    return value


def shape(value: object) -> str:
    """A form that tells True from 1, 1 from 1.0 and the order of a dict's entries."""
    return repr(value)


@given(values)
@example(-0.0)
@example([-0.0, {"x": -0.0}])
@example([[[]], {}, {"": {}}])
def test_what_is_frozen_thaws_to_the_same_value_in_canonical_form(value: object) -> None:
    payload = freeze("k", value, LIMITS)
    assert type(payload) in (type(None), bool, int, float, str, bytes, Packed)
    back = thaw("k", payload)
    assert shape(back) == shape(canonical(value))
    again = freeze("k", back, LIMITS)
    assert (type(again), again) == (type(payload), payload)
    assert freeze_at("x", value, LIMITS) == payload
    if type(payload) is Packed:
        assert payload == msgpack.packb(canonical(value), datetime=True)


@given(values)
def test_every_packed_value_is_the_callers_own(value: object) -> None:
    payload = freeze("k", [value], LIMITS)
    one, other = thaw("k", payload), thaw("k", payload)
    assert one is not other
    assert type(one) is list
    one.append("mine")
    assert shape(thaw("k", payload)) == shape(other)


def test_what_was_frozen_does_not_change_with_the_callers_list() -> None:
    mine: list[object] = [1, {"a": [2]}]
    payload = freeze("k", mine, LIMITS)
    mine.append(3)
    assert thaw("k", payload) == [1, {"a": [2]}]


def test_scalars_stay_as_they_are() -> None:
    for value in (None, True, 7, 1.5, math.inf, "text", b"bytes", "é" * 10):
        assert freeze("k", value, LIMITS) is value or freeze("k", value, LIMITS) == value
        assert type(freeze("k", value, LIMITS)) is type(value)


def test_a_negative_zero_becomes_zero_wherever_it_stands() -> None:
    for value in (-0.0, [-0.0], {"a": [{"b": -0.0}]}):
        assert "-" not in repr(thaw("k", freeze("k", value, LIMITS)))


def test_a_datetime_keeps_its_microseconds_and_comes_back_in_utc() -> None:
    there = dt.timezone(dt.timedelta(hours=5, minutes=45))
    moment = dt.datetime(2026, 11, 21, 3, 4, 5, 678901, tzinfo=there)
    back = thaw("k", freeze("k", moment, LIMITS))
    assert back == moment
    assert isinstance(back, dt.datetime)
    assert (back.tzinfo, back.microsecond) == (UTC, 678901)
    for edge in (dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)):
        assert thaw("k", freeze("k", [edge], LIMITS)) == [edge]


class Color(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


EARLY = dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))

REFUSED: list[tuple[object, type[Exception], str]] = [
    ("\ud800", ValueError, "holds a lone surrogate"),
    (math.nan, ValueError, "is NaN, which is not equal to itself"),
    (2**64, ValueError, "is an int outside"),
    (-(2**63) - 1, ValueError, "is an int outside"),
    ((1, 2), TypeError, "is a tuple; use a list"),
    ({1, 2}, TypeError, "is a set; a value is"),
    (3j, TypeError, "is a complex; a value is"),
    (bytearray(b"x"), TypeError, "is a bytearray; a value is"),
    (memoryview(b"x"), TypeError, "is a memoryview; a value is"),
    (msgpack.Timestamp(1), TypeError, "is a Timestamp; a value is"),
    (Color.RED, TypeError, "is a Color; it would come back as int"),
    (Text("x"), TypeError, "is a Text; it would come back as str"),
    (OrderedDict(a=1), TypeError, "is a OrderedDict; it would come back as dict"),
    (Packed(b"\x90"), TypeError, "is a Packed; it would come back as bytes"),
    (dt.datetime(2026, 1, 1), TypeError, "is a datetime without a timezone"),  # noqa: DTZ001 - that is the case
    (EARLY, ValueError, "is a datetime outside the years 1 to 9999 in UTC"),
    (dt.date(2026, 1, 1), TypeError, "is a date; a value is"),
    ({True: 1}, TypeError, r"has the key True, a bool; .*\(True beside 1 would be one key\)"),
    ({None: 1}, TypeError, "has the key None, a NoneType; keys of a dict are"),
    ({1.0: 1}, TypeError, "has the key 1.0, a float"),
    ({Text("x"): 1}, TypeError, "has the key 'x', a Text"),
    ({(1, 2): 1}, TypeError, r"has the key \(1, 2\), a tuple"),
]


@pytest.mark.parametrize(("value", "error", "reason"), REFUSED, ids=lambda part: repr(part).partition(" at 0x")[0][:30])
def test_what_cannot_be_stored_is_refused_with_the_path_to_it(
    value: object, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=rf"^store\['plan'\] {reason}"):
        freeze("plan", value, LIMITS)
    with pytest.raises(error, match=rf"^store\['plan'\]\['steps'\]\[3\] {reason}"):
        freeze("plan", {"steps": [0, 1, 2, value, 4]}, LIMITS)
    with pytest.raises(error, match=rf"^log_of\('l'\)\[b'x'\]\[7\] {reason}"):
        freeze_at("log_of('l')", {b"x": {7: value}}, LIMITS)


@pytest.mark.parametrize("name", ["\ud800", 2**64], ids=repr)
def test_a_name_in_a_dict_is_checked_as_a_value_is(name: object) -> None:
    with pytest.raises(ValueError, match=r"^store\['k'\]\[0\]\["):
        freeze("k", [{name: 1}], LIMITS)


def nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_is_bounded_and_named() -> None:
    assert thaw("k", freeze("k", nested(DEPTH_MAX), LIMITS)) == nested(DEPTH_MAX)
    for depth in (DEPTH_MAX + 1, 500, 100_000):
        with pytest.raises(ValueError, match=rf"^store\['k'\](\[0\]){{{DEPTH_MAX}}} is nested deeper than 32"):
            freeze("k", nested(depth), LIMITS)


@pytest.mark.parametrize("length", [1, 2, 31, 40])
def test_a_cycle_is_named_as_one(length: int) -> None:
    start: list[object] = []
    end = start
    for _ in range(length - 1):
        end.append({"next": []})
        end = end[0]["next"]  # type: ignore[index]  # it is that dict
    end.append(start)
    with pytest.raises(ValueError, match=r"^store\['k'\]\['plan'\].* leads back to a list it is part of"):
        freeze("k", {"before": [[1]], "plan": start, "after": [[1]]}, LIMITS)


def test_a_list_held_twice_is_no_cycle_and_comes_back_as_two() -> None:
    part = [1]
    back = thaw("k", freeze("k", [part, part, {"a": part}], LIMITS))
    assert back == [[1], [1], {"a": [1]}]


def test_what_is_held_twice_is_not_taken_for_a_cycle_when_something_else_is_wrong() -> None:
    part = [[1]]
    with pytest.raises(ValueError, match=r"^store\['k'\]\[2\] is NaN"):
        freeze("k", [part, part, math.nan], LIMITS)


def test_what_is_held_many_times_over_is_looked_at_once() -> None:
    """Each of these takes minutes where one part is entered as often as it is held."""
    started = time.process_time()
    deep: object = 0
    for _ in range(40):
        deep = [deep, deep]
    with pytest.raises(ValueError, match="is nested deeper than 32"):
        freeze("k", deep, LIMITS)
    with pytest.raises(LimitExceeded):
        freeze("k", [[0] * 1_000_000] * 2000, LIMITS)
    assert time.process_time() - started < 5


def test_a_value_that_repeats_one_list_without_end_is_refused_at_once() -> None:
    part: object = "x" * 1000
    for _ in range(DEPTH_MAX):
        part = [part] * 10
    with pytest.raises(LimitExceeded, match=r"the value of store\['k'\] has .* the limit is 1048576"):
        freeze("k", part, LIMITS)


@pytest.mark.parametrize(
    ("fits", "over", "size"),
    [
        (b"x" * 100, b"x" * 101, 101),
        ("x" * 100, "x" * 101, 101),
        ("é" * 50, "é" * 51, 102),
        (["x" * 97], ["x" * 98], 101),
    ],
    ids=lambda value: repr(value)[:9],
)
def test_a_value_over_the_limit_is_refused_by_name_size_and_limit(fits: object, over: object, size: int) -> None:
    limits = Limits(value_bytes=100)
    assert thaw("k", freeze("k", fits, limits)) == fits
    with pytest.raises(LimitExceeded, match=r"the value of store\['k'\] has .* limit is 100; split it") as caught:
        freeze("k", over, limits)
    assert caught.value.size == size


# --- from a hostile peer -----------------------------------------------------------------------------------------

HOSTILE = {
    "nothing": b"",
    "a scalar in a packed form": b"\x01",
    "text in a packed form": b"\xa1x",
    "two objects": b"\x90\x90",
    "half an object": b"\x92\x01",
    "headers that claim four billion items": b"\xdd\xff\xff\xff\xff" * 200,
    "headers that claim what the bytes could hold": b"\xdd\x00\x00\x03\xe8" * 200,
    "maps that claim four billion items": b"\xdf\xff\xff\xff\xff" * 200,
    "text that claims four gigabytes": b"\x91\xdb\xff\xff\xff\xff",
    "nesting below what a user may write": b"\x91" * 40 + b"\x01",
    "nesting without end": b"\x91" * 100_000 + b"\x01",
    "an unknown extension": b"\x91\xd4\x07\x00",
    "a moment beyond year 9999": b"\x91\xc7\x0c\xff\x00\x00\x00\x00" + struct.pack(">q", 2**60),
    "a moment with too many nanoseconds": b"\x91\xd7\xff" + struct.pack(">Q", (2**30 - 1) << 34),
    "a moment of no length": b"\x91\xc7\x00\xff",
    "text that is no text": b"\x91\xa2\xc3\x28",
    "a lone surrogate": b"\x91\xa3\xed\xa0\x80",
    "NaN": b"\x91\xcb" + struct.pack(">d", math.nan),
    "True as a key": b"\x81\xc3\x01",
    "nil as a key": b"\x81\xc0\x01",
    "a list as a key": b"\x81\x90\x01",
    "a moment as a key": b"\x81\xd6\xff\x00\x00\x00\x01\x01",
    "a reserved byte": b"\x91\xc1",
}


@pytest.mark.parametrize("packed", HOSTILE.values(), ids=HOSTILE)
def test_bytes_that_are_no_value_are_corrupt_and_cost_little_memory(packed: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(StoreCorrupt, match="what is stored under 'k' is no value"):
            thaw("k", Packed(packed))
        assert tracemalloc.get_traced_memory()[1] < 100 * len(packed) + 100_000
    finally:
        tracemalloc.stop()


def mangled(value: object, place: int, byte: int, size: int) -> bytes:
    """A packed value with one byte changed, cut short."""
    packed = bytearray(freeze("k", [value], LIMITS))  # type: ignore[arg-type]  # a list is packed
    packed[place % len(packed)] = byte
    return bytes(packed[: 1 + size % len(packed)])


@given(
    st.binary(max_size=100)
    | st.builds(mangled, values, st.integers(0, 99), st.integers(0, 255), st.just(-2))
    | st.builds(mangled, values, st.integers(0, 99), st.integers(0, 255), st.integers(0, 99))
)
def test_thawing_any_bytes_gives_a_value_that_can_be_stored_or_corrupt(packed: bytes) -> None:
    try:
        value = thaw("k", Packed(packed))
    except StoreCorrupt:
        return
    assert shape(thaw("k", freeze("k", value, LIMITS))) == shape(value)


# --- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (7, TypeError, "a key is a str, not int"),
        (Text("k"), TypeError, "a key is a str, not Text"),
        ("", ValueError, "a key is not empty"),
        ("\ud800", ValueError, "lone surrogate"),
        ("\x00sname", ValueError, "is kept for counters, sets, logs and maps"),
        ("k" * 1025, LimitExceeded, "has 1025 bytes, the limit is 1024"),
        ("é" * 513, LimitExceeded, "has 1026 bytes"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_key_that_cannot_be_used_is_named(key: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_key(key, LIMITS)
    assert check_key("k\x00", LIMITS) == "k\x00"
    assert check_key("k" * 1024, LIMITS) == "k" * 1024


plain_texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
elements = plain_texts | st.binary(max_size=20) | st.integers(-(2**63), 2**64 - 1)
kinds = st.sampled_from(sorted(_paths.KINDS))


@given(kinds, plain_texts.filter(bool), st.lists(elements, min_size=1, max_size=4))
@example("s", "n", ["", b"", 0])
def test_a_key_of_a_typed_row_says_exactly_what_it_was_made_of(
    kind: str, name: str, path: list[str | bytes | int]
) -> None:
    key = _paths.element_key(kind, name, *path, limits=LIMITS)
    assert _paths.parse(key) == _paths.TypedKey(kind, name, tuple(path))
    assert [type(step) for step in _paths.parse(key).path] == [type(step) for step in path]  # type: ignore[union-attr]  # just compared
    assert key.startswith(_paths.prefix(kind, name))
    above = _paths.element_key(kind, name, *path[:-1], limits=LIMITS)
    assert key.startswith(above)
    assert key > above


@given(st.lists(elements, min_size=2, max_size=2))
def test_keys_sort_as_their_elements_do(pair: list[str | bytes | int]) -> None:
    one, other = pair
    keys = [_paths.element_key("s", "n", element, limits=LIMITS) for element in pair]
    if type(one) is type(other):
        assert (keys[0] < keys[1]) == (one < other)  # type: ignore[operator]  # of one type
    else:
        order = [bytes, int, str]
        assert (keys[0] < keys[1]) == (order.index(type(one)) < order.index(type(other)))


@given(
    st.text(max_size=30)
    | st.builds(lambda kind, rest: "\x00" + kind + rest, kinds, st.text("\x00sibn0a_+ -\u0661", max_size=30))
    | st.builds(lambda step: f"\x00sn\x00{step}\x00", st.text("isb0123456789abcdefABCDEF_+ ", max_size=19))
)
@example("\x00sn\x00i0_000000000000000\x00")
@example("\x00sn\x00i+0000000000000001\x00")
@example("\x00sn\x00i" + "f" * 17 + "\x00")
@example("\x00sn\x00bAB\x00")
@example("\x00sn\x00b a b\x00")
@example("\x00sn\x00")
@example("\x00s\x00sx\x00")
@example("\x00xn\x00sx\x00")
@example("\x00sn\x00sx")
@example("\x00sn\x00sx\x00i\x00")
@example("\x00")
def test_a_hostile_key_is_nothing_or_exactly_what_its_parts_make(key: str) -> None:
    typed = _paths.parse(key)
    if typed is not None:
        assert _paths.element_key(*typed[:2], *typed.path, limits=LIMITS) == key


@pytest.mark.parametrize(
    ("name", "element", "error", "message"),
    [
        ("n", True, TypeError, "exactly a str, bytes or int, not bool: True == 1, and which of them a set keeps"),
        ("n", 1.0, TypeError, "not float"),
        ("n", Text("x"), TypeError, "not Text"),
        ("n", None, TypeError, "not NoneType"),
        ("n", "a\x00b", ValueError, "separates the steps"),
        ("n", "\ud800", ValueError, "lone surrogate"),
        ("n", 2**64, ValueError, "outside"),
        ("n", "x" * 1025, LimitExceeded, "the limit is 1024"),
        ("n", b"x" * 512, LimitExceeded, "the limit is 1024"),
        ("", "x", ValueError, "a name is not empty"),
        ("a\x00b", "x", ValueError, "separates the steps"),
        ("\ud800", "x", ValueError, "lone surrogate"),
        (7, "x", TypeError, "a name is a str, not int"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_element_or_name_that_cannot_stand_in_a_key_is_refused(
    name: str, element: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _paths.element_key("s", name, element, limits=LIMITS)
