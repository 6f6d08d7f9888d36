"""The face of this room: takes measurements and views in, gives series, events and absences out."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from fleet_app.history.book import NODES_MAX, Absence, Book, Sample
from fleet_app.history.events import Events, Observer
from fleet_app.history.figures import Slot, figures_of
from fleet_app.history.series import FIVES, MINUTES, OTHERS, OWN, SECONDS, SLOTS_MAX, TENS, slotted, step_for, tier_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fleet_app.history.figures import Figures
    from fleet_app.history.series import Series
    from fleet_app.presence import NodePresence
    from fleet_app.view import FleetView

FILE: Final = "history.db"

LAPSE_S_MAX: Final = 10.0
"""A longer pause between two views was none of watching: the machine slept."""

COUNT_S: Final = 10.0
"""How often figures of the fleet are counted: a mean over a minute needs no more, and most do not move in between."""

KEEP_ABSENCE_S: Final = 60.0
"""So much of an absence may be lost when this node dies."""


class History:
    """What this node keeps of what was.

    Args:
        directory: Where the file lies: the data directory.
        node: This node's id.
        wall: Seconds since the epoch, for what people see.
        monotonic: Seconds, for how long things last.

    Attributes:
        events: What happened.
    """

    def __init__(
        self,
        directory: Path,
        node: str,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = Book(directory / FILE)
        self._node, self._wall, self._monotonic = node, wall, monotonic
        self.events = Events(self._book, node, wall)
        self._observer = Observer(self.events.add, monotonic())
        self._lock = threading.Lock()
        self._seconds: deque[tuple[int, Figures]] = deque(maxlen=SECONDS.kept_s)
        self._tens = Slot(TENS.step_s)
        self._slots: dict[str, tuple[Slot, Slot]] = {}
        self._absent = self._book.absences()
        self._kept = dict(self._absent)
        self._saw_at: float | None = None
        self._counted_at = float("-inf")

    @property
    def notices(self) -> list[str]:
        """What people should know: that nothing is kept, or that what was kept is lost."""
        return self._book.notices

    def own(self, said: NodePresence) -> None:
        """Take in a measurement of this box: every second or so. In the loop; never waits."""
        now_s, figures = self._wall(), figures_of(said)
        with self._lock:
            self._seconds.append((int(now_s), figures))
        for at, means in self._tens.take(now_s, figures):
            self._book.put(Sample(TENS.step_s, self._node, at, means))

    def saw(self, view: FleetView) -> None:
        """Take in how the fleet looks: every few seconds. In the loop; never waits."""
        now, now_s = self._monotonic(), self._wall()
        lapse_s = 0.0 if self._saw_at is None else min(now - self._saw_at, LAPSE_S_MAX)
        self._saw_at = now
        self._observer.saw(view, now)
        is_counting = now - self._counted_at >= COUNT_S
        self._counted_at = now if is_counting else self._counted_at
        for node in view.nodes[:NODES_MAX]:
            self._count_absence(node.id, lapse_s, away=node.state == "down")
            if is_counting and node.state != "down" and node.presence is not None:
                self._count(node.id, now_s, figures_of(node.presence))

    def absence_s(self, node: str) -> float:
        """For how many seconds a node has been away while this one was there to see it; 0 while it is there.

        Kept over restarts of this node; what passed while it did not run does not count.
        """
        return self._absent.get(node, 0.0)

    def forget(self, node: str) -> None:
        """A node is no longer of the fleet: its absence is of no interest."""
        self._absent.pop(node, None)
        self._keep_absence(node)

    def nodes(self) -> list[str]:
        """Every node of which figures are kept. Reads the disk: belongs into a thread."""
        return self._book.nodes()

    def series(
        self, node: str, names: Sequence[str] = (), *, start_s: float, end_s: float | None = None, step_s: float = 0.0
    ) -> Series:
        """Figures of a node over time. Reads the disk: belongs into a thread.

        Args:
            node: Its id.
            names: Which figures, as in `fleet_app.history.figures`; none for all.
            start_s: When the span begins, seconds since the epoch.
            end_s: When it ends; now if not given.
            step_s: Length of a slot that is fine enough. It gets longer where nothing so fine is kept, or where there
                would be more than 2,000 slots.
        """
        now_s = self._wall()
        end_s = now_s if end_s is None else min(end_s, now_s)
        start_s = max(0.0, min(start_s, end_s))
        wanted_s = max(step_s, (end_s - start_s) / SLOTS_MAX)
        tier = tier_for(OWN if node == self._node else OTHERS, start_s, wanted_s, now_s)
        if tier is SECONDS:
            with self._lock:
                samples = list(self._seconds)
        else:
            samples = self._book.samples(tier.step_s, node, start_s - tier.step_s, end_s)
        return slotted(node, samples, names, span=(start_s, end_s), step_s=step_for(tier, start_s, end_s, step_s))

    def flush(self) -> None:
        """Wait until what was taken in is on the disk. Belongs into a thread."""
        self._book.flush()

    def close(self) -> None:
        """Write what is left. Belongs into a thread."""
        for node in self._absent:
            self._keep_absence(node)
        for at, means in self._tens.close():
            self._book.put(Sample(TENS.step_s, self._node, at, means))
        for node, slots in self._slots.items():
            for slot, tier in zip(slots, (MINUTES, FIVES), strict=True):
                for at, means in slot.close():
                    self._book.put(Sample(tier.step_s, node, at, means))
        self._book.close()

    def _count(self, node: str, now_s: float, figures: Figures) -> None:
        if node not in self._slots:
            self._slots[node] = Slot(MINUTES.step_s), Slot(FIVES.step_s)
        for slot, tier in zip(self._slots[node], (MINUTES, FIVES), strict=True):
            for at, means in slot.take(now_s, figures):
                self._book.put(Sample(tier.step_s, node, at, means))

    def _count_absence(self, node: str, lapse_s: float, *, away: bool) -> None:
        if away:
            self._absent[node] = self._absent.get(node, 0.0) + lapse_s
            if self._absent[node] - self._kept.get(node, 0.0) >= KEEP_ABSENCE_S:
                self._keep_absence(node)
        elif self._absent.pop(node, None) is not None:
            self._keep_absence(node)

    def _keep_absence(self, node: str) -> None:
        seconds = self._absent.get(node, 0.0)
        if seconds != self._kept.get(node, 0.0):
            self._book.put(Absence(node, seconds))
            self._kept[node] = seconds
