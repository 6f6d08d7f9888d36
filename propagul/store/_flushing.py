"""Waiting until what was written is safe: on the disk, in the logs of others. A part of `AgentStateStore`.

Whoever waits must not hold up the event loop that everybody waits for: a thread that runs the store's own loop is told
so and not left waiting for itself.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, LocalProtocolError
from propagul.store._durability import check_may_wait
from propagul.store._home import at_home
from propagul.store._map import StateMap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from propagul.crdt import Dot
    from propagul.store._durability import Durability
    from propagul.store._namespace import Namespace
    from propagul.store._network import Network
    from propagul.store._pressure import Pressure
    from propagul.store._values import Limits


class _Unwaited(threading.local):
    """Entered by threads whose writes wait for nothing."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


class DurableMap(StateMap):
    """A map whose writes wait for what its durability says, and that can be asked to wait for more."""

    if TYPE_CHECKING:  # what the store brings
        _network: Network | None
        _durability: Durability
        _durability_timeout_s: float
        _is_inherited: bool

        def _started(self) -> Network: ...

    def __init__(self, space: Namespace, limits: Limits, pressure: Pressure | None = None) -> None:
        super().__init__(space, limits, pressure)
        self._waiting: set[Future[None]] = set()
        self._unwaited = _Unwaited()

    async def flush(self, peers: int = 0, *, timeout_s: float = 10.0, disk: bool = True) -> None:
        """Return when everything written so far is on the disk and in the logs of `peers` other stores.

        What the log brought back at open counts too. A peer without a directory counts as well: it holds the writes as
        long as it runs. Works from any event loop.

        Args:
            peers: How many.
            timeout_s: Longest wait for them.
            disk: Whether this store's own disk is waited for: what others have survives the loss of this machine.

        Raises:
            NotReplicated: Fewer peers said so in time. The writes are safe here and go on replicating.
            LocalProtocolError: There are peers to wait for, and the store is not started.
        """
        self._check_open()
        if disk:
            await asyncio.to_thread(self._state.sync)
        if peers and (dots := self._state.own_dots()):
            network = self._started()
            await at_home(network.loop, network.replicated(dots, peers, timeout_s))

    def flush_blocking(self, peers: int = 0, *, timeout_s: float = 10.0, disk: bool = True) -> None:
        """Like `flush`, for threads. It waits, so it refuses in the thread whose event loop the store runs in.

        Raises:
            NotReplicated: As `flush`.
            LocalProtocolError: As `flush`; or this is that thread.
            ClosedError: The store was stopped meanwhile.
        """
        self._check_open()
        if self._home is not None:
            check_may_wait(self._home, "`flush_blocking`", "use `await store.flush()` there")
        if disk:
            self._state.sync()
        if peers and (dots := self._state.own_dots()):
            self._wait_replicated(self._started(), dots, peers, timeout_s)

    @property
    def waits(self) -> bool:
        """Whether a write waits for the disk or for peers, so that an event loop should leave it to a thread."""
        return self._waits

    def without_waiting(self) -> AbstractContextManager[None]:
        """`with store.without_waiting():` what this thread writes inside waits for nothing; `settle` does, for all.

        It is logged and visible at once, as ever, and what the next write waits for covers it. Only at `each` a write
        waits all the same, as it must not be seen before it is on the disk. Do not `await` inside.
        """
        return self._unwaited

    def settle(self) -> None:
        """Wait for what a write waits for: all that was written so far is then as safe as `durability` says.

        Raises:
            NotReplicated, LocalProtocolError, ClosedError: As a write.
        """
        self._check_open()
        if self._waits and self._home is not None:
            self._durability.check_may_wait(self._home)
        self._settle_all()

    def check_may_wait(self) -> None:
        """Refuse in the thread whose event loop the store runs in, as all that waits does; nothing elsewhere.

        Raises:
            LocalProtocolError: This is that thread.
        """
        if self._home is not None:
            check_may_wait(self._home, "this call", "use its async form there, or a thread")

    def _wait_replicated(self, network: Network, dots: Sequence[Dot], peers: int, timeout_s: float) -> None:
        """Wait in this thread for what the network's loop does."""
        if not network.loop.is_running():
            raise LocalProtocolError("the event loop that this store was started in has ended without `store.stop()`")
        waiting = asyncio.run_coroutine_threadsafe(network.replicated(dots, peers, timeout_s), network.loop)
        self._waiting.add(waiting)
        if self._network is not network:
            waiting.cancel()  # or nobody would: it was stopped just now
        try:
            waiting.result()
        except CancelledError:
            raise ClosedError("the store was stopped before peers had logged the writes") from None
        finally:
            self._waiting.discard(waiting)

    def _give_up_waiting(self) -> None:
        """The store is being stopped: those who wait for peers are told."""
        for waiting in list(self._waiting):
            waiting.cancel()

    def _before_write(self, *, block: bool = True) -> None:
        if self._is_inherited:
            self._check_open()
        if self._waits and self._home is not None and (not self._unwaited.depth or self._durability.level == "each"):
            self._durability.check_may_wait(self._home)
        if self._durability.level == "peers":
            self._started()
        super()._before_write(block=block)

    def _settle(self) -> None:
        if not self._unwaited.depth:
            self._settle_all()

    def _settle_all(self) -> None:
        if self._durability.level == "group":
            self._state.sync()
        elif self._durability.level == "peers" and (network := self._network) is not None:
            dots, wanted = self._state.own_dots(), self._durability.peers
            self._wait_replicated(network, dots, wanted, self._durability_timeout_s)
