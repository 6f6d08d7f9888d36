"""The events of the log, their bytes, and the fold of them that is the state.

    [0, space, stamp, origin, key, kind, action, ...]    a batch of a process of this log
    [1, space, stream, block]                             one block of a stream on its way in
    [2, space, stream, wall, entries, join, block, ...]   the end of a stream: with it, all of it is effective
    [3, space]  [4, space]                                the floor is frozen; the floor is raised
    [5, space, floor, hot, own]  [6, space, block]        in snapshots: a vector, and rows under it

`entries` is what the stream lets its receiver adopt; `join` is nil, or [vector, floor] of a snapshot join; `own` is the
part of the vector that processes of this log wrote and the floor does not cover. Memory is
exactly the fold of these events, in order: the rule of this file is that nothing changes a replica that is not an
event, and that folding the same events gives the same rows, vector and floor.
"""

from __future__ import annotations

import functools
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, cast

import msgpack

from propagul.crdt import Batch, Block, Dot, Entry, Floor, Join, Origin, Stamp, VersionVector, codec, wire
from propagul.crdt.hot import Replay, replayer
from propagul.crdt.twins import kernel
from propagul.errors import PeerProtocolError, StoreCorrupt, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from propagul.crdt import Replica
    from propagul.crdt.table import Table
    from propagul.log.cold import ColdValues
    from propagul.log.place import Place

    QuickReplay = Callable[
        [Table, bytes, list[tuple[int, bytes]], int, Callable[[int, bytes], object]], tuple[int, int, int]
    ]

BATCH, BLOCK, END, FREEZE, COMMIT, VECTOR, ROWS = range(7)

_SOME: Final = 512
_SINGLE: Final = b"\x97\x00"
"""How the event of a batch of one operation begins: a list of seven, the first of them 0."""


def encode_batch(space: str, batch: Batch) -> bytes:
    """The event of a local batch."""
    return wire.pack([BATCH, space, *codec.batch_fields(batch)])


def encode_block(space: str, stream: int, block: bytes) -> bytes:
    """The event of a block that arrived; it waits for the end of its stream."""
    return wire.pack([BLOCK, space, stream, block])


def encode_end(  # noqa: PLR0917 - the event's fields, in their order
    space: str, stream: int, wall: Stamp, entries: Iterable[Entry], join: Join | None, blocks: Sequence[bytes]
) -> bytes:
    """The event that makes a stream effective: its staged blocks, if any, and these."""
    joined = None if join is None else [codec.flatten(join.vector), codec.flatten(join.floor)]
    return wire.pack([END, space, stream, wall, codec.flatten(entries), joined, *blocks])


def encode_floor(space: str, kind: int) -> bytes:
    """The event of a freeze or a commit."""
    return wire.pack([kind, space])


def encode_vector(space: str, vector: VersionVector, own: Iterable[Entry]) -> bytes:
    """The first event of a namespace in a snapshot."""
    floor = vector.floor
    above = [(origin, stamp) for origin, stamp in own if not floor.covers(origin, stamp)]
    return wire.pack([VECTOR, space, codec.flatten(floor), codec.flatten(vector.hot), codec.flatten(above)])


def encode_rows(space: str, block: Block) -> Iterator[bytes]:
    """The events of rows in a snapshot."""
    for packed in codec.encode_blocks(block):
        yield wire.pack([ROWS, space, packed])


