"""When threads expire.

Each thread has a row with the minute in which it expires, by the clock of whoever used it last. It is written again
only when that moves by more than a twentieth of a lifetime, and nobody deletes a thread before that much has passed
as well: so clocks may differ by as much, and reading does not write each time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from propagul_langgraph._keys import part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from propagul_langgraph._own import OwnRows

_SETTINGS: Final = frozenset({"default_ttl", "refresh_on_read", "sweep_interval_minutes"})
_SWEEP_MINUTES: Final = 5.0


class Expiry:
    """Deletes the threads of a saver that nobody has used for long.

    Args:
        rows: Where they are.
        root: How all keys of the saver begin.
        ttl: `default_ttl` in minutes, `refresh_on_read` (False), `sweep_interval_minutes` (5); None keeps everything.
        delete: Deletes a thread.

    Raises:
        ValueError: A setting has no such name, or a lifetime is not above zero.
    """

    def __init__(
        self, rows: OwnRows, root: str, ttl: Mapping[str, float | bool] | None, delete: Callable[[str], None]
    ) -> None:
        settings = dict(ttl or {})
        if unknown := settings.keys() - _SETTINGS:
            raise ValueError(f"ttl knows {', '.join(sorted(_SETTINGS))}, not {', '.join(sorted(unknown))}")
        self._minutes = float(settings.get("default_ttl") or 0)
        if ttl and self._minutes <= 0:
            raise ValueError("ttl needs a default_ttl in minutes, above 0")
        self._refreshes = bool(settings.get("refresh_on_read", False))
        self._interval_s = 60 * float(settings.get("sweep_interval_minutes", _SWEEP_MINUTES))
        self._slack = self._minutes / 20
        self._rows, self._prefix, self._delete = rows, f"{root}x/", delete
        self._swept = time.monotonic()

    def used(self, thread_id: str) -> None:
        """A thread was written to: it lives on from now."""
        if not self._minutes:
            return
        until, held = _now() + self._minutes, self._until(self._key(thread_id))
        if held is None or abs(until - held[0]) > self._slack:
            self._rows.set(self._key(thread_id), [until, thread_id])
        self.sweep_if_due()

    def sweep_if_due(self) -> None:
        """Delete what has expired, if that was not done for a while."""
        if self._minutes and time.monotonic() - self._swept > self._interval_s:
            self.sweep()

    def read(self, thread_id: str) -> None:
        """A thread is about to be read: it lives on, if that counts, or is deleted, if its time is over."""
        if not self._minutes or (held := self._until(self._key(thread_id))) is None:
            return
        if held[0] + self._slack <= _now():
            self._end(self._key(thread_id), thread_id)
        elif self._refreshes:
            self.used(thread_id)

    def sweep(self) -> int:
        """Delete what has expired; return how many threads that were. O(threads)."""
        self._swept, ended = time.monotonic(), 0
        for key in self._rows.keys(self._prefix):
            held = self._until(key)
            if held is not None and held[0] + self._slack <= _now():
                self._end(key, held[1])
                ended += 1
        return ended

    def _end(self, key: str, thread_id: str) -> None:
        self._delete(thread_id)
        self._rows.remove([key])

    def _until(self, key: str) -> tuple[float, str] | None:
        found = [
            (float(sibling[0]), str(sibling[1]))
            for sibling in self._rows.siblings(key)
            if type(sibling) is list and len(sibling) == 2 and type(sibling[0]) in (int, float)
        ]
        return max(found, default=None)

    def _key(self, thread_id: str) -> str:
        return self._prefix + part(thread_id)


def _now() -> float:
    return time.time() / 60
