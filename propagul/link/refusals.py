"""The doorstep: connections that have proven nothing yet, and the book of those turned away.

Pure: time comes in. Both are bounded whatever strangers do. When the doorstep is full, who has stood there longest
makes room, because a member needs milliseconds and only an idler needs seconds: so idlers never keep a member out. One
who came just now is not sent away for a newcomer, or a burst of members would chase itself off.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from propagul.link.base import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSALS_MAX = 64
"""Entries kept; the one refused longest ago is forgotten first."""

GRACE_S = 0.25
"""How long nobody is sent away for a newcomer."""

TOO_MANY = "too many half-open connections"

_T = TypeVar("_T")


class RefusalBook:
    """Counts the turned away by reason and host."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Refusal] = {}

    def add(self, reason: str, host: str, now: float) -> int:
        """Count one more and return the count; `now` in seconds of the transport's monotonic clock."""
        known = self._entries.pop((reason, host), None)
        if known is None and len(self._entries) >= REFUSALS_MAX:
            del self._entries[next(iter(self._entries))]
        count = known.count + 1 if known else 1
        self._entries[reason, host] = Refusal(reason=reason, host=host, count=count, last_s=now)
        return count

    def entries(self) -> list[Refusal]:
        """Return what is kept, newest last."""
        return list(self._entries.values())


@dataclass(frozen=True, slots=True, eq=False)
class Visitor(Generic[_T]):
    """One connection on the doorstep."""

    connection: _T
    origin: str
    """Who is counted together: an IPv4 address, or the /64 of an IPv6 one."""
    since_s: float


class Doorstep(Generic[_T]):
    """At most `total_max` half-open connections, and `per_host_max` of one origin."""

    __slots__ = ("_per_host_max", "_total_max", "_visitors")

    def __init__(self, total_max: int, per_host_max: int) -> None:
        self._total_max, self._per_host_max = total_max, per_host_max
        self._visitors: dict[Visitor[_T], None] = {}  # in order of arrival

    def __len__(self) -> int:
        return len(self._visitors)

    def __iter__(self) -> Iterator[Visitor[_T]]:
        return iter(list(self._visitors))

    def enter(self, connection: _T, host: str, now: float) -> tuple[Visitor[_T], Visitor[_T] | None]:
        """Let a connection in; return its place and who must go for it, perhaps the newcomer itself."""
        newcomer = Visitor(connection, origin(host), now)
        rival = self._rival(newcomer)
        if rival is not None and now - rival.since_s < GRACE_S:
            return newcomer, newcomer
        if rival is not None:
            self.leave(rival)
        self._visitors[newcomer] = None
        return newcomer, rival

    def leave(self, visitor: Visitor[_T]) -> None:
        """Free a place. Idempotent."""
        self._visitors.pop(visitor, None)

    def _rival(self, newcomer: Visitor[_T]) -> Visitor[_T] | None:
        """Return who stands in the newcomer's place: its origin's oldest, or the oldest of the largest crowd."""
        crowds: dict[str, list[Visitor[_T]]] = {}
        for visitor in self._visitors:
            crowds.setdefault(visitor.origin, []).append(visitor)
        own = crowds.get(newcomer.origin, [])
        if len(own) >= self._per_host_max:
            return own[0]
        if len(self._visitors) >= self._total_max:
            return max(crowds.values(), key=len)[0]
        return None


def origin(host: str) -> str:
    """Return what a remote address counts under; a household's IPv6 network is one origin."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
