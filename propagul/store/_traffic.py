"""What comes in and what is said of it: counts, clocks that run ahead, rows with too many siblings."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from propagul.crdt import COUNTER, REGISTER, Keep, Op, seconds_between
from propagul.crdt.row import SIBLINGS_MAX
from propagul.store import _paths
from propagul.store._types import read_cell
from propagul.store._values import TYPED_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from propagul.crdt import Block, Entry, Row, Stamp

SKEW_ALARM_S: Final = 1.0

_log = logging.getLogger("propagul.store")


@dataclass(slots=True)
class Traffic:
    """What has happened in a namespace since it was opened.

    Attributes:
        remote_rows: Rows received, repeats included.
        joins: Streams received that were snapshot joins.
        skew_s: The furthest any received stamp was ahead of our wall clock, seconds.
        siblings_trimmed: Rows that had too many siblings, cut down by an operation of ours.
        floors_raised: How often old removal records were dropped.
        refused_rows: Rows received that `admit` left out, or left out a part of.
        equivocations: Batches received that contradict another of the same author's; both are kept.
        admit: What of a received block may be stored here: a function of its rows alone, or members that refuse
            different things would never agree. What it leaves out is neither logged nor passed on.
    """

    remote_rows: int = 0
    joins: int = 0
    skew_s: float = 0.0
    siblings_trimmed: int = 0
    floors_raised: int = 0
    refused_rows: int = 0
    equivocations: int = 0
    admit: Callable[[Block], Block] = field(default=lambda block: block)

    def note_skew(self, space: str, entries: Iterable[Entry], wall: Stamp) -> None:
        """Remember how far stamps are ahead of our wall clock, and say so when it gets worse."""
        ahead_s = max((seconds_between(stamp, wall) for _, stamp in entries), default=0.0)
        if ahead_s > SKEW_ALARM_S and ahead_s > 2 * self.skew_s:
            _log.warning("store.clock_skew namespace=%r: a member's clock is %.1f s ahead of ours", space, ahead_s)
        self.skew_s = max(self.skew_s, ahead_s)

    def cut_down(self, space: str, rows: Mapping[str, Row]) -> list[Op]:
        """The operations that leave few siblings where there are too many."""
        ops = [cut_down(key, row) for key, row in rows.items() if len(row.siblings) > SIBLINGS_MAX]
        if ops:
            self.siblings_trimmed += len(ops)
            _log.warning("store.siblings_trimmed namespace=%r keys=%d", space, len(ops))
        return ops


def written_ahead(block: Block, credible: Stamp) -> list[str]:
    """Keys whose value bears a stamp above the newest credible one."""
    keys = [key for key, _, _, stamp, _ in block.plain if stamp > credible]
    keys += [key for key, row in block.other if row.winner is not None and row.winner.dot.stamp > credible]
    return [key for key in keys if not key.startswith(TYPED_MARK)]


def cut_down(key: str, row: Row) -> Op:
    """The operation that makes one sibling, or few, of many. A counter's siblings are parts of one count."""
    typed = _paths.parse(key)
    if typed is not None and typed.kind == _paths.COUNTER:
        return Op(key, COUNTER, read_cell(typed.name, row).packed())
    return Op(key, REGISTER, Keep(SIBLINGS_MAX))
