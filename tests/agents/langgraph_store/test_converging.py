"""Random puts, deletes, reads and sweeps on three machines that hear each other now and then.

Once they do, all three answer alike, and whatever is found by meaning is found by what it says.
"""

from __future__ import annotations

import random
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from propagul_langgraph.store import PropagulStore

from tests.agents.langgraph_store.world import by_words, embed
from tests.store.world import on_island

if TYPE_CHECKING:
    from tests.store.world import Island

NAMES = ["a", "b", "c"]
WORDS = ["red", "green", "blue", "cat", "dog"]
PLACES = [(("n",), "1"), (("n",), "2"), (("n", "m"), "1"), (("ü",), "x")]


def deed(rng: random.Random, store: PropagulStore) -> None:
    namespace, key = rng.choice(PLACES)
    kind = rng.random()
    if kind < 0.5:
        ttl = rng.choice([None, 0.05, 0.2])
        index: Any = rng.choice([None, None, False, ["tags[*]"]])
        value = {"text": " ".join(rng.sample(WORDS, 2)), "tags": rng.sample(WORDS, rng.randrange(3)), "index": index}
        store.put(namespace, key, value, index, ttl=ttl)
    elif kind < 0.65:
        store.delete(namespace, key)
    elif kind < 0.9:
        store.get(namespace, key)
    else:
        store.sweep_ttl()


def answers(store: PropagulStore) -> list[Any]:
    found = [store.search((), query=query, limit=100, refresh_ttl=False) for query in (None, "red cat", "dog")]
    named = [store.get(*place, refresh_ttl=False) for place in PLACES]
    conflicts = [store.conflicts(*place) for place in PLACES]
    return [found, named, conflicts, store.list_namespaces()]


def texts_of(value: dict[str, Any]) -> list[str]:
    if value["index"] is False:
        return []
    return value["tags"] if value["index"] else [value["text"]]


def check_scores(store: PropagulStore, query: str) -> int:
    """What is found is found by its own texts; return how much is."""
    asked, scored = np.array(embed(query)), 0
    for item in store.search((), query=query, limit=100, refresh_ttl=False):
        vectors = [np.array(embed(text)) for text in texts_of(item.value)]
        cosines = [float(v @ asked / np.linalg.norm(v) / np.linalg.norm(asked)) for v in vectors]
        assert (item.score is None) is (not cosines)
        if item.score is not None:
            assert item.score == pytest.approx(max(cosines), abs=1e-4)
            scored += 1
    return scored


async def answer_alike(island: Island, stores: list[PropagulStore]) -> bool:
    """Whether all answer the same once they have heard of everything."""
    for _ in range(120):
        await island.clock.advance(0.5)
        first, *others = [answers(store) for store in stores]
        if others == [first] * len(others):
            return True
    return False


@pytest.mark.parametrize("seed", range(5))
def test_machines_that_heard_each_other_answer_alike(seed: int) -> None:
    rng, scored = random.Random(seed), 0

    async def scenario(island: Island) -> None:
        nonlocal scored
        states = [await island.start(name, *NAMES[:number]) for number, name in enumerate(NAMES)]
        stores = [PropagulStore(state, index=by_words(), now=lambda: island.clock.time_ns() / 1e9) for state in states]
        for _ in range(5):
            for a, b in combinations(NAMES, 2):
                if rng.random() < 0.5:
                    island.network.cut(a, b)
            for _ in range(10):
                deed(rng, rng.choice(stores))
                await island.clock.advance(rng.choice([0, 0.01, 1]))
            for a, b in combinations(NAMES, 2):
                island.network.heal(a, b)
            assert await answer_alike(island, stores)
            scored += check_scores(rng.choice(stores), "red cat")

    on_island(scenario)
    assert scored > 0
