"""With whom to be linked, where not everybody can be linked with everybody."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from propagul.gossip import LinkKey
from propagul.gossip.overlay import Overlay
from propagul.link.base import NodeId

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOM = [NodeId(f"n{number:03d}") for number in range(100)]


def overlay(active_max: int = 6, seed: int = 1) -> Overlay:
    return Overlay(active_max, random.Random(seed))


def lonely(nodes: Iterable[NodeId]) -> dict[NodeId, int]:
    """Members that all say they have no link."""
    return dict.fromkeys(nodes, 0)


def test_whom_it_chooses_can_be_reached_and_is_not_linked() -> None:
    for seed in range(50):
        chosen = overlay(seed=seed).choose(ROOM[:2], lonely(ROOM[:20]))
        assert len(chosen) == len(set(chosen)) == 4
        assert set(chosen) <= set(ROOM[2:20])


def test_it_chooses_as_many_as_there_are() -> None:
    assert overlay().choose([], lonely(ROOM[:3])) in ([ROOM[a], ROOM[b], ROOM[c]] for a, b, c in _orders())
    assert overlay().choose(ROOM[:3], lonely(ROOM[:3])) == []


def _orders() -> list[tuple[int, int, int]]:
    return [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


@pytest.mark.parametrize("links", [5, 6, 7, 13])
def test_with_links_enough_or_one_too_few_it_looks_for_none(links: int) -> None:
    assert overlay().choose(ROOM[:links], lonely(ROOM)) == []


@pytest.mark.parametrize(("links", "urgent"), [(0, True), (2, True), (3, False), (4, False)])
def test_who_has_links_enough_is_dialled_only_by_who_must_be_let_in(links: int, *, urgent: bool) -> None:
    full, mine, roomy = dict.fromkeys(ROOM[20:], 7), ROOM[:links], dict.fromkeys(ROOM[10:12], 6)
    for seed in range(20):
        chosen = overlay(seed=seed).choose(mine, full)
        assert len(chosen) == (6 - links if urgent else 0)
        assert set(overlay(seed=seed).choose(mine, full | roomy)) == set(roomy)


def test_everybody_is_chosen_by_somebody() -> None:
    """A sample that leaves members out would leave them alone."""
    jitter = random.Random(3)
    chosen = {found for _ in range(200) for found in Overlay(6, jitter).choose([], lonely(ROOM))}
    assert chosen == set(ROOM)


def test_about_four_of_those_that_reach_each_other_look_for_the_lost() -> None:
    jitter = random.Random(1)
    one = Overlay(6, jitter)
    for reached in (9, 99, 999):
        looking = [sum(bool(one.bridge(reached, ROOM)) for _ in range(reached + 1)) for _ in range(60)]
        assert 3 < sum(looking) / len(looking) < 5


def test_in_a_small_island_everybody_looks_and_at_one_at_a_time() -> None:
    for seed in range(50):
        (lost,) = overlay(seed=seed).bridge(3, ROOM[50:])
        assert lost in ROOM[50:]
    assert overlay().bridge(0, []) == []


def test_half_of_what_is_over_twice_the_wanted_links_is_given_up() -> None:
    for links, given_up in ((6, 0), (12, 0), (13, 1), (14, 1), (20, 4), (48, 18)):
        surplus = overlay().surplus(ROOM[:links])
        assert len(surplus) == len(set(surplus)) == given_up
        assert set(surplus) <= set(ROOM[:links])


def test_giving_up_ends_at_twice_the_wanted_links() -> None:
    linked, one = list(ROOM), overlay()
    for _ in range(20):
        gone = one.surplus(linked)
        linked = [node for node in linked if node not in gone]
    assert len(linked) == 12


def test_who_has_under_half_of_its_links_must_be_let_in() -> None:
    assert [overlay().is_urgent(links) for links in range(5)] == [True, True, True, False, False]


def test_a_node_takes_one_link_more_than_it_looks_for() -> None:
    assert [overlay().is_full(links) for links in (6, 7, 8)] == [False, False, True]


LINKS = {LinkKey(number): 0.0 for number in range(8)}
NEWCOMER = LinkKey(7)


def test_a_full_node_turns_newcomers_away_and_makes_room_for_an_urgent_one() -> None:
    one = overlay()
    assert one.give_up(LINKS, NEWCOMER, 100.0, urgent=False) == NEWCOMER
    given_up = {one.give_up(LINKS, NEWCOMER, 100.0, urgent=True) for _ in range(300)}
    assert given_up == LINKS.keys() - {NEWCOMER}
    fewer = {link: at for link, at in LINKS.items() if link != 0}
    assert one.give_up(fewer, NEWCOMER, 100.0, urgent=True) is None


def test_a_young_link_is_given_up_only_if_all_are_young() -> None:
    one = overlay()
    one_is_old = {link: 0.0 if link == 3 else 98.0 for link in LINKS}
    assert {one.give_up(one_is_old, NEWCOMER, 100.0, urgent=True) for _ in range(50)} == {LinkKey(3)}
    all_are_young = dict.fromkeys(LINKS, 98.0)
    assert len({one.give_up(all_are_young, NEWCOMER, 100.0, urgent=True) for _ in range(300)}) == 7


def test_the_same_draws_make_the_same_choice_whatever_the_order_of_a_set() -> None:
    assert overlay(seed=4).choose([], lonely(ROOM)) == overlay(seed=4).choose(set(), lonely(reversed(ROOM)))
    backwards = dict(reversed(LINKS.items()))
    choices = [overlay(seed=4).give_up(links, NEWCOMER, 9.0, urgent=True) for links in (LINKS, backwards)]
    assert choices[0] == choices[1]