class Fold:
    """Applies events to the replicas they belong to.

    Args:
        replicas: By namespace. An event of a namespace that is not here is an error.
        read: Gives back the payload of an event by its place; for staged blocks.

    Attributes:
        cold: Set to leave large payloads where they are: they are then read by it.
        own: By namespace, the newest stamp of each origin that minted in this log and may not have been told yet.
    """

    def __init__(self, replicas: Mapping[str, Replica], read: Callable[[int], bytes]) -> None:
        self._replicas = replicas
        self._read = read
        self._events = wire.Objects()
        self._staged: dict[tuple[str, int], list[int]] = {}
        self.cold: ColdValues | None = None
        self.own: dict[str, dict[Origin, Stamp]] = {space: {} for space in replicas}

    def take_all(self, events: Iterable[tuple[int, bytes]]) -> None:
        """Apply events in order: like `take` for each, at a third of the time for single writes, or a tenth.

        Raises:
            StoreCorrupt, StoreError: As `take`.
        """
        if self.cold is not None:
            for place, event in events:
                self.take(place, event)
            return
        quick = kernel()
        if quick is None:
            self._take_all(iter(events))
        else:
            self._replay_all(iter(events), quick.replay)

    def _take_all(self, events: Iterator[tuple[int, bytes]]) -> None:
        replays = {space: replayer(replica) for space, replica in self._replicas.items()}
        while some := list(islice(events, _SOME)):
            singles = _unpacked([event for _, event in some if event.startswith(_SINGLE)])
            for place, event in some:
                fields = next(singles, ()) if event.startswith(_SINGLE) else ()
                replay = replays.get(fields[1]) if fields else None
                if replay is None or not replay.put(*fields[2:]):
                    self._flush(replays)
                    self.take(place, event)
        self._flush(replays)

    def _replay_all(self, events: Iterator[tuple[int, bytes]], replay: QuickReplay) -> None:
        """The same by the kernel, which takes the single writes of one namespace, one after another, as they stand."""
        begins = {_begin_of(space): (space, replica) for space, replica in self._replicas.items()}
        while some := list(islice(events, _SOME)):
            at = 0
            while at < len(some):
                place, event = some[at]
                begin = next(filter(event.startswith, begins), None)
                stamp = 0
                if begin is not None:
                    space, replica = begins[begin]
                    at, stamp, origin = replay(replica.table, begin, some, at, wire.known_ext)
                if stamp:
                    replica.note(Dot(Stamp(stamp), Origin(origin)))
                    self.own[space][Origin(origin)] = Stamp(stamp)
                else:
                    self.take(place, event)
                    at += 1

    def _flush(self, replays: Mapping[str, Replay]) -> None:
        for space, replay in replays.items():
            dot = replay.flush()
            if dot is not None:
                self.own[space][dot.origin] = dot.stamp

    def take(self, place: int, event: bytes) -> None:
        """Apply one event that the log kept at `place`.

        Raises:
            StoreCorrupt: It passed its checksum and is still no event of ours.
            StoreError: A newer version wrote it.
        """
        try:
            kind, space, *body = cast("list[object]", self._events.read(event))
            self._apply(place, _number(kind), self._replicas[cast("str", space)], cast("str", space), body)
        except (PeerProtocolError, ValueError, TypeError, LookupError) as error:
            raise StoreCorrupt("the event log holds a record this version cannot read") from error

    def _apply(self, place: int, kind: int, replica: Replica, space: str, body: list[object]) -> None:
        if kind == BATCH:
            batch = codec.batch_of(body)
            replica.apply(batch if self.cold is None else self.cold.left_in_batch(batch, place))
            self.own[space][batch.dot.origin] = batch.dot.stamp
        elif kind == BLOCK:
            self._staged.setdefault((space, _number(body[0])), []).append(place)
        elif kind == END:
            self._end(replica, space, place, body)
        elif kind == FREEZE:
            replica.freeze()
        elif kind == COMMIT:
            replica.commit()
            replica.trim()
        elif kind == VECTOR:
            replica.adopt(Floor(codec.unflatten(cast("list[object]", body[0]))), _entries(body[1]))
            self.own[space].update(_entries(body[2]))
        elif kind == ROWS:
            for block in self._decoded(place, [body[0]]):
                replica.load(block)
        else:
            raise StoreError("the event log was written by a newer version of propagul; nothing was changed")

    def _end(self, replica: Replica, space: str, place: Place, body: list[object]) -> None:
        stream, wall, entries, join, *blocks = body
        staged = self._staged.pop((space, _number(stream)), [])
        before = (self._decoded(at, [block_of(self._read(at))]) for at in reversed(staged))
        last = list(self._decoded(place, blocks))
        decoded = chain(reversed(last), chain.from_iterable(before))  # a resumed stream may name keys again
        replica.merge(decoded, _entries(entries), Stamp(_number(wall)), _join(join))

    def _decoded(self, place: Place, blocks: Iterable[object]) -> Iterator[Block]:
        """The blocks in the event at a place, one after the other: a stream may be longer than memory."""
        decoded = (codec.decode_block(cast("bytes", block)) for block in blocks)
        return decoded if self.cold is None else self.cold.left_in_blocks(decoded, place)


def block_of(event: bytes) -> bytes:
    """The block in the event of a staged one.

    Raises:
        StoreCorrupt: It is another event.
    """
    try:
        reader = wire.Reader(event)
        kind, _, _, block = reader.column(4)
    except (PeerProtocolError, ValueError) as error:
        raise StoreCorrupt("a staged block is not where it was left") from error
    if kind != BLOCK or type(block) is not bytes or not reader.at_end:
        raise StoreCorrupt("a staged block is not where it was left")
    return block


def _unpacked(singles: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
    """The fields of each event; nothing at all if one of them is not well-formed: the long way will say which."""
    packed = b"".join(singles)
    unpacker = msgpack.Unpacker(
        max_buffer_size=max(len(packed), 1), max_array_len=7, max_map_len=0, use_list=False, ext_hook=wire.known_ext
    )
    unpacker.feed(packed)
    unpack, tell = unpacker.unpack, unpacker.tell
    fields, end = [], 0
    try:
        for event in singles:
            fields.append(unpack())
            end += len(event)
            if tell() != end:  # one event has eaten of the next, or is two
                return iter(())
    except (ValueError, TypeError, msgpack.UnpackException):
        return iter(())
    return iter(fields)


@functools.cache
def _begin_of(space: str) -> bytes:
    """How the event of a single write begins; kept, because a packer takes 256 KiB for a moment."""
    return _SINGLE + wire.pack(space)


def _number(item: object) -> int:
    if type(item) is not int or item < 0:
        raise ValueError("not a number of an event")
    return item


def _entries(numbers: object) -> list[Entry]:
    return codec.unflatten(cast("list[object]", numbers))


def _join(fields: object) -> Join | None:
    if fields is None:
        return None
    vector, floor = cast("list[object]", fields)
    return Join(VersionVector(_entries(vector)), Floor(_entries(floor)))
