"""The newest state of the fleet as bytes of a server-sent event stream. Pure: no sockets, no clock, no tasks.

One frame holds the whole view, so nobody ever has to replay anything: whoever was slow or away takes the newest frame
and is up to date. Only the samples are incremental: a frame for somebody who has the samples up to slot n carries the
slots after n (all of them for a newcomer). An event's id is `epoch:sequence`; the epoch is new with every process, so
a number from before a restart is never taken for a number of now (WHATWG HTML, section 9.2, "Server-sent events").
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from fleet_app.dashboard.history import SAMPLES_MAX

if TYPE_CHECKING:
    from fleet_app.dashboard.history import History

BEAT = b": still here\nevent: beat\ndata: {}\n\n"
"""Sent in silence. The comment is for proxies, the event for the page's own watchdog, which never sees a comment."""


class Position(NamedTuple):
    """How far a subscriber is: the last frame and the last sample it was given."""

    sequence: int
    slot: int


START = Position(sequence=0, slot=0)
"""A subscriber that has nothing. Sequences begin at 1."""


class Frames:
    """Turns views into frames; encodes each at most once for all subscribers that stand at the same slot."""

    def __init__(self, *, epoch: str, history: History, step_s: float) -> None:
        self._epoch, self._history, self._step_s = epoch, history, step_s
        self._fleet: dict[str, object] = {}
        self._shape = ""
        self._slot = 0
        self._sequence = 0
        self._encoded: dict[int, bytes] = {}

    @property
    def newest(self) -> Position:
        """Where a subscriber stands that has everything."""
        return Position(sequence=self._sequence, slot=self._slot)

    def update(self, fleet: dict[str, object]) -> bool:
        """Make `fleet` (`FleetView.to_json()`) and the samples taken so far the newest state; False if that is no news.

        An age alone is no news: it grows by itself, on the page too.
        """
        shape = json.dumps(_ageless(fleet))
        if shape == self._shape and (self._slot == self._history.taken or not fleet["nodes"]):
            return False
        self._fleet, self._shape, self._slot = fleet, shape, self._history.taken
        self._sequence += 1
        self._encoded.clear()
        return True

    def since(self, position: Position) -> bytes:
        """The newest frame, with the samples that a subscriber at `position` lacks."""
        slots = min(SAMPLES_MAX, self._slot - position.slot)
        if slots not in self._encoded:
            self._encoded[slots] = self._encode(slots)
        return self._encoded[slots]

    def _encode(self, slots: int) -> bytes:
        """One `view` event. JSON escapes line breaks and everything outside ASCII, so the data is one line."""
        history = {"step_s": self._step_s, "end": self._slot, "nodes": self._history.tail(slots)}
        data = {**self._fleet, "epoch": self._epoch, "sequence": self._sequence, "history": history}
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
        return f"event: view\nid: {self._epoch}:{self._sequence}\ndata: {text}\n\n".encode("ascii")


def _ageless(fleet: dict[str, object]) -> dict[str, object]:
    """The same view without the ages of what is in it."""
    nodes = fleet["nodes"]
    assert isinstance(nodes, list)
    return {**fleet, "nodes": [{**node, "heard_s": None, "figures_s": None} for node in nodes]}
