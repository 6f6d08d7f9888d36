"""Presence: what is true of a node now and of no interest later.

Rows of an ephemeral namespace: never logged, the newest value only, gone when their owner could not be reached for
`ttl_s` by *this* receiver's monotonic clock. That a member can be reached is a matter of links (`propagul.store._roll`)
and costs nothing while they hold; that a row of its arrives proves nothing, for others keep what it said, unseen, in
case it comes back. A process that is no member of its own, because another one has the door of their directory, repeats
its rows instead. A fresh origin a process; two processes that use one key are ranked by stamp.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from propagul.crdt import ABSENT, VALUE_BYTES_MAX, Origin
from propagul.crdt.wire import size_of
from propagul.errors import StoreCorrupt
from propagul.store import _values
from propagul.store._instant import rows_of
from propagul.store._signed import is_withdrawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from propagul.crdt import Change, Payload, Sibling
    from propagul.store._namespace import Namespace

REPEAT_S: Final = 900.0
"""A member repeats its rows this often, or a minute for each member there is, for whoever forgot them."""

_KEPT: Final = 4
"""Rows of who is out of reach are kept, unseen, for so many repeats: longer than their owner waits to repeat them."""

NEVER: Final = float("-inf")

_PAUSE: Final = 0.5
"""For so much of `ttl_s` time goes on although nobody looked after presence: a stopped process accuses nobody."""


@dataclass(frozen=True, slots=True)
class Oversized:
    """Stands where a value is larger than its reader wanted; it was not decoded.

    Attributes:
        size_bytes: How large it is, encoded; of a text, its characters.
    """

    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A presence row and how fresh it is.

    Attributes:
        value: What its owner said, or `Oversized`.
        age_s: Seconds since its owner was last known to live, by this process's monotonic clock; 0 for this store's.
        origin: Which process said it, as 16 hexadecimal digits.
    """

    value: object
    age_s: float
    origin: str


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
        self._alive_at: dict[Origin, float] = {}
        self._heard_at: dict[Origin, float] = {}
        self._members: set[Origin] = set()
        self._looked_at = self._repeated_at = monotonic()
        self._repeated_by = space.origin
        self._is_contested = False
        self._wrote: Callable[[], None] = lambda: None
        space.listen(self._hear)

    def on_write(self, wrote: Callable[[], None]) -> None:
        """Call `wrote()` after every local write, so that gossip can push it."""
        self._wrote = wrote

    def set(self, key: str, value: object) -> None:
        """Say something of this process; repeated by itself until it is deleted or the store stops.

        Raises:
            TypeError, ValueError, LimitExceeded, LocalProtocolError: As for `AgentStateStore.set`.
        """
        payload = _values.freeze(_values.check_key(key, self._limits), value, self._limits)
        self._space.put(key, payload)  # first: what is not ours to say is not repeated either
        with self._lock:
            self._own[key] = payload
        self._wrote()

    def delete(self, key: str) -> None:
        """Take it back; others see it gone at once."""
        with self._lock:
            self._own.pop(key, None)
        self._space.remove(key)
        self._wrote()

    def get(self, key: str, *, bytes_max: int = VALUE_BYTES_MAX) -> Heard | None:
        """What was last heard under a key; None if nothing, or nothing recent.

        Args:
            key: Which.
            bytes_max: A value that is larger, encoded, is not decoded: `Oversized` stands in its place. Another member
                may say up to 16 MiB, and each `get` decodes it anew.
        """
        return self._heard(key, bytes_max)

    def get_all(self, prefix: str = "", *, bytes_max: int = VALUE_BYTES_MAX) -> dict[str, Heard]:
        """Everything heard recently under a prefix, by key; see `get`."""
        keys = sorted(key for key, _ in rows_of(self._space.blocks()) if key.startswith(prefix))
        return {key: heard for key in keys if (heard := self._heard(key, bytes_max)) is not None}

    def heard_s(self, said: Heard) -> float | None:
        """Seconds since who said that was last known to live; None if that is too long for it to count. O(1)."""
        if (origin := int(said.origin, 16)) == self._space.origin:
            return 0.0
        age_s = self.age_s(Origin(origin))
        return age_s if age_s <= self._ttl_s else None

    def listen(self, heard: Callable[[str], None]) -> None:
        """Call `heard(key)` whenever something else stands under a key, in any thread.

        It must be quick and touch nothing of the store; that somebody is out of reach is no change.
        """
        self._space.listen(lambda change, _: heard(change.key))

    def said(self, prefix: str) -> Iterator[tuple[str, Sibling]]:
        """What every owner said last under a prefix, those out of reach included."""
        for key, row in rows_of(self._space.blocks()):
            if row.winner is not None and key.startswith(prefix):
                yield key, row.winner

    def age_s(self, origin: Origin) -> float:
        """Seconds since a process was last known to live; infinite for one that is not known."""
        evidence = self._alive_at if origin in self._members else self._heard_at
        return max(0.0, self._now() - evidence.get(origin, NEVER))

    def vouch(self, origins: Iterable[Origin], members: Iterable[Origin]) -> None:
        """The processes with these origins can be reached now, of all that are members."""
        self._alive_at.update(dict.fromkeys(origins, self._now()))
        self._members = set(members)

    def enrol(self, origin: Origin, *, reached: bool) -> None:
        """The process with this origin is a member, `reached` just now or not; what arrives of it proves nothing."""
        self._members.add(origin)
        if reached:
            self._alive_at[origin] = self._now()

    def tend(self, interval_s: float, *, is_member: bool, members: int = 0) -> None:
        """Repeat what this store says, if that is due, and drop what nobody says any more. Call every `interval_s`.

        Args:
            interval_s: Without a member's row of our own we live only as long as we repeat ourselves this often.
            is_member: Whether we have one.
            members: How many have.
        """
        now = self._monotonic()
        late_s = now - self._looked_at - interval_s
        self._looked_at = now
        if late_s > self._ttl_s * _PAUSE:
            self._excuse(late_s)
        repeat_s = max(REPEAT_S, 60.0 * members)
        due = now - self._repeated_at > repeat_s
        renewed = self._repeated_by != self._space.origin
        if due or not is_member or renewed or self._is_contested:
            self.repeat()
        self._expire(now - _KEPT * repeat_s)

    def repeat(self) -> None:
        """Say everything again that this store says: others may have forgotten it, while they could not reach us."""
        with self._lock:
            own = list(self._own.items())
        for key, payload in own:
            self._space.put(key, payload)
        self._repeated_at, self._repeated_by, self._is_contested = self._monotonic(), self._space.origin, False
        if own:
            self._wrote()

    def _excuse(self, late_s: float) -> None:
        """We were not running, so it is not the others who were out of reach."""
        for evidence in (self._alive_at, self._heard_at):
            evidence.update([(origin, at + late_s) for origin, at in list(evidence.items())])

    def _now(self) -> float:
        """Now, unless nobody has looked after presence for a while: then time stands still."""
        return min(self._monotonic(), self._looked_at + self._ttl_s * _PAUSE)

    def withdraw(self) -> None:
        """Take back everything this store said: a clean goodbye."""
        for key in list(self._own):
            self.delete(key)

    def _heard(self, key: str, bytes_max: int) -> Heard | None:
        winner = self._space.row(key).winner
        if winner is None:
            return None
        age_s = 0.0 if key in self._own else self.age_s(winner.dot.origin)
        if age_s > self._ttl_s:
            return None
        size_bytes = size_of(winner.payload)
        is_wanted = size_bytes <= bytes_max or is_withdrawn(winner.payload)
        try:
            value = _values.thaw(key, winner.payload) if is_wanted else Oversized(size_bytes)
        except StoreCorrupt:  # one member's bad row must not hide the others'
            return None
        return None if value is ABSENT else Heard(value=value, age_s=age_s, origin=f"{winner.dot.origin:016x}")

    def _hear(self, change: Change, local: bool) -> None:  # noqa: FBT001 - a listener's signature
        winner = change.after.winner
        if winner is not None and not local and winner.dot.origin != self._space.origin:
            self._heard_at[winner.dot.origin] = self._now()
        if not local and change.key in self._own:  # somebody else wrote or removed what we say
            self._is_contested = True

    def _expire(self, before: float) -> None:
        """Forget the rows of those of whom there is no sign since."""
        signs = {**self._heard_at, **self._alive_at}
        gone = {origin for origin, at in signs.items() if max(at, self._heard_at.get(origin, at)) < before}
        for key, row in rows_of(self._space.blocks()) if gone else ():
            owners = [sibling.dot.origin for sibling in row.siblings] or list(row.context)
            if gone.issuperset(owners):
                self._space.forget(key, row)
        for origin in gone:
            self._alive_at.pop(origin, None)
            self._heard_at.pop(origin, None)
