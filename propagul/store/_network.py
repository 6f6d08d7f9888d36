"""The network half of a store: port, mesh, members, catching up, acknowledgements, tunnels.

Everything here runs in one event loop, the store's home; the store brings calls from other threads home.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from propagul.errors import LinkError, NotReplicated, SyncTimeout
from propagul.gossip import GossipNode
from propagul.link import Address, NodeId, Purpose
from propagul.link.local import is_local
from propagul.store import _leaf
from propagul.store._addresses import advertised
from propagul.store._company import company
from propagul.store._invites import let_join
from propagul.store._mesh import Mesh
from propagul.store._ownership import MEMBERS
from propagul.store._report import PeerSync, SyncReport
from propagul.store._spaces import GOSSIPED, PRESENCE, STATE
from propagul.store._tunnels import Tunnels, carrying_bytes
from propagul.store._twins import TwinWatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from propagul.crdt import Change, Dot
    from propagul.link import ByteLink, Link, Listener
    from propagul.store._parts import Parts
    from propagul.store._report import Member
    from propagul.store._targets import Target

_GOODBYE_S = 2.0
_ASK_AGAIN_S = 0.2
_ENROL_S = 0.25
_LINKS_S = 60.0
_WORDS_PER_S = 50
"""Members of a large room change what they say of themselves so often, all together."""


class Network:
    """Made by `start`, ended by `stop`. Not reusable."""

    def __init__(self, parts: Parts) -> None:
        self.loop = asyncio.get_running_loop()
        self.addresses: tuple[Address, ...] = ()
        self._parts = parts
        self._me = parts.transport.node
        jitter = random.Random()  # noqa: S311 - spreads timers, no secret
        self._processes = parts.processes
        called = self._me if self._processes is None else self._processes.node
        sealed = parts.spaces[STATE].sealed
        rules = "" if sealed is None else sealed.rules
        told = {name: parts.spaces[name] for name in GOSSIPED}
        self._node = GossipNode(
            called,
            parts.label,
            told,
            parts.config,
            jitter,
            patient=(PRESENCE,),
            rules=rules,
            directions=_leaf.DIRECTIONS if parts.leaf else {},
        )
        self.mesh = Mesh(self._node, parts.transport, parts.config, parts.clock, parts.pressure)
        self.roll, self._company = (_leaf.company if parts.leaf else company)(parts, self.mesh)
        self._tunnels = Tunnels(parts.transport, self.mesh, self, parts.tunnel_handler, parts.questions.serve)
        at_home = self.loop.call_soon_threadsafe
        self._twins = TwinWatch(MEMBERS + self._me, parts.clock, parts.config, at_home, self._answer_twin)
        self._unwatch: Callable[[], None] = lambda: None
        self._listener: Listener | None = None
        self._listen: Address | None = None
        self._advertise: Sequence[tuple[str, int]] | None = None
        self._port_trouble = ""
        self._at_door = False
        self._peers: dict[Address, Target | None] = {}
        self._runner: asyncio.Task[None] | None = None

    async def open(self, listen: Address | None, advertise: Sequence[tuple[str, int]] | None) -> None:
        """Listen, if the door of our directory is ours or there is none, and start the tasks.

        Raises:
            LinkError: The port is taken or the address is not ours. Nothing is left open.
        """
        self._listen, self._advertise = listen, advertise
        self._at_door = self._processes is None or await self._processes.try_door()
        self._parts.proofs.tend_in(self.loop, self._tend_keys)
        if self._at_door:
            await self._open_port()
        self._unwatch = self._parts.spaces[PRESENCE].listen(self._hear)
        self.roll.begin()
        started = asyncio.Event()
        works: list[Callable[[], Awaitable[None]]] = [self._enrol_forever, self._tunnels.run]
        works += [] if self._processes is None else [functools.partial(self._processes.run, self)]
        self._runner = asyncio.create_task(self.mesh.run(started, self._chores, *works))
        await started.wait()
        if self._at_door:
            self._company.begin()

    async def close(self) -> None:
        """Say goodbye, close the port and every link, leave the door. Idempotent."""
        try:
            if self._runner is not None:
                await self._say_goodbye(self._runner)
        finally:
            if self._processes is not None:
                await self._processes.close()

    async def _say_goodbye(self, runner: asyncio.Task[None]) -> None:
        self._runner = None
        self._unwatch()
        self.roll.leave()
        self.mesh.pushes.wrote(PRESENCE)  # the store has let go of this network already and would not push it
        await self.mesh.until(self._goodbye_heard, _GOODBYE_S)
        if self._listener is not None:
            await self._listener.aclose()
        runner.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await runner
        await self.mesh.close()

    async def catch_up(self, peers: Sequence[Address], timeout_s: float, require_peers: int) -> SyncReport:
        """Wait for every named peer that answers, at most `timeout_s`; without the door, for the process that has it.

        Raises:
            SyncTimeout: Fewer than `require_peers` had handed over their state in time.
        """
        before, peers = self._rows_received(), peers or self._company.last_given()
        self._peers = {address: self.mesh.keep([address]) if self._at_door else None for address in peers}
        if self._processes is not None and not self._at_door:
            self._processes.begin()
        await self.mesh.until(self._all_settled, timeout_s)
        report = SyncReport(peers=self._outcomes(peers), rows=self._rows_received() - before)
        counted = sum(peer.caught_up and not peer.recovering for peer in report.peers)
        if counted < (require_peers if self._at_door else min(require_peers, 1)):
            raise SyncTimeout(
                f"{counted} of the {require_peers} required peers had handed over their state after {timeout_s:g} s: "
                + "; ".join(f"{peer.address}: {peer.trouble or 'not caught up'}" for peer in report.peers)
            )
        self._node.recovering = False
        if self._processes is not None:
            self._processes.begin()
        return report

    async def replicated(self, dots: Sequence[Dot], peers: int, timeout_s: float) -> None:
        """Wait until `peers` linked members said that they have applied and logged these writes.

        Raises:
            NotReplicated: They did not in time.
        """
        deadline = self._parts.clock.monotonic() + timeout_s
        self.mesh.pushes.hurry()
        while True:
            left_s = max(0.0, deadline - self._parts.clock.monotonic())
            if self._processes is None or self._at_door:
                reached = await self.logged(dots, peers, left_s)
            else:
                reached = await self._processes.logged(dots, peers, left_s)
            if reached >= peers or not left_s:
                break
            await self._parts.clock.wait(asyncio.Event(), min(left_s, _ASK_AGAIN_S))  # the door may change hands
        if reached < peers:
            raise NotReplicated(
                f"{reached} of {peers} peers had logged the newest write after {timeout_s:g} s; "
                f"{self._linked_words()}. The write is safe here and goes on replicating"
            )

    async def logged(self, dots: Sequence[Dot], peers: int, timeout_s: float) -> int:
        """How many linked members have logged these writes, once `peers` have or the time is up."""

        def reached() -> int:
            return sum(not is_local(node) for node in self._node.logged_by(STATE, dots))

        await self.mesh.until(lambda: reached() >= peers, timeout_s)
        return reached()

    def add_peer(self, address: Address) -> None:
        """Stay linked with an address from now on; without the door, from when this process has it."""
        if all(address not in target.addresses for target in self.mesh.targets):
            self._peers[address] = self.mesh.keep([address]) if self._at_door else None

    def remove_peer(self, address: Address) -> None:
        """Stop dialling an address and close the link to who answered there."""
        self._peers.pop(address, None)
        for target in self.mesh.targets:
            if target.addresses == (address,):
                self.mesh.release(target)
                if target.node is not None:
                    self.mesh.drop(target.node, "removed by the user")

    def linked(self) -> set[NodeId]:
        """Which members are linked now; other processes of our directory are none."""
        return {node for node in self._node.linked() if not is_local(node)}

    def members(self) -> list[Member]:
        """Who can be reached, or could a moment ago; this store left out."""
        return self.roll.heard_within(self._parts.config.presence_ttl_s)

    @property
    def door(self) -> str:
        """Who listens and dials for our directory, in words; empty if it is not shared."""
        return "" if self._processes is None else self._processes.said()

    def troubles(self) -> list[str]:
        """Why peers that we want to be linked with are not, in words.

        A peer that is merely away is no trouble as long as another one is linked.
        """
        linked = self.linked()
        apart = [t for t in self.mesh.targets if t.trouble and t.node not in linked and t.transport is None]
        troubles = [target.trouble for target in apart if target.refused or not linked]
        return troubles + self._company.troubles() + self._local_troubles()

    async def open_tunnel(self, node: NodeId) -> ByteLink:
        """A tunnel to a member; see `Tunnels.open`.

        Raises:
            LinkError: It cannot be dialled and cannot dial back.
        """
        return await self._tunnels.open(node)

    async def query(self, node: NodeId, route: str, arguments: object) -> object:
        """What a member answers; see `Tunnels.query`."""
        return await self._tunnels.query(node, route, arguments)

    def announced(self, node: NodeId) -> tuple[Address, ...]:
        """Where a member says that it listens."""
        said = self.roll.find(node)
        return () if said is None else said.addresses

    def addresses_of(self, node: NodeId) -> list[Address]:
        """Where a member may be dialled, the address that already carries gossip first."""
        dialled = [a for target in self.mesh.targets if target.node == node for a in target.addresses]
        known = [*self.announced(node), *dialled]
        remote = self.mesh.address_of(node)
        return sorted(dict.fromkeys(known), key=lambda address: address != remote)

    # --- inside --------------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[Purpose, Callable[[Link], Awaitable[None]]]:
        handlers: dict[Purpose, Callable[[Link], Awaitable[None]]] = {
            Purpose.GOSSIP: self.mesh.carry,
            Purpose.QUERY: self._parts.questions.serve,
        }
        if self._parts.tunnel_handler is not None:
            serve = self._parts.tunnel_handler
            handlers[Purpose.TUNNEL] = lambda link: serve(carrying_bytes(link))
        credentials, invites = self._parts.credentials, self._parts.invites
        if credentials is not None and credentials.authority is not None and invites is not None:
            handlers[Purpose.JOIN] = lambda link: let_join(link, credentials, invites)
        return handlers

    async def _open_port(self) -> None:
        """Listen, and tell the room of it.

        Raises:
            LinkError: The port is taken or the address is not ours.
        """
        if self._listen is not None:
            self._listener = await self._parts.transport.listen(self._listen, self._handlers())
            self.addresses = advertised(self._listener.address, self._advertise)
        self._enrol()

    def _hear(self, change: Change, local: bool) -> None:  # noqa: FBT001 - a listener's signature
        self._twins.hear(change, local)
        if not local and change.key.startswith(MEMBERS):
            self.roll.hear(change.key, change.after.winner)
            self.loop.call_soon_threadsafe(self.mesh.links_changed.set)

    def _answer_twin(self) -> None:
        if self._at_door and self._runner is not None:
            self._enrol(again=True)

    async def tend_door(self) -> None:
        """The door is ours: dial whom we know, and listen as soon as the port is free."""
        if not self._at_door:
            self._at_door, self._port_trouble = True, "the port is not open yet"
            self._peers = {address: self.mesh.keep([address]) for address in self._peers}
            self._company.begin()
        if self._port_trouble:
            try:
                await self._open_port()
            except LinkError as error:
                self._port_trouble = str(error)
            else:
                self._port_trouble = ""

    async def pause(self) -> None:
        """Wait for the next round of looking at the directory."""
        await self._parts.clock.wait(asyncio.Event(), self._parts.config.presence_interval_s)

    def _linked_words(self) -> str:
        if self._processes is None or self._at_door:
            return f"{len(self.linked())} are linked"
        return f"{self._processes.said()} holds the door of this directory and was asked"

    def _local_troubles(self) -> list[str]:
        troubles = self._twins.trouble() + ([self._port_trouble] if self._port_trouble else [])
        return troubles + ([] if self._processes is None else self._processes.troubles(self._node.linked()))

    def _enrol(self, *, again: bool = False) -> None:
        listens = [[address.host, address.port] for address in self.addresses]
        row = {"label": self._parts.label, "addresses": listens, **self._parts.proofs.announcement()}
        self.roll.enrol(self._twins.mark(row), again=again)

    def _tend_keys(self) -> None:
        """Have the keys be what the room knows of them, and say which certificate is our newest."""
        if self._runner is not None:
            self._parts.proofs.tend(self.roll.certificates() if self._at_door else None)
            if self._at_door:
                self._enrol()

    async def _enrol_forever(self) -> None:
        """Say with whom we are linked whenever that changes, but not once for each of many links.

        Where not everybody is linked, one link more or less matters little, and everybody hears of it: the larger the
        room, the longer it waits.
        """
        while True:
            await self._parts.clock.wait(self.mesh.links_changed, _LINKS_S)
            if self._node.sparse:
                patience_s = min(len(self.roll.members) / _WORDS_PER_S, self._parts.config.presence_ttl_s / 2)
                await self._parts.clock.wait(asyncio.Event(), patience_s)
            self.mesh.links_changed.clear()
            if self._at_door:
                self._enrol()
            self._look()
            await self._parts.clock.wait(asyncio.Event(), _ENROL_S)

    def _look(self) -> None:
        self.roll.look()
        together = self._node.passing_on().union(self.roll.passing_on())
        self.mesh.be_sparse(len(together) > self._parts.config.peers_max)

    def _chores(self) -> None:
        self._twins.look()
        self._parts.presence.tend(
            self._parts.config.presence_interval_s, is_member=self.roll.is_member, members=len(self.roll.members)
        )
        self._look()  # after that: who was forgotten just now may be back by the next round, and must be missed first
        if self._at_door:
            self._company.tend()
        self._tend_keys()
        for name, served in self._node.served().items():
            self._parts.spaces[name].tidy(functools.partial(operator.ge, served))

    def _all_settled(self) -> bool:
        """Whether there is nothing more to wait for before `start` returns."""
        if self._at_door:
            return all(self._settled(target) for target in self._peers.values() if target is not None)
        assert self._processes is not None
        return self._processes.is_cut_off or any(map(self._caught_up, self._processes.holders()))

    def _outcomes(self, peers: Sequence[Address]) -> tuple[PeerSync, ...]:
        if self._at_door:
            targets = [self._peers.get(address) for address in peers]
            return tuple(self._outcome(target) for target in targets if target is not None)
        assert self._processes is not None
        outcomes = [self._outcome(target) for target in self._processes.holders()]
        said, trouble = self._processes.said(), "it holds the door of this directory and did not answer"
        first = next((found for found in outcomes if found.caught_up), PeerSync(address=said, trouble=trouble))
        return (replace(first, address=said),)

    def _settled(self, target: Target) -> bool:
        """Whether there is nothing more to wait for: it did not answer, or all it had is here."""
        if not target.tried.is_set():
            return False
        return (target.node not in self.linked() and bool(target.trouble)) or self._caught_up(target)

    def _caught_up(self, target: Target) -> bool:
        return target.node is not None and self._node.caught_up_with(target.node)

    def _outcome(self, target: Target) -> PeerSync:
        hello = None if target.node is None else self._node.hello_of(target.node)
        return PeerSync(
            address=str(target.addresses[0]),
            node=target.node,
            label="" if hello is None else hello.label,
            caught_up=self._caught_up(target),
            recovering=hello is not None and hello.recovering,
            trouble=target.trouble,
        )

    def _rows_received(self) -> int:
        return self._parts.spaces[STATE].traffic.remote_rows

    def _goodbye_heard(self) -> bool:
        return self._node.logged_by(PRESENCE, self._parts.spaces[PRESENCE].own_dots()) >= self._node.given(PRESENCE)
