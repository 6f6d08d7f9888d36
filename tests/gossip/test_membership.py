"""Who can be reached, computed from what members say of their links."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from propagul.gossip.membership import SHORT_ID, reachable, short
from propagul.link.base import NodeId

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def node(number: int) -> NodeId:
    return NodeId(f"{number:0{SHORT_ID}d}" + "x" * 40)


def room(links: Iterable[tuple[int, int]], members: Iterable[int] = ()) -> dict[NodeId, set[str]]:
    """What members say where all tell the truth."""
    named: dict[NodeId, set[str]] = {node(number): set() for number in members}
    for a, b in links:
        named.setdefault(node(a), set()).add(short(node(b)))
        named.setdefault(node(b), set()).add(short(node(a)))
    return named


def reached(linked: Iterable[int], named: Mapping[NodeId, set[str]], leaves: Iterable[int] = ()) -> set[int]:
    found = reachable([node(number) for number in linked], named, [node(number) for number in leaves])
    return {int(name[:SHORT_ID]) for name in found}


def test_a_chain_of_links_leads_to_its_end() -> None:
    assert reached([1], room([(1, 2), (2, 3), (3, 4)])) == {1, 2, 3, 4}


def test_who_has_no_link_reaches_nobody() -> None:
    assert reached([], room([(1, 2), (2, 3)])) == set()


def test_a_neighbour_counts_before_its_row_is_here() -> None:
    assert reached([7], {}) == {7}


def test_a_link_that_only_one_end_names_is_none() -> None:
    named = room([(1, 2), (2, 3)])
    named[node(3)].clear()
    assert reached([1], named) == {1, 2}
    named[node(3)].add(short(node(2)))
    named[node(2)].discard(short(node(3)))
    assert reached([1], named) == {1, 2}


def test_a_liar_brings_nobody_back_but_itself() -> None:
    """It names the dead, who do not name it, and strangers of whom there is no row."""
    named = room([(1, 2)], members=[8, 9])
    named[node(2)] |= {short(node(8)), short(node(9)), short(node(77))}
    assert reached([1], named) == {1, 2}


def test_a_liar_cannot_hide_whom_others_reach() -> None:
    named = room([(1, 2), (2, 3), (1, 4), (4, 3)])
    named[node(2)] = set()
    assert reached([1, 2], named) == {1, 2, 3, 4}


def test_islands_see_themselves_alone() -> None:
    named = room([(1, 2), (2, 3), (3, 1), (11, 12), (12, 13)])
    assert reached([1, 2], named) == {1, 2, 3}
    assert reached([11], named) == {11, 12, 13}


def test_one_bridge_joins_two_islands() -> None:
    named = room([(1, 2), (2, 3), (11, 12), (3, 11)])
    assert reached([1], named) == {1, 2, 3, 11, 12}


def test_a_leaf_is_reached_and_leads_to_nobody() -> None:
    named = room([(1, 2), (2, 3), (3, 4), (1, 5)])
    assert reached([1], named, leaves=[2]) == {1, 2, 5}
    assert reached([2], named, leaves=[2]) == {2}, "not even where we are linked with it"
    assert reached([1, 4], named, leaves=[2]) == {1, 2, 3, 4, 5}, "who is reached by another way is reached"


def test_names_are_long_enough_for_a_million_members() -> None:
    assert SHORT_ID * 5 >= 60
    assert short(node(1)) != short(node(2))


@given(st.integers(0, 2**32), st.integers(1, 25))
def test_it_is_what_a_search_over_mutual_links_finds(seed: int, members: int) -> None:
    rng = random.Random(seed)
    said = {a: {b for b in range(members) if a != b and rng.random() < 2 / members} for a in range(members)}
    linked = {number for number in range(members) if rng.random() < 0.2}
    expected, grows = set(linked), True
    while grows:
        more = {b for a in expected for b in said[a] if a in said[b]} - expected
        expected, grows = expected | more, bool(more)
    named = {node(a): {short(node(b)) for b in others} for a, others in said.items()}
    assert reached(linked, named) == expected
