"""A network in memory: named hosts, links between them, and the ways in which networks fail.

Frames arrive in order or not at all, as on TCP: a lost segment is a frame that comes late and holds up those behind it,
or a link that breaks, never a frame that is missing. A link takes a few frames ahead of its reader and then makes the
sender wait.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import logging
import random
from collections import deque
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, IdentityError, LinkError, LocalProtocolError
from propagul.link import FRAME_BYTES_MAX, Address, NodeId, Purpose
from propagul.link.messages import INSTANCE_BYTES, PROTOCOL_VERSION
from propagul.store import SystemClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link import Link, Refusal
    from propagul.store import Clock

FRAMES_AHEAD_MAX = 16
"""Frames under way in one direction before `send` waits."""

RETRANSMIT_S = 0.2
"""A lost frame comes so much later, and twice as late each time it is lost again, as on Linux."""

RETRANSMISSIONS_MAX = 6
"""A frame lost more often than this in a row breaks its link: TCP has tried for about 12 s by then."""

_FLIGHTS = 5
"""Of TCP and of TLS, until the dialled end has an open link; the end that dialled hears of it after one more."""

_EPHEMERAL_PORT = 49_152
_log = logging.getLogger("propagul.testing")


class MemoryNetwork:
    """Hosts that can reach each other, until you say otherwise. For one event loop.

    Args:
        clock: Whose seconds `delay` counts; the machine's if not given.
        seed: Decides which frames `lose` loses.
    """

    def __init__(self, clock: Clock | None = None, *, seed: int = 0) -> None:
        self.clock = clock or SystemClock()
        self._luck = random.Random(seed)  # noqa: S311 - decides what a test meets, no secret
        self._listeners: dict[Address, _MemoryListener] = {}
        self._links: list[_MemoryLink] = []
        self._cut: set[frozenset[str]] = set()
        self._clogged: set[tuple[str, str]] = set()
        self._delays: dict[frozenset[str], float] = {}
        self._losses: dict[frozenset[str], float] = {}
        self._ports = itertools.count(_EPHEMERAL_PORT)
        self._runs = itertools.count(1)

    def transport(self, host: str) -> MemoryTransport:
        """The transport of a host, for `AgentStateStore(transport=...)`. Call again after a crash of that host.

        Each is another run of that host to the others, as of a process that was started again, or of a twin.
        """
        return MemoryTransport(self, host, next(self._runs).to_bytes(INSTANCE_BYTES))

    def cut(self, a: str, b: str) -> None:
        """Break every link between two hosts, losing what is under way, and let no new one open."""
        self._cut.add(frozenset((a, b)))
        self.break_links(a, b)

    def heal(self, a: str, b: str) -> None:
        """Take `cut` back."""
        self._cut.discard(frozenset((a, b)))

    def delay(self, a: str, b: str, seconds: float) -> None:
        """From now on let every frame between two hosts take this long. Frames never overtake each other.

        A link opens after five of them at the dialled end, and after one more at the other.
        """
        self._delays[frozenset((a, b))] = seconds

    def clog(self, source: str, target: str) -> None:
        """Let nothing that `source` sends arrive at `target`; what `target` sends still arrives.

        A one-way partition, or in both directions a cable that is out: links stay open, and neither end is told of
        anything, not even that the other gave up. Between the two no new link opens, which needs both ways.
        """
        self._clogged.add((source, target))

    def unclog(self, source: str, target: str) -> None:
        """Take `clog` back: what waited arrives, on links that are still open at both ends; the others break."""
        self._clogged.discard((source, target))
        for link in [link for link in self._links if (link.remote.host, link.host) == (source, target)]:
            link.reach()

    def lose(self, a: str, b: str, share: float) -> None:
        """Lose this share of the frames between two hosts from now on, as who uses TCP sees it.

        A lost frame comes `RETRANSMIT_S` later, and twice as late each time it is lost again, and holds up what was
        sent after it; after `RETRANSMISSIONS_MAX` times the link breaks. 0 loses none.
        """
        self._losses[frozenset((a, b))] = share

    def break_links(self, a: str, b: str) -> int:
        """Break the links that two hosts have now, losing what is under way; return how many there were."""
        broken = [link for link in self._links if {link.host, link.remote.host} == {a, b}]
        for link in broken:
            link.fail()
        return len(broken) // 2

    def crash(self, host: str) -> None:
        """Break all links of a host and close its ports, as when its machine loses power."""
        for address in [address for address in self._listeners if address.host == host]:
            self._listeners.pop(address).stop()
        for link in [link for link in self._links if link.host == host]:
            link.fail()

    async def _dial(self, host: str, instance: bytes, address: Address, purpose: Purpose) -> _MemoryLink:
        late_s = self._delays.get(frozenset((host, address.host)), 0.0)
        if late_s:
            await self.clock.wait(asyncio.Event(), _FLIGHTS * late_s)
        link = self._connect(host, instance, address, purpose)
        if late_s:
            try:
                await self.clock.wait(asyncio.Event(), late_s)
            except BaseException:  # whoever gave up dialling, nobody has the link
                link.abort()
                raise
        return link

    def _connect(self, host: str, instance: bytes, address: Address, purpose: Purpose) -> _MemoryLink:
        listener = self._listeners.get(address)
        if listener is None or not self._carries(host, address.host):
            raise LinkError(f"nobody answers at {address}")
        if purpose not in listener.accept:
            raise LinkError(f"{address} serves no links for {purpose}")
        here = _MemoryLink(self, host, address, purpose, dialed=True, instance=listener.instance)
        remote = Address(host, next(self._ports))
        there = _MemoryLink(self, address.host, remote, purpose, dialed=False, instance=instance)
        here.other, there.other = there, here
        self._links += [here, there]
        listener.serve(there)
        return here

    def _carries(self, a: str, b: str) -> bool:
        return frozenset((a, b)) not in self._cut and not self._clogged & {(a, b), (b, a)}

    def _late_s(self, a: str, b: str) -> float | None:
        """How long a frame takes that is sent now; None if it is lost for good."""
        pair = frozenset((a, b))
        late_s, wait_s, lost = self._delays.get(pair, 0.0), RETRANSMIT_S, 0
        while self._luck.random() < self._losses.get(pair, 0.0):
            late_s, wait_s, lost = late_s + wait_s, 2 * wait_s, lost + 1
            if lost > RETRANSMISSIONS_MAX:
                return None
        return late_s


class MemoryTransport:
    """One host's way into a `MemoryNetwork`. Implements `propagul.link.base.Transport`."""

    def __init__(self, network: MemoryNetwork, host: str, instance: bytes) -> None:
        self._network, self._host, self._instance = network, host, instance

    @property
    def node(self) -> NodeId:
        """This host's identity: a function of its name."""
        return _identity(self._host)

    async def listen(
        self, address: Address, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]
    ) -> _MemoryListener:
        """Accept links at this host's name and the address's port (0: the next free one).

        Raises:
            LinkError: The port is taken.
        """
        taken = {other.port for other in self._network._listeners if other.host == self._host}  # noqa: SLF001 - one module
        port = address.port or next(free for free in itertools.count(9000) if free not in taken)
        if port in taken:
            raise LinkError(f"port {port} on {self._host} is taken by another program: choose another port")
        listener = _MemoryListener(self._network, Address(self._host, port), accept, self._instance)
        await listener.open()
        return listener

    async def dial(self, address: Address, purpose: Purpose, *, expect: NodeId | None = None) -> _MemoryLink:
        """Open a link.

        Raises:
            LinkError: Nobody listens there, the way is cut, or it is this host itself.
            IdentityError: The host is not `expect`.
        """
        if address.host == self._host:
            raise LinkError(f"{address} is this node itself")
        link = await self._network._dial(self._host, self._instance, address, purpose)  # noqa: SLF001 - one module
        if expect is not None and link.peer != expect:
            link.abort()
            raise IdentityError(f"{address} is {link.peer}, expected was {expect}")
        return link

    def refusals(self) -> list[Refusal]:
        """Nobody is a stranger here."""
        return []


