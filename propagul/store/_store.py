"""`AgentStateStore`: the face of replica, log, links and gossip.

Writes and reads work from any thread, before `start` and after; they touch the local replica and log and never wait
for the network. `start` opens the port and catches up; everything that needs the event loop says so.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Self

from propagul.crdt import Origin, Replica
from propagul.errors import IdentityError, LimitExceeded, LocalProtocolError
from propagul.gossip import GossipConfig
from propagul.link import Address, TcpTransport
from propagul.log import StateDirectory
from propagul.store._clock import Clock, SystemClock
from propagul.store._home import Background, at_home
from propagul.store._invites import InviteBook
from propagul.store._map import StateMap
from propagul.store._mesh import MeshCounters
from propagul.store._namespace import Namespace, SharedLog
from propagul.store._network import PRESENCE, STATE, Network, Parts
from propagul.store._presence import Presence
from propagul.store._report import Member, StoreStats, SyncReport
from propagul.store._room import open_room
from propagul.store._values import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from propagul.link import ByteLink, Credentials, NodeId, Refusal, Transport

SYNC_TIMEOUT_S = 10.0
LABEL_CHARS_MAX = 256

OWN = "own"
"""A namespace in the log that gossip never carries: what no member may write, such as the invites made here."""


class AgentStateStore(StateMap):
    """Replicated state that survives crashes.

    Args:
        room: Name of the room; stores of different rooms never merge.
        node_id: What this store calls itself, for people. Identity is a key of its own.
        port: Port to listen on; 0 lets the system choose, None does not listen.
        host: Address to listen on; every interface with a secret, 127.0.0.1 without.
        path: Directory of the event log. Without one the state lives in memory and in the peers.
        secret: The room's secret, else `PROPAGUL_GOSSIP_SECRET`. Who holds it is admin of the room.
        peers: Peers for `async with`, as for `start`.
        limits: Largest local writes.
        config: Timing of gossip.
        credentials: Instead of a secret: an identity with its certificate, as an invited node has.
        advertise: Addresses under which others reach this store; found out by itself if not given.
        transport: Instead of TCP: see `propagul.testing`.
        clock: Instead of the machine's: see `propagul.testing`.

    Raises:
        StoreLocked, StoreCorrupt, StoreError: The directory cannot be opened.
        IdentityError: No secret and not loopback, or an unusable secret or key.
        LimitExceeded: `node_id` is longer than 256 characters.
    """

    def __init__(
        self,
        room: str,
        node_id: int | str = 1,
        port: int | None = 9000,
        host: str | None = None,
        *,
        path: str | Path | None = None,
        secret: str | bytes | None = None,
        peers: Sequence[tuple[str, int]] = (),
        limits: Limits | None = None,
        config: GossipConfig | None = None,
        credentials: Credentials | None = None,
        advertise: Sequence[tuple[str, int]] | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.room, self.label = room, str(node_id)
        if len(self.label) > LABEL_CHARS_MAX:
            raise LimitExceeded("node_id", size=len(self.label), limit=LABEL_CHARS_MAX, unit="characters")
        self._config = config or GossipConfig()
        limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._peers = [Address(*peer) for peer in peers]
        self._port, self._advertise = port, advertise
        where = None if path is None else Path(path)
        self._directory = None if where is None else StateDirectory(where, room)
        try:
            log = None if self._directory is None else SharedLog(self._directory.log)
            self._spaces = {
                name: Namespace(name, Replica(_fresh_origin()), None if name == PRESENCE else log, self._clock.time_ns)
                for name in (STATE, OWN, PRESENCE)
            }
            if log is not None:
                log.recover(self._spaces)
            self._host = host or "127.0.0.1"
            invites: InviteBook | None = None
            if transport is None:
                if credentials is None:
                    credentials, self._host = open_room(room, secret, host, where)
                invites = InviteBook(self._spaces[OWN], credentials.node, self._clock.time_ns)
                transport = TcpTransport(credentials, invites=invites)
            self._invites = invites
            self._credentials, self._transport = credentials, transport
        except BaseException:
            if self._directory is not None:
                self._directory.close()
            raise
        super().__init__(self._spaces[STATE], limits)
        self.presence = Presence(
            self._spaces[PRESENCE],
            ttl_s=self._config.presence_ttl_s,
            monotonic=self._clock.monotonic,
            limits=limits,
        )
        self.presence.on_write(lambda: self._push(PRESENCE))
        self._network: Network | None = None
        self._background: Background | None = None
        self._tunnel_handler: Callable[[ByteLink], Awaitable[None]] | None = None

    # --- the network: in the event loop --------------------------------------------------------------------------

    async def start(
        self,
        peers: Sequence[tuple[str, int]] | None = None,
        *,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
        require_peers: int = 0,
    ) -> SyncReport:
        """Open the port, link with the peers and wait for the state of every one that answers.

        Args:
            peers: `(host, port)` pairs; those who do not answer are dialled for as long as the store runs.
            sync_timeout_s: Longest wait for peers that answer.
            require_peers: How many must have handed over their state; fewer raise.

        Raises:
            SyncTimeout: Fewer than `require_peers` did. The store is stopped again.
            LinkError: The port is taken.
        """
        self._writable()
        if self._network is not None:
            raise LocalProtocolError("the store is started already")
        network = self._network = Network(self._parts())
        self._home = network.loop
        wanted = list(dict.fromkeys(self._peers + [Address(*peer) for peer in peers or ()]))
        try:
            await network.open(self._listen_address(), self._advertise)
            return await network.catch_up(wanted, sync_timeout_s, require_peers)
        except BaseException:
            self._network = self._home = None
            await network.close()
            raise

    async def stop(self) -> None:
        """Say goodbye, close port, links and log. The store cannot be used again; what it stored can. Idempotent."""
        network, self._network, self._home = self._network, None, None
        if network is not None:
            await at_home(network.loop, network.close())
        self._close_local()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def start_background(
        self,
        peers: Sequence[tuple[str, int]] | None = None,
        *,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
        require_peers: int = 0,
    ) -> SyncReport:
        """Like `start`, in an event loop of the store's own thread. For programs without one; end it with `close`."""
        if self._background is not None:
            raise LocalProtocolError("the store is started already")
        self._background = Background(f"propagul-{self.room}")
        try:
            return self._background.call(self.start(peers, sync_timeout_s=sync_timeout_s, require_peers=require_peers))
        except BaseException:
            self._background.end()
            self._background = None
            raise

    def close(self) -> None:
        """Stop a store that was started with `start_background`, or never started. Idempotent."""
        if self._background is not None:
            self._background.call(self.stop())
            self._background.end()
            self._background = None
        elif self._network is not None:
            raise LocalProtocolError("this store runs in your event loop: use `await store.stop()`")
        self._close_local()

    async def flush(self, peers: int = 0, *, timeout_s: float = 10.0) -> None:
        """Return when everything written so far is on the disk and in the logs of `peers` other stores.

        What the log brought back at open counts too. A peer without a directory counts as well: it holds the writes as
        long as it runs. Works from any event loop.

        Raises:
            NotReplicated: Fewer peers said so in time. The writes are safe here and go on replicating.
        """
        await asyncio.to_thread(self._writable().sync)
        dots = self._state.own_dots()
        if peers and dots:
            network = self._started()
            await at_home(network.loop, network.replicated(dots, peers, timeout_s))

    def add_peer(self, host: str, port: int) -> None:
        """Stay linked with an address from now on; before `start` it is remembered for it. Any thread."""
        if self._network is None:
            self._peers.append(Address(host, port))
        else:
            self._network.loop.call_soon_threadsafe(self._network.add_peer, Address(host, port))

    def remove_peer(self, host: str, port: int) -> None:
        """Stop dialling an address and close the link to who answered there. Any thread."""
        address = Address(host, port)
        self._peers = [peer for peer in self._peers if peer != address]
        if self._network is not None:
            self._network.loop.call_soon_threadsafe(self._network.remove_peer, address)

    async def open_tunnel(self, node: NodeId) -> ByteLink:
        """Open a connection to a member for bytes of your own; see `ByteLink.hand_over`. In the store's loop.

        Raises:
            LinkError: The member cannot be dialled.
        """
        return await self._started().open_tunnel(node)

    def on_tunnel(self, handler: Callable[[ByteLink], Awaitable[None]]) -> None:
        """Serve tunnels that members open to this store. Call before `start`; without it they are refused."""
        self._tunnel_handler = handler

    def invite(self, *, expires_s: int = 3600, uses: int = 1) -> str:
        """A token that lets `uses` newcomers become members within `expires_s`, without learning the secret.

        Raises:
            IdentityError: This store does not hold the room's secret, or is not listening.
        """
        network = self._started()
        if self._invites is None or self._credentials is None or self._credentials.authority is None:
            raise IdentityError("only a store that holds the room's secret can invite; this one was invited itself")
        if not network.addresses:
            raise IdentityError("this store does not listen, so nobody could join through it")
        return self._invites.issue(self.room, network.addresses, expires_s=expires_s, uses=uses)

    # --- about itself --------------------------------------------------------------------------------------------

    @property
    def node(self) -> NodeId:
        """This store's identity."""
        return self._transport.node

    @property
    def is_running(self) -> bool:
        """Whether it is started and not stopped."""
        return self._network is not None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others reach this store; empty before `start`."""
        return () if self._network is None else self._network.addresses

    def members(self) -> list[Member]:
        """Other stores of the room heard of recently."""
        return [] if self._network is None else self._network.members()

    def linked(self) -> frozenset[NodeId]:
        """Members with an open link to this store."""
        return frozenset() if self._network is None else frozenset(self._network.linked())

    def troubles(self) -> list[str]:
        """Why peers that this store wants to be linked with are not, in words."""
        return [] if self._network is None else self._network.troubles()

    def refusals(self) -> list[Refusal]:
        """Strangers turned away at the port."""
        return self._transport.refusals()

    @property
    def stats(self) -> StoreStats:
        """Counters and sizes. O(rows)."""
        rows = self._state.rows()
        counters = MeshCounters() if self._network is None else self._network.mesh.counters
        recovery = None if self._directory is None else self._directory.log.recovery
        return StoreStats(
            keys=sum(1 for _, row in rows if row.siblings),
            conflicts=sum(1 for _, row in rows if len(row.siblings) > 1),
            removal_records=sum(1 for _, row in rows if not row.siblings),
            origins=self._state.origins(),
            local_writes=self._state.traffic.local_writes,
            remote_rows=self._state.traffic.remote_rows,
            recovered_records=0 if recovery is None else recovery.records,
            torn_bytes=0 if recovery is None else recovery.torn_bytes,
            links=len(self.linked()),
            links_opened=counters.links_opened,
            links_dropped=counters.links_dropped,
            last_drop=counters.last_drop,
            dials_failed=counters.dials_failed,
            refused=sum(refusal.count for refusal in self.refusals()),
            frames_in=counters.frames_in,
            frames_out=counters.frames_out,
            bytes_in=counters.bytes_in,
            bytes_out=counters.bytes_out,
            callbacks_failed=self._callbacks_failed,
        )

    # --- inside --------------------------------------------------------------------------------------------------

    def _parts(self) -> Parts:
        return Parts(
            label=self.label,
            spaces={name: self._spaces[name] for name in (STATE, PRESENCE)},
            presence=self.presence,
            transport=self._transport,
            config=self._config,
            clock=self._clock,
            credentials=self._credentials,
            invites=self._invites,
            tunnel_handler=self._tunnel_handler,
        )

    def _listen_address(self) -> Address | None:
        return None if self._port is None else Address(self._host, self._port)

    def _started(self) -> Network:
        if self._network is None:
            raise LocalProtocolError("the store is not started: `await store.start()` first")
        return self._network

    def _wrote(self) -> None:
        self._push(STATE)

    def _push(self, space: str) -> None:
        network = self._network
        if network is not None:
            network.mesh.wrote(space)

    def _close_local(self) -> None:
        self._close_map()
        if self._directory is not None:
            self._directory.close()


def _fresh_origin() -> Origin:
    """An origin nobody has: 64 bits from the system, fresh at every open, so that no backup can reuse a dot."""
    return Origin(secrets.randbits(64))
