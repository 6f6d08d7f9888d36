"""Bounds on what a reconciler may begin, so that nothing it sees can make it run away. No clock: `now` comes in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 300.0
JITTER: Final = 0.1

STARTS_MAX: Final = 3
"""So many at once after a quiet time."""

START_EVERY_S: Final = 20.0
"""After those, one in so long."""

HOUR_S: Final = 3600.0


class Starts:
    """A bucket of tokens: what changes a hundred times a second is begun a few times a minute."""

    def __init__(self, now: float) -> None:
        self._left, self._counted_at = float(STARTS_MAX), now

    def wait_s(self, now: float) -> float:
        """For how long nothing may be begun; 0 for at once."""
        self._left = min(STARTS_MAX, self._left + (now - self._counted_at) / START_EVERY_S)
        self._counted_at = now
        return max(0.0, 1 - self._left) * START_EVERY_S

    def take(self) -> None:
        """Something is begun."""
        self._left -= 1


class Budget:
    """How many disruptive acts there may be in an hour.

    Args:
        spent_at: When those of the last hour were.
    """

    def __init__(self, spent_at: Iterable[float] = ()) -> None:
        self._spent = deque(sorted(spent_at))

    def wait_s(self, limit: int, now: float) -> float:
        """For how long there may be no more; 0 for at once, an hour where there may be none at all."""
        while self._spent and self._spent[0] <= now - HOUR_S:
            self._spent.popleft()
        if len(self._spent) < limit:
            return 0.0
        return self._spent[len(self._spent) - limit] + HOUR_S - now if limit else HOUR_S

    def take(self, now: float) -> None:
        """There is one more."""
        self._spent.append(now)


class Backoff:
    """When to try again what failed: twice as long after each failure in a row, with jitter."""

    def __init__(self) -> None:
        self.error = ""
        self._failures = 0
        self._retry_at = float("-inf")

    def failed(self, error: str, now: float, *, retryable: bool, random: Callable[[], float]) -> None:
        """It failed with these words; what cannot succeed as it is waits the longest."""
        self.error, self._failures = error, self._failures + 1
        wait_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(self._failures - 1, 20)) if retryable else BACKOFF_S_MAX
        self._retry_at = now + wait_s * (1 + JITTER * (2 * random() - 1))

    def reset(self) -> None:
        """It succeeded, or is another thing now."""
        self.error, self._failures, self._retry_at = "", 0, float("-inf")

    def wait_s(self, now: float) -> float:
        """For how long not to try; 0 for at once."""
        return max(0.0, self._retry_at - now)
