"""Frames over one connection of the loop: the part of a link that touches a transport.

A stream begins in clear and silent (reading is paused), does the TLS handshake in place, carries frames, and may at
last be handed to another protocol. Flow control works in both directions: `send` waits while the peer does not read,
and reading pauses while nobody calls `receive`, so neither end holds more than about two frames for the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, LocalProtocolError, PeerProtocolError
from propagul.link.base import FIRST_FRAME_BYTES_MAX, FRAME_BYTES_MAX, Address
from propagul.link.framing import HEADER_BYTES, FrameDecoder, encode_frame
from propagul.link.tls import SHUTDOWN_S, Cause, Verdict, cause_of, upgrade

if TYPE_CHECKING:
    import ssl

_READ_LOW_BYTES = FRAME_BYTES_MAX + HEADER_BYTES  # a frame that is not whole never keeps reading paused
_READ_HIGH_BYTES = 2 * _READ_LOW_BYTES
_WRITE_HIGH_BYTES = 2 * FRAME_BYTES_MAX
_KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPALIVE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))


class FrameStream(asyncio.Protocol):
    """One connection, from its first byte to its end.

    Attributes:
        evicted: Set by a listener that gave its place on the doorstep to another, or closes: the peer is not to blame.
        failure: What broke the connection, if not its orderly end. No exception, which would lead back to us.
        remote: The other end's address; from when the connection was made, if it was not given.
        verdict: Whether we refused the peer's certificate.
    """

    def __init__(self, remote: Address | None = None) -> None:
        self.failure: Cause | None = None
        self.evicted = False
        self.remote = remote or Address("", 0)
        self.verdict = Verdict()
        self._raw: asyncio.Transport | None = None
        self._tls: asyncio.Transport | None = None
        self._decoder = FrameDecoder(FIRST_FRAME_BYTES_MAX)
        self._readable, self._writable, self._gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._writable.set()
        self._paused = self._ended = self._closing = self._spent = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the raw connection; stay silent until `start_tls`."""
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._raw = transport
        if not self.remote.host:
            self.remote = address_of(transport.get_extra_info("peername"))
        if self._closing:
            transport.abort()
        else:
            _tune(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Keep bytes for `receive`; pause when it does not keep up."""
        if self._closing:
            return
        self._decoder.feed(data)
        self._readable.set()
        self._balance()

    def eof_received(self) -> None:
        """Note that nothing more will come."""
        self._ended = True
        self._readable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody who waits."""
        self.failure = self.failure or (None if exc is None else cause_of(exc))
        self._ended = True
        for event in (self._gone, self._readable, self._writable):
            event.set()

    def pause_writing(self) -> None:
        """Make `send` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `send` go on."""
        self._writable.set()

    # What a link calls.

    @property
    def lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing or self._spent or self._gone.is_set()

    @property
    def unsent_bytes(self) -> int:
        """Bytes queued in this process. The system's own buffers come on top."""
        assert self._raw is not None
        above = self._tls.get_write_buffer_size() if self._tls is not None else 0
        return above + self._raw.get_write_buffer_size()

    @property
    def encrypted(self) -> bool:
        """Whether the TLS handshake is done."""
        return self._tls is not None

    async def start_tls(self, context: ssl.SSLContext, *, server_side: bool, timeout_s: float) -> None:
        """Encrypt the connection.

        Raises:
            OSError: The handshake failed; see `propagul.link.tls.cause_of`.
        """
        assert self._raw is not None
        # The raw transport says `full` at once, so that what is unsent is counted in one place only.
        self._raw.set_write_buffer_limits(high=0)
        tls = await upgrade(self._raw, self, context, self.verdict, server_side=server_side, timeout_s=timeout_s)
        tls.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self._tls = tls
        self._balance()

    @property
    def connection(self) -> asyncio.Transport:
        """The connection itself, whoever reads it now. *Use*: ending it, also after `hand_over`."""
        assert self._raw is not None
        return self._raw

    def peer_certificate(self) -> bytes | None:
        """Return the certificate (DER) the peer showed in the handshake, if it showed one."""
        tls_object = self._transport.get_extra_info("ssl_object")
        return tls_object.getpeercert(binary_form=True) if tls_object is not None else None

    def allow_long_frames(self) -> None:
        """Raise the limit of a first frame to that of a link."""
        self._decoder.limit = FRAME_BYTES_MAX

    async def send(self, frame: bytes) -> None:
        """Queue one frame; see `propagul.link.base.Link.send`."""
        if len(frame) > FRAME_BYTES_MAX:
            raise LocalProtocolError(f"a frame has {len(frame)} bytes, the limit is {FRAME_BYTES_MAX}")
        # Waiting before as well: a caller that gives up waiting and tries again must not fill the memory.
        await self._room_to_write()
        self._transport.write(encode_frame(frame))
        await self._room_to_write()

    async def receive(self) -> bytes:
        """Return the next frame; see `propagul.link.base.Link.receive`."""
        while True:
            if self._closing or self._spent:
                raise ClosedError("the link is closed")
            frame = self._next_frame()
            if frame is not None:
                return frame
            if self._ended:
                raise ClosedError("the peer closed the link" if self.failure is None else "the link broke")
            self._readable.clear()
            await self._readable.wait()

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Give the connection away; see `propagul.link.base.ByteLink.hand_over`.

        Raises:
            ClosedError: There is no connection any more.
        """
        if self.lost or self._ended:
            raise ClosedError("the link is closed")
        transport, rest = self._transport, self._decoder.take_rest()
        self._spent = True
        self._readable.set()
        transport.set_protocol(protocol)
        if self._paused:
            transport.resume_reading()
        protocol.connection_made(transport)
        if not self._writable.is_set():
            protocol.pause_writing()
        if rest:
            protocol.data_received(rest)
        return transport

    async def aclose(self) -> None:
        """Send what is queued within `SHUTDOWN_S`, say goodbye, close. Idempotent."""
        if self._spent or self._raw is None:
            return
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_S):
                    if not self.lost:
                        self._stop_receiving()
                        self._transport.close()
                    await self._gone.wait()
        finally:
            self.abort()

    def abort(self) -> None:
        """Close at once, or as soon as the connection is made. Idempotent."""
        if not self._spent and not self._gone.is_set():
            self._closing = True
            self._readable.set()
            if self._raw is not None:
                self._raw.abort()

    @property
    def _transport(self) -> asyncio.Transport:
        assert self._raw is not None
        return self._tls or self._raw

    def _next_frame(self) -> bytes | None:
        try:
            frame = self._decoder.next_frame()
        except PeerProtocolError:
            self.abort()
            raise
        self._balance()
        return frame

    def _balance(self) -> None:
        """Pause or resume reading by what is buffered. In the TLS handshake the loop's own limit holds."""
        if self._tls is None or self._spent or self._gone.is_set():
            return
        if not self._paused and self._decoder.buffered > _READ_HIGH_BYTES:
            self._paused = True
            self._tls.pause_reading()
        elif self._paused and self._decoder.buffered <= _READ_LOW_BYTES:
            self._paused = False
            self._tls.resume_reading()

    async def _room_to_write(self) -> None:
        while not self.lost and not self._writable.is_set():
            await self._writable.wait()
        if self.lost:
            raise ClosedError("the link is closed" if self._closing or self._spent else "the link broke")

    def _stop_receiving(self) -> None:
        """Drop what comes in, so that the peer's last words do not stand between ours and the wire."""
        self._closing = True
        self._decoder.take_rest()
        self._readable.set()
        self._writable.set()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()


def address_of(place: object) -> Address:
    """A socket's address as the loop tells it; an IPv4 one that came to an IPv6 socket is one of IPv4."""
    match place:
        case (host, int(port), *_):
            return Address(str(host).removeprefix("::ffff:"), port)
        case _:
            return Address("", 0)


def _tune(connection: socket.socket | None) -> None:
    """Send small frames at once, and notice a peer that vanished within 11 s."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
