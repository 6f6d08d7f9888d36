from __future__ import annotations

import random

from propagul.link.refusals import GRACE_S, REFUSALS_MAX, Doorstep, RefusalBook, Visitor, origin


def test_refusals_are_merged_by_reason_and_host_newest_last() -> None:
    book = RefusalBook()
    for reason, host, now in [("a", "1", 1.0), ("b", "1", 2.0), ("a", "2", 3.0), ("a", "1", 4.0)]:
        book.add(reason, host, now)
    assert [(entry.reason, entry.host, entry.count, entry.last_s) for entry in book.entries()] == [
        ("b", "1", 1, 2.0),
        ("a", "2", 1, 3.0),
        ("a", "1", 2, 4.0),
    ]


def test_the_book_is_bounded_and_forgets_the_oldest() -> None:
    book = RefusalBook()
    for number in range(1000):
        book.add("reason", str(number), float(number))
    assert [entry.host for entry in book.entries()] == [str(n) for n in range(1000 - REFUSALS_MAX, 1000)]


def test_an_idler_makes_room_for_a_newcomer_of_its_host() -> None:
    doorstep: Doorstep[str] = Doorstep(total_max=10, per_host_max=2)
    first, _ = doorstep.enter("first", "10.0.0.1", 0.0)
    doorstep.enter("second", "10.0.0.1", 0.1)
    doorstep.enter("elsewhere", "10.0.0.2", 0.1)
    _, evicted = doorstep.enter("third", "10.0.0.1", 1.0)
    assert evicted is first


def test_who_came_just_now_is_not_sent_away() -> None:
    doorstep: Doorstep[str] = Doorstep(total_max=10, per_host_max=1)
    doorstep.enter("first", "10.0.0.1", 0.0)
    newcomer, evicted = doorstep.enter("second", "10.0.0.1", GRACE_S / 2)
    assert evicted is newcomer
    assert [visitor.connection for visitor in doorstep] == ["first"]


def test_a_full_doorstep_makes_room_in_its_largest_crowd() -> None:
    doorstep: Doorstep[str] = Doorstep(total_max=4, per_host_max=3)
    doorstep.enter("lonely", "10.0.0.9", 0.0)
    for number in range(3):
        doorstep.enter(f"crowd{number}", "10.0.0.1", 1.0 + number)
    _, evicted = doorstep.enter("member", "10.0.0.2", 9.0)
    assert evicted is not None
    assert evicted.connection == "crowd0"


def test_no_bound_is_ever_exceeded() -> None:
    chance, doorstep = random.Random(7), Doorstep[int](total_max=16, per_host_max=4)
    inside = list[Visitor[int]]()
    for step in range(5000):
        visitor, evicted = doorstep.enter(step, f"10.0.0.{chance.randrange(9)}", step * chance.choice([0.01, 0.1]))
        inside = [each for each in [*inside, visitor] if each is not evicted]
        if inside and chance.random() < 0.2:
            doorstep.leave(inside.pop(chance.randrange(len(inside))))
        hosts = [each.origin for each in inside]
        assert len(doorstep) == len(inside) <= 16
        assert max((hosts.count(host) for host in hosts), default=0) <= 4


def test_an_ipv6_network_is_one_origin() -> None:
    assert origin("2001:db8::1") == origin("2001:db8::ffff:1") != origin("2001:db8:0:1::1")
    assert origin("::ffff:10.0.0.1") == origin("10.0.0.1")
    assert origin("fe80::1%eth0") == "fe80::/64"
