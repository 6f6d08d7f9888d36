"""`AgentStateStore`: the face of replica, log, links and gossip.

Writes and reads work from any thread, before `start` and after; they touch the local replica and log and never wait
for the network. `start` opens the port and catches up; everything that needs the event loop says so.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from propagul.errors import LimitExceeded, LocalProtocolError
from propagul.gossip import GossipConfig
from propagul.link import Address, TcpTransport, open_pins
from propagul.store._clock import Clock, SystemClock
from propagul.store._disk import Disk, Keep
from propagul.store._durability import Durability
from propagul.store._eviction import MEMORY_BYTES
from propagul.store._flushing import DurableMap
from propagul.store._fork import INHERITED, tell_children
from propagul.store._history import Past
from propagul.store._home import Background, at_home
from propagul.store._invites import InviteBook
from propagul.store._keys import RoomKeys
from propagul.store._network import Network
from propagul.store._ownership import Ownership, reading_in
from propagul.store._parts import Parts
from propagul.store._presence import Presence
from propagul.store._pressure import NoPressure
from propagul.store._processes import Processes
from propagul.store._proofs import Proofs
from propagul.store._questions import Questions
from propagul.store._ring import Ring
from propagul.store._room import open_room
from propagul.store._spaces import OWN, PRESENCE, ROOM, STATE, open_spaces
from propagul.store._stats import StoreStats, measure
from propagul.store._values import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from propagul.link import ByteLink, Credentials, NodeId, Refusal, Transport
    from propagul.store._report import Member, SyncReport
    from propagul.store._retention import Retention

SYNC_TIMEOUT_S = 10.0
LABEL_CHARS_MAX = 256


class AgentStateStore(RoomKeys, DurableMap):
    """Replicated state that survives crashes.

    Args:
        room: Name of the room; stores of different rooms never merge.
        node_id: What this store calls itself, for people. Identity is a key of its own.
        port: Port to listen on; 0 lets the system choose, None does not listen.
        host: Address to listen on; every interface with a secret, 127.0.0.1 without.
        path: Directory of the event log. Without one the state lives in memory and in the peers.
        secret: The room's secret, else `PROPAGUL_GOSSIP_SECRET`. Who holds it is admin of the room.
        peers: Peers for `async with`, as for `start`.
        limits, config: Largest local writes; timing of gossip.
        credentials: Instead of a secret: an identity with its certificate, as an invited node has.
        advertise: Addresses under which others reach this store; found out if not given.
        transport, clock: Instead of TCP and of the machine's: see `propagul.testing`.
        alone: Keep other processes out of the directory; without it they share it.
        durability: What a write that has returned survives: `os` the end of the process, `group` a power cut (one sync
            for all who wait), `each` a power cut (synced before it is visible), `peers:n` the loss of this machine.
        retention: How far back `history` and `at` can read once the log was compacted. The directory keeps what it was
            told, also for other programs; None leaves that as it is, which is no further if nobody ever said.
        memory_bytes: About how many bytes of values stay in memory, newest first. Keys always do; without a path, all.
        pins: Whom to link with: None for all, node ids, or `first-use`: who first answered at an address named here.
        owned: Prefixes such as `nodes/` under which a member writes beneath its own identity only, in state and
            presence. The same for the whole room; the directory keeps it for None.
        verify: `member`: who passes a row on vouches for it; `origin`: each row of the state proves who wrote it. The
            same for the whole room; the directory keeps it for None.
        leaf: Be linked with the given peers only, the hubs: they get this store's presence, and it gets nobody's.

    Raises:
        StoreLocked, StoreCorrupt, StoreError: The directory cannot be opened.
        IdentityError: No secret and not loopback, or an unusable secret or key.
        LimitExceeded: `node_id` is longer than 256 characters.
        ValueError, LocalProtocolError: `memory_bytes`, an owned prefix or `verify` is none, or not the directory's.
    """

    _network: Network | None = None
    _background: Background | None = None
    _invites: InviteBook | None = None
    _tunnel_handler: Callable[[ByteLink], Awaitable[None]] | None = None
    _is_inherited = False

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
        alone: bool = False,
        durability: str = "os",
        retention: Retention | None = None,
        memory_bytes: int = MEMORY_BYTES,
        pins: str | Collection[str] | None = None,
        owned: Sequence[str] | None = None,
        verify: str | None = None,
        leaf: bool = False,
    ) -> None:
        self.room, self.label = room, str(node_id)
        if len(self.label) > LABEL_CHARS_MAX:
            raise LimitExceeded("node_id", size=len(self.label), limit=LABEL_CHARS_MAX, unit="characters")
        self._config, limits = config or GossipConfig(), limits or Limits()
        self._clock, self._host = clock or SystemClock(), host or "127.0.0.1"
        self._peers = [Address(*peer) for peer in peers]
        self._port, self._advertise, where = port, advertise, None if path is None else Path(path)
        (level := Durability.parse(durability)).check(has_path=where is not None)
        self._durability, self._lock, self._is_leaf = level, threading.Lock(), leaf
        keep, time_ns = Keep(retention, memory_bytes), self._clock.time_ns
        self._disk = None if where is None else Disk(where, room, self._lock, time_ns, keep, alone=alone)
        self._is_shared = self._disk is not None and transport is None and not alone
        try:
            self.pins = open_pins(pins, where)
            if transport is None and credentials is None:
                credentials, self._host = open_room(room, secret, host, where)
            owners = Ownership(room, credentials, owned, verify, where)
            self._spaces, self._siblings = open_spaces(self._lock, time_ns, self._disk, lambda: self.is_running, owners)
            if transport is None:
                assert credentials is not None
                self._invites = InviteBook(self._spaces[OWN], credentials.node, time_ns)
                transport = TcpTransport(credentials, invites=self._invites, pins=self.pins)
            self._credentials, self._transport = credentials, transport
            self._ring = None if credentials is None else Ring(self._spaces[ROOM], credentials, time_ns)
        except BaseException:
            if self._disk is not None:
                self._disk.close()
            raise
        super().__init__(self._spaces[STATE], limits, self._disk)
        if self._disk is not None:
            self._disk.journal.sync_each = self._durability.level == "each"
            self._past = Past(self._disk.archive, STATE, self._clock.time_ns, reading_in(self._disk.directory.path))
        self._routes: dict[str, Callable[[NodeId, object], Awaitable[object]]] = {}
        self._waits, self._durability_timeout_s = level.level != "os", SYNC_TIMEOUT_S
        ttl_s, now = self._config.presence_ttl_s, self._clock.monotonic
        self.presence = Presence(self._spaces[PRESENCE], ttl_s=ttl_s, monotonic=now, limits=limits)
        self.presence.on_write(lambda: self._push(PRESENCE))
        if self._ring is not None:
            self._ring.on_write, self._ring.sees_all = lambda: self._push(ROOM), not leaf
        tell_children(self)

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
        self._check_open()
        if self._network is not None:
            raise LocalProtocolError("the store is started already")
        network = self._network = Network(self._parts())
        self._home = self._tells = network.loop
        network.mesh.on_push = self._tell_again
        wanted = list(dict.fromkeys(self._peers + [Address(*peer) for peer in peers or ()]))
        try:
            listen = None if self._port is None else Address(self._host, self._port)
            await network.open(listen, self._advertise)
            return await network.catch_up(wanted, sync_timeout_s, require_peers)
        except BaseException:
            self._network = self._home = self._tells = None
            await network.close()
            raise

    async def stop(self) -> None:
        """Say goodbye, close port, links and log. The store cannot be used again; what it stored can. Idempotent."""
        (network, self._network), self._home, self._tells = (self._network, None), None, None
        self._give_up_waiting()
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

    def compact(self) -> int:
        """Write a snapshot and drop the log behind it, which happens by itself too; return its size in bytes.

        Writers go on meanwhile. Call it from a thread that may wait for the disk.

        Raises:
            LocalProtocolError: The store has no path.
            StoreError: The disk refused; the log is as it was.
        """
        self._check_open()
        if self._disk is None:
            raise LocalProtocolError("this store has no path, so there is no log to compact")
        return self._disk.compact()

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
            LinkError: The member cannot be dialled and cannot dial back.
        """
        return await self._started().open_tunnel(node)

    def on_tunnel(self, handler: Callable[[ByteLink], Awaitable[None]]) -> None:
        """Serve tunnels that members open to this store. Call before `start`; without it they are refused."""
        self._tunnel_handler = handler

    async def query(self, node: NodeId, route: str, arguments: object = None) -> object:
        """Ask a member what it answers by `on_query`: its unchecked word, of at most 1 MiB. In the store's loop.

        Raises:
            LinkError: It cannot be reached, does not know the route or the arguments, or took longer than 2 s.
            PeerProtocolError, LimitExceeded: It answered nonsense; the arguments are over 4 KiB.
        """
        return await self._started().query(node, route, arguments)

    def on_query(self, route: str, answer: Callable[[NodeId, object], Awaitable[object]]) -> None:
        """Answer what members ask for under a route; it reads and changes nothing. Call before `start`.

        `answer` is told who asks and the arguments, unchecked; ValueError or TypeError says that they are wrong. It has
        2 s and 1 MiB, and runs for one member four times at once at most.
        """
        self._routes[route] = answer

    # --- about itself --------------------------------------------------------------------------------------------

    @property
    def node(self) -> NodeId:
        """This store's identity."""
        return self._transport.node

    @property
    def clock(self) -> Clock:
        """Where it reads the time."""
        return self._clock

    @property
    def hears_others(self) -> bool:
        """Whether the presence of others comes here: not before `start`, and not to a leaf."""
        return self.is_running and not self._is_leaf

    @property
    def is_running(self) -> bool:
        """Whether it is started and not stopped."""
        return self._network is not None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others reach this store; empty before `start`."""
        return () if self._network is None else self._network.addresses

    def members(self) -> list[Member]:
        """Other stores of the room heard of recently; of a leaf, those it is linked with."""
        return self._network.members() if self._network else []

    def linked(self) -> frozenset[NodeId]:
        """Members with an open link to this store."""
        return frozenset() if self._network is None else frozenset(self._network.linked())

    def troubles(self) -> list[str]:
        """Why peers that this store wants to be linked with are not, in words."""
        unread = [] if self._siblings is None else self._siblings.troubles
        return unread if self._network is None else self._network.troubles() + unread

    def refusals(self) -> list[Refusal]:
        """Strangers turned away at the port."""
        return self._transport.refusals()

    @property
    def stats(self) -> StoreStats:
        """Counters and sizes. O(rows)."""
        adopted = 0 if self._siblings is None else self._siblings.adopted
        counted = {"adopted": adopted, "refused": sum(refusal.count for refusal in self.refusals())}
        return measure(self._spaces, self._disk, self._network, callbacks_failed=self._callbacks_failed, **counted)

    # --- inside --------------------------------------------------------------------------------------------------

    def _parts(self) -> Parts:
        return Parts(
            label=self.label,
            leaf=self._is_leaf,
            spaces=self._spaces,
            presence=self.presence,
            transport=self._transport,
            config=self._config,
            clock=self._clock,
            credentials=self._credentials,
            invites=self._invites,
            proofs=Proofs(self._ring, self._credentials),
            processes=self._processes(),
            pressure=self._disk or NoPressure(),
            tunnel_handler=self._tunnel_handler,
            questions=Questions(self._routes),
        )

    def _processes(self) -> Processes | None:
        """The processes this store shares its directory with; None where it does not."""
        if self._disk is not None and self._siblings is not None and self._is_shared:
            return Processes(self._disk.directory, self._siblings, self._transport.node)
        return None

    def _started(self) -> Network:
        if self._network is not None:
            return self._network
        raise LocalProtocolError("the store is not started: `await store.start()` first")

    def _wrote(self) -> None:
        self._push(STATE)

    def _push(self, space: str) -> None:
        if (network := self._network) is not None:
            network.mesh.pushes.wrote(space)

    def _check_open(self) -> None:
        if self._is_inherited:
            raise LocalProtocolError(INHERITED)
        super()._check_open()

    def _leave_to_parent(self) -> None:
        """In a forked child: what this store holds open is the parent's, and stays so."""
        self._is_inherited = self._waits = True  # every write asks `_before_write` from here on
        self.__dict__.pop("set", None)  # the kernel's, which may not ask
        self._parents_own = (self._disk, self._network, self._background)  # kept: what is let go of says goodbye
        self._disk = self._network = self._background = self._home = self._tells = self._siblings = None

    def _close_local(self) -> None:
        self._close_map()
        if self._disk is not None:
            self._disk.close()
