"""Who mints in a namespace: its origin now, when it takes a fresh one, and what was minted here before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from propagul.crdt import Dot, Replica, Stamp, stamps_in
from propagul.store._origin import fresh_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from propagul.crdt import Batch, Op, Origin
    from propagul.store._sealed import SealedRows

AHEAD_S_MAX: Final = 300.0
"""A stamp further ahead of the wall clock than this is marked; one of our own makes us take a fresh origin."""

_log = logging.getLogger("propagul.store")


class Minting:
    """The origins of one namespace. Its lock is held by whoever calls.

    Args:
        space: The name of the namespace.
        replica: Its rows.
        wall: The wall clock.
        sealed: Its rows that prove who wrote them.
        own: Newest stamps of origins that minted in its log before.

    Attributes:
        sealed: As above.
    """

    def __init__(
        self,
        space: str,
        replica: Replica,
        wall: Callable[[], Stamp],
        sealed: SealedRows | None,
        own: Mapping[Origin, Stamp],
    ) -> None:
        self._space = space
        self._replica = replica
        self._wall = wall
        self.sealed = sealed
        self._own = dict(own)

    @property
    def newest_credible(self) -> Stamp:
        """Stamps above this are so far in the future that they are marked as quarantined. A mark, never a rank."""
        return Stamp(self._wall() + stamps_in(AHEAD_S_MAX))

    def entries(self) -> dict[Origin, Stamp]:
        """The newest stamp of each origin of ours: this process's, and those whose writes our log brought back."""
        if self._replica.minted:
            self._own[self._replica.origin] = self._replica.minted
        return self._own

    def own_too(self, entries: Mapping[Origin, Stamp]) -> None:
        """Count what was minted in a log that was adopted as our own."""
        self._own.update(entries)

    def prepare(self, ops: Sequence[Op]) -> Batch:
        """A batch with a dot of its own, that the clock stands for."""
        if self._replica.clock.last > self.newest_credible:
            self._renew("store.clock_went_back")
        return self._replica.prepare(ops, self._wall())

    def seal(self, batch: Batch) -> Batch:
        """A prepared batch, as it is logged and applied.

        Raises:
            LocalProtocolError, LimitExceeded: It holds what this store may not write.
        """
        if self.sealed is not None:
            if self.sealed.is_barred(batch, self._replica.row):
                self._renew("store.origin_barred")
                batch = self._replica.prepare(batch.ops, self._wall())
            batch = self.sealed.seal(batch, self._replica.row)
        return batch

    def beside(self, ops: Sequence[Op], wall: Stamp) -> Replica:
        """A replica of a fresh origin that has seen nothing and written these operations at a moment."""
        replica = Replica(self._fresh())
        batch = replica.prepare(ops, wall)
        replica.apply(batch if self.sealed is None else self.sealed.seal(batch, replica.row))
        return replica

    def leave_a_twins_origin(self) -> None:
        """Take a fresh origin if somebody else has written with ours: a copy of this machine runs."""
        if self._replica.vector.stamp_of(self._replica.origin) > self._replica.minted:
            self._renew("store.origin_used_elsewhere")

    def dots(self) -> list[Dot]:
        """Like `entries`, as dots."""
        return [Dot(stamp, origin) for origin, stamp in self.entries().items()]

    def _renew(self, why: str) -> None:
        _log.warning("%s namespace=%r: a fresh origin from here on", why, self._space)
        self._replica.renew(self._fresh())

    def _fresh(self) -> Origin:
        return fresh_origin() if self.sealed is None else self.sealed.fresh_origin()