class _MemoryListener:
    """An open port; owns the tasks of the links it accepted until the last one ends."""

    def __init__(
        self,
        network: MemoryNetwork,
        address: Address,
        accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]],
        instance: bytes,
    ) -> None:
        self.address, self.accept, self.instance = address, accept, instance
        self._network = network
        self._closed = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._owner: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the port."""
        started = asyncio.Event()
        self._owner = asyncio.create_task(self._own_tasks(started))
        await started.wait()
        self._network._listeners[self.address] = self  # noqa: SLF001 - one module

    def serve(self, link: _MemoryLink) -> None:
        """Run the handler of a new link."""
        self._group.create_task(self._serve(link))

    def stop(self) -> None:
        """Accept nothing more."""
        self._closed.set()

    async def aclose(self) -> None:
        """Stop listening; open links stay."""
        if self._network._listeners.get(self.address) is self:  # noqa: SLF001 - one module
            del self._network._listeners[self.address]  # noqa: SLF001 - as above
        self.stop()

    async def _own_tasks(self, started: asyncio.Event) -> None:
        async with self._group:
            started.set()
            await self._closed.wait()

    async def _serve(self, link: _MemoryLink) -> None:
        try:
            await self.accept[link.purpose](link)
        except Exception:  # noqa: BLE001 # supervisor: one link's handler must not end the others
            _log.exception("link.handler_failed")
        finally:
            await link.aclose()


class _MemoryLink:
    """One end of a link. Implements `propagul.link.base.Link`."""

    def __init__(
        self, network: MemoryNetwork, host: str, remote: Address, purpose: Purpose, *, dialed: bool, instance: bytes
    ) -> None:
        self.host, self.remote, self.purpose, self.dialed, self.instance = host, remote, purpose, dialed, instance
        self.other = self
        self._network = network
        self._inbox: deque[tuple[float, bytes]] = deque()
        self._moved = asyncio.Event()
        self._ended = False
        self._broken = asyncio.Event()

    @property
    def peer(self) -> NodeId:
        """Who is at the other end."""
        return _identity(self.remote.host)

    @property
    def version(self) -> int:
        """The protocol version: the newest."""
        return PROTOCOL_VERSION

    async def send(self, frame: bytes) -> None:
        """Queue one frame; wait while the other end is far behind.

        Raises:
            LocalProtocolError: The frame is longer than `FRAME_BYTES_MAX`.
            ClosedError: The link is closed or broke.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes is over {FRAME_BYTES_MAX}")
        while len(self.other._inbox) >= FRAMES_AHEAD_MAX and not self._ended:  # noqa: SLF001 - same class
            self._moved.clear()
            await self._moved.wait()
        late_s = self._network._late_s(self.host, self.remote.host)  # noqa: SLF001 - one module
        if late_s is None:
            self.fail()
        if self._ended or late_s is None:
            raise ClosedError("the link is closed")
        self.other._take(self._network.clock.monotonic() + late_s, frame)  # noqa: SLF001 - same class

    async def receive(self) -> bytes:
        """Return the next frame when it has arrived.

        Raises:
            ClosedError: The link is closed or broke.
        """
        while not self._broken.is_set():
            if self._is_clogged and not self._ended:
                self._moved.clear()
                await self._moved.wait()
            elif self._inbox and not self._is_clogged:
                left_s = self._inbox[0][0] - self._network.clock.monotonic()
                if left_s <= 0:
                    self.other._moved.set()  # noqa: SLF001 - same class
                    return self._inbox.popleft()[1]
                await self._network.clock.wait(self._broken, left_s)
            elif self._ended:
                break
            else:
                self._moved.clear()
                await self._moved.wait()
        raise ClosedError("the link is closed")

    async def aclose(self) -> None:
        """Close; what is under way to the other end still arrives. Idempotent."""
        self._end()
        self.other.reach()

    def abort(self) -> None:
        """Break the link; what is under way to here is lost, and to there, if the other end can be told. Idempotent."""
        self._break()
        self.other.reach()

    def fail(self) -> None:
        """The network breaks the link, both ends at once; what is under way is lost. Idempotent."""
        self._break()
        self.other._break()  # noqa: SLF001 - same class

    def reach(self) -> None:
        """What was sent to here arrives, the end of the link included, unless the way is clogged."""
        if self._is_clogged:
            return
        if self.other._broken.is_set():  # noqa: SLF001 - same class
            self._break()
        elif self.other._ended:  # noqa: SLF001 - as above
            self._end()
        self._moved.set()

    @property
    def _is_clogged(self) -> bool:
        return (self.remote.host, self.host) in self._network._clogged  # noqa: SLF001 - one module

    def _break(self) -> None:
        self._inbox.clear()
        self._broken.set()
        self._end()

    def _take(self, arrives_at: float, frame: bytes) -> None:
        last = self._inbox[-1][0] if self._inbox else 0.0
        self._inbox.append((max(arrives_at, last), frame))
        self._moved.set()

    def _end(self) -> None:
        self._ended = True
        self._moved.set()
        if self in self._network._links:  # noqa: SLF001 - one module
            self._network._links.remove(self)  # noqa: SLF001 - as above


def _identity(host: str) -> NodeId:
    return NodeId(base64.b32encode(hashlib.sha256(host.encode()).digest()).decode().rstrip("=").lower())
