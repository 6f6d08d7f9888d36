"""What a frame says: `messages` read with nothing trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from propagul.crdt import codec, wire
from propagul.errors import PeerProtocolError
from propagul.gossip.directions import Direction
from propagul.gossip.lanes import Lane
from propagul.gossip.messages import SUM_BYTES, SUMS, Compare, Delta, Digest, Hello, Mend, Message, Pulse, Push

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

_VECTOR_BYTES = 16
_TEXT_MAX = 256
_POSITION_BYTES_MAX = 64
_SPACES_MAX = 64
_FIELDS_MAX = 64
_ENTRIES_MAX = 32 * 1024


def decode(frame: bytes) -> Message | None:
    """The message in a frame; None for a kind this version does not know.

    Raises:
        PeerProtocolError: The frame is malformed.
    """
    reader = wire.Reader(frame)
    fields = reader.items(_FIELDS_MAX)
    kind = _count(reader.scalar()) if fields else None
    if kind is None:
        raise PeerProtocolError("a gossip message is a list that begins with its kind")
    if kind >= len(_READERS):
        return None
    fewest, most, read = _READERS[kind]
    if fields < fewest:
        raise PeerProtocolError(f"a gossip message of kind {kind} has {fields - 1} fields, expected {fewest - 1}")
    message = read(reader, fields)
    for _ in range(fields - most):
        reader.skip()
    if not reader.at_end:
        raise PeerProtocolError("a gossip message is longer than it says")
    return message


def _hello(reader: wire.Reader, fields: int) -> Hello:
    version, label, recovering = _count(reader.scalar()), _text(reader.scalar()), _typed(reader.scalar(), bool)
    spaces = reader.pairs(_SPACES_MAX)
    digests = {_text(reader.scalar()): _typed(reader.scalar(), bytes) for _ in range(spaces)}
    if len(digests) != spaces or any(len(digest) != _VECTOR_BYTES for digest in digests.values()):
        raise PeerProtocolError("a hello names each namespace once, with a digest of 16 bytes")
    urgent = fields > 5 and _typed(reader.scalar(), bool)
    rules = _text(reader.scalar()) if fields > 6 else ""
    directions = _directions(reader, digests) if fields > 7 else {}
    return Hello(
        version=version,
        label=label,
        recovering=recovering,
        digests=digests,
        urgent=urgent,
        rules=rules,
        directions=directions,
    )


def _directions(reader: wire.Reader, digests: Mapping[str, bytes]) -> dict[str, Direction]:
    spaces = reader.pairs(_SPACES_MAX)
    said = {_text(reader.scalar()): _count(reader.scalar()) for _ in range(spaces)}
    if len(said) != spaces or not said.keys() <= digests.keys():
        raise PeerProtocolError("a hello says each direction once, and of namespaces that it names")
    return {space: Direction(way) for space, way in said.items() if 0 < way < len(Direction)}


def _digest(reader: wire.Reader, fields: int) -> Digest:
    space, flags = _count(reader.scalar()), _count(reader.scalar())
    return Digest(
        space=space,
        applied=bool(flags & 1),
        same=bool(flags & 2),
        more=bool(flags & 4),
        rows_follow=bool(flags & 8),
        only_these=bool(flags & 16),
        join=bool(flags & 32),
        goes_on=bool(flags & 64),
        patient=bool(flags & 128),
        entries=tuple(codec.read_entries(reader, _ENTRIES_MAX)) if fields > 3 else (),
        held=_position(reader) if fields > 4 else b"",
    )


def _delta(reader: wire.Reader, fields: int) -> Delta:
    space, last = _count(reader.scalar()), _typed(reader.scalar(), bool)
    chunk = _typed(reader.scalar(), bytes)
    return Delta(space=space, last=last, chunk=chunk, position=_position(reader) if fields > 4 else b"")


def _push(reader: wire.Reader, fields: int) -> Push:
    space, flags, stamp = _count(reader.scalar()), _count(reader.scalar()), _count(reader.scalar())
    block = _typed(reader.scalar(), bytes)
    origin = wire.as_origin(reader.scalar()) if fields > 5 else None
    return Push(space=space, applied=bool(flags & 1), stamp=stamp, block=block, short=bool(flags & 2), origin=origin)


def _pulse(reader: wire.Reader, _: int) -> Pulse:
    lane = _count(reader.scalar())
    return Pulse(lane=Lane(lane) if lane < len(Lane) else Lane.TELL)


def _compare(reader: wire.Reader, _: int) -> Compare:
    space = _count(reader.scalar())
    vector, sums = _typed(reader.scalar(), bytes), _typed(reader.scalar(), bytes)
    if len(vector) != _VECTOR_BYTES or len(sums) not in (SUM_BYTES, SUMS * SUM_BYTES):
        raise PeerProtocolError(f"a comparison has the digest of a vector, and one sum or {SUMS}")
    return Compare(space=space, vector=vector, sums=sums)


def _mend(reader: wire.Reader, _: int) -> Mend:
    return Mend(space=_count(reader.scalar()), last=_typed(reader.scalar(), bool), chunk=_typed(reader.scalar(), bytes))


_READERS: tuple[tuple[int, int, Callable[[wire.Reader, int], Message]], ...] = (
    (5, 8, _hello),
    (3, 5, _digest),
    (4, 5, _delta),
    (5, 6, _push),
    (2, 2, _pulse),
    (4, 4, _compare),
    (4, 4, _mend),
)
"""For each kind of message: how many fields it has at least and at most, and what reads them."""


def _position(reader: wire.Reader) -> bytes:
    position = _typed(reader.scalar(), bytes)
    if len(position) > _POSITION_BYTES_MAX:
        raise PeerProtocolError(f"a position is over {_POSITION_BYTES_MAX} bytes")
    return position


def _typed(value: object, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise PeerProtocolError(f"expected {kind.__name__}")
    return value


def _count(value: object) -> int:
    number = _typed(value, int)
    if number < 0:
        raise PeerProtocolError("a count is negative")
    return number


def _text(value: object) -> str:
    text = _typed(value, str)
    if len(text) > _TEXT_MAX:
        raise PeerProtocolError("a name is over 256 characters")
    return text
