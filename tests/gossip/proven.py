"""A namespace whose rows prove themselves, as small as can be; and a member that lies about its own.

Its rows are a set that only grows, and of two payloads of one dot the larger stays: what it holds is a function of the
valid rows that it has met, and two of them are equal iff these are. What a vector covers it takes from no stream, as
the replica does: rows that were lied about come by `mend` or never. A proof is a checksum that nobody here makes in
another's name.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from propagul.crdt import Block, Dot, Entry, Join, Origin, Stamp, VersionVector, codec
from propagul.errors import PeerProtocolError
from propagul.gossip.messages import SUM_BYTES, SUMS

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from propagul.gossip import InThread, Provable
    from tests.gossip.simulator import MemoryLog

FORGED = "#forged"


class Name(NamedTuple):
    """What a row is called: its author never gives it two payloads, unless it lies."""

    key: str
    dot: Dot


Row = tuple[Name, str]


def signed(name: Name, value: str) -> str:
    """A payload that its author makes."""
    return f"{value}#{zlib.crc32(repr((name, value)).encode()):x}"


def is_proven(name: Name, payload: str) -> bool:
    return payload == signed(name, payload.rpartition("#")[0])


def bucket_of(key: str) -> int:
    """Few keys share a bucket, and the outermost ones are among them."""
    return -zlib.crc32(key.encode()) % 4 * 85


def packed(rows: Iterable[Row]) -> bytes:
    return codec.encode_block(Block([(key, payload, 0, *dot) for (key, dot), payload in rows], []))


def unpacked(block: bytes) -> list[Row]:
    return [
        (Name(key, Dot(stamp, origin)), str(payload))
        for key, payload, _, stamp, origin in codec.decode_block(block).plain
    ]


class Proven:
    """Implements `Source` and `Provable`; attributes that the simulator asks of a source are there too.

    Attributes:
        rows: What it holds.
        last_cut_known: Nothing; the oracle of these rows needs no history.
        incoming_known: Likewise.
        counted: How often it was counted.
        restless: How probably rows change while they are counted, as far as a comparison can tell.
    """

    is_busy = False

    def __init__(self, origin: Origin, log: MemoryLog, skew_ns: int = 0) -> None:
        self.origin = origin
        self.log = log
        self.skew_ns = skew_ns
        self.now = 0.0
        self.rows: dict[Name, str] = {}
        self.minted = Stamp(0)
        self.vector = VersionVector()
        self.last_cut_known: set[int] = set()
        self.incoming_known: set[int] = set()
        self.counted = 0
        self.restless = 0.0
        self._numbers: dict[Name, int] = {}
        self._sums: tuple[int, bytes] = -1, b""
        self.arrival = 0
        for event in log.events:
            rows, entries = msgpack.unpackb(event, use_list=False)
            self._apply([(Name(key, Dot(stamp, author)), payload) for key, stamp, author, payload in rows], entries)

    def write(self, key: str, value: str) -> Name:
        """One more row, of a dot of its own."""
        self.minted = Stamp(max(self.minted + 1, 10**9 + int(self.now * 1e6) + self.skew_ns))
        name = Name(key, Dot(self.minted, self.origin))
        self._log([(name, signed(name, value))], [(self.origin, self.minted)])
        return name

    def raise_floor(self) -> None:
        """There is none."""

    def _log(self, rows: Sequence[Row], entries: Sequence[Entry]) -> bool:
        self.log.append(msgpack.packb([[(key, *dot, payload) for (key, dot), payload in rows], list(entries)]))
        return self._apply(rows, entries)

    def _apply(self, rows: Sequence[Row], entries: Iterable[Entry]) -> bool:
        news = False
        for name, payload in rows:
            assert is_proven(name, payload), f"{name} was made up by somebody else"
            if self.rows.get(name, "") < payload:
                self.arrival, news = self.arrival + 1, True
                self.rows[name], self._numbers[name] = payload, self.arrival
        news = self.vector.join(entries) or news
        if self.vector.stamp_of(self.origin) > self.minted:  # somebody claims to know more of us than there is
            self.origin, self.minted = Origin(self.origin + 1), Stamp(0)
        return news

    def taken(self, rows: Iterable[Row]) -> list[Row]:
        """Those that prove themselves."""
        return [row for row in rows if is_proven(*row)]

    # --- Source --------------------------------------------------------------------------------------------------

    @property
    def provable(self) -> Provable | None:
        return self

    def origins(self) -> int:
        return len(self.vector)

    def hello(self) -> tuple[bytes, VersionVector, int]:
        return self.vector.digest(), self.vector.copy(), self.vector.mark

    def told_since(self, mark: int) -> tuple[list[Entry], int]:
        return self.vector.since(mark), self.vector.mark

    def covers(self, entries: Iterable[Entry]) -> bool:
        return self.vector.covers_all(entries)

    def cut(self, *, after: int, known: VersionVector, told: int, held: bytes = b"") -> Stream:
        assert not held, "no position is ever told"
        rows = [name for name, number in self._numbers.items() if number > after and not known.covers(name.dot)]
        return Stream(self, self.vector.since(told), rows)

    def cut_own(self, *, after: int, known: VersionVector) -> Stream | None:
        seen, stamp = known.stamp_of(self.origin), self.vector.stamp_of(self.origin)
        after = self.arrival if stamp <= seen else after
        newer = [name for name, number in self._numbers.items() if number > after]
        own = [name for name in newer if name.dot.origin == self.origin and name.dot.stamp > seen]
        return Stream(self, [(self.origin, stamp)], own)

    def incoming(self) -> Intake:
        return Intake(self)

    def settle(self) -> bool:
        return False

    # --- Provable ------------------------------------------------------------------------------------------------

    def sums(self) -> bytes | None:
        return self._sums[1] if self._sums[0] == self.arrival else None

    def count(self) -> None:
        self.counted += 1
        sums = [0] * SUMS
        for name, payload in self.rows.items():
            sums[bucket_of(name.key)] += zlib.crc32(repr((name, payload)).encode())
        counted_at = -1 if self.counted * 0.37 % 1 < self.restless else self.arrival
        self._sums = counted_at, b"".join(number.to_bytes(SUM_BYTES, "big") for number in sums)

    def rows_in(self, buckets: Collection[int]) -> Iterator[bytes | InThread]:
        for name in [name for name in self.rows if bucket_of(name.key) in buckets]:
            yield packed([(name, self.told(name))])

    def mend(self, block: bytes) -> bool:
        rows = self.taken(unpacked(block))
        return bool(rows) and self._log(rows, [])

    def told(self, name: Name) -> str:
        """The payload that a peer is told."""
        return self.rows[name]


class Stream:
    """What a peer lacks. It is all in memory, so nothing of it goes on over another link."""

    join, goes_on, position = None, False, b""

    def __init__(self, source: Proven, entries: list[Entry], names: Sequence[Name]) -> None:
        self.entries, self.arrival, self.mark = entries, source.arrival, source.vector.mark
        self._blocks = [packed([(name, source.told(name))]) for name in names]

    @property
    def is_empty(self) -> bool:
        return not self._blocks

    def blocks(self) -> Iterator[bytes | InThread]:
        yield from self._blocks


class Intake:
    """A stream on its way in."""

    def __init__(self, source: Proven) -> None:
        self._source = source
        self._rows: list[Row] = []

    def add(self, block: bytes) -> None:
        self._rows += unpacked(block)

    def apply(self, entries: list[Entry], join: Join | None) -> bool:
        assert join is None
        source = self._source
        rows = [row for row in source.taken(self._rows) if not source.vector.covers(row[0].dot)]
        return source._log(rows, entries)

    def go_on(self) -> None:
        raise PeerProtocolError("no position is ever told")

    def abandon(self) -> None:
        self._rows = []


class Liar(Proven):
    """A member that holds rows back, claims what it has not, gives two payloads to one dot, and makes rows up.

    Attributes:
        lies: Whether it still does. Later it is merely silent about what it has kept to itself.
    """

    def __init__(self, origin: Origin, log: MemoryLog, rng: random.Random) -> None:
        self.rng = rng
        self.lies = True
        self.others: dict[Name, str] = {}
        self.behaves = rng.choice(["silent", "honest", "random sums", "garbage"])
        super().__init__(origin, log)

    def write(self, key: str, value: str) -> Name:
        name = super().write(key, value)
        if self.lies and self.rng.random() < 0.7:
            self.others[name] = signed(name, value + self.rng.choice(["", "+"]) + "other")
        return name

    def claim(self) -> None:
        """Tell of writes that nobody made, of somebody or other."""
        origin, stamp = self.rng.choice(list(self.vector) or [(Origin(1), Stamp(1))])
        self._log([], [(origin, Stamp(stamp + self.rng.choice([1, 10, 10**6])))])

    def taken(self, rows: Iterable[Row]) -> list[Row]:
        return [row for row in super().taken(rows) if not self.lies or self.rng.random() < 0.5]

    def told(self, name: Name) -> str:
        if self.rng.random() < 0.2:
            return "zzz" + FORGED
        return self.others.get(name, self.rows[name]) if self.rng.random() < 0.5 else self.rows[name]

    @property
    def provable(self) -> Provable | None:
        return None if self.behaves == "silent" else self

    def sums(self) -> bytes | None:
        return self.rng.randbytes(SUMS * SUM_BYTES) if self.behaves == "random sums" else super().sums()

    def rows_in(self, buckets: Collection[int]) -> Iterator[bytes | InThread]:
        if self.behaves == "garbage":
            yield self.rng.randbytes(9)
        yield from super().rows_in(buckets)
