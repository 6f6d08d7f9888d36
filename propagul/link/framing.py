"""Frames on a byte stream: a length as 32 bits big-endian, then that many bytes.

Pure: bytes in, frames out. The decoder looks at a length before it keeps anything for it, and hands frames out one by
one, so that whoever takes the stream over after any frame finds the bytes behind it untouched.
"""

from __future__ import annotations

import struct

from propagul.errors import PeerProtocolError

_LENGTH = struct.Struct(">I")

HEADER_BYTES = _LENGTH.size


def encode_frame(payload: bytes) -> bytes:
    """Return a frame; the caller keeps `payload` within the limit of the link."""
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder:
    """Cuts a byte stream into frames.

    Attributes:
        limit: Longest payload accepted, in bytes. It may be raised between two frames.
    """

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes fed and not yet taken. *Invariant*: below `HEADER_BYTES + limit` once `next_frame` returned None."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add bytes in the order they came."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Take the next whole frame, or None until more bytes come.

        Raises:
            PeerProtocolError: The next frame is announced longer than `limit`; its bytes are dropped and the stream
                has no frames any more.
        """
        if len(self._buffer) < HEADER_BYTES:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self.limit:
            del self._buffer[HEADER_BYTES:]
            raise PeerProtocolError(f"a frame of {length} bytes was announced, the limit is {self.limit}")
        end = HEADER_BYTES + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            frame = bytes(view[HEADER_BYTES:end])
        del self._buffer[:end]
        return frame

    def take_rest(self) -> bytes:
        """Take all bytes behind the last frame, for a protocol that has no frames."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
