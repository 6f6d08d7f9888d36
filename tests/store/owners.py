"""Namespaces with owned rows, by themselves, and a member that says what it likes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from propagul.crdt import REGISTER, Block, Dot, Join, Op, Origin, Packed, Replica, Stamp, VersionVector, codec
from propagul.link import Identity
from propagul.store import _signed, _values
from propagul.store._instant import rows_of
from propagul.store._namespace import Namespace
from propagul.store._owned import OwnedRows
from propagul.store._signed import Place
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul.crdt import Entry, Payload, Row, Sibling

ROOM, SPACE = "room", "things"
NOW_NS = 1_790_000_000 * 10**9
OWNER, OTHER = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
KEY, THEIRS = f"nodes/{OWNER.node}", f"nodes/{OTHER.node}"


class Wall:
    """A clock that a test sets; it moves a millisecond a reading."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        self.now_ns += 10**6
        return self.now_ns


def member(origin: int, identity: Identity = OWNER, *, wall: Wall | None = None, space: str = SPACE) -> Namespace:
    """One member's namespace in memory, in which `nodes/` is owned."""
    owned, replica = OwnedRows(ROOM, space, ("nodes/",), identity), Replica(Origin(origin))
    replica.apart = owned.apart
    return Namespace(space, replica, threading.Lock(), None, wall_ns=wall or Wall(), sealed=owned)


def remove(space: Namespace, key: str) -> None:
    assert space.remove(key)


def value(space: Namespace, key: str = KEY) -> object:
    """What a key shows; None for nothing."""
    row = space.row(key)
    return None if not _signed.is_there(row) else _values.thaw(key, row.siblings[0].payload)


def shown(space: Namespace) -> dict[str, tuple[Sibling, ...]]:
    """Every row with its dots and payloads."""
    return {key: row.siblings for key, row in rows_of(space.blocks())}


def tell(receiver: Namespace, sender: Namespace) -> None:
    """Give a namespace all that another one has and it lacks."""
    _, known, _ = receiver.hello()
    stream, incoming = sender.cut(after=0, known=known, told=0), receiver.incoming()
    for block in taken(stream.blocks()):
        incoming.add(block)
    incoming.apply(list(stream.entries), stream.join)


def hand(space: Namespace, rows: Block, entries: Sequence[Entry] = (), join: Join | None = None) -> None:
    """Give a namespace any rows, as a hostile member may."""
    incoming = space.incoming()
    for block in codec.encode_blocks(rows):
        incoming.add(block)
    incoming.apply(list(entries), join)


def plain_block(key: str, payload: Payload, dot: Dot, kind: int = REGISTER) -> Block:
    return Block([(key, payload, kind, dot.stamp, dot.origin)], [])


def row_block(key: str, row: Row) -> Block:
    return Block([], [(key, row)])


def signed(
    identity: Identity, content: Payload, dot: Dot, *, key: str = KEY, space: str = SPACE, room: str = ROOM
) -> Packed:
    """A value signed for any place."""
    return _signed.sign(identity, Place(room, space, key, dot), 0, content)


def covering(*entries: tuple[int, int]) -> VersionVector:
    return VersionVector([(Origin(origin), Stamp(stamp)) for origin, stamp in entries])


def write_unsigned(space: Namespace, op: Op) -> None:
    """What a member writes that cares for no rule: by the replica itself."""
    replica = space._replica
    replica.apply(replica.prepare([op], Stamp(NOW_NS >> 10)))
