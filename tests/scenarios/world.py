"""Where scenarios happen: real stores with logs on a disk, and a network that can be told to fail.

`World` executes operations and watches what members say of each other all the time; the network, the clock and how
time passes are the business of `SimulatedWorld` and `TcpWorld`, and nothing else is different between the two.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from itertools import combinations, permutations
from typing import TYPE_CHECKING, ClassVar, Protocol

from propagul import AgentStateStore
from tests.scenarios import operations as op
from tests.scenarios.ledger import Ledger, Written, shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable
    from pathlib import Path

    from propagul import GossipConfig
    from propagul.link import Transport
    from propagul.store import Clock

ROOM = "scenarios"
PORT = 9000
NEVER = float("-inf")
SLICE_S = 0.5
"""How often everybody is looked at."""


def bound_s(config: GossipConfig, nodes: int) -> float:
    """How long a healed room takes at most until all hold the same and see each other.

    A link that is dead at one end is noticed at the other after `silence_s_max`. Then both ends dial: they have waited
    for at most 1.2 times `redial_s_max`, and may have to once more if the two dials crossed. News takes a telling a
    hop, and presence twice: that links have changed, and what was forgotten meanwhile.
    """
    hop_s = 1.2 * config.presence_announce_delay_s + 0.25  # a store waits so long before it tells of its links
    return config.silence_s_max + 2 * 1.2 * config.redial_s_max + config.presence_interval_s + 2 * nodes * hop_s


class Network(Protocol):
    """Ways to fail: those of `propagul.testing.MemoryNetwork`."""

    def transport(self, host: str) -> Transport: ...
    def cut(self, a: str, b: str) -> None: ...
    def heal(self, a: str, b: str) -> None: ...
    def clog(self, source: str, target: str) -> None: ...
    def unclog(self, source: str, target: str) -> None: ...
    def delay(self, a: str, b: str, seconds: float) -> None: ...
    def lose(self, a: str, b: str, share: float) -> None: ...
    def break_links(self, a: str, b: str) -> int: ...


class NodeClock:
    """One node's clock: its wall may be wrong, and while its process is paused none of its waits ends."""

    def __init__(self, base: Clock) -> None:
        self.skew_s = 0.0
        self._base = base
        self._going = asyncio.Event()
        self._going.set()

    def time_ns(self) -> int:
        return max(0, self._base.time_ns() + int(self.skew_s * 1e9))

    def monotonic(self) -> float:
        return self._base.monotonic()

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        await self._base.wait(event, timeout_s)
        await self._going.wait()
        return event.is_set()

    @property
    def is_paused(self) -> bool:
        return not self._going.is_set()

    def pause(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()


class World:
    """One run of one scenario.

    Args:
        nodes: Their names, which are their hosts' names, too.
        where: For their disks.
        network: What connects them.
        clock: The true time.
        config: Of every store.
    """

    pace: ClassVar[float]
    """Seconds here for a second of a scenario."""

    is_exact: ClassVar[bool]
    """Whether nothing is late by chance; where other work may stop this one, who is reported down is not judged."""

    def __init__(self, nodes: Iterable[str], where: Path, network: Network, clock: Clock, config: GossipConfig) -> None:
        self.nodes = tuple(nodes)
        self.network, self.clock, self.config = network, clock, config
        self.stores: dict[str, AgentStateStore] = {}
        self.clocks = {node: NodeClock(clock) for node in self.nodes}
        self.ledger = Ledger()
        self.frames: dict[str, int] = {}
        self.downs: Counter[tuple[str, str]] = Counter()
        self._is_presence_due = True
        self._where, self._disks = where, 0
        self._disk: dict[str, Path] = {node: self._fresh_disk() for node in self.nodes}
        self._backups: dict[str, Path] = {}
        self._away: dict[str, set[Written]] = {}
        self._present: dict[str, set[str]] = {}
        self._apart_at: dict[tuple[str, str], float] = {}
        self._apart: set[tuple[str, str]] = set()
        self._downs_due: set[tuple[str, str]] = set()
        self._cut: set[tuple[str, str]] = set()
        self._clogged: set[tuple[str, str]] = set()
        self._wakes_at: dict[str, float] = {}

    # --- what a world brings -------------------------------------------------------------------------------------

    async def let_pass(self, seconds: float) -> None:
        """Let time pass, in this world's seconds."""
        raise NotImplementedError

    async def finish(self, work: Awaitable[object]) -> None:
        """Await what needs time to pass."""
        raise NotImplementedError

    # --- a run ---------------------------------------------------------------------------------------------------

    async def run(self, scenario: op.Scenario) -> None:
        """All of it, from a room that is quiet.

        Raises:
            AssertionError: A promise was broken.
        """
        for node in self.nodes:
            await self._start(node)
        await self._converge(self._bound_s())
        self._is_presence_due = scenario.presence
        for operation in scenario.operations:
            await self.do(operation)

    async def stop(self) -> None:
        """End every store. Idempotent."""
        self.frames = {node: store.stats.frames_in for node, store in self.stores.items()}
        for node in [*self._wakes_at]:
            self._wake(node)
        for node in [*self.stores]:
            await self.finish(self.stores.pop(node).stop())

    async def do(self, operation: op.Operation) -> None:
        """One operation."""
        match operation:
            case op.Write() | op.Delete() | op.Transaction():
                if operation.node in self.stores and operation.node not in self._wakes_at:
                    self._write(operation)
            case op.Crash() | op.Restart() | op.Backup() | op.RestoreBackup() | op.Pause() | op.Skew():
                await self._do_to(operation)
            case op.Pass(seconds):
                await self._let_pass(seconds * self.pace)
            case op.Await(within_s):
                await self._await(self._bound_s() if within_s is None else within_s * self.pace)
            case op.Heal():
                self._heal()
            case _:
                self._fail(operation)

    def _write(self, operation: op.Write | op.Delete | op.Transaction) -> None:
        node = operation.node
        match operation:
            case op.Write(_, key):
                self.ledger.write(self.stores[node], [key], node)
            case op.Delete(_, key):
                self.ledger.delete(self.stores[node], key)
            case op.Transaction(_, pair):
                self.ledger.write(self.stores[node], halves(pair), node)

    def _fail(self, operation: op.Cut | op.CutOneWay | op.Clog | op.Delay | op.Lose | op.Reset) -> None:
        match operation:
            case op.Cut(a, b):
                self._cut.add((a, b))
                self.network.cut(a, b)
            case op.CutOneWay(source, target):
                self._clogged.add((source, target))
                self.network.clog(source, target)
            case op.Clog(a, b):
                self._clogged |= {(a, b), (b, a)}
                self.network.clog(a, b)
                self.network.clog(b, a)
            case op.Delay(a, b, seconds):
                self.network.delay(a, b, seconds * self.pace)
            case op.Lose(share):
                for a, b in combinations(self.nodes, 2):
                    self.network.lose(a, b, share)
            case op.Reset(a, b):
                self.network.break_links(a, b)

    def _heal(self) -> None:
        self._cut.clear()
        self._clogged.clear()
        for node in [*self._wakes_at]:
            self._wake(node)
        for a, b in combinations(self.nodes, 2):
            self.network.lose(a, b, 0.0)
            self.network.delay(a, b, 0.0)
            self.network.heal(a, b)
            self.network.unclog(a, b)
            self.network.unclog(b, a)

    async def _do_to(
        self, operation: op.Crash | op.Restart | op.Backup | op.RestoreBackup | op.Pause | op.Skew
    ) -> None:
        node = operation.node
        match operation:
            case op.Skew(_, seconds):
                self.clocks[node].skew_s = seconds
            case op.Backup():
                if node in self.stores:
                    self._backups[node] = self._copy(node)
            case op.Pause(_, seconds):
                self._pause(node, seconds)
            case op.Crash():
                await self._crash(node)
            case op.Restart():
                await self._restart(node)
            case op.RestoreBackup():
                if node in self.stores and node in self._backups:
                    await self._crash(node)
                    del self._away[node]
                    self._disk[node] = self._backups.pop(node)
                    await self._start(node)
                    held = [self.ledger.held_by(store) for store in self.stores.values()]
                    self.ledger.excuse(set().union(*held, *self._away.values()))

    # --- nodes ---------------------------------------------------------------------------------------------------

    async def _start(self, node: str) -> None:
        self._present[node] = set()
        self._downs_due |= {pair for pair in self._apart if node in pair}  # it may learn of who is gone, and lose that
        store = self.stores[node] = AgentStateStore(
            ROOM,
            node,
            PORT,
            path=self._disk[node],
            config=self.config,
            transport=self.network.transport(node),
            clock=self.clocks[node],
            advertise=[(node, PORT)],
        )
        store.presence.set(f"at/{node}", str(self._disk[node].name))
        peers = [(other, PORT) for other in self.nodes if other != node]
        await self.finish(store.start(peers=peers, sync_timeout_s=self.pace))
        self._away.pop(node, None)

    async def _restart(self, node: str) -> None:
        if node in self.stores:
            self._wake(node)
            store = self.stores.pop(node)
            self._look()
            await self.finish(store.stop())
        await self._start(node)

    async def _crash(self, node: str) -> None:
        """What a kill leaves is what is on the disk in that moment; the process is then ended where none sees it."""
        if node not in self.stores:
            return
        self._wake(node)
        store = self.stores.pop(node)
        self._look()
        self._away[node] = self.ledger.held_by(store)
        left = self._copy(node)
        others = [other for other in self.nodes if other != node]
        for other in others:
            self.network.cut(node, other)
        await self.finish(store.stop())
        for other in others:
            if not self._cut & {(node, other), (other, node)}:
                self.network.heal(node, other)
        self._disk[node] = left

    def _pause(self, node: str, seconds: float) -> None:
        if node not in self.stores:
            return
        self._wakes_at[node] = self.clock.monotonic() + seconds * self.pace
        self.clocks[node].pause()
        for other in self.nodes:
            if other != node:
                self.network.clog(node, other)
                self.network.clog(other, node)

    def _wake(self, node: str) -> None:
        if self._wakes_at.pop(node, None) is None:
            return
        self.clocks[node].go_on()
        for other in self.nodes:
            for way in ((node, other), (other, node)):
                if other != node and way not in self._clogged and other not in self._wakes_at:
                    self.network.unclog(*way)

    def _fresh_disk(self) -> Path:
        self._disks += 1
        return self._where / f"disk{self._disks}"

    def _copy(self, node: str) -> Path:
        return shutil.copytree(self._disk[node], self._fresh_disk())

    # --- looking -------------------------------------------------------------------------------------------------

    async def _let_pass(self, seconds: float) -> None:
        until = self.clock.monotonic() + seconds
        while (left_s := until - self.clock.monotonic()) > 1e-9:
            wakes = [at - self.clock.monotonic() for at in self._wakes_at.values()]
            await self.let_pass(max(0.0, min(left_s, SLICE_S * self.pace, *wakes)))
            for node, at in [*self._wakes_at.items()]:
                if at <= self.clock.monotonic():
                    self._wake(node)
            self._look()

    def _look(self) -> None:
        """Whom does everybody see, and are transactions whole?"""
        self._note_who_is_apart()
        for node, store in self.stores.items():
            if node in self._wakes_at:
                continue
            present = {member.label for member in store.members()}
            for gone in sorted(self._present[node] - present):
                self._note_down(node, gone)
            self._present[node] = present
            for pair in op.PAIRS:
                left, right = (shown(store, half) for half in halves(pair))
                assert left == right, f"{node} shows {left} and {right} of one transaction"

    def _note_who_is_apart(self) -> None:
        now = self.clock.monotonic()
        apart = {(a, b) for a, b in permutations(self.nodes, 2) if b not in self._in_reach_of(a)}
        self._downs_due |= apart - self._apart
        self._apart_at.update(dict.fromkeys(apart, now))
        self._apart = apart

    def _in_reach_of(self, node: str) -> set[str]:
        """Whom a chain of whole links can lead to: what is paused forwards nothing, which its own view must survive."""
        found, border = {node}, [node]
        while border:
            here = border.pop()
            for other in self.stores:
                ways = {(here, other), (other, here)}
                if other not in found and other not in self._wakes_at and not ways & (self._cut | self._clogged):
                    found.add(other)
                    border.append(other)
        return found

    @property
    def _forgotten_s(self) -> float:
        """So long after a member could be reached again it may still be reported down for that, and no longer."""
        config = self.config
        return config.presence_ttl_s + config.presence_interval_s + 2 * 1.2 * config.redial_s_max

    def _note_down(self, node: str, gone: str) -> None:
        """Whoever is reported down was out of reach, and is reported so once for that.

        Raises:
            AssertionError: It was not.
        """
        pair = node, gone
        self.downs[pair] += 1
        if not self.is_exact:
            return
        since_s = self.clock.monotonic() - self._apart_at.get(pair, NEVER)
        assert since_s <= self._forgotten_s, f"{node} reports {gone} down, that was in reach for {since_s:.1f} s"
        assert pair in self._downs_due, f"{node} reports {gone} down twice for one fault"
        self._downs_due.discard(pair)

    def unequal(self) -> str:
        """What is not yet as it must be; empty if nothing is."""
        for node in self.nodes:
            if node not in self.stores or node in self._wakes_at:
                return f"{node} does not run"
            missing = set(self.nodes) - self._present[node] - {node}
            if self._is_presence_due:
                here = self.stores[node].presence.get_all("at/")
                missing |= {other for other in self.nodes if f"at/{other}" not in here}
            if missing:
                return f"{node} does not see {sorted(missing)}"
        digests = {store._state.hello()[0] for store in self.stores.values()}
        return "" if len(digests) == 1 else f"{len(digests)} different version vectors"

    def _bound_s(self) -> float:
        return bound_s(self.config, len(self.nodes))

    async def _await(self, within_s: float) -> None:
        """All are equal in time and show what they must; then nothing happens any more and nobody is lost again."""
        await self._converge(within_s)
        for node, store in self.stores.items():
            self.ledger.check(store, node)
            assert store.get_all() == self.stores[self.nodes[0]].get_all()
        if not self.is_exact:
            return
        downs = self.downs.copy()
        await self._let_pass(1.2 * self.config.presence_ttl_s)
        assert self.downs == downs, f"seen down after all was well: {self.downs - downs}"
        assert not self.unequal(), self.unequal()

    async def _converge(self, within_s: float) -> None:
        until = self.clock.monotonic() + within_s
        self._look()
        while self.unequal():
            assert self.clock.monotonic() < until, f"{self.unequal()}, {within_s:.1f} s after the last fault"
            await self._let_pass(SLICE_S * self.pace)


def halves(pair: str) -> tuple[str, str]:
    """The two keys of a pair."""
    return f"{pair}/left", f"{pair}/right"
