"""A counter that any number of replicas add to, subtract from and reset without asking each other.

A PN-counter (Shapiro et al. 2011) in causal form, after the embedded counters of Baquero, Almeida and Lerche 2016: one
cell for each origin, which only its owner adds to, and beside what was added the part of it that is known to be
cancelled. Both only rise, so siblings of a cell are read as their maximum in each number, and a reset cancels what it
saw and no more. Removing the cell instead would be the anomaly of that paper: an addition made meanwhile would bring
back all that came before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgpack

from propagul.crdt import COUNTER, Op, Packed
from propagul.errors import LimitExceeded, StoreCorrupt
from propagul.store import _paths
from propagul.store._types._rows import log, of_kind
from propagul.store._values import thaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.crdt import Row
    from propagul.crdt.payload import Payload
    from propagul.store._types._rows import Rows
    from propagul.store._values import Limits

COUNT_MAX: Final = 2**63
"""The most that one process may add to, or subtract from, one counter in all."""


class Cell(NamedTuple):
    """What one origin counted. All four only rise; what is cancelled is never more than what it cancels."""

    added: int = 0
    subtracted: int = 0
    added_cancelled: int = 0
    subtracted_cancelled: int = 0

    @property
    def value(self) -> int:
        """What it contributes to the counter."""
        return (self.added - self.added_cancelled) - (self.subtracted - self.subtracted_cancelled)

    @property
    def is_cancelled(self) -> bool:
        """Whether a reset would change nothing."""
        return self == self.cancelled()

    def cancelled(self) -> Cell:
        """The cell after a reset that saw it."""
        return Cell(self.added, self.subtracted, self.added, self.subtracted)

    def plus(self, n: int) -> Cell:
        """The cell after its owner added n, or subtracted -n."""
        return self._replace(added=self.added + max(n, 0), subtracted=self.subtracted + max(-n, 0))

    def joined(self, other: Cell) -> Cell:
        """What both say: the maximum in each number."""
        return Cell(*map(max, self, other))

    def packed(self) -> Packed:
        """Its payload."""
        return Packed(msgpack.packb(list(self)))


class Counter:
    """A number that all replicas share. See `AgentStateStore.counter`.

    Every process keeps a cell of its own in it, for good; reading costs O(processes that ever counted).
    """

    def __init__(self, rows: Rows, name: str, limits: Limits) -> None:
        self._rows, self._name, self._limits = rows, name, limits
        self._prefix = _paths.prefix(_paths.COUNTER, name)

    def add(self, n: int = 1) -> None:
        """Add n; a negative n subtracts, 0 writes nothing. Never lost, whatever others do meanwhile.

        Raises:
            TypeError: n is no int.
            LimitExceeded: This process would have added, or subtracted, more than 2**63 in all.
        """
        if type(n) is not int:
            raise TypeError(f"a counter counts ints, not {type(n).__name__}")
        if n:
            key = _paths.element_key(_paths.COUNTER, self._name, self._rows.origin, limits=self._limits)
            self._rows.update([key], lambda rows: [Op(key, COUNTER, self._counted(rows[key], n).packed())])

    def subtract(self, n: int = 1) -> None:
        """Subtract n. The counter may fall below zero.

        Raises:
            TypeError, LimitExceeded: See `add`.
        """
        if type(n) is not int:
            raise TypeError(f"a counter counts ints, not {type(n).__name__}")
        self.add(-n)

    @property
    def value(self) -> int:
        """All that is known here to have been added, less what was subtracted and what resets cancelled."""
        return sum(cell.value for cell in self._cells(dict(self._rows.under(self._prefix))).values())

    def reset(self) -> int:
        """Cancel exactly what is known here, as one transaction, and return how much that was.

        What others add before they hear of it survives; two resets of the same additions cancel them once. To count
        something down in portions, sum what resets return: nothing is in two of them unless they were concurrent.
        """
        cancelled = 0

        def decide(rows: Mapping[str, Row]) -> list[Op]:
            nonlocal cancelled
            cells = {key: cell for key, cell in self._cells(rows).items() if not cell.is_cancelled}
            cancelled = sum(cell.value for cell in cells.values())
            return [Op(key, COUNTER, cell.cancelled().packed()) for key, cell in cells.items()]

        self._rows.update((), decide, under=[self._prefix])
        return cancelled

    def __int__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"<counter {self._name!r}: {self.value}>"

    def _counted(self, row: Row, n: int) -> Cell:
        cell = read_cell(self._name, row).plus(n)
        most = max(cell.added, cell.subtracted)
        if most > COUNT_MAX:
            raise LimitExceeded(
                f"the counter {self._name!r}", size=most, limit=COUNT_MAX, unit="counted by one process"
            )
        return cell

    def _cells(self, rows: Mapping[str, Row]) -> dict[str, Cell]:
        return {key: read_cell(self._name, row) for key, row in rows.items() if _is_cell(key)}


def read_cell(name: str, row: Row) -> Cell:
    """What the siblings of a cell's row say together. Those that are no cells count as nothing and are logged."""
    cell = Cell()
    for sibling in of_kind(row, COUNTER):
        read = _read(sibling.payload)
        if read is None:
            log.warning("store.counter_cell_unreadable name=%r origin=%016x", name, sibling.dot.origin)
        else:
            cell = cell.joined(read)
    return cell


def _is_cell(key: str) -> bool:
    typed = _paths.parse(key)
    return typed is not None and len(typed.path) == 1 and type(typed.path[0]) is int


def _read(payload: Payload) -> Cell | None:
    try:
        numbers = thaw("", payload)
    except StoreCorrupt:
        return None
    if type(numbers) is not list or len(numbers) != len(Cell._fields):
        return None
    if any(type(number) is not int or not 0 <= number <= COUNT_MAX for number in numbers):
        return None
    cell = Cell(*cast("list[int]", numbers))
    whole = cell.added_cancelled <= cell.added and cell.subtracted_cancelled <= cell.subtracted
    return cell if whole else None
