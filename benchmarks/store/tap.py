"""A transport that keeps every frame of the links it dials, both ways. For counting what a frame was spent on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link import Address, Link, Listener, NodeId, Purpose, Refusal, Transport


class TappedTransport:
    """Implements `propagul.link.Transport` around another one.

    Attributes:
        frames: Every frame sent or received so far, in order.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.frames: list[bytes] = []

    @property
    def node(self) -> NodeId:
        """See `Transport`."""
        return self._inner.node

    async def listen(self, address: Address, accept: Mapping[Purpose, Callable[[Link], Awaitable[None]]]) -> Listener:
        """See `Transport`. Frames of accepted links are not kept."""
        return await self._inner.listen(address, accept)

    async def dial(self, address: Address, purpose: Purpose, *, expect: NodeId | None = None) -> Link:
        """See `Transport`."""
        return _TappedLink(await self._inner.dial(address, purpose, expect=expect), self.frames)

    def refusals(self) -> list[Refusal]:
        """See `Transport`."""
        return self._inner.refusals()


class _TappedLink:
    """One end of a link. Implements `propagul.link.Link`."""

    def __init__(self, inner: Link, frames: list[bytes]) -> None:
        self._inner, self._frames = inner, frames

    @property
    def peer(self) -> NodeId:
        """See `Link`."""
        return self._inner.peer

    @property
    def purpose(self) -> Purpose:
        """See `Link`."""
        return self._inner.purpose

    @property
    def dialed(self) -> bool:
        """See `Link`."""
        return self._inner.dialed

    @property
    def remote(self) -> Address:
        """See `Link`."""
        return self._inner.remote

    @property
    def version(self) -> int:
        """See `Link`."""
        return self._inner.version

    @property
    def instance(self) -> bytes:
        """See `Link`."""
        return self._inner.instance

    async def send(self, frame: bytes) -> None:
        """See `Link`."""
        self._frames.append(frame)
        await self._inner.send(frame)

    async def receive(self) -> bytes:
        """See `Link`."""
        frame = await self._inner.receive()
        self._frames.append(frame)
        return frame

    async def aclose(self) -> None:
        """See `Link`."""
        await self._inner.aclose()

    def abort(self) -> None:
        """See `Link`."""
        self._inner.abort()
