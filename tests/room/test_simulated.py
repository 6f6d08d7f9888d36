"""Agents that put, claim, work, fail, crash and are cut apart, by seeds, with the promises of the queue as the oracle.

    every task that was put is done at least once
    what a replica saw done it never sees undone
    no two replicas that can exchange messages disagree about what became of a task, and by whom
    what an agent claims is open, or of somebody who is not there, as far as its replica can know

A seed that fails is run again by `SEED=17 pytest tests/room/test_simulated.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore
from propagul.room import Phase, Room
from propagul.testing import MemoryNetwork, VirtualClock
from tests.crdt.histories import LONG

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from propagul.room import Claim, Word, WorkQueue

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else range(200 if LONG else 2)
HOSTS = ("a", "b", "c")
CHAOS_S, PEACE_S = 120, 400
"""How long everything goes wrong, and after how long in peace all must be done at the latest."""


class Host:
    """A machine: its store while it runs, and what its agent has in hand."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.store: AgentStateStore | None = None
        self.queue: WorkQueue | None = None
        self.claim: Claim | None = None
        self.busy_until = 0.0
        self.lives = 0
        self.seen_done: set[str] = set()


class Simulation:
    """Three machines, one queue, and a seed that decides everything."""

    def __init__(self, seed: int, path: Path) -> None:
        self.luck = random.Random(seed)
        self.path = path
        self.clock = VirtualClock()
        self.network = MemoryNetwork(self.clock, seed=seed)
        self.hosts = [Host(name) for name in HOSTS]
        self.cut: set[tuple[str, str]] = set()
        self.put: list[str] = []
        self.worked: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    async def run(self) -> None:
        """Chaos, then peace, then what everybody must agree about."""
        for host in self.hosts:
            await self.boot(host)
        for _ in range(CHAOS_S):
            await self.tick(chaos=True)
        self.heal()
        for _ in range(PEACE_S):
            await self.tick(chaos=False)
            if all(self.words(host) == self.words(self.hosts[0]) and self.is_done(host) for host in self.hosts):
                break
        await self.clock.advance(60)
        self.look()
        self.judge()

    # --- what happens --------------------------------------------------------------------------------------------

    async def tick(self, *, chaos: bool) -> None:
        for host in self.luck.sample(self.hosts, len(self.hosts)):
            if host.store is None:
                if not chaos or self.luck.random() < 0.1:
                    await self.boot(host)
            elif chaos and self.luck.random() < 0.02:
                await self.crash(host)
            else:
                self.act(host, puts=chaos)
        if chaos and self.luck.random() < 0.15:
            self.cut_or_heal(self.luck.choice(list(combinations(HOSTS, 2))))
        await self.clock.advance(1)
        self.look()

    def act(self, host: Host, *, puts: bool) -> None:
        queue = host.queue
        assert queue is not None
        if puts and self.luck.random() < 0.1:
            self.put.append(queue.put(len(self.put)))
        if host.claim is None:
            self.begin(host, queue)
        elif host.claim.is_lost and self.luck.random() < 0.5:
            self.met["lost, and given up"] += 1
            host.claim = None
        elif self.clock.monotonic() >= host.busy_until:
            self.end(host, host.claim)

    def begin(self, host: Host, queue: WorkQueue) -> None:
        before = self.words(host)
        host.claim = queue.claim()
        if host.claim is not None:
            word = before[host.claim.id]
            assert word.phase in (Phase.OPEN, Phase.CLAIMED)
            self.met["taken over"] += word.phase is Phase.CLAIMED
            host.busy_until = self.clock.monotonic() + self.luck.choice([0, 1, 3, 10, 30])

    def end(self, host: Host, claim: Claim) -> None:
        host.claim = None
        fate = self.luck.random()
        if fate < 0.1:
            claim.fail("bad luck")
        elif fate < 0.2:
            claim.release()
        else:
            self.worked[claim.id] += 1
            self.met["finished too late"] += not claim.complete(f"{host.name}{host.lives}")

    def cut_or_heal(self, pair: tuple[str, str]) -> None:
        if pair in self.cut:
            self.cut.discard(pair)
            self.network.heal(*pair)
        else:
            self.cut.add(pair)
            self.network.cut(*pair)

    def heal(self) -> None:
        for pair in self.cut:
            self.network.heal(*pair)
        self.cut.clear()

    async def boot(self, host: Host) -> None:
        host.lives += 1
        life, numbers = f"{host.name}{host.lives}", iter(range(10**6))
        store = AgentStateStore(
            "sim", host.name, transport=self.network.transport(host.name), clock=self.clock, path=self.path / host.name
        )
        peers = [(name, 9000) for name in HOSTS if name != host.name]
        await self.finish(store.start(peers=peers, sync_timeout_s=2))
        room = Room(store, "r", fresh_id=lambda: f"{life}-{next(numbers)}")
        room.enter()
        host.store, host.queue, host.claim = store, room.queue("q"), None

    async def crash(self, host: Host) -> None:
        """As when its machine loses power: nobody hears a goodbye. What it wrote is on its disk."""
        store, host.store, host.queue = host.store, None, None
        assert store is not None
        self.met["crashed at work"] += host.claim is not None
        pairs = [pair for pair in combinations(HOSTS, 2) if host.name in pair]
        for pair in pairs:
            self.network.cut(*pair)
        self.network.crash(host.name)
        await self.finish(store.stop())
        for pair in pairs:
            if pair not in self.cut:
                self.network.heal(*pair)

    async def finish(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.clock.advance(0.1)
        await task

    # --- what must be true ---------------------------------------------------------------------------------------

    def words(self, host: Host) -> dict[str, Word]:
        return {} if host.queue is None else {name: host.queue.word(name) for name in self.put}

    def is_done(self, host: Host) -> bool:
        return {word.phase for word in self.words(host).values()} <= {Phase.DONE} and host.queue is not None

    def look(self) -> None:
        """At every moment: what a replica saw done stays done, also over its restarts."""
        for host in self.hosts:
            if host.queue is None:
                continue
            done = {name for name, word in self.words(host).items() if word.phase is Phase.DONE}
            assert host.seen_done <= done, f"{host.name} sees undone: {host.seen_done - done}"
            host.seen_done = done
            assert not done & {task.id for task in host.queue.tasks()}
            self.met["contested"] += bool(host.queue.contested())

    def judge(self) -> None:
        first = self.words(self.hosts[0])
        assert set(first) == set(self.put)
        for host in self.hosts:
            assert self.words(host) == first
            assert self.is_done(host)
            assert host.queue is not None
            assert host.queue.claim() is None
        for name, word in first.items():
            assert self.worked[name] >= 1
            assert str(word.result)[0] == word.agent

    async def close(self) -> None:
        for host in self.hosts:
            if host.store is not None:
                await self.finish(host.store.stop())


MET: Counter[str] = Counter()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_is_done_and_all_agree_by_whom(seed: int, tmp_path: Path) -> None:
    async def main() -> None:
        simulation = Simulation(seed, tmp_path)
        try:
            await simulation.run()
        finally:
            await simulation.close()
        MET.update(simulation.met)

    asyncio.run(main())
