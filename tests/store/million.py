"""More than fits into memory: a store under a hard limit that is read at random while it is compacted and joined.

Run as `python -m tests.store.million ROLE ...` by `test_a_million.py`; every role prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from propagul import AgentStateStore
from propagul.log.event_log import SEGMENT_BYTES
from propagul.store._spaces import STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SECRET = "a-secret-of-this-test-alone-7"
MIB = 1024 * 1024
IN_MEMORY = 1 / 64
VALUE_PARTS = 256
NOTED_S = 0.005
PAUSE_S = 0.0005
OLD_SEGMENTS, READ_BYTES = 32, 50_000

Interval = tuple[str, float, float]


def key(number: int) -> str:
    return f"key-{number:017d}"


def value(number: int) -> str:
    return f"{number:08d}" * VALUE_PARTS


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def opened(count: int, path: str, port: int | None) -> AgentStateStore:
    """A store that may have a small part of these keys' values in memory."""
    memory_bytes = max(MIB, int(count * len(value(0)) * IN_MEMORY))
    return AgentStateStore("million", port=port, host="127.0.0.1", path=path, secret=SECRET, memory_bytes=memory_bytes)


def bounded(limit_mib: int | None) -> None:
    """Refuse this process more memory than this. What threads may need of a stack counts as well."""
    threading.stack_size(512 * 1024)
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if limit_mib is None else limit_mib * MIB, most))


def fill(count: int, path: str, limit_mib: int) -> dict[str, object]:
    """Write every key once."""
    bounded(limit_mib)
    store = opened(count, path, None)
    for number in range(count):
        store.set(key(number), value(number))
    store.close()
    return {"peak_mib": peak_mib()}


class Reader(threading.Thread):
    """Reads at random, checks what it reads, and notes what took long."""

    def __init__(self, store: AgentStateStore, count: int) -> None:
        super().__init__()
        self.phase = "alone"
        self.reads, self.wrong = 0, 0
        self.long: list[Interval] = []
        self.done = threading.Event()
        self._store, self._count = store, count

    def run(self) -> None:
        chance = random.Random(7)
        while not self.done.wait(PAUSE_S):
            number = chance.randrange(self._count)
            began = time.monotonic()
            found = self._store.get(key(number))
            ended = time.monotonic()
            if ended - began > NOTED_S:
                self.long.append((self.phase, began, ended))
            self.wrong += found != value(number)
            self.reads += 1


async def beat(phase: Callable[[], str], long: list[Interval]) -> None:
    """Note when the event loop took long to come round."""
    while True:
        due = time.monotonic() + PAUSE_S
        await asyncio.sleep(PAUSE_S)
        if time.monotonic() - due > NOTED_S:
            long.append((phase(), due, time.monotonic()))


async def serve(count: int, path: str, limit_mib: int) -> dict[str, object]:
    """Open under the limit, then compact, then let somebody join, then both at once."""
    bounded(limit_mib)
    store = opened(count, path, 0)
    await store.start()
    reader, loop_long = Reader(store, count), list[Interval]()
    beating = asyncio.create_task(beat(lambda: reader.phase, loop_long))
    reader.start()
    try:
        await asyncio.sleep(0.5)
        joined = []
        for phase in ("compacting", "joined", "both"):
            store.set("phase", phase)
            reader.phase = phase
            works: list[Coroutine[None, None, object]] = []
            if phase != "joined":
                works.append(asyncio.to_thread(store.compact))
            if phase != "compacting":
                works.append(_join(count, store.addresses[0].port, f"{path}-{phase}"))
            joined += [found for found in await asyncio.gather(*works) if isinstance(found, dict)]
    finally:
        reader.done.set()
        reader.join()
        beating.cancel()
    evicted = store.stats.evicted
    await store.stop()
    return {
        "reads": reader.reads,
        "wrong": reader.wrong,
        "evicted": evicted,
        "peak_mib": peak_mib(),
        "joined": joined,
        "long_reads": reader.long,
        "long_turns": loop_long,
    }


async def _join(count: int, port: int, path: str) -> object:
    command = (sys.executable, "-m", "tests.store.million", "join", str(count), str(port), path)
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    return json.loads(output)


async def join(count: int, port: int, path: str) -> dict[str, object]:
    """Take everything over from the one who serves, and look at some of it. While it joins, keys are held twice."""
    bounded(None)
    store = opened(count, path, None)
    loop_long: list[Interval] = []
    beating = asyncio.create_task(beat(lambda: "joining", loop_long))
    report = await store.start(peers=[("127.0.0.1", port)], sync_timeout_s=1200)
    shown = [await store.aget(key(number)) for number in range(0, count, 997)]
    while store._spaces[STATE].is_busy:
        await asyncio.sleep(0.01)
    beating.cancel()
    wrong = sum(found != value(number) for number, found in zip(range(0, count, 997), shown, strict=True))
    keys = len(store)
    await store.stop()
    return {"complete": report.complete, "keys": keys, "wrong": wrong, "peak_mib": peak_mib(), "long_turns": loop_long}


def control(path: str) -> dict[str, object]:
    """How long this machine makes a process wait, at worst, that reads a file while it removes others as large as ours.

    Some kernels do not let go of a processor while they give a file's blocks back.
    """
    directory = Path(path)
    directory.mkdir()
    large = directory / "large"
    for file, chunks in [(large, OLD_SEGMENTS), *((directory / str(number), 1) for number in range(OLD_SEGMENTS))]:
        with file.open("wb") as written:
            for _ in range(chunks):
                written.write(bytes(SEGMENT_BYTES))
            os.fsync(written.fileno())
    worst_s, ended = [0.0], threading.Event()

    def read() -> None:
        chance = random.Random(7)
        with large.open("rb", buffering=0) as file:
            due = time.monotonic() + PAUSE_S
            while not ended.wait(PAUSE_S):
                file.seek(chance.randrange(OLD_SEGMENTS * SEGMENT_BYTES))
                file.read(READ_BYTES)
                worst_s.append(max(worst_s.pop(), time.monotonic() - due))
                due = time.monotonic() + PAUSE_S

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(OLD_SEGMENTS):
        (directory / str(number)).unlink()
    ended.set()
    for reader in readers:
        reader.join()
    large.unlink()
    return {"worst_s": worst_s[0]}


def main(role: str, *arguments: str) -> dict[str, object]:
    match role:
        case "fill":
            return fill(int(arguments[0]), arguments[1], int(arguments[2]))
        case "serve":
            return asyncio.run(serve(int(arguments[0]), arguments[1], int(arguments[2])))
        case "join":
            return asyncio.run(join(int(arguments[0]), int(arguments[1]), arguments[2]))
        case _:
            return control(arguments[0])


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
