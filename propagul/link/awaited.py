"""Tunnels that this end waits for: asked of a member that cannot be dialled, and dialled by it with a nonce.

A nonce is 16 random bytes, used once, by the member it was made for, within `WAIT_S`. Whoever shows it gets nothing it
could not have had before: the connection goes to the call that waits, which uses it as if it had dialled itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Final

from propagul.errors import LinkError
from propagul.link.messages import NONCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.link.base import ByteLink, NodeId

WAIT_S: Final = 10.0
"""How long a nonce is good for."""

WAITING_MAX: Final = 1024
"""Calls that wait at a time."""


class AwaitedTunnel:
    """One call that waits. Made by `AwaitedTunnels.expect`.

    Attributes:
        nonce: What the member has to show. *Invariant*: never logged.
        node: Which member.
    """

    def __init__(self, node: NodeId, expires_at: float) -> None:
        self.nonce, self.node = secrets.token_bytes(NONCE_BYTES), node
        self.expires_at = expires_at
        self._arrived: asyncio.Future[ByteLink] = asyncio.get_running_loop().create_future()
        self._taken = False

    def deliver(self, link: ByteLink) -> None:
        """Hand the connection to who waits; close it if nobody does any more."""
        if self._arrived.done():
            link.abort()
        else:
            self._arrived.set_result(link)

    def fail(self, reason: LinkError) -> None:
        """The member said that it could not dial."""
        if not self._arrived.done():
            self._arrived.set_exception(reason)

    async def arrival(self) -> ByteLink:
        """Wait for the connection; who gets it owns it.

        Raises:
            LinkError: The member could not dial; what `fail` was given.
        """
        link = await asyncio.shield(self._arrived)
        self._taken = True
        return link

    def let_go(self) -> None:
        """Nobody waits any more: a connection that came and was not taken is closed."""
        if not self._arrived.done():
            self._arrived.cancel()
        elif not self._arrived.cancelled() and self._arrived.exception() is None and not self._taken:
            self._arrived.result().abort()


class AwaitedTunnels:
    """The nonces of a node that were given out and not used yet. For one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, AwaitedTunnel] = {}

    @contextlib.contextmanager
    def expect(self, node: NodeId) -> Iterator[AwaitedTunnel]:
        """Wait for a member to dial, for as long as the block runs and at most `WAIT_S`.

        Raises:
            LinkError: Too many calls wait already.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise LinkError(f"{WAITING_MAX} tunnels are being waited for already")
        awaited = AwaitedTunnel(node, asyncio.get_running_loop().time() + WAIT_S)
        self._waiting[awaited.nonce] = awaited
        try:
            yield awaited
        finally:
            self._waiting.pop(awaited.nonce, None)
            awaited.let_go()

    def claim(self, nonce: bytes, node: NodeId) -> AwaitedTunnel | None:
        """Use a nonce up; None if it is unknown, used, too old, or another member's."""
        awaited = self.find(nonce, node)
        if awaited is not None:
            del self._waiting[nonce]
        return awaited

    def find(self, nonce: bytes, node: NodeId) -> AwaitedTunnel | None:
        """Who waits for this member with this nonce."""
        awaited = self._waiting.get(nonce)
        if awaited is None or awaited.node != node or asyncio.get_running_loop().time() >= awaited.expires_at:
            return None
        return awaited
