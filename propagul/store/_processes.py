"""The other processes of a state directory while this one runs: links to them, and the door.

One process of a directory holds the *door*: it alone listens on the port and dials other machines under the directory's
identity. All others are linked with it, and with each other, over Unix sockets. The door is the kernel's lock, so it
is free as soon as its holder is gone, and whoever looks next has it. A round, at every presence interval, looks at
who is there, tries the door, and adopts the logs of processes that have been gone for two rounds.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from propagul.errors import LinkError, PropagulError, StoreError
from propagul.link.base import Address, Purpose
from propagul.link.local import LocalTransport, process_node
from propagul.store._query import answer_logged, ask_logged
from propagul.store._spaces import STATE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from propagul.crdt import Dot
    from propagul.link.base import Link, NodeId
    from propagul.link.local import LocalListener
    from propagul.log.directory import OtherLog, StateDirectory
    from propagul.store._mesh import Mesh
    from propagul.store._network import Network
    from propagul.store._siblings import Siblings
    from propagul.store._targets import Target

_T = TypeVar("_T")

_log = logging.getLogger("propagul.store")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one look at the directory showed.

    Attributes:
        door: Whether the door is ours.
        holder: The process that holds it; None for nobody, 0 for one that does not say.
        sockets: By log id, where the processes that can be linked with listen.
        running: By log id, which processes these are.
        news: Whether logs were adopted that held something new.
    """

    door: bool
    holder: int | None
    sockets: Mapping[str, Path]
    running: Mapping[str, int]
    news: bool


