"""When things expire: so long after they were last used. Threads of the saver, items of the store.

A row beside a thing holds until when it lives, in seconds since 1970 by the clock of whoever used it last, so that
reading does not write the thing itself. The row is written again only when that moves by more than a twentieth of a
lifetime, and nothing has expired before that much has passed as well: clocks may differ by as much. Of what machines
wrote at the same time the latest counts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from propagul import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    Get = Callable[[str], object]

_log = logging.getLogger("propagul.langgraph")

_SLACK: Final = 1 / 20


class Rows(Protocol):
    """What an `AgentStateStore` has, and the saver's `OwnRows`."""

    def get(self, key: str) -> object:
        """The value of a key."""

    def siblings(self, key: str) -> Sequence[object]:
        """All that machines wrote to it at the same time."""

    def keys(self, prefix: str) -> list[str]:
        """Keys under a prefix, sorted."""

    def set(self, key: str, value: object) -> None:
        """Write a row."""

    def delete(self, key: str) -> bool:
        """Remove a row; whether it was there."""


class Expiry:
    """The rows that say until when things live.

    Args:
        rows: Where they are.
        prefix: How their keys begin.
        now: Seconds since 1970.
    """

    def __init__(self, rows: Rows, prefix: str, now: Callable[[], float]) -> None:
        self._rows, self._prefix, self._now = rows, prefix, now

    def key_of(self, path: str) -> str:
        """The key of a thing's row here."""
        return self._prefix + path

    def start(self, path: str, lifetime_s: float, *said: str) -> None:
        """Let something live from now; `said` is kept with it, for `due`."""
        until = self._now() + lifetime_s
        self._rows.set(self._prefix + path, [until, *said] if said else until)

    def used(
        self, path: str, lifetime_s: float, *said: str, since: float | None = None, get: Get | None = None
    ) -> None:
        """Something was used: it lives on from now. For the first arguments see `start`.

        `since` is when it was used last, if no row says it; `get` gives the value of a key, if the store does not.
        """
        until = _until((get or self._rows.get)(self._prefix + path), since, lifetime_s)
        if until is not None and abs(self._now() + lifetime_s - until) <= lifetime_s * _SLACK:
            return
        try:
            self.start(path, lifetime_s, *said)
        except StoreError as error:  # a full disk: what was read is worth more than how long it lives
            _log.warning("expiry.not_refreshed key=%r: %s", self._prefix + path, error)

    def is_over(self, path: str, lifetime_s: float, *, since: float | None = None, get: Get | None = None) -> bool:
        """Whether something has expired; for what the arguments are see `used`. What no row speaks of has not."""
        key = self._prefix + path
        value = (get or self._rows.get)(key)
        until = _until(value, since, lifetime_s)
        if until is None or until > self._now():
            return False
        last = max(_until(sibling, since, lifetime_s) or until for sibling in (value, *self._rows.siblings(key)))
        return last + lifetime_s * _SLACK <= self._now()

    def due(self) -> Iterator[tuple[str, Sequence[object]]]:
        """Paths of what may have expired, and what was said of it. O(rows here)."""
        skip = len(self._prefix)
        for key in self._rows.keys(self._prefix):
            value = self._rows.get(key)
            until = _until(value, None, 0)
            if until is None or until <= self._now():
                yield key[skip:], value[1:] if type(value) is list else ()

    def drop(self, path: str) -> None:
        """Something lives for ever from now, or is no more."""
        if self._rows.get(key := self._prefix + path) is not None:
            self._rows.delete(key)


def _until(value: object, since: float | None, lifetime_s: float) -> float | None:
    """What a row says; what is none says that the thing was last used at `since`."""
    said = value[0] if type(value) is list and value else value
    if type(said) is float or type(said) is int:
        return said
    return None if since is None else since + lifetime_s


def check_ttl(config: Mapping[str, object], names: AbstractSet[str]) -> None:
    """Say what is wrong with settings of lifetimes.

    Raises:
        ValueError: One has none of these names, or is no number of minutes.
    """
    if unknown := config.keys() - names:
        raise ValueError(f"ttl knows {', '.join(sorted(names))}, not {', '.join(sorted(unknown))}")
    for name in ("default_ttl", "sweep_interval_minutes"):
        check_minutes(name, config.get(name))


def check_minutes(name: str, minutes: object) -> None:
    """Say what is wrong with a lifetime; None is none.

    Raises:
        ValueError: It is no number above 0.
    """
    if minutes is not None and (type(minutes) not in (int, float) or not 0 < minutes < float("inf")):  # type: ignore[operator]  # a number
        raise ValueError(f"{name} is a number of minutes above 0, not {minutes!r}")
