"""Replicas that append, remove and begin anew in any order end alike, and lose nothing of the newest generation."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import pytest

from propagul import AgentStateStore
from propagul.adapters import Timeline
from tests.store.world import Island, on_island

SEEDS = range(200 if os.environ.get("LONG_TESTS") == "1" else 12)


def timeline(store: AgentStateStore) -> Timeline[str]:
    return Timeline(store, "space", "name", str)


@dataclass
class Deeds:
    """What was done, by whoever did it."""

    appended: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Which generation and writer an item was appended in and by."""
    removed: set[str] = field(default_factory=set)
    turns: list[tuple[str, ...]] = field(default_factory=list)

    def do(self, chance: random.Random, writer: str, line: Timeline[str]) -> None:
        """Take one step."""
        match chance.choice(["append"] * 6 + ["pop", "remove", "begin"]):
            case "append":
                items = tuple(f"{len(self.appended) + place:04} {writer}" for place in range(chance.randint(1, 3)))
                self.turns.append(items)
                self.appended |= dict.fromkeys(items, (line.generation(), writer))
                line.append(items)
            case "pop":
                self.removed.add(line.pop() or "")
            case "remove":
                if entries := line.read():
                    self.removed.add(line.remove(chance.choice(entries).place) or "")
            case "begin" if chance.random() < 0.3:
                line.begin()

    def check(self, shown: list[str], generation: int) -> None:
        """Compare with what everybody shows at the end."""
        kept = {item for item, (born, _) in self.appended.items() if born == generation} - self.removed
        assert sorted(shown) == sorted(kept)
        for writer in {by for _, by in self.appended.values()}:
            own = [item for item in shown if self.appended[item][1] == writer]
            assert own == sorted(own), "a writer's own items stand as it appended them"
        for turn in self.turns:
            places = [shown.index(item) for item in turn if item in kept]
            assert places == list(range(places[0], places[0] + len(places))) if places else True, "side by side"


@pytest.mark.parametrize("seed", SEEDS)
def test_replicas_end_alike_and_lose_nothing(seed: int) -> None:
    async def scenario(island: Island) -> None:
        chance, deeds = random.Random(seed), Deeds()
        stores = [await island.start(name, *"abc"[:place]) for place, name in enumerate("abc")]
        lines = [timeline(store) for store in stores]
        for _ in range(12):
            apart = chance.sample("abc", 2) if chance.random() < 0.7 else []
            if apart:
                island.network.cut(*apart)
            for _ in range(chance.randint(1, 4)):
                which = chance.randrange(3)
                deeds.do(chance, "abc"[which], lines[which])
            await island.clock.advance(chance.choice([0, 0.01, 20]))
            if apart:
                island.network.heal(*apart)
        await island.clock.advance(60)
        shown = [[entry.item for entry in line.read()] for line in lines]
        assert shown[0] == shown[1] == shown[2]
        assert len({line.generation() for line in lines}) == 1
        deeds.check(shown[0], lines[0].generation())
        assert [entry.item for entry in lines[0].read(3)] == shown[0][-3:]
        lines[0].begin()
        await island.clock.advance(60)
        assert [len(store) for store in stores] == [1, 1, 1]

    on_island(scenario)


def test_items_that_cannot_be_read_are_left_out_and_not_counted() -> None:
    def load(text: str) -> int:
        return int(text)

    store = AgentStateStore("room", port=None)
    line = Timeline(store, "space", "name", load)
    line.append(["1", "2", "three", "four", "5", "six", "seven"])
    assert [entry.item for entry in line.read()] == [1, 2, 5]
    assert [entry.item for entry in line.read(2)] == [2, 5]
    assert [entry.item for entry in line.read(9)] == [1, 2, 5]
    assert line.pop() == 5
    assert line.read(0) == []
    store.close()