class Processes:
    """The local half of a network. Made for one run of a store.

    Args:
        directory: The directory.
        siblings: Its other logs.
        identity: Whose directory it is.

    Attributes:
        node: What this process is called on local links.
        has_door: Whether this process holds the door.
        holder: The process that does, as far as is known; None for nobody.
    """

    def __init__(self, directory: StateDirectory, siblings: Siblings, identity: NodeId) -> None:
        self.node = process_node(identity, directory.log_id)
        self.has_door = False
        self.holder: int | None = None
        self._trouble = ""
        self._directory, self._siblings, self._identity = directory, siblings, identity
        self._transport = LocalTransport(self.node)
        self._listener: LocalListener | None = None
        self._targets: dict[str, Target] = {}
        self._running: Mapping[str, int] = {}
        self._gone: set[str] = set()
        self._begun = asyncio.Event()

    async def try_door(self) -> bool:
        """Take the door if it is free.

        Raises:
            StoreError: The system refused.
        """
        self.has_door, self.holder = await _in_thread(self._look_at_door)
        return self.has_door

    def begin(self) -> None:
        """Let the others link with us from now on: what a newcomer waits for is here. Idempotent."""
        self._begun.set()

    async def run(self, network: Network) -> None:
        """Go round until cancelled, beginning when `begin` was called."""
        await self._begun.wait()
        while True:
            try:
                await self._round(network)
            except PropagulError as error:
                _log.warning("store.round_failed %s", error)
            await network.pause()

    async def close(self) -> None:
        """Close the socket and let go of the door. Idempotent."""
        if self._listener is not None:
            await self._listener.end()
            self._listener = None
        self.has_door = False
        await _in_thread(self._directory.leave_door)

    def holders(self) -> list[Target]:
        """The process with the door, if it can be linked with; several where one process has several stores."""
        return [target for log_id, target in self._targets.items() if self._running.get(log_id) == self.holder]

    @property
    def is_cut_off(self) -> bool:
        """Whether no process can link with this one: there are no Unix sockets, or none could be made."""
        return bool(self._trouble)

    def troubles(self, linked: Collection[NodeId]) -> list[str]:
        """What keeps this process from the others, in words."""
        troubles = [self._trouble] if self._trouble else []
        if not self.has_door and not any(target.node in linked for target in self.holders()):
            troubles.append(
                f"{self.said()} holds the door of this store's directory, so it alone is linked with other machines, "
                "and it is not linked with this process"
            )
        return troubles

    def said(self) -> str:
        """Who has the door, in words."""
        if self.has_door:
            return "this process"
        return "nobody" if self.holder is None else f"process {self.holder or '?'}"

    async def logged(self, dots: Sequence[Dot], peers: int, timeout_s: float) -> int:
        """Ask the process with the door how many members have logged these writes, once `peers` have or time is up."""
        for target in self.holders():
            try:
                link = await self._transport.dial(target.addresses[0], Purpose.QUERY, expect=target.node)
                try:
                    return await ask_logged(link, dots, peers, timeout_s)
                finally:
                    await link.aclose()
            except PropagulError as error:  # it is just leaving, or it has not the door any more
                _log.debug("store.door_did_not_answer %s", error)
        return 0

    async def _round(self, network: Network) -> None:
        mesh = network.mesh
        await self._listen(network)
        seen = await _in_thread(self._look)
        self.has_door, self.holder, self._running = seen.door, seen.holder, seen.running
        if seen.news:
            mesh.learned(STATE)
        self._tend(mesh, seen)
        if self.has_door:
            await network.tend_door()

    async def _listen(self, network: Network) -> None:
        """Listen before looking who is there, so that of two newcomers one sees the other."""
        try:
            path, is_there = await _in_thread(self._own_socket)
            if self._listener is not None and not (self._listener.path == path and is_there):
                await self._listener.end()  # what is temporary may be swept away
                self._listener = None
            if self._listener is None:
                self._listener = await self._transport.listen(Address(str(path), 0), self._handlers(network))
        except (LinkError, StoreError) as error:
            self._trouble = str(error)
        else:
            self._trouble = ""

    def _handlers(self, network: Network) -> dict[Purpose, Callable[[Link], Awaitable[None]]]:
        async def answer(link: Link) -> None:
            if self.has_door:
                await answer_logged(link, network.logged)

        return {Purpose.GOSSIP: network.mesh.carry, Purpose.QUERY: answer}

    def _tend(self, mesh: Mesh, seen: _Seen) -> None:
        """Stay linked with every process that listens."""
        listening = {log_id: Address(str(path), 0) for log_id, path in seen.sockets.items()}
        for log_id, target in tuple(self._targets.items()):
            if target.addresses != (listening.get(log_id),):
                mesh.release(self._targets.pop(log_id))
        for log_id in listening.keys() - self._targets.keys():
            node = process_node(self._identity, log_id)
            self._targets[log_id] = mesh.keep([listening[log_id]], node, self._transport)

    # --- in a thread: what takes turns with other processes, reads and syncs --------------------------------------

    def _own_socket(self) -> tuple[Path, bool]:
        path = self._directory.socket_path()
        return path, path.exists()

    def _look_at_door(self) -> tuple[bool, int | None]:
        door = self._directory.try_door()
        return door, os.getpid() if door else self._directory.door_pid()

    def _look(self) -> _Seen:
        door, holder = self._look_at_door()
        others = self._directory.others()
        running = {other.log_id: other.pid for other in others if other.pid is not None}
        found = {log_id: self._directory.find_socket(log_id) for log_id in running}
        sockets = {log_id: path for log_id, path in found.items() if path is not None}
        return _Seen(
            door=door,
            holder=holder,
            sockets=sockets,
            running={log_id: running[log_id] for log_id in sockets},
            news=self._adopt([other for other in others if other.pid is None]),
        )

    def _adopt(self, gone: list[OtherLog]) -> bool:
        """Adopt what has been left for two rounds: who starts again at once goes on with its own log."""
        before, self._gone = self._gone, {other.log_id for other in gone}
        return self._siblings.adopt([other for other in gone if other.log_id in before])


async def _in_thread(call: Callable[[], _T]) -> _T:
    """Run a call in a thread and wait for its end, also when cancelled: the directory is closed after it."""
    work = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled() and work.exception() is not None:
            _log.warning("store.round_failed %s", work.exception())
        raise
