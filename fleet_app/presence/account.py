"""What one other node has said, as far as it could be read.

Rows are read when they have changed, at the pace of `fleet_app.presence.intake`, and only those of one process: that of
the row that says who the node is. What a process of the same node that is gone has left is no part of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fleet_app.presence.beat import unpack
from fleet_app.presence.intake import REFUSED, Pace
from fleet_app.presence.rows import ABOUT, presence_of, read_standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet_app.presence.beat import Beat
    from fleet_app.presence.rows import Standing
    from fleet_app.presence.shape import NodePresence
    from propagul import Heard

LATE_S: Final = 5.0
"""So much later than promised a beat may come: a busy machine, a link that was opened anew."""

_BEAT: Final = ""


class Account:
    """What one node has said.

    Args:
        now: By the clock of all later calls.
    """

    def __init__(self, now: float) -> None:
        self._pace = Pace(now)
        self._rows: dict[str, object] = {}
        self._standing: Standing | None = None
        self._beat: Beat | None = None
        self._beat_at: float | None = None
        self._said: NodePresence | None = None

    @property
    def is_flooded(self) -> bool:
        """Whether it says more than is read."""
        return self._pace.is_flooded

    @property
    def refused(self) -> int:
        """How many rows, or parts of some, are not as this version reads them."""
        unread = 0 if self._standing is None else self._standing.refused
        out_of_bounds = sum(value is REFUSED for name, value in self._rows.items() if name != _BEAT)
        return unread + out_of_bounds + (_BEAT in self._rows and self._beat is None)

    def figures_s(self, now: float) -> float | None:
        """Seconds since its last beat came; None if none did."""
        return None if self._beat_at is None else max(0.0, now - self._beat_at)

    def is_late(self, now: float) -> bool:
        """Whether the beat that it promised has not come."""
        return self._beat is not None and (self.figures_s(now) or 0.0) > self._beat.next_s + LATE_S

    def take(self, heard: Mapping[str, Heard], now: float) -> bool:
        """Read what is new; return whether it was read, for a node that floods has to wait.

        Args:
            heard: Its rows within their bounds, by what follows `nodes/<id>/`; the beat has no name.
            now: The present.
        """
        about = heard.get(ABOUT)
        rows = {name: row.value for name, row in heard.items() if about is None or row.origin == about.origin}
        changed = [name for name, value in rows.items() if name not in self._rows or self._rows[name] != value]
        gone = self._rows.keys() - rows.keys()
        if not (changed or gone):
            return True
        if not self._pace.may_read(now, len(changed) + len(gone)):
            return False
        self._rows = rows
        if _BEAT in changed:
            self._beat, self._beat_at = unpack(rows[_BEAT]), now
        if gone or any(name != _BEAT for name in changed):
            self._standing = read_standing({name: value for name, value in rows.items() if value is not REFUSED})
        self._said = None if self._standing is None else presence_of(self._standing, self._beat)
        return True

    def presence(self, now: float, heard_at: float) -> NodePresence | None:
        """All it has said; of what moves nothing that is late. None while it has not said who it is.

        Args:
            now: The present.
            heard_at: When it was last known to live.
        """
        if self._said is None or self._beat is None or self._beat_at is None:
            return self._said
        if self.is_late(now):
            assert self._standing is not None
            silent = replace(self._beat, cpu_percent=None, ram_mib=None, disk_mib=None, gpus={})
            return presence_of(self._standing, silent)
        return self._said.model_copy(update={"at_s": self._said.at_s + max(0.0, heard_at - self._beat_at)})
