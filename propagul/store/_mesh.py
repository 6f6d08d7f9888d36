"""The store's tasks: links, timers and dials around the sans-I/O gossip node.

The only file of the library's upper half that opens tasks. One link is two of them, a reader and a sender; both end
with the link. What is due on a link is computed when the link can take it, so a slow peer costs one half-sent delta.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from propagul.errors import ClosedError, IdentityError, LinkError, PeerProtocolError, StoreError
from propagul.gossip import (
    Drop,
    InThread,
    LinkDown,
    LinkKey,
    LinkUp,
    RateCap,
    Ready,
    Received,
    Settled,
    Tick,
    Wrote,
)
from propagul.link.base import Address, Purpose
from propagul.link.local import is_local
from propagul.link.twins import are_two_runs
from propagul.store._asks import is_ask
from propagul.store._pushes import Pushes
from propagul.store._spaces import STATE
from propagul.store._targets import ASKS_MAX, MeshCounters, Open, Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from propagul.gossip import Effect, Event, GossipConfig, GossipNode
    from propagul.link.base import Link, NodeId, Transport
    from propagul.store._clock import Clock
    from propagul.store._pressure import Pressure

_AFTER_YOU_S = 0.5
_SETTLED: Final = 2
"""So many times `redial_s_max` a link lasts that stays: twins put each other out sooner, in turns of one length."""
_PROCESSES_MAX = 512
"""Links to other processes of our directory, twice as many as processes are expected at most."""

_THREADS: Final = 2
_TURN_BYTES: Final = 64 * 1024
"""Who has taken more bytes of frames, two long ones, lets others have a turn. One by one, a long join took longer."""

CROWD: Final = 4
"""So many times `peers_max` links are borne until the overlay has spread them; a hub has its leaves within it."""

_log = logging.getLogger("propagul.store")


class Mesh:
    """Keeps links to the targets and to whoever links to us, and gossip going on them."""

    def __init__(
        self, node: GossipNode, transport: Transport, config: GossipConfig, clock: Clock, pressure: Pressure
    ) -> None:
        self.node = node
        self.counters = MeshCounters()
        self.on_ask: Callable[[Link, bytes], None] = lambda _, __: None
        self.on_push: Callable[[str], None] = lambda _: None
        self._transport, self._config, self._clock, self._pressure = transport, config, clock, pressure
        self._threads = ThreadPoolExecutor(_THREADS, "propagul-mesh")  # the loop's may be full of who waits for us
        self._cap = RateCap(config.bytes_per_s_max)
        self._open: dict[LinkKey, Open] = {}
        self._keys = itertools.count(1)
        self._targets: list[Target] = []
        self.links_changed = asyncio.Event()
        self._moved = asyncio.Event()
        self._rearm = asyncio.Event()
        self._busy = asyncio.Event()
        self._planned = float("inf")
        self._loop = asyncio.get_running_loop()
        self.pushes = Pushes(self._loop, self._push, config, self._has_processes_only)
        self._group: asyncio.TaskGroup | None = None
        self._closing = False

    async def run(
        self, started: asyncio.Event, chores: Callable[[], None], *works: Callable[[], Awaitable[None]]
    ) -> None:
        """Run until cancelled, and `works` with it. `chores` is called at every presence interval."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            do_chores = functools.partial(self._do_chores, chores)
            tasks: list[Callable[[], Awaitable[None]]] = [self._tick_forever, self._settle_forever, do_chores, *works]
            for task in tasks:
                group.create_task(self._supervised(task, self._config.presence_interval_s))
            started.set()

    async def close(self) -> None:
        """End every link, those that others opened included; on return nothing arrives any more."""
        self._closing = True
        for entry in self._open.values():
            entry.link.abort()
        while self._open:
            self._moved.clear()
            await self._moved.wait()
        self._threads.shutdown(wait=False)

    # --- from the store ------------------------------------------------------------------------------------------

    def learned(self, space: str) -> None:
        """Rows came by another way than a link. Call in the loop."""
        self._obey(self.node.learned(space, self._clock.monotonic()))
        self._feed(Settled(space))
        self._rearm.set()

    def be_sparse(self, sparse: bool) -> None:  # noqa: FBT001 - a switch
        """There are more members than links, or not. Call in the loop."""
        self.node.be_sparse(sparse, self._clock.monotonic())
        self._rearm.set()

    def keep(
        self,
        addresses: Sequence[Address],
        node: NodeId | None = None,
        transport: Transport | None = None,
        *,
        urgent: bool = False,
    ) -> Target:
        """Stay linked with somebody from now on. Call in the loop."""
        target = Target(tuple(addresses), node, transport=transport, urgent=urgent)
        self._targets.append(target)
        assert self._group is not None
        stay = functools.partial(self._stay_linked, target)
        target.task = self._group.create_task(self._supervised(stay, self._config.redial_s_max))
        return target

    def release(self, target: Target) -> None:
        """Stop dialling, and close the link if this end has dialled it."""
        if target in self._targets:
            self._targets.remove(target)
            if target.task is not None:
                target.task.cancel()

    @property
    def peers_max(self) -> int:
        """So many others are linked with all of each other."""
        return self._config.peers_max

    def drop(self, node: NodeId, reason: str) -> None:
        """Close the link to a node, if there is one."""
        link = self.node.linked().get(node)
        if link is not None:
            self._obey([Drop(link, reason)])

    @property
    def targets(self) -> tuple[Target, ...]:
        """Whom we try to stay linked with."""
        return tuple(self._targets)

    def address_of(self, node: NodeId) -> Address | None:
        """The other end of the link to a node, as seen from here."""
        key = self.node.linked().get(node)
        return None if key is None or key not in self._open else self._open[key].link.remote

    def ask(self, node: NodeId, frame: bytes) -> bool:
        """Send a frame that is no gossip on the link to a node; False without a link, or while too many wait for it."""
        key = self.node.linked().get(node)
        entry = None if key is None else self._open.get(key)
        if entry is None or len(entry.asks) >= ASKS_MAX:
            return False
        entry.asks.append(frame)
        entry.ready.set()
        return True

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something on the links makes the condition true, at most `timeout_s`."""
        deadline = self._clock.monotonic() + timeout_s
        while not condition():
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                return False
            self._moved.clear()
            await self._clock.wait(self._moved, min(left_s, 0.5))
        return True

    async def carry(self, link: Link, *, urgent: bool = False) -> None:
        """Gossip on an open link until it ends. The transport's handler for `Purpose.GOSSIP`, and our dials' too."""
        key, entry = LinkKey(next(self._keys)), Open(link)
        if self._closing or self._is_full(link):
            link.abort()
            self._note_drop(f"{link.remote}: no room for another link")
            return
        self._open[key] = entry
        self.on_push(STATE)  # before the link begins, with all there is: without links nobody is told of writes
        self.counters.links_opened += 1
        self.links_changed.set()
        self._feed(LinkUp(key, link.peer, link.dialed, urgent, link.instance))
        try:
            async with asyncio.TaskGroup() as group:
                sender = group.create_task(self._send(key, entry))
                await self._receive(key, link)
                sender.cancel()
        finally:
            self._open.pop(key, None)
            self.links_changed.set()
            self._feed(LinkDown(key))
            link.abort()

    def _is_full(self, newcomer: Link) -> bool:
        """Whether there is no place for one more of its kind: processes of our directory and members count apart."""
        most = _PROCESSES_MAX if is_local(newcomer.peer) else CROWD * self._config.peers_max
        return self._links(alike=newcomer.peer) >= most

    def _links(self, alike: NodeId) -> int:
        return sum(is_local(entry.link.peer) == is_local(alike) for entry in self._open.values())

    # --- tasks ---------------------------------------------------------------------------------------------------

    async def _receive(self, key: LinkKey, link: Link) -> None:
        taken_bytes = 0
        try:
            while True:
                frame = await link.receive()
                self.counters.frames_in += 1
                self.counters.bytes_in += len(frame)
                if is_ask(frame):
                    self.on_ask(link, frame)
                    continue
                self._feed(Received(key, frame))
                if self._pressure.is_pressing:
                    await self._loop.run_in_executor(self._threads, lambda: self._pressure.relieve(block=True))
                taken_bytes += len(frame)
                if taken_bytes > _TURN_BYTES:
                    taken_bytes = 0
                    await asyncio.sleep(0)  # frames that are here already would let nobody else have a turn
        except ClosedError:
            return
        except (PeerProtocolError, StoreError) as error:
            self._note_drop(f"{link.remote}: {error}")

    async def _send(self, key: LinkKey, entry: Open) -> None:
        try:
            while True:
                await entry.ready.wait()
                entry.ready.clear()
                for frame in self._outgoing(key, entry):
                    if isinstance(frame, InThread):
                        await self._loop.run_in_executor(self._threads, frame.run)
                        continue
                    await self._wait_for_rate(len(frame))
                    await entry.link.send(frame)
                    self.counters.frames_out += 1
                    self.counters.bytes_out += len(frame)
                    await asyncio.sleep(0)  # a link that takes everything would let nobody else have a turn
        except ClosedError:
            entry.link.abort()
        except (PeerProtocolError, StoreError) as error:
            self._note_drop(f"{entry.link.remote}: {error}")
            entry.link.abort()

    async def _wait_for_rate(self, size: int) -> None:
        pause_s = self._cap.take(size, self._clock.monotonic())
        if pause_s > 0:
            self.counters.throttled_s += pause_s
            await self._clock.wait(asyncio.Event(), pause_s)

    def _outgoing(self, key: LinkKey, entry: Open) -> Iterator[bytes | InThread]:
        yield from entry.take_asks()
        for frame in self.node.outgoing(key):
            yield frame
            yield from entry.take_asks()

    async def _tick_forever(self) -> None:
        while True:
            due = self.node.next_tick()
            now = self._clock.monotonic()
            self._planned = now + 60.0 if due is None else due
            self._rearm.clear()
            await self._clock.wait(self._rearm, max(self._planned - now, 0.001))
            if self._clock.monotonic() >= self._planned:
                self._feed(Tick())

    async def _settle_forever(self) -> None:
        """Join the rows of long streams, a slice a turn of the loop."""
        while True:
            for space in self.node.busy():
                while self.node.settle(space):  # noqa: ASYNC110 - a turn for the others, not a wait for something
                    await asyncio.sleep(0)
                self._feed(Settled(space))
            await self._busy.wait()
            self._busy.clear()

    @staticmethod
    async def _do_chores(chores: Callable[[], None]) -> None:
        chores()

    async def _stay_linked(self, target: Target) -> None:
        delay_s = 0.1
        never = asyncio.Event()
        if target.transport is None and target.node is not None and target.node < self._transport.node:
            await self._clock.wait(never, _AFTER_YOU_S)  # both know of each other now: the smaller identity dials first
        while True:
            if self._satisfied(target):
                target.tried.set()
                self._moved.clear()
                await self._clock.wait(self._moved, self._config.redial_s_max)
                continue
            link = await self._dial(target)
            target.tried.set()
            self._moved.set()
            if link is not None:
                since = self._clock.monotonic()
                lonely = self.node.overlay.is_urgent(len(self.node.passing_on()))
                await self.carry(link, urgent=target.urgent or lonely)
                target.ousted = self._is_ousted(link)
                if self._clock.monotonic() - since > _SETTLED * self._config.redial_s_max:
                    delay_s = 0.1  # a link that ends sooner may have a reason to; it must not be opened without pause
            await self._clock.wait(never, delay_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads dials, no secret
            delay_s = min(delay_s * 2, self._config.redial_s_max)

    def _is_ousted(self, link: Link) -> bool:
        """Whether there is a link to another run of a node now."""
        key = self.node.linked().get(link.peer)
        return key is not None and are_two_runs(link.instance, self._open[key].link.instance)

    def _satisfied(self, target: Target) -> bool:
        linked = self.node.linked()
        if target.node is None or target.node in linked or target.transport is not None or target.urgent:
            return target.node in linked and not target.ousted
        enough = self._config.active_max - 1 if self.node.sparse else self._config.peers_max
        return len(self.node.passing_on()) >= enough

    async def _dial(self, target: Target) -> Link | None:
        """Try each address once; note why none answered."""
        troubles = []
        target.refused = target.ousted = False
        for address in target.addresses:
            try:
                transport = target.transport or self._transport
                link = await transport.dial(address, Purpose.GOSSIP, expect=target.node)
            except (LinkError, IdentityError) as error:
                troubles.append(str(error))
                target.refused = target.refused or isinstance(error, IdentityError)
                self.counters.dials_failed += 1
            else:
                target.node, target.trouble = link.peer, ""
                return link
        target.trouble = "; ".join(troubles)
        return None

    async def _supervised(self, task: Callable[[], Awaitable[None]], pause_s: float) -> None:
        """Do it, and again after a pause, for ever: what fails in it is told and ends nothing else."""
        never = asyncio.Event()
        while True:
            try:
                await task()
            except Exception:  # noqa: BLE001 # supervisor: one peer's or one step's trouble must not end gossip
                _log.exception("mesh.task_failed")
            await self._clock.wait(never, pause_s)

    # --- the node ------------------------------------------------------------------------------------------------

    def _has_processes_only(self) -> bool:
        return all(is_local(entry.link.peer) for entry in self._open.values())

    def _push(self, space: str) -> None:
        if self._open:
            self.on_push(space)
        self._feed(Wrote(space))

    def _feed(self, event: Event) -> None:
        self._obey(self.node.handle(event, self._clock.monotonic()))
        self._moved.set()
        if self.node.busy():
            self._busy.set()
        due = self.node.next_tick()
        if due is not None and due < self._planned:
            self._rearm.set()

    def _obey(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            entry = self._open.get(effect.link)
            if entry is None:
                continue
            if isinstance(effect, Ready):
                entry.ready.set()
            else:
                self._note_drop(f"{entry.link.remote}: {effect.reason}")
                entry.link.abort()

    def _note_drop(self, reason: str) -> None:
        self.counters.links_dropped += 1
        self.counters.last_drop = reason
        _log.info("link.dropped %s", reason)
