"""Dots and the hybrid logical clock that mints them.

A dot names one write for ever: the origin that made it and a 64-bit stamp that rises strictly within that origin. The
stamp is a hybrid logical clock reading (Kulkarni et al. 2014) folded into one integer: units of 1.024 us since the
epoch, plus one whenever the wall clock did not move. Causality is decided by contexts, never by stamps; stamps only
rank writes that are concurrent. Nothing here reads a clock: wall time is an argument.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

Origin = NewType("Origin", int)
"""Who mints: 64 random bits, fresh at every open, never reused."""

Stamp = NewType("Stamp", int)
"""When, by a hybrid logical clock: `time.time_ns() >> 10`, below 2**63."""

STAMP_MAX = 2**63 - 1
ORIGIN_MAX = 2**64 - 1
_STAMPS_PER_S = 1_000_000_000 / 1024


class Dot(NamedTuple):
    """One write. Ordered by stamp, then origin: the rank among concurrent siblings."""

    stamp: Stamp
    origin: Origin


def stamp_of_ns(time_ns: int) -> Stamp:
    """The stamp of a wall-clock reading in nanoseconds since the epoch."""
    return Stamp(min(max(time_ns >> 10, 0), STAMP_MAX))


def seconds_between(later: Stamp, earlier: Stamp) -> float:
    """How many seconds of wall time lie between two stamps; negative if `later` is the earlier one."""
    return (later - earlier) / _STAMPS_PER_S


def stamps_in(seconds: float) -> int:
    """How many stamps there are in a length of wall time."""
    return int(seconds * _STAMPS_PER_S)


class HybridClock:
    """Mints strictly rising stamps and follows peers, but never far.

    Args:
        last: The highest stamp minted so far; every later one is above it.
        follow_s_max: How far ahead of our own wall clock a peer may pull us. A peer whose clock is years ahead
            therefore moves us by this much at most; its writes are still accepted as they are.

    Attributes:
        last: The highest stamp minted or followed.
    """

    __slots__ = ("_follow_max", "last")

    def __init__(self, last: int = 0, *, follow_s_max: float = 10.0) -> None:
        self.last = Stamp(last)
        self._follow_max = int(follow_s_max * _STAMPS_PER_S)

    def tick(self, wall: Stamp) -> Stamp:
        """Mint the next stamp."""
        self.last = Stamp(max(self.last + 1, wall))
        return self.last

    def observe(self, seen: Stamp, wall: Stamp) -> None:
        """Follow a stamp seen on somebody's write, at most `follow_s_max` ahead of the wall clock."""
        self.last = max(self.last, min(seen, Stamp(wall + self._follow_max)))
