"""Cached results: what comes back, for how long, and what is rather computed again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from propagul_langgraph.cache import PropagulCache

from propagul import AgentStateStore, StoreFull
from tests.agents.langgraph_store.world import Clock
from tests.store.syncs import CountedSyncs
from tests.store.world import pair, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langgraph.cache.base import FullKey

BIG = bytes(range(256)) * 8000
"""Two megabytes: five rows."""


@dataclass
class Point:
    x: int


class Xor:
    """A cipher that is one for tests only."""

    def __init__(self, key: int) -> None:
        self.key = key

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "xor", bytes(byte ^ self.key for byte in plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "xor"
        return bytes(byte ^ self.key for byte in ciphertext)


@contextlib.contextmanager
def cached(path: Path | None = None, **options: Any) -> Iterator[PropagulCache[Any]]:
    with contextlib.closing(AgentStateStore("room", port=None, path=path)) as store:
        yield PropagulCache(store, **options)


def key(name: str = "k", *namespace: str) -> FullKey:
    return (namespace or ("a", "b"), name)


@pytest.mark.parametrize("seed", range(6))
def test_it_answers_as_the_cache_in_memory_does(seed: int) -> None:
    rng, oracle = random.Random(seed), InMemoryCache[Any]()
    namespaces = [("a",), ("a", "b"), ("a", "b c"), (), ("__pregel_ns_writes", "x.<locals>.f", "node")]
    with cached() as cache:
        for step in range(200):
            keys = [(rng.choice(namespaces), rng.choice("xyz")) for _ in range(rng.randrange(1, 4))]
            kind = rng.random()
            if kind < 0.45:
                pairs = {at: ({"step": step, "of": [at[1]]}, rng.choice([None, 1000, 0])) for at in keys}
                oracle.set(pairs)
                cache.set(pairs)
            elif kind < 0.9:
                assert cache.get(keys) == oracle.get(keys)
                assert asyncio.run(cache.aget(keys)) == cache.get(keys)
            elif kind < 0.98:
                some = rng.sample(namespaces, 2)
                oracle.clear(some)
                cache.clear(some)
            else:
                oracle.clear()
                cache.clear()
                assert cache.store.keys() == []


@pytest.mark.parametrize("value", [None, 0, "", b"", b"\0", [HumanMessage("hi", id="1")], {"big": BIG}, BIG, {1: {3}}])
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    with cached() as cache:
        cache.set({key(): (value, 60)})
        assert cache.get([key()]) == {key(): value}
        assert asyncio.run(cache.aget([key(), key("other")])) == {key(): value}


def test_an_entry_lives_so_many_seconds() -> None:
    clock = Clock()
    with cached(now=clock) as cache:
        cache.set({key("short"): (1, 10), key("long"): (2, 100), key("ever"): (3, None)})
        clock.seconds += 9.9
        assert len(cache.get([key("short"), key("long"), key("ever")])) == 3
        clock.seconds += 0.2
        assert cache.get([key("short"), key("long"), key("ever")]) == {key("long"): 2, key("ever"): 3}
        clock.seconds += 1000
        assert cache.get([key("long"), key("ever")]) == {key("ever"): 3}


def test_what_has_expired_goes_with_later_sets_and_nothing_else_does() -> None:
    clock = Clock()
    with cached(now=clock) as cache:
        for number in range(250):
            cache.set({key(str(number)): (number, 10)})
        cache.set({key("big"): (BIG, 10), key("ever"): (1, None), key("renewed"): (1, 10)})
        cache.set({key("renewed"): (2, 1000)})
        clock.seconds += 20
        for _ in range(4):
            cache.set({key("new"): (3, 1000)})
        assert cache.get([key("renewed"), key("ever"), key("new")]) == {
            key("renewed"): 2,
            key("ever"): 1,
            key("new"): 3,
        }
        assert len(cache.store.keys("lgc/e/")) == 3
        assert len(cache.store.keys("lgc/x/")) == 2


def test_a_smaller_value_leaves_nothing_of_a_larger_one() -> None:
    with cached() as cache:
        cache.set({key(): (BIG, None)})
        assert len(cache.store.keys()) == 4
        cache.set({key(): (BIG[:700_000], None)})
        assert len(cache.store.keys()) == 2
        assert cache.get([key()]) == {key(): BIG[:700_000]}
        cache.set({key(): (1, None)})
        assert cache.store.keys() == ["lgc/e/a/b/k"]
        cache.set({key(): (BIG, None), key("k", "a", "b", "k"): (BIG, None)})
        cache.clear([("a", "b")])
        assert len(cache.store.keys()) == 4
        assert cache.get([key("k", "a", "b", "k")]) == {key("k", "a", "b", "k"): BIG}


def test_an_entry_that_is_not_whole_or_not_readable_is_not_there() -> None:
    with cached() as cache:
        cache.set({key("big"): (BIG, None), key("other"): (BIG[::-1], None), key("k"): (1, None)})
        part = cache.store.get("lgc/e/a/b/big#2")
        for damaged in (None, b"", cache.store.get("lgc/e/a/b/other#2"), 7):
            cache.store.set("lgc/e/a/b/big#2", damaged)
            assert cache.get([key("big"), key("k")]) == {key("k"): 1}
        cache.store.set("lgc/e/a/b/big#2", part)
        assert cache.get([key("big")]) == {key("big"): BIG}
        for damaged in (b"\xc1", b"", "text", b"\x93\x02\x01\x01", {"a": 1}, b"\x96\x01\xa1x\xc0\x00\xc4\x00\xc4\x00"):
            cache.store.set("lgc/e/a/b/k", damaged)
            assert cache.get([key("k")]) == {}
        cache.set({key("k"): (2, None)})
        assert cache.get([key("k")]) == {key("k"): 2}
        for strange in ("lgc/x/zz/a", "lgc/x/", "lgc/x/000000000001/nowhere"):
            cache.store.set(strange, 5)
        cache.set({key("k"): (3, None)})
        assert cache.store.keys("lgc/x/") == []


def test_a_class_that_is_not_allowed_is_computed_again_rather_than_changed() -> None:
    with cached() as cache:
        cache.set({key("point"): ([1, {"p": Point(1)}], None), key("plain"): ([1], None)})
        assert cache.get([key("point"), key("plain")]) == {key("plain"): [1]}
        allowing = JsonPlusSerializer(allowed_msgpack_modules=[(Point.__module__, "Point")])
        assert PropagulCache[Any](cache.store, serde=allowing).get([key("point")]) == {
            key("point"): [1, {"p": Point(1)}]
        }


def test_values_go_through_the_serde_and_those_of_another_key_are_not_there(caplog: pytest.LogCaptureFixture) -> None:
    with cached(serde=EncryptedSerializer(Xor(7))) as cache:
        cache.set({key(): ({"secret": "canary"}, None)})
        assert b"canary" not in cache.store.get("lgc/e/a/b/k")  # type: ignore[operator]  # bytes
        assert cache.get([key()]) == {key(): {"secret": "canary"}}
        for serde in (EncryptedSerializer(Xor(8)), JsonPlusSerializer()):
            assert PropagulCache[Any](cache.store, serde=serde).get([key()]) == {}
        assert len(caplog.records) == 2
        assert "canary" not in caplog.text


def test_caches_of_other_roots_see_nothing_of_each_other() -> None:
    with cached() as cache:
        other = PropagulCache[Any](cache.store, root="other/")
        cache.set({key(): (1, None)})
        assert other.get([key()]) == {}
        other.clear()
        assert cache.get([key()]) == {key(): 1}


def test_what_cannot_be_stored_says_so(tmp_path: Path) -> None:
    with cached(tmp_path) as cache:
        with pytest.raises(TypeError, match="not msgpack serializable"):
            cache.set({key(): (object(), None)})
        log = cache.store._disk.log  # type: ignore[union-attr]  # it is there
        log._refuse(StoreFull("no space left"))
        with pytest.raises(StoreFull):
            cache.set({key(): (1, None)})
        assert cache.get([key()]) == {}
        log._refuses = None


def test_entries_are_there_after_a_restart_and_on_other_machines(tmp_path: Path) -> None:
    with cached(tmp_path) as cache:
        cache.set({key(): (BIG, 1000)})
    with cached(tmp_path) as cache:
        assert cache.get([key()]) == {key(): BIG}

    async def scenario() -> None:
        async with pair() as (a, b):
            one, other = PropagulCache[Any](a), PropagulCache[Any](b)
            await one.aset({key(): (BIG, 1000), key("small"): (1, None)})
            await a.flush(peers=1)
            assert await other.aget([key(), key("small")]) == {key(): BIG, key("small"): 1}
            await other.aclear([key()[0]])
            await b.flush(peers=1)
            assert await one.aget([key()]) == {}

    run(scenario)


def test_a_call_waits_for_its_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path, durability="group")
    cache, syncs = PropagulCache[Any](store), CountedSyncs(monkeypatch)
    cache.set({key(): (1, 1000), key("large"): (bytes(1_500_000), 1000)})
    assert syncs.count == 1
    asyncio.run(cache.aset({key(): (2, 1000), key("large"): (bytes(600_000), 1000)}))
    assert syncs.count == 2
    cache.clear()
    assert syncs.count == 3
    store.close()


def test_at_another_durability_the_event_loop_waits_for_no_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AgentStateStore("room", port=None, path=tmp_path, durability="group") as store:
            cache = PropagulCache[Any](store)
            await cache.aset({key(): (1, 1000)})
            assert await cache.aget([key()]) == {key(): 1}
            await cache.aclear()
            assert store.keys() == []

    run(scenario)
