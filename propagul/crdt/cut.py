"""What a peer lacks of a replica, frozen at one instant and read in slices.

A peer is served by its place in our arrival order, by its vector, or by a snapshot join; which of these, the replica
decides. Here is what comes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from propagul.crdt.block import Block
from propagul.crdt.bulk import lacking
from propagul.crdt.twins import twin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.crdt.capture import Capture
    from propagul.crdt.dot import Origin
    from propagul.crdt.row import Row
    from propagul.crdt.vector import Entry, Floor, VersionVector


@dataclass(frozen=True, slots=True)
class Join:
    """What makes a stream a snapshot join: it holds every row of its sender.

    Attributes:
        vector: The sender's vector at the cut.
        floor: Its floor; our own must not stay below it.
    """

    vector: VersionVector
    floor: Floor


class Position(NamedTuple):
    """How far a stream has been read: its reader has what had arrived by then in the slots before, or never lacked it.

    Attributes:
        arrival: An arrival number of the sender's.
        slots: How many slots of the sender's.
        whole: It is a snapshot join that was read so far.
    """

    arrival: int
    slots: int
    whole: bool


@dataclass(slots=True, kw_only=True)
class Cut:
    """What a peer lacks, frozen at one instant and read in slices. Close it, or read it to the end.

    Attributes:
        entries: How our vector changed since we last told that peer.
        arrival: Our arrival number at the cut: the peer's next place.
        mark: Our vector's mark at the cut: the next "since we last told".
        join: Set if this is a snapshot join.
        goes_on: It goes on where an earlier stream broke off, and makes a whole one of its rows.
        few: Of so many rows it costs nothing to see whether the peer lacks them.
    """

    few: ClassVar[int] = 64

    entries: list[Entry]
    arrival: int
    mark: int
    join: Join | None
    goes_on: bool = False
    _capture: Capture
    _lacks: Lacks
    _ahead: Block | None = field(default=None)

    @property
    def at_end(self) -> bool:
        """Whether everything was read."""
        return self._ahead is None and self._capture.at_end

    @property
    def position(self) -> Position:
        """How far it was read. Ask right after `read`."""
        return Position(*self._capture.position, self.join is not None)

    def read(self, most: int) -> Block:
        """Those of the next `most` rows that the peer lacks: perhaps none of them, before the end too."""
        if self._ahead is not None:
            block, self._ahead = self._ahead, None
            return block
        found = self._lacks.filter(self._capture.read(most))
        if self._capture.at_end:
            self._capture.close()
        return found

    def pass_over(self, most: int) -> bool:
        """Read on, past rows that the peer has; return whether the next ones may be such, too.

        What it found comes with the next `read`. There may be a million rows between two that the peer lacks.
        """
        found = self.read(most)
        if found:
            self._ahead = found
        return not found and not self.at_end

    @property
    def is_empty(self) -> bool:
        """Whether a look at `few` rows shows that there are none; what it found comes with the next `read`."""
        return not self.pass_over(self.few) and self.at_end

    def special_rows(self) -> Iterator[Row]:
        """The rows that are not plain, those that the peer has included. Ask at once, before any changes."""
        return self._capture.special_rows()

    def close(self) -> None:
        """Stop holding on to former rows. Idempotent."""
        self._capture.close()


class Lacks:
    """Which rows a peer lacks: by its vector, or only those that hold a newer dot of one origin."""

    __slots__ = ("_known", "_origin", "_seen")

    def __init__(self, known: VersionVector | None, origin: Origin | None = None, seen: int = 0) -> None:
        self._known, self._origin, self._seen = known, origin, seen

    def filter(self, block: Block) -> Block:
        """The rows of a block that the peer lacks."""
        if self._origin is not None:
            own, seen = self._origin, self._seen
            return Block(
                [p for p in block.plain if p[4] == own and p[3] > seen],
                [item for item in block.other if item[1].context.get(own, 0) > seen],
            )
        if self._known is None:
            return block
        return Block(*twin_of(lacking)(self._known, *block))
