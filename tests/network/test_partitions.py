"""Networks that fail and heal: what was written meanwhile is everywhere, once, and nobody is thought dead twice."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.network.cable import TUN
from tests.network.lab import Lab, until
from tests.network.member import Member
from tests.network.room import GUEST, IS_LONG, NAMES, Room, until_same

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("network-partitions")

WEST, EAST = ("a", "b"), ("c", "d", "e")
ONE_WAY_S = 20.0 if IS_LONG else 8.0
"""Over twice as long as a link may be silent."""


def watch(room: Room) -> None:
    """Begin to count who goes."""
    for member in room.members.values():
        member.look()


def times_missed(room: Room) -> int:
    """How often the member that was missed most was, by the one that missed it most."""
    return max(times for member in room.members.values() for times in (0, *member.seen()[0].values()))


def prepare(room: Room, test: str) -> None:
    """Rows that all hold before something happens to them."""
    for key in ("edited", "deleted", "contested", "untouched"):
        room["a"].set(f"{test} {key}", "before")
    room.until_same()


def write_on_both_sides(room: Room, test: str, unheard: str) -> None:
    """What people do who do not hear of each other; at least `a` does not hear of the one that writes first."""
    room[unheard].set(f"{test} edited", "here")
    room["a"].set(f"{test} edited", "there")
    room[unheard].delete(f"{test} deleted")
    room[unheard].delete(f"{test} contested")
    room["a"].set(f"{test} contested", "edited")
    for name in NAMES:
        room[name].set(f"{test} by {name}", name)
    room["b"].add(2)
    room["c"].add(3)


def check(test: str, dump: dict[str, Any]) -> None:
    """What must have come of it."""
    mine = {key.removeprefix(f"{test} "): value for key, value in dump["values"].items() if key.startswith(f"{test} ")}
    edited = mine.pop("edited")
    assert mine == {"contested": "edited", "untouched": "before"} | {f"by {name}": name for name in NAMES}
    conflicts = {key: found for key, found in dump["conflicts"].items() if key.startswith(test)}
    assert list(conflicts) == [f"{test} edited"]
    assert sorted(conflicts[f"{test} edited"]) == ["here", "there"]
    assert edited == conflicts[f"{test} edited"][0]


@pytest.mark.parametrize("is_noticed", [False, True], ids=["short", "long"])
def test_both_sides_of_a_cut_keep_what_they_wrote(whole: Room, is_noticed: bool) -> None:  # noqa: FBT001
    """A short cut, that the connections outlive, and one after which all links are new."""
    test = f"cut {is_noticed}"
    prepare(whole, test)
    before = whole["a"].hits()
    with whole.lab.cut_between(WEST, EAST):
        write_on_both_sides(whole, test, unheard="d")
        for side in (WEST, EAST):
            until_same(whole[name] for name in side)
        assert whole["a"].dump() != whole["c"].dump()
        if is_noticed:
            until(lambda: whole["a"].linked() == {whole["b"].node}, "the west is alone")
            until(lambda: len(whole["c"].linked()) == 2, "the east is alone")
    dump = whole.until_same()
    check(test, dump)
    assert dump["hits"] == before + 5
    whole.until_linked()
    assert whole.until_same() == dump


@pytest.mark.long
def test_one_who_is_not_heard_is_missed_once_and_comes_back_with_what_it_wrote(whole: Room) -> None:
    others = [name for name in NAMES if name != "c"]
    prepare(whole, "unheard")
    watch(whole)
    with whole.lab.one_way("c", others):
        since = time.monotonic()
        write_on_both_sides(whole, "unheard", unheard="c")
        until_same(whole[name] for name in others)
        until(lambda: time.monotonic() - since > ONE_WAY_S, "it lasts", within_s=60)
        assert whole["c"].linked() == set()
    whole.until_linked()
    check("unheard", whole.until_same())
    assert times_missed(whole) <= 1


@pytest.mark.long
def test_one_who_is_not_heard_by_one_other_is_heard_through_the_rest(whole: Room) -> None:
    watch(whole)
    with whole.lab.one_way("c", ["a"]):
        for name in NAMES:
            whole[name].set(f"around {name}", name)
        whole.until_same()
        until(lambda: whole["c"].node not in whole["a"].linked(), "the link is gone")
        whole["c"].set("around again", 1)
        whole.until_same()
    whole.until_linked()
    assert times_missed(whole) == 0


def test_a_firewall_that_resets_connections_parts_two_members_only_for_as_long_as_it_does(whole: Room) -> None:
    a, b = whole["a"], whole["b"]
    with whole.lab.resets("a", "b"):
        a.set("reset", "by way of others")  # the packet that carries it is answered with a reset
        until(lambda: b.node not in a.linked(), "the link is gone")
        until(lambda: b.get("reset") == "by way of others", "it comes by way of others")
        failed = a.stat("dials_failed") + b.stat("dials_failed")
        until(lambda: a.stat("dials_failed") + b.stat("dials_failed") > failed, "they try again")
    whole.until_linked()


@pytest.mark.long
def test_one_behind_a_slow_line_holds_up_nobody_but_itself(whole: Room) -> None:
    with whole.lab.slow("b", kbit=512):
        for number in range(3):
            whole["b"].set(f"large {number}", "x" * 20_000)
        whole["a"].set("small", "a")
        until_same([whole["a"], whole["c"]])
        until(lambda: all(whole[name].get("small") == "a" for name in ("c", "d", "e")), "small writes are quick")
        whole.until_same()


def test_one_that_nobody_can_dial_is_linked_with_all_because_it_dials(whole: Room) -> None:
    with whole.lab.no_way_in(GUEST):
        whole.start(GUEST)
        whole[GUEST].set("from behind a wall", 1)
        whole["a"].set("to behind a wall", 2)
        whole.until_same()
        assert whole[GUEST].stat("refused") == 0


@pytest.mark.long
def test_members_of_a_network_that_leads_nowhere_else_find_each_other(tmp_path: Path) -> None:
    """Three machines on a switch, without a router; two of them know the third."""
    with Lab(["a", "b", "c"], is_routed=False) as lab, contextlib.ExitStack() as stack:
        a, b, c = (
            stack.enter_context(Member(host, tmp_path / host.name, [lab["a"]] if host.name != "a" else []))
            for host in lab.hosts.values()
        )
        assert not any(member.ready().refusal for member in (a, b, c))
        until(lambda: len(a.members()) == 2, "they hear of each other")
        until(lambda: c.node in b.linked(), "those who know the third find each other", within_s=5)


@pytest.mark.long
@pytest.mark.skipif(not os.access(TUN, os.W_OK), reason="TAP devices are not allowed here")
def test_a_long_line_that_loses_a_fifth_of_all_packets_delays_and_loses_no_write(tmp_path: Path) -> None:
    with Lab(NAMES, one_way_ms=20) as lab, Room(lab, tmp_path) as room:
        room.start(*NAMES)
        prepare(room, "lossy")
        with lab.loss(20):
            for name in NAMES:
                room[name].set(f"lossy {name}", name)
                room[name].add()
            room["b"].delete("lossy deleted")
            dump = room.until_same(within_s=60)
        assert dump["hits"] == len(NAMES)
        assert "lossy deleted" not in dump["values"]
        assert {dump["values"][f"lossy {name}"] for name in NAMES} == set(NAMES)
        room.until_linked()
        room.until_same()
