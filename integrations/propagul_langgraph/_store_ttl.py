"""When items expire: so many minutes after they were last used.

An item says how long it lives; a row beside it holds until when, in seconds since 1970 by the clock of whoever used it
last, so that reading does not write the item. The row is written again only when that moves by more than a twentieth
of a lifetime, and nothing has expired before that much has passed as well: clocks may differ by as much.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from propagul import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from propagul import AgentStateStore
    from propagul_langgraph._items import Get, Stored

_log = logging.getLogger("propagul.langgraph")

_SETTINGS: Final = frozenset({"default_ttl", "refresh_on_read", "omit_expired", "sweep_interval_minutes"})
_SLACK: Final = 1 / 20


class Expiry:
    """The rows that say until when items live.

    Args:
        store: Where they are.
        root: How all keys begin.
        now: Seconds since 1970.
    """

    def __init__(self, store: AgentStateStore, root: str, now: Callable[[], float]) -> None:
        self._store, self._prefix, self._now = store, f"{root}x/", now

    def key_of(self, path: str) -> str:
        """The key of an item's row here."""
        return self._prefix + path

    def start(self, path: str, ttl: float) -> None:
        """An item is about to be put that lives so many minutes."""
        self._store.set(self._prefix + path, self._now() + 60 * ttl)

    def drop(self, path: str) -> None:
        """An item lives for ever from now, or is no more."""
        if (key := self._prefix + path) in self._store:
            self._store.delete(key)

    def is_over(self, item: Stored, get: Get) -> bool:
        """Whether an item has expired."""
        if item.ttl is None or self._until(item, get(self._prefix + item.path)) > self._now():
            return False
        siblings = [get(self._prefix + item.path), *self._store.get_conflicts(self._prefix + item.path)]
        last = max(self._until(item, sibling) for sibling in siblings)
        return last + 60 * item.ttl * _SLACK <= self._now()

    def used(self, item: Stored, get: Get) -> None:
        """An item was read: it lives on from now."""
        if item.ttl is None:
            return
        until = self._now() + 60 * item.ttl
        if until - self._until(item, get(self._prefix + item.path)) > 60 * item.ttl * _SLACK:
            try:
                self._store.set(self._prefix + item.path, until)
            except StoreError as error:  # a full disk: what was read is worth more than how long it lives
                _log.warning("store.not_refreshed key=%r: %s", self._prefix + item.path, error)

    def due(self) -> list[str]:
        """Paths of what may have expired. O(items with a lifetime)."""
        now, skip = self._now(), len(self._prefix)
        rows = ((key[skip:], self._store.get(key)) for key in self._store.keys(self._prefix))
        return [path for path, until in rows if type(until) not in (int, float) or until <= now]  # type: ignore[operator]  # a number

    def _until(self, item: Stored, value: object) -> float:
        """What a row says; what is none says that the item was last used when it was put."""
        if type(value) is float or type(value) is int:
            return value
        return item.updated.timestamp() + 60 * (item.ttl or 0)


def check_ttl(config: Mapping[str, object]) -> None:
    """Say what is wrong with the settings of a store's lifetimes.

    Raises:
        ValueError: One has another name, or is no number of minutes.
    """
    if unknown := config.keys() - _SETTINGS:
        raise ValueError(f"ttl knows {', '.join(sorted(_SETTINGS))}, not {', '.join(sorted(unknown))}")
    for name in ("default_ttl", "sweep_interval_minutes"):
        check_minutes(name, config.get(name))


def check_minutes(name: str, minutes: object) -> None:
    """Say what is wrong with a lifetime; None is none.

    Raises:
        ValueError: It is no number above 0.
    """
    if minutes is not None and (type(minutes) not in (int, float) or not 0 < minutes < float("inf")):  # type: ignore[operator]  # a number
        raise ValueError(f"{name} is a number of minutes above 0, not {minutes!r}")
