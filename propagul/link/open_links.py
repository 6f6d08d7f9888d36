"""The connections of proven members, so that one who is a member no more can be cut off.

Also those whose link object is spent because the connection was handed to another protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from propagul.link.base import NodeId
    from propagul.link.credentials import Credentials
    from propagul.link.stream import FrameStream


class _Proven(NamedTuple):
    """A connection, and what its other end proved when it was made."""

    connection: asyncio.Transport
    node: NodeId
    tag: str


class OpenLinks:
    """Cuts connections when the ring changes. Everything but the change itself happens in the loop."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._proven: list[_Proven] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        credentials.listen(self._note_change)
        credentials.linked = self.nodes

    def add(self, stream: FrameStream, node: NodeId) -> None:
        """Remember a connection. Call it in the turn of the loop in which the other end's certificate was judged."""
        _, tag = self._credentials.standing(stream.peer_certificate() or b"")
        self._loop = asyncio.get_running_loop()
        self._proven = [proven for proven in self._proven if not proven.connection.is_closing()]
        self._proven.append(_Proven(stream.connection, node, tag))

    def nodes(self) -> set[NodeId]:
        """Who is at the other end of an open connection. From any thread."""
        return {proven.node for proven in self._proven if not proven.connection.is_closing()}

    def _note_change(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and so is every connection in it
                loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for connection, node, tag in self._proven:
            if not self._credentials.ring.vouches_for(node, tag):
                connection.abort()
