"""Noticing that a second machine runs with this node's identity, by the row that both write about themselves.

A member's row names its run, a random number of this process, and the other run that it saw in its own row, if any. A
row of another run that names ours was written after we began, so whoever wrote it lives. What a run before ours left,
killed and started again, cannot name ours, and is no twin. A row of our own run that we did not write is one of a clone
of this very process.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING, Final

from propagul.errors import StoreError
from propagul.link.messages import TWIN, TWIN_REMEDY
from propagul.store import _values
from propagul.store._addresses import parse_addresses

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.crdt import Change, Evicted, Payload
    from propagul.gossip import GossipConfig
    from propagul.store._clock import Clock

_RUN_CHARS: Final = 16
_WAITING_MAX: Final = 16


class TwinWatch:
    """Watches one row for one run of a network.

    Args:
        key: The row that this node writes about itself.
        clock: The store's.
        config: How long a proof is told, and how often a twin is answered at most. It is told as long as presence
            lives and two turns more, for twins that take turns with all others hear of each other in their own only.
        call_home: Has a call made in the loop; from any thread.
        answer: Writes the row again, in the loop.
    """

    def __init__(
        self,
        key: str,
        clock: Clock,
        config: GossipConfig,
        call_home: Callable[[Callable[[], None]], object],
        answer: Callable[[], None],
    ) -> None:
        self.run = secrets.token_hex(_RUN_CHARS // 2)
        self.seen = ""
        self._key, self._now, self._call_home, self._answer = key, clock.monotonic, call_home, answer
        self._kept_s = config.presence_ttl_s + 2 * config.redial_s_max
        self._interval_s = config.presence_interval_s
        self._unread: deque[Payload | Evicted] = deque(maxlen=_WAITING_MAX)
        self._answered_at = self._proved_at = float("-inf")
        self._owed = False
        self._where = ""

    def mark(self, row: dict[str, object]) -> dict[str, object]:
        """The row with what a twin recognises it by."""
        return {**row, "run": [self.run, self.seen]}

    def hear(self, change: Change, local: bool) -> None:  # noqa: FBT001 - a listener's signature
        """A row changed. Called under the namespace's lock: it is looked at later."""
        if local or change.key != self._key:
            return
        before = {sibling.dot for sibling in change.before.siblings}
        self._unread.extend(sibling.payload for sibling in change.after.siblings if sibling.dot not in before)
        self._call_home(self.look)

    def look(self) -> None:
        """Look at what was heard, and answer a twin for as long as it answers us; at most once an interval."""
        while self._unread:
            self._read(self._unread.popleft())
        now = self._now()
        if (self._owed or self._is_proved(now)) and now - self._answered_at >= self._interval_s:
            self._owed, self._answered_at = False, now
            self._answer()

    def trouble(self) -> list[str]:
        """What to tell people, for as long as the twin goes on."""
        if not self._is_proved(self._now()):
            return []
        return [f"{TWIN}{self._where}: {TWIN_REMEDY}"]

    def _is_proved(self, now: float) -> bool:
        return now - self._proved_at <= self._kept_s

    def _read(self, payload: Payload | Evicted) -> None:
        try:
            row = _values.thaw(self._key, payload)
        except StoreError:  # what is no value, or cannot be had, proves nothing
            return
        match row:
            case {"run": [str(run), str(seen), *_], "addresses": addresses} if len(run) == _RUN_CHARS:
                if self.run in (run, seen):
                    self._proved_at = self._now()
                    where = ", ".join(map(str, parse_addresses(addresses)))
                    self._where = f" at {where}" if where else ""
                if run not in (self.run, self.seen):
                    self.seen, self._owed = run, True
