"""Replicas below the store, ours and the peers', with the same few verbs: bytes out, bytes in.

A delta is what one replica hands to another that it knows how far it is: by our cursor and vector, by a peer's state
vector. It is encoded as it would travel, vector entries included.
"""

from __future__ import annotations

import importlib
import random
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.crdt import Join, Op, Stamp, VersionVector


class Replicated(Protocol):
    """A replica that can be written, asked for what another lacks, and merged into."""

    def put(self, key: str, value: str) -> None:
        """Write one key."""

    def bookmark(self) -> object:
        """How far this replica is, for `since` of another that holds the same at this moment."""

    def since(self, bookmark: object) -> bytes:
        """What changed after a bookmark that was taken here, as it travels."""

    def whole(self) -> bytes:
        """Everything, as an empty replica would get it."""

    def merge(self, packed: bytes) -> None:
        """Take in what another handed over."""

    def content(self) -> Mapping[str, object]:
        """Every key with its value."""


class Ours:
    """`propagul.crdt.Replica`, unwatched as in a store that nobody watches.

    Args:
        seed: Of its origin; different for every replica of a workload.
    """

    def __init__(self, seed: int) -> None:
        from propagul import crdt  # noqa: PLC0415 - peers' interpreters import this module too

        self._crdt, self._codec = crdt, crdt.codec
        self.replica = crdt.Replica(crdt.Origin(random.Random(seed).getrandbits(64)))
        self.replica.watched = False

    def put(self, key: str, value: str) -> None:
        """See `Replicated`."""
        self._act(self._crdt.Op(key, self._crdt.REGISTER, value))

    def remove(self, key: str) -> None:
        """Delete one key."""
        self._act(self._crdt.Op(key, self._crdt.REGISTER, self._crdt.REMOVE))

    def restart(self, origin: int) -> None:
        """Write under another origin from now on, as after an open that found no proof of a clean close."""
        self.replica.renew(self._crdt.Origin(origin))

    def bookmark(self) -> object:
        """See `Replicated`: place, vector and mark, as a link keeps them of its peer."""
        return self.replica.arrival, self.replica.vector.copy(), self.replica.vector.mark

    def since(self, bookmark: object) -> bytes:
        """See `Replicated`."""
        after, known, told = cast("tuple[int, VersionVector, int]", bookmark)
        return self._cut(after, known, told)

    def whole(self) -> bytes:
        """See `Replicated`."""
        return self._cut(0, self._crdt.VersionVector(), 0)

    def merge(self, packed: bytes) -> None:
        """See `Replicated`."""
        reader = self._crdt.wire.Reader(packed)
        reader.items(1 << 20)
        entries = self._codec.read_entries(reader, 1 << 20)
        join = self._join(reader.column(1 << 20), reader.column(1 << 20))
        blocks = [self._codec.decode_block(cast("bytes", block)) for block in reader.column(1 << 20)]
        self.replica.merge(blocks, entries, self._wall(), join)

    def content(self) -> Mapping[str, object]:
        """See `Replicated`."""
        return {key: row.siblings[0].payload for key, row in self.replica if row.siblings}

    def siblings(self) -> Mapping[str, object]:
        """Every key with all its siblings: what must be equal after a merge of concurrent writes."""
        return {key: row.siblings for key, row in self.replica}

    def raise_floor(self) -> None:
        """Let go of what is known to be seen."""
        self.replica.freeze()
        self.replica.commit()
        self.replica.trim()

    def _act(self, op: Op) -> None:
        self.replica.apply(self.replica.prepare([op], self._wall()))

    def _wall(self) -> Stamp:
        return self._crdt.stamp_of_ns(time.time_ns())

    def _cut(self, after: int, known: VersionVector, told: int) -> bytes:
        codec, cut = self._codec, self.replica.cut(after=after, known=known, told=told)
        blocks: list[bytes] = []
        while not cut.at_end:
            blocks += codec.encode_blocks(cut.read(codec.BLOCK_ROWS_MAX))
        vector, floor = ((), ()) if cut.join is None else (cut.join.vector, cut.join.floor)
        return self._crdt.wire.pack([*map(codec.flatten, (cut.entries, vector, floor)), blocks])

    def _join(self, vector: list[object], floor: list[object]) -> Join | None:
        if not vector and not floor:
            return None
        there, beneath = self._codec.unflatten(vector), self._codec.unflatten(floor)
        return self._crdt.Join(self._crdt.VersionVector(there), self._crdt.Floor(beneath))


class Pycrdt:
    """A `pycrdt.Doc` with one map."""

    def __init__(self, seed: int) -> None:
        pycrdt: Any = importlib.import_module("pycrdt")
        self._doc = pycrdt.Doc(client_id=random.Random(seed).getrandbits(32))
        self._rows = self._doc.get("rows", type=pycrdt.Map)

    def put(self, key: str, value: str) -> None:
        """See `Replicated`."""
        self._rows[key] = value

    def bookmark(self) -> object:
        """See `Replicated`: a state vector."""
        return self._doc.get_state()

    def since(self, bookmark: object) -> bytes:
        """See `Replicated`."""
        return cast("bytes", self._doc.get_update(bookmark))

    def whole(self) -> bytes:
        """See `Replicated`."""
        return cast("bytes", self._doc.get_update())

    def merge(self, packed: bytes) -> None:
        """See `Replicated`."""
        self._doc.apply_update(packed)

    def content(self) -> Mapping[str, object]:
        """See `Replicated`."""
        return cast("dict[str, object]", self._rows.to_py())


class Loro:
    """A `loro.LoroDoc` with one map."""

    def __init__(self, seed: int) -> None:
        self._loro: Any = importlib.import_module("loro")
        self._doc = self._loro.LoroDoc()
        self._doc.peer_id = random.Random(seed).getrandbits(63)
        self._rows = self._doc.get_map("rows")

    def put(self, key: str, value: str) -> None:
        """See `Replicated`."""
        self._rows.insert(key, value)

    def bookmark(self) -> object:
        """See `Replicated`: a version vector."""
        self._doc.commit()
        return self._doc.oplog_vv

    def since(self, bookmark: object) -> bytes:
        """See `Replicated`."""
        return cast("bytes", self._doc.export(self._loro.ExportMode.Updates(bookmark)))

    def whole(self) -> bytes:
        """See `Replicated`."""
        return cast("bytes", self._doc.export(self._loro.ExportMode.Snapshot()))

    def merge(self, packed: bytes) -> None:
        """See `Replicated`."""
        self._doc.import_(packed)

    def content(self) -> Mapping[str, object]:
        """See `Replicated`."""
        return cast("dict[str, object]", self._rows.get_deep_value())


def replica(contender: str, seed: int) -> Replicated:
    """An empty replica of a contender.

    Raises:
        KeyError: It has none.
    """
    kinds: dict[str, type[Ours | Pycrdt | Loro]] = {"propagul": Ours, "pycrdt": Pycrdt, "loro": Loro}
    return kinds[contender](seed)
