"""One link over TCP and TLS: a stream that knows who is at the other end and what for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from propagul.link.base import Address, NodeId, Purpose
    from propagul.link.stream import FrameStream


class TcpLink:
    """Implements `propagul.link.base.ByteLink`; made by `TcpTransport` only, after both ends proved themselves."""

    __slots__ = ("_dialed", "_instance", "_peer", "_purpose", "_stream", "_version")

    def __init__(
        self, stream: FrameStream, *, peer: NodeId, purpose: Purpose, dialed: bool, version: int, instance: bytes
    ) -> None:
        self._stream, self._peer, self._purpose = stream, peer, purpose
        self._dialed, self._version, self._instance = dialed, version, instance

    def __repr__(self) -> str:
        return f"TcpLink({self._purpose} {'to' if self._dialed else 'from'} {self._peer} at {self.remote})"

    @property
    def peer(self) -> NodeId:
        """Who is at the other end, proven by its certificate. For `JOIN` the acceptor sees the invite's key."""
        return self._peer

    @property
    def purpose(self) -> Purpose:
        """What this connection is for."""
        return self._purpose

    @property
    def dialed(self) -> bool:
        """Whether this end opened the connection."""
        return self._dialed

    @property
    def remote(self) -> Address:
        """The other end's address as this end sees it."""
        return self._stream.remote

    @property
    def version(self) -> int:
        """The protocol version that both ends speak on it."""
        return self._version

    @property
    def instance(self) -> bytes:
        """Tells the process at the other end from other runs of the same identity; empty where it tells none."""
        return self._instance

    async def send(self, frame: bytes) -> None:
        """Queue one frame; return when the transport may take more.

        Raises:
            LocalProtocolError: The frame is longer than `FRAME_BYTES_MAX`.
            ClosedError: The link is closed or broke.
        """
        await self._stream.send(frame)

    async def receive(self) -> bytes:
        """Return the next frame. One caller at a time.

        Raises:
            PeerProtocolError: The peer announced a frame over the limit; the link is closed.
            ClosedError: The link is closed or broke.
        """
        return await self._stream.receive()

    async def aclose(self) -> None:
        """Send what is queued within 2 s, then close. Idempotent; does nothing after `hand_over`."""
        await self._stream.aclose()

    def abort(self) -> None:
        """Close at once, dropping what is queued. Idempotent; does nothing after `hand_over`."""
        self._stream.abort()

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Give the decrypted byte stream to `protocol` and return its transport; the link object is spent.

        Raises:
            ClosedError: The link is closed or broke.
        """
        return self._stream.hand_over(protocol)
