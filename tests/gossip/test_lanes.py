"""On which of its links a node wants news pushed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from propagul.crdt import Origin, Stamp
from propagul.gossip.events import LinkKey
from propagul.gossip.lanes import PUSHING, Lane, Lanes

if TYPE_CHECKING:
    from collections.abc import Mapping

LINKS = [LinkKey(number) for number in range(1, 7)]


class Neighbourhood:
    """News that each neighbour brings so many seconds after it happened."""

    def __init__(self, seed: int = 1) -> None:
        self.lanes = Lanes(random.Random(seed))
        self.held = dict.fromkeys(LINKS, Lane.TELL)
        self.now = 0.0

    def news(self, late_s: Mapping[LinkKey, float], times: int = 1) -> None:
        for _ in range(times):
            self.now += 10.0
            entry = (Origin(7), Stamp(int(self.now)))
            for link, late in sorted(late_s.items(), key=lambda item: item[1]):
                self.lanes.heard(link, [entry], self.now + late)

    def choose(self) -> dict[LinkKey, Lane]:
        self.held = self.lanes.choose(self.held)
        return self.held

    def pushing(self) -> set[LinkKey]:
        return {link for link, lane in self.choose().items() if lane is Lane.PUSH}


LATE_S = {link: 0.008 * index for index, link in enumerate(LINKS)}


def test_two_push_one_is_spare_and_the_others_tell() -> None:
    lanes = list(Neighbourhood().choose().values())
    assert lanes.count(Lane.PUSH) == PUSHING == 2
    assert lanes.count(Lane.SPARE) == 1
    assert lanes.count(Lane.TELL) == len(LINKS) - 3


@pytest.mark.parametrize("links", [0, 1, 2, 3])
def test_where_links_are_few_the_first_lanes_are_filled_first(links: int) -> None:
    chosen = Lanes(random.Random(1)).choose(dict.fromkeys(LINKS[:links], Lane.TELL))
    assert sorted(chosen.values()) == sorted([Lane.PUSH, Lane.PUSH, Lane.SPARE][:links])


def test_early_links_win() -> None:
    for seed in range(20):
        around = Neighbourhood(seed)
        around.news(LATE_S, times=20)
        lanes = around.choose()
        assert [link for link in LINKS if lanes[link] is Lane.PUSH] == LINKS[:2]
        assert [link for link in LINKS if lanes[link] is Lane.SPARE] == LINKS[2:3]


def test_who_was_early_and_is_late_from_now_on_loses_its_lane() -> None:
    around = Neighbourhood()
    around.news(LATE_S, times=20)
    assert around.pushing() == set(LINKS[:2])
    around.news({**LATE_S, LINKS[0]: 0.2}, times=20)
    assert around.pushing() == set(LINKS[1:3])


def test_a_single_late_arrival_does_not_upset() -> None:
    """A lost segment comes 200 ms later: that says nothing of the way."""
    around = Neighbourhood()
    around.news(LATE_S, times=20)
    before = around.choose()
    around.news({**LATE_S, LINKS[0]: 0.2})
    assert around.choose() == before


def test_small_differences_change_nothing() -> None:
    around = Neighbourhood()
    around.news({link: 0.002 * index for index, link in enumerate(LINKS)}, times=20)
    before = around.choose()
    around.news({link: 0.002 * (len(LINKS) - index) for index, link in enumerate(LINKS[:3])}, times=20)
    for _ in range(20):
        assert around.choose() == before


def test_without_news_the_lanes_that_are_held_are_kept() -> None:
    around = Neighbourhood()
    around.news({LINKS[0]: 0.0, LINKS[1]: 0.0, LINKS[2]: 0.0}, times=20)
    before = around.choose()
    assert all(around.choose() == before for _ in range(50))


def test_a_big_digest_is_no_news() -> None:
    """Whoever just linked tells of everything it has; that it was the first to say it means nothing."""
    around = Neighbourhood()
    around.news(LATE_S, times=20)
    before = around.choose()
    state = [(Origin(100 + number), Stamp(1)) for number in range(9)]
    for turn in range(30):
        entries = [(origin, Stamp(2 + turn)) for origin, _ in state]
        around.lanes.heard(LINKS[5], entries, 1000.0 + turn)
        for link in LINKS[:2]:
            around.lanes.heard(link, entries, 1000.5 + turn)
    assert around.choose() == before


def test_a_small_one_is() -> None:
    around = Neighbourhood()
    around.news(LATE_S, times=20)
    around.choose()
    for turn in range(30):
        entries = [(Origin(100 + number), Stamp(2 + turn)) for number in range(8)]
        around.lanes.heard(LINKS[5], entries, 1000.0 + turn)
        for link in LINKS[:2]:
            around.lanes.heard(link, entries, 1000.5 + turn)
    assert LINKS[5] in around.pushing()


def test_old_news_is_nobodys_merit() -> None:
    """What was heard long ago and is repeated says nothing of how early a link is."""
    around = Neighbourhood()
    around.news(LATE_S, times=20)
    before = around.choose()
    for turn in range(30):
        around.lanes.heard(LINKS[0], [(Origin(7), Stamp(int(around.now)))], around.now + 5.0 + turn)
        around.lanes.heard(LINKS[0], [(Origin(7), Stamp(1))], around.now + 5.0 + turn)
    assert around.choose() == before


def test_a_link_that_is_gone_is_forgotten() -> None:
    around = Neighbourhood()
    around.news(LATE_S, times=20)
    around.lanes.forget(LINKS[0])
    fresh = dict.fromkeys(LINKS, Lane.TELL)
    assert around.lanes.choose(fresh)[LINKS[0]] is Lane.TELL
