"""Scenarios over TCP and TLS on loopback: every dial goes through a small relay that can be told to fail."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from propagul import GossipConfig
from propagul.errors import LinkError
from propagul.link import Address, Credentials, Identity, RoomAuthority, TcpTransport
from propagul.store import SystemClock
from propagul.testing.network import RETRANSMISSIONS_MAX, RETRANSMIT_S
from tests.scenarios.world import ROOM, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from propagul.link import Link, Listener, NodeId, Purpose, Refusal

SECRET = "correct-horse-battery-staple-9"
_CHUNK_BYTES = 64 * 1024


class TcpWorld(World):
    """The same stores on real sockets in real time, with `GossipConfig.test()`, which is about seven times as fast."""

    pace = GossipConfig.test().presence_ttl_s / GossipConfig.lan().presence_ttl_s
    is_exact = False

    def __init__(self, nodes: Iterable[str], where: Path, seed: int) -> None:
        self.relays = RelayNetwork(seed, self.pace)
        super().__init__(nodes, where, self.relays, SystemClock(), GossipConfig.test())

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def finish(self, work: Awaitable[object]) -> None:
        await work

    async def stop(self) -> None:
        await super().stop()
        await self.relays.aclose()

    def _bound_s(self) -> float:
        return 5 * super()._bound_s()  # a machine that is busy with other things is no fault of the protocol


@dataclass(eq=False)
class _Wire:
    """One connection through a relay: who dialled, who was dialled, and the sockets to both."""

    ends: tuple[str, str]
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class RelayNetwork:
    """Loopback TCP between named hosts, with the ways to fail of a `MemoryNetwork`. For one event loop.

    Args:
        seed: Decides what `lose` loses.
        pace: How long a second of a retransmission takes.
    """

    def __init__(self, seed: int, pace: float) -> None:
        self.ports: dict[str, int] = {}
        self._luck, self._pace = random.Random(seed), pace
        self._authority = RoomAuthority.from_secret(ROOM, SECRET)
        self._credentials: dict[str, Credentials] = {}
        self._ways: dict[tuple[str, str], asyncio.Server] = {}
        self._wires: set[_Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut: set[frozenset[str]] = set()
        self._clogged: set[tuple[str, str]] = set()
        self._unclogged = asyncio.Event()
        self._delays: dict[frozenset[str], float] = {}
        self._losses: dict[frozenset[str], float] = {}

    def transport(self, host: str) -> RelayedTransport:
        if host not in self._credentials:
            self._credentials[host] = Credentials.from_authority(Identity.generate(), self._authority)
        return RelayedTransport(TcpTransport(self._credentials[host], half_open_per_host_max=64), self, host)

    def cut(self, a: str, b: str) -> None:
        self._cut.add(frozenset((a, b)))
        self.break_links(a, b)

    def heal(self, a: str, b: str) -> None:
        self._cut.discard(frozenset((a, b)))

    def clog(self, source: str, target: str) -> None:
        self._clogged.add((source, target))

    def unclog(self, source: str, target: str) -> None:
        self._clogged.discard((source, target))
        self._unclogged.set()

    def delay(self, a: str, b: str, seconds: float) -> None:
        self._delays[frozenset((a, b))] = seconds

    def lose(self, a: str, b: str, share: float) -> None:
        self._losses[frozenset((a, b))] = share

    def break_links(self, a: str, b: str) -> int:
        broken = [wire for wire in self._wires if set(wire.ends) == {a, b}]
        for wire in broken:
            wire.abort()
        return len(broken)

    async def way(self, source: str, target: str) -> Address:
        """Where the relay from one host to another listens."""
        if (source, target) not in self._ways:

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await self._serve(source, target, reader, writer)

            self._ways[source, target] = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = self._ways[source, target].sockets[0].getsockname()[:2]
        return Address(host, port)

    async def aclose(self) -> None:
        """Close every relay."""
        for server in self._ways.values():
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, source: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._carries(source, target):
                await self._relay(source, target, reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the run; start_server's own callback would log it
        except OSError:
            pass  # nobody listens there
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _relay(
        self, source: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.ports.get(target, 1))
        wire = _Wire((source, target), (writer, far_writer))
        self._wires.add(wire)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(source, target, reader, far_writer, wire))
                group.create_task(self._pump(target, source, far_reader, writer, wire))
        finally:
            self._wires.discard(wire)
            wire.abort()

    async def _pump(
        self, source: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: _Wire
    ) -> None:
        """Pass bytes on, late or not at all; how the source ends, the target hears as late."""
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK_BYTES):
                late_s = self._late_s(source, target)
                if late_s is None:
                    break
                await asyncio.sleep(late_s)
                await self._passable(source, target)
                writer.write(chunk)
                await writer.drain()
        await self._passable(source, target)
        if not writer.is_closing():
            with contextlib.suppress(OSError):
                writer.write_eof()
                return
        wire.abort()

    async def _passable(self, source: str, target: str) -> None:
        while (source, target) in self._clogged:
            self._unclogged.clear()
            await self._unclogged.wait()

    def _carries(self, a: str, b: str) -> bool:
        return frozenset((a, b)) not in self._cut and not self._clogged & {(a, b), (b, a)}

    def _late_s(self, a: str, b: str) -> float | None:
        pair = frozenset((a, b))
        late_s, wait_s, lost = self._delays.get(pair, 0.0), RETRANSMIT_S * self._pace, 0
        while self._luck.random() < self._losses.get(pair, 0.0):
            late_s, wait_s, lost = late_s + wait_s, 2 * wait_s, lost + 1
            if lost > RETRANSMISSIONS_MAX:
                return None
        return late_s


class RelayedTransport:
    """The TCP transport of one host, which dials other hosts by name and through their relays."""

    def __init__(self, inner: TcpTransport, network: RelayNetwork, host: str) -> None:
        self._inner, self._network, self._host = inner, network, host

    @property
    def node(self) -> NodeId:
        return self._inner.node

    async def listen(self, _: Address, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]) -> Listener:
        listener = await self._inner.listen(Address("127.0.0.1", 0), accept)
        self._network.ports[self._host] = listener.address.port
        return listener

    async def dial(self, address: Address, purpose: Purpose, *, expect: NodeId | None = None) -> Link:
        if address.host == self._host:
            raise LinkError(f"{address} is this node itself")
        return await self._inner.dial(await self._network.way(self._host, address.host), purpose, expect=expect)

    def refusals(self) -> list[Refusal]:
        return self._inner.refusals()
