"""A stream of blocks as bytes that may be cut anywhere.

    stream = item, block, block, ...        each: its length (7 bits a byte, the lowest first), then its bytes

The first item is empty, or in a snapshot join the sender's floor. The receiver needs no more memory than one block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.crdt import VALUE_BYTES_MAX, Floor, codec, wire
from propagul.errors import PeerProtocolError
from propagul.gossip.events import InThread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ITEM_BYTES_MAX = 2 * VALUE_BYTES_MAX
"""The longest block or floor that is taken from a peer: one row of the largest value fits many times over."""

ORIGINS_MAX = 1_000_000
"""The longest floor that is taken from a peer."""


def chunks(
    floor: Floor | None, blocks: Iterable[bytes | InThread], chunk_bytes: int
) -> Iterator[tuple[bytes | InThread, bool]]:
    """The stream in pieces of at most `chunk_bytes`, each with whether it is the last; and what is for a thread."""
    buffer = bytearray(_item(b"" if floor is None else wire.pack(codec.flatten(floor))))
    for block in blocks:
        if isinstance(block, InThread):
            yield block, False
            continue
        while len(buffer) > chunk_bytes:
            yield bytes(buffer[:chunk_bytes]), False
            del buffer[:chunk_bytes]
        buffer += _item(block)
    while len(buffer) > chunk_bytes:
        yield bytes(buffer[:chunk_bytes]), False
        del buffer[:chunk_bytes]
    yield bytes(buffer), True


def decode_floor(item: bytes) -> Floor | None:
    """What the first item says.

    Raises:
        PeerProtocolError: It is no floor.
    """
    if not item:
        return None
    reader = wire.Reader(item)
    floor = Floor(codec.read_entries(reader, ORIGINS_MAX))
    if not reader.at_end:
        raise PeerProtocolError("a floor is longer than it says")
    return floor


class Assembler:
    """Puts the items of a stream together again."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of an unfinished item."""
        return not self._buffer

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take a piece; yield the items that are whole now.

        Raises:
            PeerProtocolError: An item claims to be longer than any.
        """
        self._buffer += chunk
        while (head := self._head()) is not None:
            start, end = head
            if len(self._buffer) < end:
                return
            item = bytes(self._buffer[start:end])
            del self._buffer[:end]
            yield item

    def _head(self) -> tuple[int, int] | None:
        """Where the first item begins and ends; None if its length is not here yet."""
        length = 0
        for index, byte in enumerate(self._buffer[:5]):
            length |= (byte & 0x7F) << 7 * index
            if length > ITEM_BYTES_MAX:
                break
            if byte < 0x80:
                return index + 1, index + 1 + length
        else:
            if len(self._buffer) < 5:
                return None
        raise PeerProtocolError("a block is longer than the protocol allows")


def _item(content: bytes) -> bytes:
    head, length = bytearray(), len(content)
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + content
