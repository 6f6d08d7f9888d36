"""Random histories, side by side with LangGraph's own store in memory: what one answers, the other does."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchItem, SearchOp
from langgraph.store.memory import InMemoryStore

from tests.agents.langgraph_store.world import Embedder, by_words, opened

if TYPE_CHECKING:
    from langgraph.store.base import Op
    from propagul_langgraph.store import PropagulStore

NAMESPACES = [
    ("a",),
    ("a", "b"),
    ("a", "b", "c"),
    ("ab",),
    ("a b",),
    ("A",),
    ("x", "a", "b"),
    ("ü" * 50, "b"),
    ("*", "b"),
]
KEYS = ["k", "k.1", "", "x/y", "~k", "ключ", "long " * 40]
WORDS = ["red", "green", "blue", "cat", "dog"]
PREFIXES = [(), *NAMESPACES, ("a", "b", "c", "d"), ("nothing",)]
PATTERNS = [("a",), ("b",), ("*",), ("a", "*"), ("*", "b"), ("*", "*", "c"), ("x", "*", "b"), ("a b",)]
FIELDS: list[Any] = [None, None, None, False, ["text"], ["tags[*]"], ["deep.n", "text"], ["missing"]]


class Model(InMemoryStore):
    """The oracle, less what nobody wants of it: empty namespaces, vectors of former values, a text refused twice."""

    def answer(self, op: Op) -> Any:
        for namespace in [namespace for namespace, held in self._data.items() if not held]:
            del self._data[namespace]
        return self.batch([op])[0]

    def apply(self, puts: list[PutOp]) -> None:
        for op in {(op.namespace, op.key): op for op in puts}.values():
            self.batch([PutOp(op.namespace, op.key, None)])
            self.batch([op])

    def _insertinmem_store(self, to_embed: dict[str, list[Any]], embeddings: list[list[float]]) -> None:
        for places, embedding in zip(to_embed.values(), embeddings, strict=True):
            for namespace, key, path in places:
                self._vectors[namespace][key][path] = embedding


class History:
    """Draws operations."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def ops(self) -> list[Op]:
        return [self.op() for _ in range(self.rng.choice([1, 1, 1, 2, 3, 8]))]

    def op(self) -> Op:
        namespace, key = self.rng.choice(NAMESPACES), self.rng.choice(KEYS)
        kind = self.rng.random()
        if kind < 0.5:
            return PutOp(namespace, key, self.value(), index=self.rng.choice(FIELDS))
        if kind < 0.58:
            return PutOp(namespace, key, None)
        if kind < 0.7:
            return GetOp(namespace, key)
        if kind < 0.85:
            query = " ".join(self.rng.choices(WORDS, k=2)) if self.rng.random() < 0.5 else None
            return SearchOp(self.rng.choice(PREFIXES), self.filter(), limit=1000, query=query)
        matches = [
            MatchCondition(self.rng.choice(["prefix", "suffix"]), self.rng.choice(PATTERNS))
            for _ in range(self.rng.randrange(3))
        ]
        depth, limit, offset = self.rng.choice([None, 1, 2]), self.rng.choice([1, 3, 100]), self.rng.choice([0, 1])
        return ListNamespacesOp(tuple(matches), max_depth=depth, limit=limit, offset=offset)

    def value(self) -> dict[str, Any]:
        whole = {
            "text": " ".join(self.rng.choices(WORDS, k=self.rng.randrange(1, 4))),
            "n": self.rng.choice([0, 1, 2.5, "3", None, True]),
            "tags": self.rng.choices(WORDS, k=self.rng.randrange(3)),
            "deep": {"n": self.rng.randrange(3), "m": [1, {"x": 1}]},
            "a.b": self.rng.randrange(2),
        }
        return {name: whole[name] for name in whole if self.rng.random() < 0.8}

    def filter(self) -> dict[str, Any] | None:
        value = self.value()
        order = self.rng.choice(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
        choices: list[dict[str, Any] | None] = [
            None,
            None,
            {},
            {name: value[name] for name in list(value)[:1]},
            {"n": {order: self.rng.choice([0, 1, 2])}},
            {"deep": {"n": {order: 1}}, "a.b": 1},
            {"text": {"$ne": "red"}, "n": {"$gte": 1, "$lt": 3}},
            {"deep": {"m": [1, {"x": {"$gt": 0}}]}},
            {"missing": None},
        ]
        return self.rng.choice(choices)


def shown(result: Any) -> Any:
    """An answer without its times, and of a search without the order among equals."""
    if isinstance(result, list) and result and isinstance(result[0], SearchItem):
        rows = [(item.namespace, item.key, repr(item.value), rounded(item.score)) for item in result]
        assert [row[3] for row in rows] == sorted([row[3] for row in rows], reverse=True)
        return sorted(rows)
    return result if result is None or isinstance(result, list) else (result.namespace, result.key, result.value)


def rounded(score: float | None) -> float:
    return -9.0 if score is None else round(score, 3)


def same(ours: Any, theirs: Any) -> bool:
    ours, theirs = shown(ours), shown(theirs)
    if not (isinstance(ours, list) and ours and len(ours[0]) == 4 and isinstance(ours[0][3], float)):
        return bool(ours == theirs)
    return [row[:3] for row in ours] == [row[:3] for row in theirs] and all(
        abs(a[3] - b[3]) < 0.002 for a, b in zip(ours, theirs, strict=True)
    )


def check(history: History, store: PropagulStore, runner: asyncio.Runner, model: Model) -> int:
    """Do one batch on both; return how many answers were compared."""
    ops, compared = history.ops(), 0
    results = runner.run(store.abatch(ops)) if history.rng.random() < 0.3 else store.batch(ops)
    for op, ours in zip(ops, results, strict=True):
        if isinstance(op, PutOp):
            assert ours is None
            continue
        try:
            theirs = model.answer(op)
        except (TypeError, ValueError):  # it compares what has no order; ours finds nothing there
            continue
        assert same(ours, theirs), f"{op}\n{shown(ours)}\n{shown(theirs)}"
        compared += 1
    model.apply([op for op in ops if isinstance(op, PutOp)])
    return compared


@pytest.mark.parametrize("seed", range(8))
def test_it_answers_as_the_store_in_memory_does(seed: int) -> None:
    history, compared = History(seed), 0
    fields = [("text",), ("$",), ("text", "tags[*]"), ("deep.{n,m}", "n")][seed % 4]
    model = Model(index=by_words(Embedder(), *fields))
    with opened(index=by_words(Embedder(), *fields)) as store, asyncio.Runner() as runner:
        for _ in range(120):
            compared += check(history, store, runner, model)
    assert compared > 60


@pytest.mark.parametrize("seed", range(3))
def test_pages_of_a_search_are_the_whole_of_it(seed: int) -> None:
    history = History(seed)
    with opened(index=by_words()) as store:
        store.batch([op for op in (history.op() for _ in range(200)) if isinstance(op, PutOp)])
        for query in (None, "red cat"):
            whole = store.search((), query=query, limit=1000)
            pages = [store.search((), query=query, limit=7, offset=start) for start in range(0, len(whole) + 7, 7)]
            assert [item.dict() for page in pages for item in page] == [item.dict() for item in whole]
            assert len(whole) > 20
