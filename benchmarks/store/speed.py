"""Workloads in memory: how fast one key is set and got, and what a key costs in memory."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import material
from benchmarks.store.contenders import Opened, open_contender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REPEATED_BELOW = 50_000
"""Fewer keys than this take so short a time that a round repeats them and takes the median."""

REPEATS = 7
"""The first one is not counted: it warms the interpreter up."""


def rates(contender: str, sizes: Sequence[int], seed: int, scratch: str) -> dict[str, float]:
    """Operations a second of CPU time: every key set, all set again, all got, in the order the keys were made."""
    measured: dict[str, float] = {}
    for size in sizes:
        repeats = REPEATS if size < REPEATED_BELOW else 1
        rounds = [_seconds(contender, size, seed, scratch) for _ in range(repeats)]
        for name in rounds[0]:
            seconds = statistics.median(each[name] for each in rounds[1:] or rounds)
            measured[f"{name}_{size}"] = size / seconds
    return measured


def memory(contender: str, size: int, seed: int, scratch: str) -> dict[str, float]:
    """Bytes of anonymous resident memory a key, keys and values not counted: all of them were there before.

    `set_b` after every key was set once, `full_pass_b` after every key was overwritten and read as well.
    """
    keys, first, second = material.keys(size), material.values(size, seed), material.values(size, seed + 1)
    with _opened(contender, scratch) as warm:
        _fill(warm.put, keys[:100], first[:100])
    with _opened(contender, scratch) as opened:
        before = _resident_bytes()
        _fill(opened.put, keys, first)
        after_set = _resident_bytes()
        _fill(opened.put, keys, second)
        _read(opened.get, keys)
        after_pass = _resident_bytes()
        _expect(opened, keys, second)
    return {"set_b": (after_set - before) / size, "full_pass_b": (after_pass - before) / size}


def guarded() -> dict[str, float]:
    """Proof that the store that is measured checks its limits and freezes what it takes; raises if not."""
    from propagul import LimitExceeded  # noqa: PLC0415 - peers' interpreters import this module too

    with _opened("propagul", "") as opened:
        for key, value in (("k" * 1025, ""), ("key", "v" * ((1 << 20) + 1))):
            try:
                opened.put(key, value)
            except LimitExceeded:
                continue
            raise AssertionError("a limit was not checked")
        put: Callable[[str, object], object] = opened.put  # type: ignore[assignment]  # the store takes more than text
        steps = [1]
        put("steps", steps)
        steps.append(2)
        if opened.get("steps") != [1]:
            raise AssertionError("a value was not frozen")
    return {"limits_checked": 1, "values_frozen": 1}


def _seconds(contender: str, size: int, seed: int, scratch: str) -> dict[str, float]:
    keys, first, second = material.keys(size), material.values(size, seed), material.values(size, seed + 1)
    with _opened(contender, scratch) as opened:
        gc.collect()
        taken = {
            "set": _timed(lambda: _fill(opened.put, keys, first)),
            "overwrite": _timed(lambda: _fill(opened.put, keys, second)),
            "get": _timed(lambda: _read(opened.get, keys)),
        }
        _expect(opened, keys, second)
    with _opened(contender, scratch) as opened:
        if opened.together is not None:
            with opened.together():
                taken["set_together"] = _timed(lambda: _fill(opened.put, keys, first))
            _expect(opened, keys, first)
    return taken


@contextmanager
def _opened(contender: str, scratch: str) -> Iterator[Opened]:
    """A fresh contender, in a directory of its own where it needs one."""
    if not contender.endswith("_logged"):
        opened = open_contender(contender)
        yield opened
        opened.close()
        return
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        opened = open_contender(contender, directory)
        yield opened
        opened.close()


def _fill(put: Callable[[str, str], object], keys: Sequence[str], values: Sequence[str]) -> None:
    for key, value in zip(keys, values, strict=True):
        put(key, value)


def _read(get: Callable[[str], object], keys: Sequence[str]) -> None:
    for key in keys:
        get(key)


def _timed(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _expect(opened: Opened, keys: Sequence[str], values: Sequence[str]) -> None:
    if dict(opened.content()) != dict(zip(keys, values, strict=True)):
        raise AssertionError("what was written is not what is there")


def _resident_bytes() -> int:
    """Resident memory that belongs to no file, so that a mapped log does not count.

    Raises:
        OSError: This system has no /proc.
    """
    gc.collect()
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")
