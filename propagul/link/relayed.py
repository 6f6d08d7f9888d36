"""Links over bytes that somebody else carries: the same handshake, end to end, on a connection that is not ours.

`Pipe` stands between the two. Towards the carrier it is a protocol that gets ciphertext; towards the handshake it is a
transport. What comes before anybody asks for it waits there, so that the end that is slower to begin loses nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from propagul.errors import IdentityError
from propagul.link.approach import approach, explained
from propagul.link.base import ByteLink
from propagul.link.reception import welcome
from propagul.link.stream import FrameStream

if TYPE_CHECKING:
    from collections.abc import Container

    from propagul.link.base import Address, NodeId, Purpose
    from propagul.link.tcp_link import TcpLink
    from propagul.link.terms import Terms


class Relayed:
    """One carried connection, on which one end dials and the other accepts. Made by `TcpTransport.over`."""

    def __init__(self, terms: Terms, stream: ByteLink | asyncio.Transport, via: Address) -> None:
        self._terms, self._via = terms, via
        self._stream = FrameStream()
        pipe = Pipe()
        if isinstance(stream, ByteLink):
            stream.hand_over(pipe)
        else:
            stream.pause_reading()
            stream.set_protocol(pipe)
            pipe.connection_made(stream)
        self._stream.connection_made(pipe)
        self._stream.remote = via

    async def dial(self, purpose: Purpose, *, expect: NodeId) -> TcpLink:
        """Open a link to the member at the other end.

        Raises:
            LinkError: It does not answer, in time, with this protocol; or what was carried was changed on the way.
            IdentityError: It belongs to another room or secret, or is not `expect`.
        """
        try:
            return await approach(self._terms, self._stream, self._via, purpose, expect=expect)
        except IdentityError as error:
            raise explained(self._terms, error, self._via) from None

    async def accept(self, purposes: Container[Purpose]) -> TcpLink | None:
        """Open the link that the member at the other end asks for; None if there is none, which was counted."""
        return await welcome(self._terms, self._stream, purposes)

    def abort(self) -> None:
        """Close the connection at once. Idempotent; a link that was opened on it breaks."""
        self._stream.abort()


class Pipe(asyncio.Transport, asyncio.Protocol):
    """A transport of the loop's kind over another one, whatever that is made of."""

    _start_tls_compatible = True  # what asyncio asks of a transport on which TLS is to begin

    def __init__(self) -> None:
        super().__init__()
        self._carrier: asyncio.Transport | None = None
        self._protocol: asyncio.BaseProtocol | None = None
        self._early = bytearray()
        self._paused = False

    # --- what the carrier calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the carrier."""
        assert isinstance(transport, asyncio.Transport)
        self._carrier = transport

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, or keep them until they are asked for."""
        if self._paused or self._protocol is None:
            self._early += data
        else:
            self._feed(data)

    def eof_received(self) -> None:
        """The carrier brings nothing more; returning None closes it."""
        if isinstance(self._protocol, asyncio.Protocol | asyncio.BufferedProtocol):
            self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The carrier is gone."""
        if self._protocol is not None:
            self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """The carrier takes no more for now."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The carrier takes more."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    # --- what the handshake and the link call --------------------------------------------------------------------

    def get_extra_info(self, name: str, default: object = None) -> object:
        """What the carrier knows of itself."""
        return self._under.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who gets the bytes from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets the bytes."""
        return self._protocol or self

    def pause_reading(self) -> None:
        """Keep what comes, and let the carrier bring no more."""
        self._paused = True
        self._under.pause_reading()

    def resume_reading(self) -> None:
        """Pass on what was kept, then what comes."""
        self._paused = False
        early, self._early = bytes(self._early), bytearray()
        self._feed(early)
        if not self._paused:
            self._under.resume_reading()

    def is_reading(self) -> bool:
        """Whether bytes are passed on as they come."""
        return not self._paused

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Give bytes to the carrier."""
        self._under.write(data)

    def get_write_buffer_size(self) -> int:
        """What the carrier holds."""
        return self._under.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the carrier says that it is full. One that is TLS itself never says that it is not, at a limit of 0."""
        self._under.set_write_buffer_limits(high=None if high is None else max(high, 1), low=low)

    def is_closing(self) -> bool:
        """Whether it ends."""
        return self._under.is_closing()

    def close(self) -> None:
        """Let the carrier send what it holds, and close it."""
        self._under.close()

    def abort(self) -> None:
        """Close the carrier at once."""
        self._under.abort()

    def _force_close(self, _: BaseException | None) -> None:
        """What asyncio's TLS calls where it gives up."""
        self._under.abort()

    @property
    def _under(self) -> asyncio.Transport:
        assert self._carrier is not None
        return self._carrier

    def _feed(self, data: bytes) -> None:
        """Hand bytes to the protocol in the way it takes them."""
        rest = memoryview(data)
        while rest and isinstance(self._protocol, asyncio.BufferedProtocol):
            buffer = cast("memoryview", self._protocol.get_buffer(len(rest)))
            taken = min(len(buffer), len(rest))
            buffer[:taken] = rest[:taken]
            self._protocol.buffer_updated(taken)
            rest = rest[taken:]
        if rest and isinstance(self._protocol, asyncio.Protocol):
            self._protocol.data_received(bytes(rest))
