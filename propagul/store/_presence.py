"""Presence: what is true of a node now and of no interest later.

Rows of an ephemeral namespace: never logged, the newest value only, refreshed by their owner and gone when nothing
newer arrived for `ttl_s` by *this* receiver's monotonic clock. Time in which this process did not run (frozen, or held
up) is not counted: who could not listen knows of nobody's silence. A fresh origin a process; two processes that use
one key are ranked by stamp.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from propagul.errors import StoreCorrupt
from propagul.store import _values
from propagul.store._instant import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.crdt import Change, Payload
    from propagul.store._namespace import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A presence row and how fresh it is.

    Attributes:
        value: What its owner said.
        age_s: Seconds since it arrived in which this process ran; 0 for rows of this store.
        origin: Which process said it, as 16 hexadecimal digits.
    """

    value: object
    age_s: float
    origin: str


class _Refreshed(NamedTuple):
    """When presence was last refreshed, on both clocks, and after how long it must have been again."""

    ran_s: float
    at: float
    late_s: float


class Presence:
    """The presence of every store in the room, this one included. Safe from any thread."""

    def __init__(
        self, space: Namespace, *, ttl_s: float, monotonic: Callable[[], float], limits: _values.Limits
    ) -> None:
        self._space = space
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._limits = limits
        self._lock = threading.Lock()
        self._own: dict[str, Payload] = {}
        self._heard_at: dict[str, float] = {}
        self._refreshed = _Refreshed(0.0, monotonic(), float("inf"))
        self._wrote: Callable[[], None] = lambda: None
        space.listen(self._hear)

    def on_write(self, wrote: Callable[[], None]) -> None:
        """Call `wrote()` after every local write, so that gossip can push it."""
        self._wrote = wrote

    def set(self, key: str, value: object) -> None:
        """Say something of this process; repeated by itself until it is deleted or the store stops.

        Raises:
            TypeError, ValueError, LimitExceeded: As for `AgentStateStore.set`.
        """
        payload = _values.freeze(_values.check_key(key, self._limits), value, self._limits)
        with self._lock:
            self._own[key] = payload
        self._space.put(key, payload)
        self._wrote()

    def delete(self, key: str) -> None:
        """Take it back; others see it gone at once."""
        with self._lock:
            self._own.pop(key, None)
        self._space.remove(key)
        self._wrote()

    def get(self, key: str) -> Heard | None:
        """What was last heard under a key; None if nothing, or nothing recent."""
        return self._heard(key)

    def get_all(self, prefix: str = "") -> dict[str, Heard]:
        """Everything heard recently under a prefix, by key."""
        keys = sorted(key for key, _ in rows_of(self._space.blocks()) if key.startswith(prefix))
        return {key: heard for key in keys if (heard := self._heard(key)) is not None}

    def refresh(self, every_s: float) -> None:
        """Repeat what this store says, with a new stamp, and drop what others no longer say. Call it `every_s`."""
        with self._lock:
            self._refreshed = _Refreshed(self._now(), self._monotonic(), 2 * every_s)
            own = list(self._own.items())
        for key, payload in own:
            self._space.put(key, payload)
        if own:
            self._wrote()
        self._expire()

    def withdraw(self) -> None:
        """Take back everything this store said: a clean goodbye."""
        for key in list(self._own):
            self.delete(key)

    def _heard(self, key: str) -> Heard | None:
        winner = self._space.row(key).winner
        age_s = 0.0 if key in self._own else self._now() - self._heard_at.get(key, float("-inf"))
        if winner is None or age_s > self._ttl_s:
            return None
        try:
            value = _values.thaw(key, winner.payload)
        except StoreCorrupt:  # one member's bad row must not hide the others'
            return None
        return Heard(value=value, age_s=age_s, origin=f"{winner.dot.origin:016x}")

    def _hear(self, change: Change, local: bool) -> None:  # noqa: ARG002, FBT001 - a listener's signature
        self._heard_at[change.key] = self._now()

    def _now(self) -> float:
        """Seconds in which this process ran: between two refreshes at most twice what should be between them."""
        last = self._refreshed
        return last.ran_s + min(self._monotonic() - last.at, last.late_s)

    def _expire(self) -> None:
        now = self._now()
        for key, row in rows_of(self._space.blocks()):
            if key not in self._own and now - self._heard_at.get(key, now) > self._ttl_s:
                self._space.forget(key, row)
                self._heard_at.pop(key, None)
