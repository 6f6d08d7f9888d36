"""Laws of counters, sets, logs and maps: replicas that act and merge in any order, against oracles over operations.

An oracle knows only operations and, for each, which operations its author knew. A replica's knowledge is a set of
operations; merging is set union. What a replica must show follows from the definition of the type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from propagul.errors import LocalProtocolError
from propagul.store._types import AddWinsSet, Counter, NestedMap, OrderedLog
from propagul.store._values import Limits
from tests.store.rows import MemoryRows, gossip

LIMITS = Limits()
HOUR_NS = 3600 * 10**9
SKEWS_NS = (0, 48 * HOUR_NS, -48 * HOUR_NS, 5)
REPLICAS = st.integers(2, 4)


class Step(NamedTuple):
    """Replica `who` acts, or takes everything that replica `other` knows."""

    act: str
    who: int
    other: int
    what: int


@dataclass
class Op:
    """An operation of the oracle and what its author knew."""

    act: str
    what: object
    seen: frozenset[int]


@dataclass
class World:
    """Replicas beside what each of them knows."""

    replicas: int
    rows: list[MemoryRows] = field(init=False)
    known: list[set[int]] = field(init=False)
    ops: list[Op] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = [MemoryRows(number + 1, skew_ns=SKEWS_NS[number]) for number in range(self.replicas)]
        self.known = [set() for _ in self.rows]

    def record(self, who: int, act: str, what: object = None) -> None:
        self.ops.append(Op(act, what, frozenset(self.known[who])))
        self.known[who].add(len(self.ops) - 1)

    def merge(self, who: int, other: int) -> None:
        self.rows[who].take(self.rows[other])
        self.known[who] |= self.known[other]

    def merge_all(self) -> None:
        gossip(*self.rows)
        everything = set.union(*self.known)
        self.known = [set(everything) for _ in self.rows]

    def live(self, who: int, removes: str, adds: str) -> list[int]:
        """Additions known to `who` that no known removal of the same thing saw."""
        mine = self.known[who]
        removals = [self.ops[n] for n in mine if self.ops[n].act == removes]
        return sorted(
            n
            for n in mine
            if self.ops[n].act == adds
            and not any(n in r.seen and (r.what is None or self.ops[n].what in r.what) for r in removals)  # type: ignore[operator]  # a container
        )


def steps(*acts: str) -> st.SearchStrategy[list[Step]]:
    return st.lists(
        st.builds(
            Step, st.sampled_from([*acts, "merge", "merge"]), st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)
        ),
        max_size=30,
    )


# --- counters ----------------------------------------------------------------------------------------------------


def counted(world: World, who: int) -> int:
    """The sum of the additions that no known reset saw."""
    return sum(int(str(world.ops[n].what)) for n in world.live(who, "reset", "add"))


@given(REPLICAS, steps("add", "add", "subtract", "reset"))
def test_a_counter_is_the_sum_of_additions_that_no_known_reset_saw(replicas: int, history: list[Step]) -> None:
    world = World(replicas)
    counters = [Counter(rows, "c", LIMITS) for rows in world.rows]
    for step in history:
        who = step.who % replicas
        if step.act == "merge":
            world.merge(who, step.other % replicas)
        elif step.act == "reset":
            assert counters[who].reset() == counted(world, who)
            world.record(who, "reset")
        else:
            n = step.what if step.act == "add" else -step.what
            counters[who].add(n)
            world.record(who, "add", n)
        assert counters[who].value == counted(world, who)
    world.merge_all()
    assert [counter.value for counter in counters] == [counted(world, 0)] * replicas


# --- sets --------------------------------------------------------------------------------------------------------

ELEMENTS = ("a", "b", 1, -1, b"a", "\U0001f600")


@given(REPLICAS, steps("add", "add", "discard", "clear"))
def test_a_set_holds_what_was_added_and_no_removal_saw(replicas: int, history: list[Step]) -> None:
    world = World(replicas)
    sets = [AddWinsSet(rows, "s", LIMITS) for rows in world.rows]
    for step in history:
        who, element = step.who % replicas, ELEMENTS[step.what]
        if step.act == "merge":
            world.merge(who, step.other % replicas)
        elif step.act == "add":
            sets[who].add(element)
            world.record(who, "add", element)
        elif step.act == "discard":
            sets[who].discard(element)
            world.record(who, "remove", (element,))
        else:
            sets[who].clear()
            world.record(who, "remove")
        shown = {world.ops[n].what for n in world.live(who, "remove", "add")}
        assert set(sets[who]) == shown
        assert len(sets[who]) == len(shown)
    world.merge_all()
    assert all(list(found) == list(sets[0]) for found in sets)
    assert set(sets[0]) == {world.ops[n].what for n in world.live(0, "remove", "add")}


# --- logs --------------------------------------------------------------------------------------------------------


@given(REPLICAS, steps("append", "append", "extend", "keep", "before"))
def test_a_log_holds_what_was_appended_and_no_truncation_saw_in_one_order(replicas: int, history: list[Step]) -> None:
    world = World(replicas)
    logs = [OrderedLog(rows, "l", LIMITS) for rows in world.rows]
    appended: list[list[str]] = [[] for _ in logs]
    for number, step in enumerate(history):
        who = step.who % replicas
        log, before = logs[who], [entry.position for entry in logs[who]]
        if step.act == "merge":
            world.merge(who, step.other % replicas)
        elif step.act in ("append", "extend"):
            places = log.extend([number] * (1 if step.act == "append" else step.what))
            for place in places:
                world.record(who, "append", place)
            assert sorted(appended[who] + places) == appended[who] + places
            assert len({*appended[who], *places}) == len(appended[who]) + len(places)
            appended[who] += places
        else:
            bound = before[step.what] if step.what < len(before) else "f" * 16 + "-" + "f" * 16 + "-" + "f" * 6
            gone = before[: max(0, len(before) - step.what)] if step.act == "keep" else [p for p in before if p < bound]
            removed = log.truncate(keep=step.what) if step.act == "keep" else log.truncate(before=bound)
            assert removed == len(gone)
            world.record(who, "truncate", gone)
        expected = sorted(str(world.ops[n].what) for n in world.live(who, "truncate", "append"))
        assert [entry.position for entry in log] == expected
    world.merge_all()
    assert all(list(log) == list(logs[0]) for log in logs)


# --- maps --------------------------------------------------------------------------------------------------------

TREE = (("a", "x"), ("a", "y", "z"), ("b",))
PATHS = (("a",), ("a", "x"), ("a", "y", "z"), ("b",), ("b", "x"), ("a!",))


def leaves(world: World, who: int) -> dict[tuple[str, ...], set[int]]:
    """The siblings of every leaf: writes that no later write or removal of that leaf saw."""
    mine, found = world.known[who], dict[tuple[str, ...], set[int]]()
    for n in mine:
        op = world.ops[n]
        if op.act == "set" and not any(
            n in world.ops[m].seen
            and op.what in ([world.ops[m].what] if world.ops[m].act == "set" else world.ops[m].what)  # type: ignore[operator]
            for m in mine
        ):
            found.setdefault(op.what, set()).add(n)  # type: ignore[arg-type]
    return found


def write(target: NestedMap, act: str, path: tuple[str, ...], number: int) -> None:
    """Write operation numbers as values, so that a value says which operation wrote it."""
    if act == "set":
        target[path] = number
    else:
        target.update({"a": {"x": number, "y": {"z": number + 1}}, "b": number + 2})


def is_below(path: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


@given(REPLICAS, steps("set", "set", "delete", "update"))
def test_a_map_holds_the_leaves_that_no_removal_saw_and_hides_those_above_others(
    replicas: int, history: list[Step]
) -> None:
    world = World(replicas)
    maps = [NestedMap(rows, "m", LIMITS) for rows in world.rows]
    for step in history:
        who, path = step.who % replicas, PATHS[step.what]
        before = leaves(world, who)
        if step.act == "merge":
            world.merge(who, step.other % replicas)
        elif step.act == "delete":
            gone = [leaf for leaf in before if leaf == path or is_below(leaf, path)]
            assert maps[who].delete(path) == bool(gone)
            world.record(who, "delete", gone)
        else:
            inner = {leaf for leaf in before if any(is_below(other, leaf) for other in before)}
            clash = any(is_below(leaf, path) or (is_below(path, leaf) and leaf not in inner) for leaf in before)
            written = [path]
            if step.act == "update":
                clash = any(
                    is_below(leaf, new) or (is_below(new, leaf) and leaf not in inner)
                    for leaf in before
                    for new in TREE
                )
                written = list(TREE)
            try:
                write(maps[who], step.act, path, len(world.ops))
                assert not clash
                for new in written:
                    world.record(who, "set", new)
            except LocalProtocolError:
                assert clash
        compare(maps[who], world, who)
    world.merge_all()
    for who in range(replicas):
        compare(maps[who], world, who)
    assert all(m.to_dict() == maps[0].to_dict() for m in maps)
    assert all(m.conflicts() == maps[0].conflicts() for m in maps)


def compare(found: NestedMap, world: World, who: int) -> None:
    expected = leaves(world, who)
    shown = {path for path in expected if not any(is_below(other, path) for other in expected)}
    assert [path for path, _ in found.items()] == sorted(shown)
    assert len(found) == len(shown)
    assert {c.path for c in found.conflicts()} == {p for p, s in expected.items() if len(s) > 1 or p not in shown}
    assert {c.path for c in found.conflicts() if c.hidden_by} == expected.keys() - shown
    for path in shown:
        assert found[path] in expected[path]
    for conflict in found.conflicts():
        assert set(conflict.values) == expected[conflict.path]
