"""Workloads on a disk: acknowledged writes, recovery after a kill, restarts."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import material
from benchmarks.store.contenders import open_contender, store

SYNCS = 200


def acknowledged_sets(contender: str, count: int, seed: int, scratch: str) -> dict[str, float]:
    """Sets a second of wall time, one after another, each acknowledged before the next; then reopen and compare."""
    texts = material.rows(count, seed)
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        opened = open_contender(contender, directory)
        put = opened.put
        began, began_cpu = time.perf_counter(), time.process_time()
        for key, value in texts.items():
            put(key, value)
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        opened.close()
        again = open_contender(contender, directory)
        _expect(again.content(), texts)
        again.close()
    return {"per_s": count / wall_s, "cpu_per_s": count / cpu_s}


def disk(scratch: str) -> dict[str, float]:
    """What one append of a row and one fdatasync cost on this file system: what a power-safe write cannot be under."""
    sync = getattr(os, "fdatasync", os.fsync)
    taken = []
    with tempfile.NamedTemporaryFile(dir=scratch) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), b"x" * 150)
            sync(file.fileno())
            taken.append(time.perf_counter() - began)
    return {"us": 1e6 * statistics.median(taken)}


def write_and_die(count: int, seed: int, directory: str) -> dict[str, float]:
    """Write so many events to a log and be killed: nothing is closed, synced or tidied."""
    ours = store(directory)
    for key, value in material.rows(count, seed).items():
        ours.set(key, value)
    return {"events": count, "killed": 1}


def recover(count: int, seed: int, directory: str) -> dict[str, float]:
    """Events a second at which a log is opened again, until the store may be read and written."""
    texts = material.rows(count, seed)
    log_bytes = sum(file.stat().st_size for file in Path(directory).rglob("*") if file.is_file())
    store().close()  # what is imported and made at the first use is not the log's doing
    began, began_cpu = time.perf_counter(), time.process_time()
    ours = store(directory)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    _expect(ours.get_all(), texts)
    ours.close()
    return {"per_s": count / wall_s, "cpu_per_s": count / cpu_s, "log_bytes": log_bytes}


def clean_restarts(count: int, scratch: str) -> dict[str, float]:
    """Open, write once and close, again and again: how many origins does the vector hold in the end?"""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        began = time.perf_counter()
        for number in range(count):
            ours = store(directory)
            if ours.get("restarts", 0) != number:
                raise AssertionError("a restart lost what was written before it")
            ours.set("restarts", number + 1)
            ours.close()
        wall_s = time.perf_counter() - began
        ours = store(directory)
        origins = ours.stats.origins
        ours.close()
    return {"origins": origins, "ms_a_restart": 1000 * wall_s / count}


def _expect(found: object, texts: dict[str, str]) -> None:
    if found != texts:
        raise AssertionError("what was acknowledged is not what is there after opening it again")
