"""One row of the map: its concurrent siblings and the causal context that says what was seen.

A dotted version vector set (Almeida, Baquero, Goncalves, Preguica, Fonte 2014). A sibling survives a join unless the
other side has seen it and no longer holds it. What a row has seen is its context, plus what its replica's vector
covers: contexts are trimmed below the floor. A delete leaves no siblings and a dot of its own in the context; such a
row is a removal record and travels like any other, until the floor covers all of it.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul.crdt.payload import Keep, Remove

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.crdt.dot import Dot, Origin, Stamp
    from propagul.crdt.payload import Action, Payload
    from propagul.crdt.vector import Floor, VersionVector

REGISTER, COUNTER, SET, LOG, MAP, GONE = range(6)
"""Row kinds; what is gone is a signed word that a row holds nothing. Others are stored and forwarded untouched."""

SIBLINGS_MAX = 64
"""A replica that meets more siblings than this on one key writes an operation that keeps the highest of them."""


class Sibling(NamedTuple):
    """One write that nothing seen has superseded."""

    dot: Dot
    kind: int
    payload: Payload


class Row(NamedTuple):
    """What one replica knows of one key.

    Attributes:
        siblings: Highest dot first, so the first one is the last-writer-wins view.
        context: For each origin the highest stamp seen on this key, as far as the floor does not say it. Treated as
            immutable. *Invariant:* it covers every sibling's dot.
    """

    siblings: tuple[Sibling, ...]
    context: Mapping[Origin, Stamp]

    @property
    def winner(self) -> Sibling | None:
        """The sibling that ranks highest, or None for a removal record."""
        return self.siblings[0] if self.siblings else None

    @property
    def dots(self) -> list[Dot]:
        """The siblings' dots: equal iff they are the same writes, wherever their payloads are."""
        return [sibling.dot for sibling in self.siblings]

    @property
    def is_plain(self) -> bool:
        """Whether there is one sibling and its own dot is all the context says."""
        return len(self.siblings) == len(self.context) == 1 and self.has_seen_no_more_than_it_holds

    @property
    def has_seen_no_more_than_it_holds(self) -> bool:
        """Whether the context is implied by the siblings."""
        return self.context == _implied(self.siblings)

    def covered_by(self, vector: VersionVector) -> bool:
        """Whether a replica with this vector, which covers our floor, has nothing to learn from this row."""
        return vector.covers_all(self.context.items())


EMPTY = Row((), {})

_BY_DOT: Final = itemgetter(0)


def plain(dot: Dot, kind: int, payload: Payload) -> Row:
    """A row of one sibling that has seen nothing else."""
    return Row((Sibling(dot, kind, payload),), {dot.origin: dot.stamp})


def act(seen: Row, dot: Dot, kind: int, action: Action) -> Row:
    """The row after an operation whose author saw `seen`: a write or removal supersedes every sibling there."""
    context = {**seen.context, dot.origin: dot.stamp}
    if isinstance(action, Keep):
        return Row(seen.siblings[: int(action)], context)
    if isinstance(action, Remove):
        return Row((), context)
    return Row((Sibling(dot, kind, action),), context)


def join(ours: Row, theirs: Row, here: VersionVector, there: VersionVector | None = None) -> Row:
    """What both sides know of one key. Returns `ours` itself when `theirs` adds nothing.

    Args:
        ours: The local row.
        theirs: The incoming one.
        here: Our vector before the stream: a dot it covers and `ours` lacks was superseded here.
        there: In a snapshot join, the sender's vector, with the same meaning for `theirs`.
    """
    (siblings, known), (offered, said) = ours, theirs
    dots = [sibling.dot for sibling in offered]
    kept = [
        s
        for s in siblings
        if (said.get(s.dot[1], 0) < s.dot[0] and (there is None or not there.covers(s.dot))) or s.dot in dots
    ]
    taken = [s for s in offered if known.get(s.dot[1], 0) < s.dot[0] and not here.covers(s.dot)]
    if not taken and len(kept) == len(siblings) and theirs.covered_by(here):
        return ours  # all that theirs has seen is applied here
    newer = {o: s for o, s in said.items() if known.get(o, 0) < s}
    if not taken and len(kept) == len(siblings) and not newer:
        return ours
    if taken:
        kept = sorted(kept + taken, key=_BY_DOT, reverse=True) if kept else taken
    return Row(tuple(kept), {**known, **newer})


def trim(row: Row, floor: Floor) -> Row:
    """The row without context entries that the floor covers; the siblings' own dots stay. The same row if none go."""
    implied = _implied(row.siblings)
    kept = {o: s for o, s in row.context.items() if implied.get(o) == s or not floor.covers(o, s)}
    if len(kept) == len(row.context):
        return row
    return Row(row.siblings, {**implied, **kept})


def _implied(siblings: tuple[Sibling, ...]) -> dict[Origin, Stamp]:
    """The context that the siblings' dots alone make."""
    return {dot.origin: dot.stamp for dot, _, _ in reversed(siblings)}
