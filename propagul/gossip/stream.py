"""A stream of blocks as bytes that may be cut anywhere.

    stream = item, block, block, ...        each: its length (7 bits a byte, the lowest first), then its bytes

The first item is empty, or in a snapshot join the sender's floor. The receiver needs no more memory than one block.
With a piece goes the position of its last whole block: whoever loses the rest of the stream asks for it from there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from propagul.crdt import VALUE_BYTES_MAX, Floor, codec, wire
from propagul.errors import PeerProtocolError
from propagul.gossip.events import InThread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from propagul.gossip.events import Outgoing

ITEM_BYTES_MAX = 2 * VALUE_BYTES_MAX
"""The longest block or floor that is taken from a peer: one row of the largest value fits many times over."""

ORIGINS_MAX = 1_000_000
"""The longest floor that is taken from a peer."""


class Piece(NamedTuple):
    """A piece of a stream.

    Attributes:
        last: Whether it is the last.
        chunk: Its bytes.
        position: Of the last block that is complete with it, if that is another than before; not in the last piece.
    """

    last: bool
    chunk: bytes
    position: bytes


Located = tuple[bytes, bytes]
"""A block, and the position of whoever has all blocks up to this one."""


def located(stream: Outgoing) -> Iterator[Located | InThread]:
    """The blocks of a stream with their positions, which say more the later they are asked for."""
    for block in stream.blocks():
        yield block if isinstance(block, InThread) else (block, stream.position)


def look_ahead(blocks: Iterator[Located | InThread], begin: list[Located], most: int) -> Iterator[InThread]:
    """Move blocks to `begin` until they are more than `most` bytes, or all; yield what must be run for that."""
    while sum(len(block) for block, _ in begin) <= most:
        block = next(blocks, None)
        if block is None:
            return
        if isinstance(block, InThread):
            yield block
        else:
            begin.append(block)


def chunks(floor: Floor | None, blocks: Iterable[Located | InThread], chunk_bytes: int) -> Iterator[Piece | InThread]:
    """The stream in pieces of at most `chunk_bytes`; and what is for a thread."""
    cutter = _Cutter(chunk_bytes, _item(b"" if floor is None else wire.pack(codec.flatten(floor))))
    for block in blocks:
        if isinstance(block, InThread):
            yield block
            continue
        yield from cutter.full()
        cutter.add(_item(block[0]), block[1])
    yield from cutter.full()
    yield Piece(last=True, chunk=cutter.rest, position=b"")


class _Cutter:
    """Items go in, pieces of one length come out."""

    def __init__(self, chunk_bytes: int, first: bytes) -> None:
        self._chunk_bytes = chunk_bytes
        self._buffer = bytearray(first)
        self._out = 0
        self._ends: deque[tuple[int, bytes]] = deque()

    def add(self, item: bytes, position: bytes) -> None:
        self._buffer += item
        self._ends.append((self._out + len(self._buffer), position))

    def full(self) -> Iterator[Piece]:
        while len(self._buffer) > self._chunk_bytes:
            chunk = bytes(self._buffer[: self._chunk_bytes])
            del self._buffer[: self._chunk_bytes]
            self._out += len(chunk)
            position = b""
            while self._ends and self._ends[0][0] <= self._out:
                position = self._ends.popleft()[1]
            yield Piece(last=False, chunk=chunk, position=position)

    @property
    def rest(self) -> bytes:
        return bytes(self._buffer)


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
