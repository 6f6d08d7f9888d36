"""How long threads live: see `_expiry`. Reading or writing one also deletes, now and then, what has expired."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from propagul_langgraph._expiry import Expiry, check_ttl
from propagul_langgraph._saver.keys import part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from propagul_langgraph._saver.own import OwnRows

_SETTINGS: Final = frozenset({"default_ttl", "refresh_on_read", "sweep_interval_minutes"})
_SWEEP_MINUTES: Final = 5.0


class Lifetimes:
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
        check_ttl(settings, _SETTINGS)
        if settings and "default_ttl" not in settings:
            raise ValueError("ttl needs a default_ttl in minutes, above 0")
        self._lifetime_s = 60 * float(settings.get("default_ttl", 0))
        self._refreshes = bool(settings.get("refresh_on_read", False))
        self._interval_s = 60 * float(settings.get("sweep_interval_minutes", _SWEEP_MINUTES))
        self._expiry, self._delete = Expiry(rows, f"{root}x/", time.time), delete
        self._swept = time.monotonic()

    def used(self, thread_id: str) -> None:
        """A thread was written to: it lives on from now."""
        if self._lifetime_s:
            self._expiry.used(part(thread_id), self._lifetime_s, thread_id)
            self.sweep_if_due()

    def sweep_if_due(self) -> None:
        """Delete what has expired, if that was not done for a while."""
        if self._lifetime_s and time.monotonic() - self._swept > self._interval_s:
            self.sweep()

    def read(self, thread_id: str) -> None:
        """A thread is about to be read: it lives on, if that counts, or is deleted, if its time is over."""
        if not self._lifetime_s:
            return
        if self._expiry.is_over(part(thread_id), self._lifetime_s):
            self._end(thread_id)
        elif self._refreshes:
            self.used(thread_id)

    def sweep(self) -> int:
        """Delete what has expired; return how many threads that were. O(threads)."""
        self._swept, ended = time.monotonic(), 0
        for path, said in list(self._expiry.due()):
            match said:
                case [str(thread_id)] if self._expiry.is_over(path, self._lifetime_s):
                    self._end(thread_id)
                    ended += 1
        return ended

    def _end(self, thread_id: str) -> None:
        self._delete(thread_id)
        self._expiry.drop(part(thread_id))
