"""Counters, sets, logs and maps, case by case: what meets what, what is refused, what hostile rows do."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING

import msgpack
import pytest

from propagul.crdt import COUNTER, LOG, MAP, REGISTER, SET, Op, Packed
from propagul.errors import LimitExceeded, LocalProtocolError, StoreCorrupt
from propagul.store import _paths
from propagul.store._types import AddWinsSet, Conflict, Counter, NestedMap, OrderedLog
from propagul.store._values import Limits
from tests.store.rows import NOW_NS, MemoryRows, gossip

if TYPE_CHECKING:
    from propagul.crdt.payload import Payload

LIMITS = Limits()


@pytest.fixture
def here() -> MemoryRows:
    return MemoryRows(1)


@pytest.fixture
def there() -> MemoryRows:
    return MemoryRows(2, skew_ns=3600 * 10**9)


def packed(value: object) -> Packed:
    return Packed(msgpack.packb(value))


# --- counters ----------------------------------------------------------------------------------------------------


def counters(*rows: MemoryRows) -> list[Counter]:
    return [Counter(each, "tokens", LIMITS) for each in rows]


def test_a_counter_counts(here: MemoryRows) -> None:
    (counter,) = counters(here)
    assert counter.value == 0
    counter.add()
    counter.add(10)
    counter.subtract(3)
    counter.subtract()
    counter.add(-9)
    assert (counter.value, int(counter), repr(counter)) == (-2, -2, "<counter 'tokens': -2>")
    assert Counter(here, "other", LIMITS).value == 0
    assert Counter(here, "token", LIMITS).value == 0


def test_adding_nothing_and_resetting_nothing_write_nothing(here: MemoryRows) -> None:
    (counter,) = counters(here)
    counter.add(0)
    assert counter.reset() == 0
    counter.add(2)
    assert counter.reset() == 2
    assert counter.reset() == 0
    assert here.transactions == 2


def test_a_reset_cancels_what_it_saw_and_a_concurrent_addition_survives(here: MemoryRows, there: MemoryRows) -> None:
    mine, theirs = counters(here, there)
    mine.add(10)
    gossip(here, there)
    mine.add(5)
    assert theirs.reset() == 10
    gossip(here, there)
    assert (mine.value, theirs.value) == (5, 5)  # not 15, as when the cell is removed


def test_an_addition_made_after_a_reset_does_not_bring_back_what_was_cancelled(
    here: MemoryRows, there: MemoryRows
) -> None:
    mine, theirs = counters(here, there)
    mine.add(10)
    gossip(here, there)
    assert theirs.reset() == 10
    gossip(here, there)
    mine.add(1)
    gossip(here, there)
    assert (mine.value, theirs.value) == (1, 1)


def test_two_resets_of_the_same_additions_cancel_them_once(here: MemoryRows, there: MemoryRows) -> None:
    mine, theirs = counters(here, there)
    mine.add(10)
    theirs.subtract(4)
    gossip(here, there)
    assert (mine.reset(), theirs.reset()) == (6, 6)
    gossip(here, there)
    assert (mine.value, theirs.value) == (0, 0)


def test_a_reset_is_one_transaction_over_all_cells(here: MemoryRows, there: MemoryRows) -> None:
    mine, theirs = counters(here, there)
    mine.add(1)
    theirs.add(2)
    gossip(here, there)
    before = here.transactions
    assert mine.reset() == 3
    assert here.transactions == before + 1


@pytest.mark.parametrize("n", [True, 1.0, "1", None])
def test_a_counter_takes_ints_only(here: MemoryRows, n: int) -> None:
    (counter,) = counters(here)
    with pytest.raises(TypeError, match="a counter counts ints, not"):
        counter.add(n)
    with pytest.raises(TypeError, match="a counter counts ints, not"):
        counter.subtract(n)


def test_a_counter_is_bounded_and_says_so(here: MemoryRows) -> None:
    (counter,) = counters(here)
    counter.add(2**63)
    counter.subtract(2**63)
    for n in (1, -1):
        with pytest.raises(LimitExceeded, match=f"the counter 'tokens' has {2**63 + 1} counted by one process"):
            counter.add(n)
    assert counter.value == 0


@pytest.mark.parametrize(
    "payload",
    [
        None,
        7,
        b"\x94\x05\x00\x00\x00",
        packed([5, 0, 0]),
        packed([5, 0, 0, 0, 0]),
        packed([5, 0, 6, 0]),
        packed([5, 0, 0, 1]),
        packed([-5, 0, 0, 0]),
        packed([2**63 + 1, 0, 0, 0]),
        packed([True, 0, 0, 0]),
        packed([5.0, 0, 0, 0]),
        packed({"p": 5}),
        Packed(b"\x94\x05"),
    ],
    ids=repr,
)
def test_a_hostile_cell_counts_as_nothing_and_is_named_in_the_log(
    here: MemoryRows, there: MemoryRows, payload: Payload, caplog: pytest.LogCaptureFixture
) -> None:
    mine, theirs = counters(here, there)
    mine.add(3)
    gossip(here, there)
    key = _paths.element_key(_paths.COUNTER, "tokens", here.origin, limits=LIMITS)
    mine.add(1)
    there.commit([Op(key, COUNTER, payload)])
    gossip(here, there)
    with caplog.at_level(logging.WARNING, "propagul.store"):
        assert (mine.value, theirs.value) == (4, 4)
    assert "store.counter_cell_unreadable name='tokens' origin=0000000000000002" in caplog.text
    mine.add(1)
    assert mine.value == 5
    caplog.clear()
    assert (mine.value, caplog.text) == (5, "")  # the owner's next write replaced it


def test_rows_of_another_kind_under_a_counter_are_left_alone(here: MemoryRows) -> None:
    (counter,) = counters(here)
    prefix = _paths.prefix(_paths.COUNTER, "tokens")
    strange = [Op(f"{prefix}sx\x00", COUNTER, packed([1, 0, 0, 0])), Op(f"{prefix}nonsense", COUNTER, 1)]
    here.commit([*strange, Op(_paths.element_key("c", "tokens", 7, limits=LIMITS), 999, packed([1, 0, 0, 0]))])
    assert (counter.value, counter.reset()) == (0, 0)
    counter.add(2)
    assert counter.value == 2


# --- sets --------------------------------------------------------------------------------------------------------


def test_a_set_behaves_like_one(here: MemoryRows) -> None:
    tags = AddWinsSet(here, "tags", LIMITS)
    tags.update(["b", "a", 10, -1, 2, b"x", "a"])
    assert here.transactions == 1
    assert list(tags) == [b"x", -1, 2, 10, "a", "b"]
    assert len(tags) == 6
    assert "a" in tags
    tags.discard("nothing")
    tags.remove("a")
    assert "a" not in tags
    with pytest.raises(KeyError, match="a"):
        tags.remove("a")
    assert set(tags & {2, 10, "q"}) == {2, 10}
    assert type(tags | {"q"}) is set
    tags.clear()
    assert list(tags) == []
    tags.clear()
    tags.update([])
    assert here.transactions == 3


def test_one_and_true_and_the_text_and_bytes_of_one_are_not_the_same(here: MemoryRows) -> None:
    numbers = AddWinsSet(here, "n", LIMITS)
    numbers.update([1, "1", b"1"])
    assert sorted(map(repr, numbers)) == ["'1'", "1", "b'1'"]
    with pytest.raises(TypeError, match="not bool: True == 1, and which of them a set keeps would depend"):
        numbers.add(True)
    with pytest.raises(TypeError, match="not bool"):
        numbers.update([2, True])
    assert True not in numbers
    assert 2 not in numbers
    assert 1 in numbers


@pytest.mark.parametrize(
    "element", [1.0, None, ("a",), "a\x00", "\ud800", 2**64, "x" * 2000], ids=lambda e: repr(e)[:9]
)
def test_what_cannot_be_an_element_is_refused_and_is_never_in(here: MemoryRows, element: str) -> None:
    tags = AddWinsSet(here, "tags", LIMITS)
    for act in (tags.add, tags.discard, tags.remove):
        with pytest.raises((TypeError, ValueError, LimitExceeded)):
            act(element)
    assert element not in tags
    assert here.transactions == 0


def test_an_addition_wins_over_a_concurrent_removal_even_of_an_element_added_before(
    here: MemoryRows, there: MemoryRows
) -> None:
    mine, theirs = (AddWinsSet(rows, "s", LIMITS) for rows in (here, there))
    mine.update(["kept", "gone"])
    gossip(here, there)
    mine.add("kept")
    theirs.clear()
    gossip(here, there)
    assert list(mine) == list(theirs) == ["kept"]


def test_a_set_shows_no_rows_that_it_would_not_write(here: MemoryRows) -> None:
    prefix = _paths.prefix(_paths.SET, "s")
    here.commit(
        [Op(f"{prefix}nonsense", SET, None), Op(f"{prefix}sa\x00sb\x00", SET, None), Op(f"{prefix}sr\x00", REGISTER, 1)]
    )
    tags = AddWinsSet(here, "s", LIMITS)
    assert (list(tags), len(tags), "r" in tags) == ([], 0, False)


# --- logs --------------------------------------------------------------------------------------------------------


def values(log: OrderedLog) -> list[object]:
    return [entry.value for entry in log]


def test_a_log_keeps_the_order_of_appends_and_says_when_and_who(here: MemoryRows) -> None:
    log = OrderedLog(here, "events", LIMITS)
    places = [log.append({"n": number}) for number in range(3)] + log.extend(["x", "y"])
    assert places == sorted(places)
    assert [entry.position for entry in log] == places
    assert values(log) == [{"n": 0}, {"n": 1}, {"n": 2}, "x", "y"]
    assert len(log) == 5
    first = next(iter(log))
    assert first.origin == 1
    assert abs(first.at - dt.datetime.fromtimestamp(NOW_NS / 1e9, dt.UTC)) < dt.timedelta(seconds=1)
    assert first.at.tzinfo is dt.UTC
    assert here.transactions == 4
    assert log.extend([]) == []
    assert here.transactions == 4


def test_a_batch_of_many_stays_in_its_order(here: MemoryRows) -> None:
    log = OrderedLog(here, "events", LIMITS)
    log.extend(range(1000))
    assert values(log) == list(range(1000))


def test_a_range_is_cut_by_positions_count_and_direction(here: MemoryRows) -> None:
    log = OrderedLog(here, "l", LIMITS)
    places = log.extend("abcdef")

    def read(*bounds: str | None, limit: int | None = None, reverse: bool = False) -> str:
        return "".join(str(entry.value) for entry in log.range(*bounds, limit=limit, reverse=reverse))

    assert read() == "abcdef"
    assert read(places[2]) == "cdef"
    assert read(None, places[2]) == "ab"
    assert read(places[1], places[4]) == "bcd"
    assert read(places[1], places[4], limit=2) == "bc"
    assert read(places[1], places[4], limit=2, reverse=True) == "dc"
    assert read(reverse=True) == "fedcba"
    assert read(limit=0) == ""
    assert read(places[4], places[1]) == ""
    assert [entry.value for entry in log.last(2)] == ["e", "f"]
    assert log.last(0) == []
    assert len(log.last(99)) == 6


def test_a_range_shows_the_instant_at_which_it_was_asked_for(here: MemoryRows) -> None:
    log = OrderedLog(here, "l", LIMITS)
    log.extend("ab")
    asked = log.range()
    log.append("c")
    assert [entry.value for entry in asked] == ["a", "b"]


def test_a_truncation_leaves_a_concurrent_append_alone(here: MemoryRows, there: MemoryRows) -> None:
    mine, theirs = (OrderedLog(rows, "l", LIMITS) for rows in (here, there))
    places = mine.extend("abcd")
    gossip(here, there)
    mine.append("new")  # stands before the end that the other side sees: its clock is an hour ahead
    theirs.append("end")
    assert theirs.truncate(keep=2) == 3
    assert values(theirs) == ["d", "end"]
    gossip(here, there)
    assert values(mine) == values(theirs) == ["d", "new", "end"]
    assert mine.truncate(before=places[3]) == 0
    assert mine.truncate(keep=0) == 3
    gossip(here, there)
    assert values(theirs) == []


def test_an_entry_that_was_truncated_stays_so_for_a_late_replica(here: MemoryRows, there: MemoryRows) -> None:
    mine, theirs = (OrderedLog(rows, "l", LIMITS) for rows in (here, there))
    mine.extend("ab")
    gossip(here, there)
    mine.truncate(keep=1)
    gossip(there, here)
    assert values(theirs) == values(mine) == ["b"]


def test_wrong_bounds_are_refused(here: MemoryRows) -> None:
    log = OrderedLog(here, "l", LIMITS)
    for bound in ("", "0", "0" * 40, "g" * 16 + "-" + "0" * 16 + "-" + "0" * 6, 7):
        with pytest.raises(ValueError, match="a position is what append returned"):
            log.range(bound)  # type: ignore[arg-type]  # one of them is an int
        with pytest.raises(ValueError, match="a position is what append returned"):
            log.truncate(before=bound)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a limit is not negative"):
        log.last(-1)
    with pytest.raises(ValueError, match="keep is not negative"):
        log.truncate(keep=-1)
    with pytest.raises(TypeError, match="either before=position or keep=n"):
        log.truncate()
    with pytest.raises(TypeError, match="either before=position or keep=n"):
        log.truncate(before="0", keep=1)


def test_of_a_batch_with_one_bad_value_nothing_is_appended(here: MemoryRows) -> None:
    log = OrderedLog(here, "l", LIMITS)
    with pytest.raises(TypeError, match=r"log_of\('l'\)\[\+1\]\['a'\] is a set"):
        log.extend([1, {"a": {1}}])
    assert len(log) == 0


def test_hostile_entries_hide_no_others(here: MemoryRows, caplog: pytest.LogCaptureFixture) -> None:
    log = OrderedLog(here, "l", LIMITS)
    log.append("good")
    latest = "7" + "f" * 15 + "-" + "0" * 16 + "-" + "0" * 6
    keys = [_paths.element_key("l", "l", place, limits=LIMITS) for place in ("nonsense", "0" * 16, latest)]
    here.commit([Op(key, LOG, Packed(b"\x91")) for key in keys])
    with caplog.at_level(logging.WARNING, "propagul.store"):
        assert values(log) == ["good"]
        assert [entry.value for entry in log.last(1)] == ["good"]
    assert f"store.log_entry_unreadable name='l' position={latest}" in caplog.text
    here.commit([Op(key, LOG, "readable") for key in keys])
    assert values(log) == ["good", "readable"]
    assert len(log) == 2
    assert log.last(1)[0].at == dt.datetime.max.replace(tzinfo=dt.UTC)  # no clock ever showed that stamp


# --- maps --------------------------------------------------------------------------------------------------------


def test_a_map_is_written_and_read_by_path(here: MemoryRows) -> None:
    tree = NestedMap(here, "m", LIMITS)
    tree["a", "b"] = 1
    tree["c"] = [1, {"x": 2}]
    tree.set(("a", "d", "e"), None)
    assert tree.to_dict() == {"a": {"b": 1, "d": {"e": None}}, "c": [1, {"x": 2}]}
    assert tree["a"] == tree.get("a") == {"b": 1, "d": {"e": None}}
    assert tree["a", "d"] == {"e": None}
    assert (tree["a", "d", "e"], tree.get("q", 7), tree.get(("a", "b", "z"), 7)) == (None, 7, 7)
    assert list(tree.items("a")) == [(("a", "b"), 1), (("a", "d", "e"), None)]
    assert list(tree) == [("a", "b"), ("a", "d", "e"), ("c",)]
    assert len(tree) == 3
    assert ("a", "d") in tree
    assert "a" in tree
    assert "b" not in tree
    assert 7 not in tree
    del tree["a", "d"]
    with pytest.raises(KeyError):
        del tree["a", "d"]
    with pytest.raises(KeyError):
        tree["a", "d"]
    assert tree.delete("a")
    assert not tree.delete("a")
    assert tree.to_dict() == {"c": [1, {"x": 2}]}
    tree.clear()
    assert tree.to_dict() == {}


def test_names_that_begin_alike_do_not_meet(here: MemoryRows) -> None:
    tree, other = NestedMap(here, "m", LIMITS), NestedMap(here, "mm", LIMITS)
    tree.update({"a": 1, "ab": 2, "a!": 3, "b": {"a": 4}})
    other["a"] = 5
    tree.delete("a")
    assert tree.to_dict() == {"ab": 2, "a!": 3, "b": {"a": 4}}
    assert other.to_dict() == {"a": 5}


def test_an_update_is_one_transaction_and_leaves_other_leaves_alone(here: MemoryRows) -> None:
    tree = NestedMap(here, "m", LIMITS)
    tree.update({"a": {"x": 1, "y": {"z": 2}}, "b": {}})
    tree.update({"a": {"x": 3}})
    assert here.transactions == 2
    assert tree.to_dict() == {"a": {"x": 3, "y": {"z": 2}}, "b": {}}
    tree.update({})
    assert here.transactions == 2
    with pytest.raises(TypeError, match=r"map_of\('m'\)\['q'\]\['r'\] is a set"):
        tree.update({"ok": 1, "q": {"r": {1}}})
    assert "ok" not in tree


def test_what_to_dict_returns_is_the_callers_own(here: MemoryRows) -> None:
    tree = NestedMap(here, "m", LIMITS)
    tree.update({"a": {"b": [1]}})
    mine = tree.to_dict()
    mine["a"]["b"].append(2)  # type: ignore[index]  # it is that dict
    assert tree.to_dict() == {"a": {"b": [1]}}


def test_a_write_that_would_make_a_path_both_leaf_and_node_is_refused_naming_both(here: MemoryRows) -> None:
    tree = NestedMap(here, "m", LIMITS)
    tree["a", "b"] = 1
    with pytest.raises(
        LocalProtocolError, match=r"m'\)\['a'\] cannot be .* an inner node above map_of\('m'\)\['a'\]\['b'\]"
    ):
        tree["a"] = 2
    with pytest.raises(
        LocalProtocolError, match=r"m'\)\['a'\]\['b'\]\['c'\]\['d'\] .* the leaf map_of\('m'\)\['a'\]\['b'\];"
    ):
        tree["a", "b", "c", "d"] = 3
    with pytest.raises(LocalProtocolError, match="inner node above"):
        tree.update({"q": 1, "a": 2})
    assert tree.to_dict() == {"a": {"b": 1}}
    tree["a", "b"] = 4
    tree.delete("a")
    tree["a"] = 5
    assert tree.to_dict() == {"a": 5}


def test_an_empty_dict_is_a_leaf_that_gives_way(here: MemoryRows) -> None:
    tree = NestedMap(here, "m", LIMITS)
    tree["a"] = {}
    assert (tree.to_dict(), len(tree), tree["a"]) == ({"a": {}}, 1, {})
    tree["a", "b"] = 1
    assert (tree.to_dict(), len(tree), tree.conflicts()) == ({"a": {"b": 1}}, 1, [])
    with pytest.raises(LocalProtocolError):
        tree["a"] = {}
    del tree["a", "b"]
    assert tree.to_dict() == {"a": {}}
    with pytest.raises(TypeError, match=r"map_of\('m'\)\['a'\] is a dict with entries.*update"):
        tree["a"] = {"b": 1}


def test_a_leaf_added_below_a_removed_subtree_meanwhile_survives(here: MemoryRows, there: MemoryRows) -> None:
    mine, theirs = (NestedMap(rows, "m", LIMITS) for rows in (here, there))
    mine.update({"a": {"x": 1, "y": 2, "z": {"w": 3}}, "b": 4})
    gossip(here, there)
    theirs["a", "new"] = 5
    theirs["a", "y"] = 6
    assert mine.delete("a")
    gossip(here, there)
    assert mine.to_dict() == theirs.to_dict() == {"a": {"new": 5, "y": 6}, "b": 4}


def test_a_leaf_and_a_subtree_written_concurrently_show_the_subtree_and_name_the_leaf(
    here: MemoryRows, there: MemoryRows
) -> None:
    mine, theirs = (NestedMap(rows, "m", LIMITS) for rows in (here, there))
    mine["a"] = "leaf"
    theirs["a", "b"] = 1
    gossip(here, there)
    for tree in (mine, theirs):
        assert (tree.to_dict(), tree.get("a"), list(tree), len(tree)) == ({"a": {"b": 1}}, {"b": 1}, [("a", "b")], 1)
        assert tree.conflicts() == tree.conflicts("a") == [Conflict(("a",), ["leaf"], ("a", "b"))]
    mine["a", "c"] = 2  # what is both already does not stand in the way
    assert mine.to_dict() == {"a": {"b": 1, "c": 2}}
    with pytest.raises(LocalProtocolError):
        mine["a"] = "leaf again"
    assert mine.delete("a", leaf_only=True)
    gossip(here, there)
    assert theirs.to_dict() == {"a": {"b": 1, "c": 2}}
    assert theirs.conflicts() == []


def test_concurrent_values_of_a_leaf_are_kept_and_the_newest_leads(here: MemoryRows, there: MemoryRows) -> None:
    mine, theirs = (NestedMap(rows, "m", LIMITS) for rows in (here, there))
    mine["a", "b"] = "older"
    theirs["a", "b"] = "newer"
    gossip(here, there)
    assert mine["a", "b"] == "newer"
    assert theirs.to_dict() == {"a": {"b": "newer"}}
    assert mine.conflicts() == theirs.conflicts(("a", "b")) == [Conflict(("a", "b"), ["newer", "older"], None)]
    assert mine.conflicts("q") == []
    mine["a", "b"] = "settled"
    gossip(here, there)
    assert (theirs["a", "b"], theirs.conflicts()) == ("settled", [])


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", ValueError),
        ((), ValueError),
        (("a", ""), ValueError),
        (("a", "b\x00"), ValueError),
        ("\ud800", ValueError),
        (7, TypeError),
        (("a", 7), TypeError),
        (("a", b"b"), TypeError),
        (["a"], TypeError),
        (("a",) * 33, LimitExceeded),
        ("a" * 1025, LimitExceeded),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_path_is_refused(here: MemoryRows, path: str, error: type[Exception]) -> None:
    tree = NestedMap(here, "m", LIMITS)
    for act in (tree.get, tree.delete, lambda path: tree.set(path, 1)):
        with pytest.raises(error):
            act(path)
    assert path not in tree
    assert here.transactions == 0


def test_a_dict_without_end_is_refused(here: MemoryRows) -> None:
    endless: dict[str, object] = {}
    endless["a"] = endless
    with pytest.raises(LimitExceeded, match=r"the path \('a', 'a'\).* has 33 parts, the limit is 32"):
        NestedMap(here, "m", LIMITS).update(endless)


def test_names_in_an_update_are_parts_of_paths(here: MemoryRows) -> None:
    for names in ({7: 1}, {"a": {True: 1}}):
        with pytest.raises(TypeError, match="a path is a str or a tuple of them"):
            NestedMap(here, "m", LIMITS).update(names)  # type: ignore[arg-type]  # that is the case


def test_hostile_leaves_hide_no_others(here: MemoryRows, caplog: pytest.LogCaptureFixture) -> None:
    tree = NestedMap(here, "m", LIMITS)
    tree.update({"a": {"b": 1}})
    prefix = _paths.prefix(_paths.MAP, "m")
    strange = ["nonsense", "\x00", "s\x00", "i" + "0" * 17 + "\x00", "sx\x00" * 33, "sa\x00sb\x00s\x00"]
    here.commit([Op(prefix + rest, MAP, 1) for rest in strange])
    here.commit([Op(f"{prefix}sa\x00sc\x00", MAP, Packed(b"\x91")), Op(f"{prefix}sr\x00", REGISTER, 1)])
    with caplog.at_level(logging.WARNING, "propagul.store"):
        assert tree.to_dict() == {"a": {"b": 1}}
    assert "store.map_leaf_unreadable name='m' path=('a', 'c')" in caplog.text
    with pytest.raises(StoreCorrupt, match="no value this version can read"):
        tree["a", "c"]
    assert "r" not in tree
