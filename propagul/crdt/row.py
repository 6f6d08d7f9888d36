"""One row of the map: its concurrent siblings and the causal context that says what was seen.

A dotted version vector set (Almeida, Baquero, Goncalves, Preguica, Fonte 2014). `join` is a semilattice join:
commutative, associative, idempotent. A sibling survives a join unless the other side has seen it (its context covers
the dot) and no longer holds it. A delete leaves no siblings and a dot of its own in the context; such a row is a
removal record and travels like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.crdt.dot import Dot, Origin, Stamp
    from propagul.crdt.vector import VersionVector

REGISTER = 0
"""Row kind of a plain value. Other kinds are stored and forwarded untouched."""


class Sibling(NamedTuple):
    """One write that nothing seen has superseded."""

    dot: Dot
    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """What one replica knows of one key.

    Attributes:
        siblings: Highest dot first, so the first one is the last-writer-wins view.
        context: For each origin the highest stamp seen on this key. Treated as immutable.
            *Invariant:* it covers every sibling's dot.
    """

    siblings: tuple[Sibling, ...]
    context: Mapping[Origin, Stamp]

    @property
    def winner(self) -> Sibling | None:
        """The sibling that ranks highest, or None for a removal record."""
        return self.siblings[0] if self.siblings else None

    def covered_by(self, vector: VersionVector) -> bool:
        """Whether a replica with this vector has nothing to learn from this row."""
        return all(vector.covers_entry(origin, stamp) for origin, stamp in self.context.items())

    def _has_seen(self, dot: Dot) -> bool:
        return self.context.get(dot.origin, 0) >= dot.stamp


EMPTY = Row((), {})


def write(seen: Row, dot: Dot, kind: int, payload: bytes) -> Row:
    """The row after a write that saw `seen`: it supersedes every sibling there."""
    return Row((Sibling(dot, kind, payload),), {**seen.context, dot.origin: dot.stamp})


def remove(seen: Row, dot: Dot) -> Row:
    """The removal record of a delete that saw `seen`."""
    return Row((), {**seen.context, dot.origin: dot.stamp})


def join(ours: Row, theirs: Row) -> Row:
    """The least row that knows what both know. Returns `ours` itself when `theirs` adds nothing."""
    held = {sibling.dot for sibling in ours.siblings}
    offered = {sibling.dot for sibling in theirs.siblings}
    kept = [s for s in ours.siblings if s.dot in offered or not theirs._has_seen(s.dot)]  # noqa: SLF001 - same class
    taken = [s for s in theirs.siblings if s.dot not in held and not ours._has_seen(s.dot)]  # noqa: SLF001
    newer = {o: s for o, s in theirs.context.items() if ours.context.get(o, 0) < s}
    if not taken and not newer and len(kept) == len(ours.siblings):
        return ours
    siblings = tuple(sorted(kept + taken, key=lambda sibling: sibling.dot, reverse=True))
    return Row(siblings, {**ours.context, **newer})
