"""When the floor of a namespace rises, so that old removal records and contexts go: in steps, each of them a slice.

Where others are linked, the store's chores take the steps; where nobody is, whoever writes takes one now and then.
When they are taken is tuning only: who is below the floor is served by its vector or by a snapshot join.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from propagul.crdt import Stamp, seconds_between
from propagul.log import fold

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from propagul.crdt import Replica
    from propagul.store._traffic import Traffic

FREEZE_S_MAX: Final = 3600.0
"""A frozen floor is raised after this long although somebody who is linked has not come so far."""

_RECORDS_MIN, _HOT_MAX, _SLICE_ROWS, _BATCHES, _TRIMMED_A_BATCH = 64, 64, 256, 4096, 16


class Upkeep:
    """The floor of one namespace.

    Args:
        replica: Its rows.
        lock: The store's.
        wall: The wall clock.
        traffic: Where it is counted.
        log: Logs the event of a freeze or a commit; None for an ephemeral namespace.
        forgets: Whether removal records and contexts may go at all.
    """

    def __init__(
        self,
        replica: Replica,
        lock: threading.Lock,
        wall: Callable[[], Stamp],
        traffic: Traffic,
        log: Callable[[int], None] | None,
        *,
        forgets: bool,
    ) -> None:
        self._replica = replica
        self._lock = lock
        self._log: Callable[[int], None] = log or (lambda _: None)
        self._wall = wall
        self._traffic = traffic
        self._forgets = forgets
        self._frozen_wall = Stamp(0)
        self._kept_special = 0
        self._batches = 0

    def tidy(self, all_past: Callable[[int], bool]) -> None:
        """Take the next step, where it is worth it. Not with the lock held.

        Args:
            all_past: Whether everybody who is linked has been served up to this place.
        """
        with self._lock:
            if self._replica.is_pending:
                return
            self._raise_floor(all_past)
        more = True
        while more:
            with self._lock:
                more = self._trim(_SLICE_ROWS)
            if more:
                time.sleep(0)  # a lock that is let go of and taken again would pass nobody by

    def after_batch(self, is_linked: Callable[[], bool]) -> None:
        """A batch was written, with the lock held: with nobody linked nobody else tends the floor."""
        self._batches += 1
        if self._replica.is_trimming:
            self._trim(_TRIMMED_A_BATCH)
        elif self._batches % _BATCHES == 0 and not self._replica.is_pending and not is_linked():
            for _ in range(2):
                self._raise_floor(lambda _: True)

    def _trim(self, most: int) -> bool:
        if not self._replica.is_trimming or self._replica.is_pending:
            return False
        more = self._replica.trim(most)
        if not more:
            self._kept_special = self._replica.table.special
        return more

    def _raise_floor(self, all_past: Callable[[int], bool]) -> None:
        frozen_at = self._replica.frozen_at
        if frozen_at is None:
            if self._is_untidy():
                self._log(fold.FREEZE)
                self._replica.freeze()
                self._frozen_wall = self._wall()
        elif all_past(frozen_at) or seconds_between(self._wall(), self._frozen_wall) > FREEZE_S_MAX:
            self._log(fold.COMMIT)
            self._replica.commit()
            self._traffic.floors_raised += 1

    def _is_untidy(self) -> bool:
        if not self._forgets:
            return False
        table = self._replica.table
        records_max = max(_RECORDS_MIN, len(table) // 10)
        return table.special - self._kept_special > records_max or len(self._replica.vector.hot) > _HOT_MAX
