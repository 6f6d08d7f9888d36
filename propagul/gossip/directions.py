"""Directions: which way the rows of a namespace go between two members.

A namespace is shared by all unless a member says otherwise of itself in its hello: `UP`, it sends what it has and wants
nothing, or `DOWN`, it wants everything and sends nothing. What goes over a link follows from what its two ends said, by
the two lines in `Course.meet`; nothing else in gossip decides on a direction.

Whoever sends no rows on a link tells of none either: its peer would lag for ever. All that it tells are answers, which
of the entries that its peer has told it are applied here, and acknowledgements. A direction is an economy and no right:
nobody is kept from knowing what is sent elsewhere in the room.

What makes a full delta complete (`propagul.gossip.exchange`) holds as it stands: each fact is of one sender and what it
was told. Who sends nothing names nothing but what it was told and has. So the other's `theirs` may be less than the
truth, which costs bytes at most, and reaches all that the other has, which is all that it can send.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from propagul.crdt import Entry, Origin, Stamp
    from propagul.gossip.events import Source


class Direction(enum.IntEnum):
    """What a member wants of a namespace. One that is not known is the first, as for who knows of no directions."""

    MESH = 0
    UP = 1
    DOWN = 2


class Course:
    """Which way rows go in one namespace on one link, and what is told where they go one way only.

    Args:
        ours: Our direction.

    Attributes:
        ours: As given.
        gives: Whether we send rows.
        takes: Whether the peer does.
    """

    __slots__ = ("_had", "_named", "gives", "ours", "takes")

    def __init__(self, ours: Direction) -> None:
        self.ours = ours
        self.gives = self.takes = True
        self.meet(Direction.MESH)
        self._named: dict[Origin, Stamp] = {}
        self._had: list[Entry] = []

    def meet(self, theirs: Direction) -> None:
        """The peer has said what it wants."""
        self.gives = self.ours is not Direction.DOWN and theirs is not Direction.UP
        self.takes = self.ours is not Direction.UP and theirs is not Direction.DOWN

    @property
    def tells_first(self) -> bool:
        """Whether our first telling waits for nothing; else it answers the peer's. Of two ends at least one does."""
        return self.gives or not self.takes

    def named(self, entries: Iterable[Entry]) -> None:
        """The peer has told this; where it is sent nothing, it waits for an answer."""
        if not self.gives:
            self._named.update((o, s) for o, s in entries if self._named.get(o, 0) < s)

    def owes_answer(self, source: Source, *, first: bool) -> bool:
        """Whether a telling of the peer's that is complete, its `first` or another, is to be answered.

        The first also where something older is here than what it names, or all of it would come again.
        """
        if self.gives:
            return False
        if first and self._named:
            vector = source.hello()[1]
            here = [(origin, vector.stamp_of(origin)) for origin in self._named]
            self._had = [(origin, stamp) for origin, stamp in here if 0 < stamp < self._named[origin]]
        return bool(self.answers(source)) or (first and self.takes)

    def answers(self, source: Source) -> list[Entry]:
        """What is applied here of what the peer has told."""
        return self._had + [entry for entry in self._named.items() if source.covers([entry])]

    def answered(self, entries: Iterable[Entry]) -> None:
        """The peer has been told so."""
        self._had = []
        for origin, stamp in entries:
            if self._named.get(origin) == stamp:
                del self._named[origin]
