"""A network in memory: named hosts, links between them, and the ways in which networks fail.

Frames arrive in order or not at all, as on TCP: loss is a link that breaks, never a frame that is missing. A link takes
a few frames ahead of its reader and then makes the sender wait.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import logging
from collections import deque
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, IdentityError, LinkError, LocalProtocolError
from propagul.link import FRAME_BYTES_MAX, Address, NodeId, Purpose
from propagul.link.messages import PROTOCOL_VERSION
from propagul.store import SystemClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link import Link, Refusal
    from propagul.store import Clock

FRAMES_AHEAD_MAX = 16
"""Frames under way in one direction before `send` waits."""

_EPHEMERAL_PORT = 49_152
_log = logging.getLogger("propagul.testing")


class MemoryNetwork:
    """Hosts that can reach each other, until you say otherwise. For one event loop.

    Args:
        clock: Whose seconds `delay` counts; the machine's if not given.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self._listeners: dict[Address, _MemoryListener] = {}
        self._links: list[_MemoryLink] = []
        self._cut: set[frozenset[str]] = set()
        self._delays: dict[frozenset[str], float] = {}
        self._ports = itertools.count(_EPHEMERAL_PORT)

    def transport(self, host: str) -> MemoryTransport:
        """The transport of a host, for `AgentStateStore(transport=...)`. Call again after a crash of that host."""
        return MemoryTransport(self, host)

    def cut(self, a: str, b: str) -> None:
        """Break every link between two hosts, losing what is under way, and let no new one open."""
        self._cut.add(frozenset((a, b)))
        self.break_links(a, b)

    def heal(self, a: str, b: str) -> None:
        """Take `cut` back."""
        self._cut.discard(frozenset((a, b)))

    def delay(self, a: str, b: str, seconds: float) -> None:
        """From now on let every frame between two hosts take this long. Frames never overtake each other."""
        self._delays[frozenset((a, b))] = seconds

    def break_links(self, a: str, b: str) -> int:
        """Break the links that two hosts have now, losing what is under way; return how many there were."""
        broken = [link for link in self._links if {link.host, link.remote.host} == {a, b}]
        for link in broken:
            link.abort()
        return len(broken) // 2

    def crash(self, host: str) -> None:
        """Break all links of a host and close its ports, as when its machine loses power."""
        for address in [address for address in self._listeners if address.host == host]:
            self._listeners.pop(address).stop()
        for link in [link for link in self._links if link.host == host]:
            link.abort()

    def _connect(self, host: str, address: Address, purpose: Purpose) -> _MemoryLink:
        listener = self._listeners.get(address)
        if listener is None or frozenset((host, address.host)) in self._cut:
            raise LinkError(f"nobody answers at {address}")
        if purpose not in listener.accept:
            raise LinkError(f"{address} serves no links for {purpose}")
        here = _MemoryLink(self, host, address, purpose, dialed=True)
        there = _MemoryLink(self, address.host, Address(host, next(self._ports)), purpose, dialed=False)
        here.other, there.other = there, here
        self._links += [here, there]
        listener.serve(there)
        return here


class MemoryTransport:
    """One host's way into a `MemoryNetwork`. Implements `propagul.link.base.Transport`."""

    def __init__(self, network: MemoryNetwork, host: str) -> None:
        self._network, self._host = network, host

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
        listener = _MemoryListener(self._network, Address(self._host, port), accept)
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
        link = self._network._connect(self._host, address, purpose)  # noqa: SLF001 - one module
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
        self, network: MemoryNetwork, address: Address, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]
    ) -> None:
        self.address, self.accept = address, accept
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
            del self._network._listeners[self.address]  # noqa: SLF001
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

    def __init__(self, network: MemoryNetwork, host: str, remote: Address, purpose: Purpose, *, dialed: bool) -> None:
        self.host, self.remote, self.purpose, self.dialed = host, remote, purpose, dialed
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
        if self._ended or self.other._ended:  # noqa: SLF001
            raise ClosedError("the link is closed")
        delays = self._network._delays  # noqa: SLF001 - one module
        delay_s = delays.get(frozenset((self.host, self.remote.host)), 0.0)
        self.other._take(self._network.clock.monotonic() + delay_s, frame)  # noqa: SLF001

    async def receive(self) -> bytes:
        """Return the next frame when it has arrived.

        Raises:
            ClosedError: The link is closed or broke.
        """
        while not self._broken.is_set():
            if self._inbox:
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
        self.other._end()  # noqa: SLF001 - same class

    def abort(self) -> None:
        """Break the link, both ends at once; what is under way is lost. Idempotent."""
        for end in (self, self.other):
            end._inbox.clear()  # noqa: SLF001 - same class
            end._broken.set()  # noqa: SLF001
            end._end()  # noqa: SLF001

    def _take(self, arrives_at: float, frame: bytes) -> None:
        last = self._inbox[-1][0] if self._inbox else 0.0
        self._inbox.append((max(arrives_at, last), frame))
        self._moved.set()

    def _end(self) -> None:
        self._ended = True
        self._moved.set()
        if self in self._network._links:  # noqa: SLF001 - one module
            self._network._links.remove(self)  # noqa: SLF001


def _identity(host: str) -> NodeId:
    return NodeId(base64.b32encode(hashlib.sha256(host.encode()).digest()).decode().rstrip("=").lower())
