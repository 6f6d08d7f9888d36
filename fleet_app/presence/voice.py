"""When a node says what: beats at the pace somebody needs, everything else when it has changed.

While anybody watches a beat is due every `WATCHED_S`, else every `UNWATCHED_S`, if what moves has moved so far that a
reader learns something; and in any case after `WATCHED_S_MAX` or `UNWATCHED_S_MAX`. A beat names the time by which the
next one comes, so that a reader can tell a figure that stands from one that is stale. A node's life does not hang on
beats: the store knows by its links who lives.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

from fleet_app.presence import beat
from fleet_app.presence.loads import Loads
from fleet_app.presence.rows import standing_rows

if TYPE_CHECKING:
    from fleet_app.presence.demand import Said
    from fleet_app.presence.shape import NodePresence

WATCHED_S, WATCHED_S_MAX = 2.0, 60.0
UNWATCHED_S, UNWATCHED_S_MAX = 15.0, 240.0

ROW_S: Final = 1.0
"""A row that stands is written at most this often: a pull moves all the time, an engine may flap."""

SLOW_ROWS: Final = {"processes": 15.0}
"""Rows that are written less often than that."""

_NEVER: Final = float("-inf")
_EARLY_S: Final = 0.25
"""Who is asked every second is asked a little early or late."""


class Voice:
    """Says what one node has to say.

    Args:
        said: The presence of the fleet.
        row: `nodes/<id>`.
    """

    def __init__(self, said: Said, *, row: str) -> None:
        self._said, self._row = said, row
        self._numbers: dict[str, int] = {}
        self._rows: dict[str, tuple[object, float]] = {}
        self._beat: beat.Packed | None = None
        self._beat_at = _NEVER
        self._was_watched = False
        self._loads = Loads()

    def say(self, what: NodePresence, now: float, *, watched: bool) -> None:
        """Write what is due: rows that changed, and a beat.

        Args:
            what: All that the node has to say.
            now: By a monotonic clock.
            watched: Whether anybody watches.
        """
        self._numbers = _numbered(self._numbers, [engine.url for engine in what.backends])
        self._say_standing(what, now)
        every_s, latest_s = (WATCHED_S, WATCHED_S_MAX) if watched else (UNWATCHED_S, UNWATCHED_S_MAX)
        averaged = self._loads.averaged(what, now, every_s)
        packed = beat.pack(averaged, self._numbers, next_s=latest_s + every_s)
        at_once = watched is not self._was_watched or self._waited_for(packed)  # a promise changes, too
        self._was_watched = watched
        if at_once or self._is_due(packed, now - self._beat_at + _EARLY_S, every_s, latest_s):
            self._said.set(self._row, packed)
            self._beat, self._beat_at = packed, now

    def _waited_for(self, packed: beat.Packed) -> bool:
        """Whether it begins or ceases to take requests, as nobody is to be sent to a box that leaves; or is just there.

        What such a box measures comes a second after it has said who it is.
        """
        return self._beat is None or self._beat[3] != packed[3] or beat.tells_more(self._beat, packed)

    def _is_due(self, packed: beat.Packed, since_s: float, every_s: float, latest_s: float) -> bool:
        assert self._beat is not None
        return since_s >= latest_s or (since_s >= every_s and beat.moved(self._beat, packed))

    def _say_standing(self, what: NodePresence, now: float) -> None:
        rows = standing_rows(what, self._numbers)
        for name in self._rows.keys() - rows.keys():
            self._said.delete(f"{self._row}/{name}")
            del self._rows[name]
        for name, value in rows.items():
            before, at = self._rows.get(name, (None, _NEVER))
            if value != before and now - at + _EARLY_S >= SLOW_ROWS.get(name, ROW_S):
                self._said.set(f"{self._row}/{name}", value)
                self._rows[name] = value, now


def _numbered(numbers: dict[str, int], urls: list[str]) -> dict[str, int]:
    """A number for each address: the one it has, else the smallest that is free."""
    kept = {url: numbers[url] for url in urls if url in numbers}
    free = (number for number in count() if number not in kept.values())
    return kept | {url: next(free) for url in dict.fromkeys(urls) if url not in kept}
