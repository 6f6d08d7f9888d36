"""Tunnels to members and questions to them, in whichever direction a connection can be made.

A member that answers at none of its addresses, or listens nowhere, is asked over its gossip link to dial us, with a
nonce (`propagul.link.awaited`). Where dialling is slow to fail, as behind a firewall that says nothing, both are tried
at once; what then worked is tried first for a while.

What others ask of us is bounded: we dial only addresses that the asking member announced, or the one at which we
dialled it ourselves, and for one member `UNDER_WAY_MAX` at a time and one in `PACE_S` on average.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from propagul.errors import IdentityError, LinkError, PropagulError
from propagul.link.awaited import WAIT_S
from propagul.link.base import ByteLink, Link, Purpose, ReverseTransport
from propagul.link.local import is_local
from propagul.store._asks import Dial, Undialed, Why, pack_ask, unpack_ask
from propagul.store._questions import ask, packed_question

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from propagul.link.base import Address, NodeId, Transport
    from propagul.store._mesh import Mesh

UNDER_WAY_MAX: Final = 8
"""Dials that one member may have us make at a time."""

PACE_S: Final = 0.1
"""Seconds between two of them, on average."""

HEAD_START_S: Final = 1.0
"""How long one way is tried alone before the other is tried too."""

_BEHIND_S: Final = 300.0
"""How long a member that could not be dialled is asked first."""

_NODES_MAX: Final = 256
_ASK_AGAIN_S: Final = 0.2

_T = TypeVar("_T")
_Linked = TypeVar("_Linked", bound=Link)

_log = logging.getLogger("propagul.store")


class _BusyError(LinkError):
    """The member dials back as much as it does for one asker."""


@dataclass(slots=True)
class _Budget:
    """What one member may still have us dial. `tokens` grow by one in `PACE_S` up to `UNDER_WAY_MAX`."""

    at: float
    tokens: float = UNDER_WAY_MAX
    under_way: int = 0

    def may_begin(self, now: float) -> bool:
        """Whether another ask may be served at once."""
        self._grow(now)
        return self.under_way < UNDER_WAY_MAX and self.tokens >= 1

    def take(self, now: float) -> float:
        """Count one dial; return how many seconds it has to wait."""
        self._grow(now)
        self.tokens -= 1
        return max(0.0, -self.tokens * PACE_S)

    def _grow(self, now: float) -> None:
        self.tokens = min(UNDER_WAY_MAX, self.tokens + (now - self.at) / PACE_S)
        self.at = now


class Whereabouts(Protocol):
    """Who can be dialled where."""

    addresses: tuple[Address, ...]
    """Where we listen ourselves."""

    def addresses_of(self, node: NodeId) -> Sequence[Address]:
        """Where a member may be dialled."""

    def announced(self, node: NodeId) -> Sequence[Address]:
        """Where a member says that it listens."""


class Tunnels:
    """The tunnels of one network, both ways.

    Args:
        transport: What dials and listens.
        mesh: Whose links carry the asking.
        where: Where members and we can be dialled.
        handler: What serves a tunnel; None where none are served.
        questions: What answers a question.
    """

    def __init__(
        self,
        transport: Transport,
        mesh: Mesh,
        where: Whereabouts,
        handler: Callable[[ByteLink], Awaitable[None]] | None,
        questions: Callable[[Link], Awaitable[None]],
    ) -> None:
        self._transport, self._mesh, self._where, self._handler = transport, mesh, where, handler
        self._questions = questions
        self._behind: dict[NodeId, float] = {}
        self._budgets: dict[NodeId, _Budget] = {}
        self._group: asyncio.TaskGroup | None = None
        self._loop = asyncio.get_running_loop()
        mesh.on_ask = self._hear

    async def run(self) -> None:
        """Own the dials that others asked for, and the tunnels that came of them, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                await asyncio.Event().wait()
        finally:
            self._group = None

    async def open(self, node: NodeId) -> ByteLink:
        """A tunnel to a member.

        Raises:
            LinkError: It cannot be dialled and cannot dial back; the message says what was tried.
        """
        return carrying_bytes(await self.link(node, Purpose.TUNNEL))

    async def query(self, node: NodeId, route: str, arguments: object) -> object:
        """What a member answers.

        Raises:
            LinkError: It cannot be reached, or does not answer.
            PeerProtocolError: It answered nonsense.
            LimitExceeded: The question is too long.
        """
        question = packed_question(route, arguments)
        link = await self.link(node, Purpose.QUERY)
        try:
            return await ask(link, route, question)
        finally:
            link.abort()

    async def link(self, node: NodeId, purpose: Purpose) -> Link:
        """A link to a member, for a tunnel or for a query.

        Raises:
            LinkError: It cannot be dialled and cannot dial back; the message says what was tried.
        """
        ways = [self._dial, self._ask]
        if self._loop.time() - self._behind.get(node, float("-inf")) < _BEHIND_S:
            ways.reverse()
        return await _first_of(*(functools.partial(way, node, purpose) for way in ways))

    # --- our own tunnels -----------------------------------------------------------------------------------------

    async def _dial(self, node: NodeId, purpose: Purpose) -> Link:
        troubles = []
        for address in self._where.addresses_of(node):
            try:
                link = await self._transport.dial(address, purpose, expect=node)
            except (LinkError, IdentityError) as error:
                troubles.append(str(error))
            else:
                self._behind.pop(node, None)
                return link
        raise LinkError("; ".join(troubles) or "that node has told no address it can be dialled at")

    async def _ask(self, node: NodeId, purpose: Purpose) -> Link:
        """Have a member dial us.

        Raises:
            LinkError: It does not, or cannot be asked.
        """
        if not isinstance(self._transport, ReverseTransport):
            raise LinkError("this transport cannot be dialled back")
        if not self._where.addresses:
            raise LinkError("it cannot dial back, for this node does not listen")
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    try:
                        link = await self._ask_once(self._transport, node, query=purpose is Purpose.QUERY)
                    except _BusyError:
                        await asyncio.sleep(_ASK_AGAIN_S)
                    else:
                        break
        except TimeoutError:
            raise LinkError(f"it was asked to dial back and did not within {WAIT_S:g} s") from None
        _remember(self._behind, node, self._loop.time())
        return link

    async def _ask_once(self, transport: ReverseTransport, node: NodeId, *, query: bool) -> Link:
        if node not in self._mesh.node.linked():
            raise LinkError("it cannot be asked to dial back, for no gossip link to it is open")
        with transport.awaited.expect(node) as awaited:
            if not self._mesh.ask(node, pack_ask(Dial(awaited.nonce, query))):
                raise _BusyError
            return await awaited.arrival()

    # --- what others ask -----------------------------------------------------------------------------------------

    def _hear(self, link: Link, frame: bytes) -> None:
        """Take an ask from a gossip link.

        Raises:
            PeerProtocolError: It is malformed; the link ends.
        """
        ask = unpack_ask(frame)
        if is_local(link.peer) or not isinstance(self._transport, ReverseTransport):
            return
        if isinstance(ask, Undialed):
            awaited = self._transport.awaited.find(ask.nonce, link.peer)
            if awaited is not None:
                awaited.fail(self._undialed(ask.why))
        elif isinstance(ask, Dial) and self._group is not None:
            self._consider(self._group, self._transport, link, ask)

    def _consider(self, group: asyncio.TaskGroup, transport: ReverseTransport, link: Link, ask: Dial) -> None:
        """Dial back, or say why not."""
        addresses = list(dict.fromkeys([*([link.remote] if link.dialed else []), *self._where.announced(link.peer)]))
        budget = self._budgets.get(link.peer) or _Budget(self._loop.time())
        _remember(self._budgets, link.peer, budget)
        serve = self._questions if ask.query else self._handler
        if serve is None or not addresses:
            why = Why.UNSERVED if serve is None else Why.UNLISTED
        elif budget.may_begin(self._loop.time()):
            budget.under_way += 1
            dial = functools.partial(self._dial_back, transport, link.peer, addresses, ask.nonce, budget)
            group.create_task(self._bring(dial, link.peer, ask.nonce, budget, serve))
            return
        else:
            why = Why.BUSY
        self._mesh.ask(link.peer, pack_ask(Undialed(ask.nonce, why)))

    async def _bring(
        self,
        dial: Callable[[], Awaitable[ByteLink | None]],
        node: NodeId,
        nonce: bytes,
        budget: _Budget,
        serve: Callable[[ByteLink], Awaitable[None]],
    ) -> None:
        try:
            link = await dial()
        finally:
            budget.under_way -= 1
        if link is None:
            self._mesh.ask(node, pack_ask(Undialed(nonce, Why.UNANSWERED)))
            return
        try:
            await serve(link)
        except PropagulError as error:
            _log.debug("tunnel.ended peer=%s error=%s", node, error)
        except Exception as error:  # noqa: BLE001 # supervisor: a handler's defect ends its own tunnel only
            _log.error("tunnel.handler_failed error=%s", type(error).__name__)  # its message may hold what was carried
        finally:
            await link.aclose()

    async def _dial_back(
        self, transport: ReverseTransport, node: NodeId, addresses: Sequence[Address], nonce: bytes, budget: _Budget
    ) -> ByteLink | None:
        """Try each address for its share of the time that the nonce is good for; the pace counts every dial."""
        deadline = self._loop.time() + WAIT_S
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                async with asyncio.timeout_at(self._loop.time() + (deadline - self._loop.time()) / left):
                    await asyncio.sleep(budget.take(self._loop.time()))
                    return carrying_bytes(await transport.dial_back(address, nonce, expect=node))
            except (TimeoutError, PropagulError) as error:
                _log.debug("tunnel.not_dialled_back peer=%s address=%s error=%s", node, address, error)
        return None

    def _undialed(self, why: str) -> LinkError:
        """What to make of a member's code."""
        listening = " or ".join(map(str, self._where.addresses))
        match why:
            case Why.BUSY:
                return _BusyError()
            case Why.UNLISTED:
                return LinkError("it was asked to dial back and has not heard yet where this node listens")
            case Why.UNANSWERED:
                return LinkError(f"it was asked to dial back and reached nobody at {listening}")
            case Why.UNSERVED:
                return LinkError("it serves no tunnels")
            case _:
                return LinkError("it was asked to dial back and would not, for a reason this version does not know")


