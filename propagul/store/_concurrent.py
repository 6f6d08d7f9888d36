"""Siblings beside a winner: several values of one row, written as concurrently as somebody once wrote them.

One replica cannot write two values that do not know of each other, so each rank of siblings is written by a replica of
its own, of a fresh origin, and joined like the log of a process that is gone. That costs 16 bytes for ever for each
rank in a call, whatever the number of rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.crdt import Op, Stamp
from propagul.store._siblings import join_replica

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul.crdt import Payload
    from propagul.store._namespace import Namespace


class Beside:
    """Collects siblings for rows that have a winner, or will have one when they are written."""

    def __init__(self, space: Namespace) -> None:
        self._space = space
        self._rows: list[tuple[str, int, Sequence[Payload]]] = []

    def add(self, key: str, kind: int, payloads: Sequence[Payload]) -> None:
        """Remember payloads that shall stand behind the winner of a row, in this order."""
        if payloads:
            self._rows.append((key, kind, payloads))

    def write(self) -> None:
        """Write them, and forget them. Not in a transaction.

        Raises:
            StoreError: The log refused.
        """
        rows, self._rows = self._rows, []
        winners = [self._space.row(key).winner for key, _, _ in rows]
        newest = min((winner.dot.stamp for winner in winners if winner is not None), default=Stamp(0))
        for rank in range(max((len(payloads) for _, _, payloads in rows), default=0)):
            ops = [Op(key, kind, payloads[rank]) for key, kind, payloads in rows if rank < len(payloads)]
            join_replica(self._space, self._space.minting.beside(ops, Stamp(newest - 1 - rank)))
