"""Workloads of the layer below the store: deltas, merges, churn, the version vector.

Everything crosses as encoded bytes, and every workload ends by comparing both ends.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
import tracemalloc

from benchmarks import material
from benchmarks.store.replicas import Ours, Replicated, replica

REPEATS = 6
"""The first one is not counted: it warms the interpreter up."""

EDITORS = 10


def delta(contender: str, size: int, changed: int, seed: int) -> dict[str, float]:
    """Seconds of CPU time to produce and apply a delta of `changed` keys out of `size`; its bytes."""
    sender, receiver = replica(contender, seed), replica(contender, seed + 1)
    keys = material.keys(size)
    _fill(sender, keys, material.values(size, seed))
    receiver.merge(sender.whole())
    produced, applied, sizes = [], [], []
    for repeat in range(REPEATS):
        place = sender.bookmark()
        picked = random.Random(seed + repeat).sample(keys, changed)
        _fill(sender, picked, material.values(changed, seed + repeat + 1))
        gc.collect()
        began = time.process_time()
        packed = sender.since(place)
        half = time.process_time()
        receiver.merge(packed)
        applied.append(time.process_time() - half)
        produced.append(half - began)
        sizes.append(len(packed))
        _expect_equal(sender, receiver)
    produce_s, apply_s = (statistics.median(column[1:]) for column in (produced, applied))
    return {"s": produce_s + apply_s, "produce_s": produce_s, "apply_s": apply_s, "bytes": statistics.median(sizes)}


def merge_editors(contender: str, size: int, changed: int, seed: int) -> dict[str, float]:
    """Seconds of CPU time to merge the deltas of ten replicas that all wrote the same keys at the same time."""
    keys = material.keys(size)
    base = replica(contender, seed)
    _fill(base, keys, material.values(size, seed))
    whole = base.whole()
    contested = random.Random(seed).sample(keys, changed)
    deltas, editors = [], []
    for number in range(1, EDITORS + 1):
        editor = replica(contender, seed + number)
        editor.merge(whole)
        place = editor.bookmark()
        _fill(editor, contested, material.values(changed, seed + number))
        deltas.append(editor.since(place))
        editors.append(editor)
    place = base.bookmark()
    gc.collect()
    began = time.process_time()
    for packed in deltas:
        base.merge(packed)
    merge_s = time.process_time() - began
    merged = base.since(place)
    for editor in editors:
        editor.merge(merged)
        _expect_equal(base, editor)
    return {"s": merge_s, "bytes": sum(map(len, deltas))}


def churn(size: int, operations: int, seed: int) -> dict[str, float]:
    """Growth of the full state and of memory over `operations` deletes, re-adds and overwrites of `size` keys.

    Before and after, every key holds a text of the same length and the floor has been raised. Memory is what the
    interpreter allocated, to the byte, beside the keys and values; its growth is taken over all three.
    """
    keys, first, second = material.keys(size), material.values(size, seed), material.values(size, seed + 1)
    ours, chance = Ours(seed), random.Random(seed)
    tracemalloc.start()
    _fill(ours, keys, first)
    ours.raise_floor()
    state_before, memory_before = len(ours.whole()), _traced_bytes()
    live = set(keys)
    for _ in range(operations):
        number = chance.randrange(size)
        key = keys[number]
        if key not in live:
            live.add(key)
        elif chance.random() < 0.5:
            live.remove(key)
            ours.remove(key)
            continue
        ours.put(key, second[number])
    _fill(ours, keys, second)
    del live
    ours.raise_floor()
    state_after, memory_after = len(ours.whole()), _traced_bytes()
    tracemalloc.stop()
    if ours.content() != dict(zip(keys, second, strict=True)):
        raise AssertionError("churn lost a write")
    texts_bytes = sum(map(sys.getsizeof, keys)) + sum(map(sys.getsizeof, second))
    return {
        "state_pct": 100 * (state_after / state_before - 1),
        "memory_pct": 100 * (memory_after - memory_before) / (memory_before + texts_bytes),
        "state_b": state_after,
        "memory_b": memory_after,
        "memory_before_b": memory_before,
    }


def restarts(count: int, seed: int) -> dict[str, float]:
    """What `count` restarts, each under a fresh origin that writes the same key, leave in a replica's memory."""
    ours, chance = Ours(seed), random.Random(f"restarts {seed}")
    ours.put("restarts", "0")
    ours.raise_floor()
    tracemalloc.start()
    before = _traced_bytes()
    for _ in range(count):
        ours.restart(chance.getrandbits(64))
        ours.put("restarts", "0")
    hot_bytes = _traced_bytes() - before
    ours.raise_floor()
    after = _traced_bytes() - before
    tracemalloc.stop()
    if len(ours.replica.vector) != count + 1:
        raise AssertionError("an origin was forgotten")
    return {"bytes": after, "before_the_floor_b": hot_bytes, "origins": len(ours.replica.vector)}


def _fill(one: Replicated, keys: list[str], values: list[str]) -> None:
    for key, value in zip(keys, values, strict=True):
        one.put(key, value)


def _expect_equal(one: Replicated, other: Replicated) -> None:
    equal = one.content() == other.content()
    if isinstance(one, Ours) and isinstance(other, Ours):
        equal = equal and one.siblings() == other.siblings()
    if not equal:
        raise AssertionError("both ends of a merge are not equal")


def _traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