def carrying_bytes(link: Link) -> ByteLink:
    """The link as the end of a tunnel.

    Raises:
        LinkError: It carries frames only; it is closed.
    """
    if not isinstance(link, ByteLink):
        link.abort()
        raise LinkError("this transport carries no tunnels")
    return link


async def _first_of(
    first: Callable[[], Coroutine[None, None, _Linked]], second: Callable[[], Coroutine[None, None, _Linked]]
) -> _Linked:
    """The link that one of two ways brings; the second begins when the first has failed, or `HEAD_START_S` later.

    Raises:
        LinkError: Neither brought one.
    """
    tasks = [asyncio.create_task(first())]
    winner = None
    try:
        await asyncio.wait(tasks, timeout=HEAD_START_S)
        if not _brought(tasks[0]):
            tasks.append(asyncio.create_task(second()))
        while not any(map(_brought, tasks)) and (pending := [task for task in tasks if not task.done()]):
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        winner = next(filter(_brought, tasks), None)
    finally:
        losers = [task for task in tasks if task is not winner]
        for task in losers:
            task.cancel()
        ends = await asyncio.gather(*losers, return_exceptions=True)
        for link in ends:
            if not isinstance(link, BaseException):
                link.abort()
    if winner is not None:
        return winner.result()
    for task in tasks:
        if not isinstance(task.exception(), LinkError):
            return task.result()  # which raises: a defect of ours is no trouble of the peer's
    raise LinkError("no tunnel: " + "; ".join(map(str, ends)))


def _remember(kept: dict[NodeId, _T], node: NodeId, value: _T) -> None:
    """Keep something of a member, the newest last, at most of `_NODES_MAX`."""
    kept.pop(node, None)
    kept[node] = value
    if len(kept) > _NODES_MAX:
        del kept[next(iter(kept))]


def _brought(task: asyncio.Task[_Linked]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
