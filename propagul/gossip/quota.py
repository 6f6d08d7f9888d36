"""How many origins one node may bring, so that no member can fill the memory of all others.

Origins are never forgotten (`propagul.crdt.vector`): 16 bytes each, on every machine, for ever. Whoever joins a room of
ten thousand machines is told of tens of thousands, so one delta of a node may bring any number, up to `AT_MOST`.
Besides, a node may bring `AN_HOUR` within an hour, and as many more as were known here without it: so the other half of
a room that was parted is taken, and of a room that many join at once each neighbour brings a part.

What is told counts for as long as its rows are awaited, on this link; what is adopted counts for the hour and for the
node, over whichever link it comes. So whoever was dropped for it is dropped again, at its first telling, until the hour
is over. Processes of our own directory may bring what they like: they are this user.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from propagul.crdt import Stamp
from propagul.errors import PeerProtocolError
from propagul.link.local import is_local

if TYPE_CHECKING:
    from collections.abc import Collection, Container

    from propagul.crdt import Entry, Origin
    from propagul.gossip.events import Source
    from propagul.link.base import NodeId

AN_HOUR: Final = 1000
"""Raising it lets more short-lived programs start behind one neighbour, and a bad member cost more memory."""

AT_MOST: Final = 1_000_000
"""More than this no node brings within an hour, nor in one delta."""

HOUR_S: Final = 3600.0
_ACCOUNTS_MAX: Final = 4096
_FIRST: Final = Stamp(1)


@dataclass(slots=True)
class _Account:
    """What one node has brought to one namespace.

    Attributes:
        since: When its hour began.
        brought: How many origins since then that nobody here knew.
        others: How many were known without it when that was last counted.
        has_told: The one delta of any size was taken.
    """

    since: float = float("-inf")
    brought: int = 0
    others: int = 0
    has_told: bool = False


class Quotas:
    """The accounts of all nodes; who has not been linked for longest is forgotten first.

    Args:
        an_hour: See `AN_HOUR`.
        at_most: See `AT_MOST`.
    """

    def __init__(self, an_hour: int = AN_HOUR, at_most: int = AT_MOST) -> None:
        self._an_hour, self._at_most = an_hour, at_most
        self._accounts: dict[tuple[NodeId, str], _Account] = {}

    def of(self, node: NodeId, space: str, source: Source) -> Quota:
        """What a node may bring to a namespace over a link that begins now."""
        if is_local(node):
            return Quota(_Account(), source, sys.maxsize, sys.maxsize)
        account = self._accounts.pop((node, space), None) or _Account()
        self._accounts[node, space] = account
        if len(self._accounts) > _ACCOUNTS_MAX:
            del self._accounts[next(iter(self._accounts))]
        return Quota(account, source, self._an_hour, self._at_most)


class Quota:
    """One node's, in one namespace, on one link.

    Which of many origins are known is looked up one by one only where it matters: not while the one delta of any size
    may still come.
    """

    __slots__ = ("_account", "_admitted", "_an_hour", "_at_most", "_before", "_source", "_waiting")

    def __init__(self, account: _Account, source: Source, an_hour: int, at_most: int) -> None:
        self._account, self._source = account, source
        self._an_hour, self._at_most = an_hour, at_most
        self._waiting = self._admitted = self._before = 0

    def tell(self, entries: Collection[Entry], waiting: Container[Origin], now: float) -> None:
        """It tells of entries; those of `waiting` it has told of before.

        Raises:
            PeerProtocolError: They are too many.
        """
        new = self._new([origin for origin, _ in entries if origin not in waiting], exactly=self._account.has_told)
        if new:
            self._waiting += new
            self._check(self._waiting, now, is_push=False)

    def caught_up(self) -> None:
        """Nothing that it told of is awaited any more."""
        self._waiting = 0

    def admit(self, origins: Collection[Origin], now: float, *, is_push: bool) -> None:
        """Something of each of these is about to be adopted. They count when it is: see `adopted`.

        Raises:
            PeerProtocolError: They are too many.
        """
        exactly = is_push or self._account.has_told
        self._admitted = self._new(origins, exactly=exactly)
        if self._admitted:
            self._check(self._admitted, now, is_push=is_push)
        self._before = 0 if exactly or not self._admitted else self._source.origins()

    def adopted(self) -> None:
        """It was."""
        new = self._source.origins() - self._before if self._before else self._admitted
        if self._account.brought + new <= self._limit():
            self._account.brought += new
        else:
            self._account.has_told = True
        self._waiting = self._admitted = 0

    def _new(self, origins: Collection[Origin], *, exactly: bool) -> int:
        """How many of them are not known here, or no more than that. Cheap if all are."""
        covers = self._source.covers
        if covers((origin, _FIRST) for origin in origins):
            return 0
        return sum(not covers(((origin, _FIRST),)) for origin in origins) if exactly else len(origins)

    def _check(self, new: int, now: float, *, is_push: bool) -> None:
        account = self._account
        if now - account.since >= HOUR_S:
            account.since, account.brought, account.others = now, 0, 0
        brought = account.brought + new
        if brought > self._limit():
            account.others = self._source.origins() - account.brought
        may_be_long = not is_push and not account.has_told and new <= self._at_most
        if brought > self._limit() and not may_be_long:
            raise PeerProtocolError(
                f"it brought {brought} origins within an hour that nobody here knew, and a member may bring "
                f"{self._limit()}: it is linked with again when the hour is over"
            )

    def _limit(self) -> int:
        return min(self._an_hour + self._account.others, self._at_most)
