"""Rows as the map and the typed structures read and write them: directly, or inside a transaction.

Every write is a list of *steps*, each a function from what it sees to operations. Written at once, the steps run under
the namespace's lock and become one batch. In a transaction they run when they are made, over the rows of that moment
and the transaction's own operations, so that reads see them; and again under the lock when it is written, so that
what they decided still holds. A transaction belongs to the task (or thread) that opened it.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from itertools import chain
from typing import TYPE_CHECKING, Final

from propagul.crdt import STAMP_MAX, VALUE_BYTES_MAX, Block, Dot, Op, Stamp
from propagul.crdt.row import act
from propagul.errors import LimitExceeded
from propagul.store._signed import is_there, is_withdrawn
from propagul.store._values import TYPED_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from propagul.crdt import Origin, Payload, Row
    from propagul.store._namespace import Namespace

    Step = Callable[["View"], Sequence[Op]]

_OP_BYTES: Final = 16
"""What an operation costs in a batch beside its key and payload, about."""


class View:
    """Rows of a namespace with the operations of one batch done to them.

    Args:
        row: A row as it is without them.
        under: Rows with a sibling under a prefix, as they are without them.
        dot: The batch's dot.

    Attributes:
        ops: What the batch does, by key.
        size: About how many bytes that is.
    """

    def __init__(self, row: Callable[[str], Row], under: Callable[[str], list[tuple[str, Row]]], dot: Dot) -> None:
        self._row = row
        self._under = under
        self._changed: dict[str, Row] = {}
        self.dot = dot
        self.ops: dict[str, Op] = {}
        self.size = 0

    def row(self, key: str) -> Row:
        """The row of a key; `EMPTY` if nothing is known of it."""
        return self._changed.get(key) or self._row(key)

    def under(self, prefix: str) -> list[tuple[str, Row]]:
        """Every row with a sibling whose key begins with `prefix`, sorted by key."""
        rows = dict(self._under(prefix))
        rows.update((key, row) for key, row in self._changed.items() if key.startswith(prefix))
        return sorted(((key, row) for key, row in rows.items() if row.siblings), key=lambda item: item[0])

    def do(self, ops: Iterable[Op]) -> None:
        """Do operations. The last one on a key stands for those before it: each supersedes all."""
        for op in ops:
            self._changed[op.key] = act(self.row(op.key), self.dot, op.kind, op.action)
            former = self.ops.get(op.key)
            self.size += _size(op) - (0 if former is None else _size(former))
            self.ops[op.key] = op


class Transaction:
    """Steps that wait to be written as one batch."""

    def __init__(self, space: Namespace) -> None:
        self._space = space
        self._steps: list[Step] = []
        self.view = View(space.row, space.under, Dot(Stamp(STAMP_MAX), space.origin))

    def add(self, step: Step) -> None:
        """Run a step and remember it.

        Raises:
            LimitExceeded: The transaction would be over 16 MiB; the step is not part of it.
            LocalProtocolError: It writes what another member owns; likewise.
        """
        ops = step(self.view)
        if self._space.sealed is not None:
            self._space.sealed.check(ops)
        size = self.view.size + sum(map(_size, ops))
        if size > VALUE_BYTES_MAX:
            raise LimitExceeded("a transaction", size=size, limit=VALUE_BYTES_MAX)
        self.view.do(ops)
        self._steps.append(step)

    def write(self) -> None:
        """Write it, whole or, if it is empty or the log refuses, not at all."""
        if self._steps:
            self._space.write(self._steps)


class Rows:
    """One namespace for whoever calls: directly, or through the transaction the caller is in.

    Attributes:
        space: The namespace.
        open_transactions: How many are open now, in any task, and one more while rows of a stream wait to be joined.
            *Use:* reading need not ask for either while it is 0.
    """

    __slots__ = ("__dict__", "open_transactions")  # slots: what the kernel reads in place

    def __init__(self, space: Namespace, is_open: Callable[[], None], wrote: Callable[[], None]) -> None:
        self.space = space
        self.open_transactions = 0
        self._is_open = is_open
        self._wrote = wrote
        self._current: ContextVar[Transaction | None] = ContextVar(f"transaction-{id(self)}", default=None)

    def detour(self, by: int) -> None:
        """Have reads of a key take the lock, or not any more."""
        self.open_transactions += by

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything written by this task inside the block becomes one batch at its end; an exception drops it.

        A transaction inside another one is part of that one.
        """
        self._is_open()
        if self._current.get() is not None:
            yield
            return
        transaction = Transaction(self.space)
        token = self._current.set(transaction)
        self.open_transactions += 1
        try:
            yield
        finally:
            self.open_transactions -= 1
            self._current.reset(token)
        self._is_open()
        transaction.write()
        self._wrote()

    @property
    def in_transaction(self) -> bool:
        """Whether the caller is in a transaction."""
        return self._transaction() is not None

    def hold(self) -> object:
        """What makes every payload that is read from now on readable for as long as it is held."""
        return self.space.hold()

    @property
    def origin(self) -> Origin:
        """An origin that no other replica writes with."""
        return self.space.origin

    def row(self, key: str) -> Row:
        """The row of a key as the caller sees it."""
        transaction = self._transaction()
        return self.space.row(key) if transaction is None else transaction.view.row(key)

    def live(self, prefix: str) -> Iterator[tuple[str, Payload]]:
        """`live` of this instant, as the caller sees it. O(found), see `Namespace.blocks_under`."""
        transaction, blocks = self._transaction(), self.space.blocks_under(prefix)
        if transaction is None:
            return live(blocks, prefix)
        changed = {key: transaction.view.row(key) for key in transaction.view.ops}
        before = (item for item in live(blocks, prefix) if item[0] not in changed)
        return chain(before, live([Block([], list(changed.items()))], prefix))

    def keys(self, prefix: str, *, reverse: bool, limit: int | None) -> list[str]:
        """The keys of `live`, sorted; the first `limit` of them."""
        if self._transaction() is None:
            return self.space.keys(prefix, reverse=reverse, limit=limit)
        return sorted((key for key, _ in self.live(prefix)), reverse=reverse)[:limit]

    def under(self, prefix: str) -> list[tuple[str, Row]]:
        """Every row with a sibling whose key begins with `prefix`, all of one instant, sorted by key."""
        transaction = self._transaction()
        return self.space.under(prefix) if transaction is None else transaction.view.under(prefix)

    def commit(self, ops: Sequence[Op]) -> None:
        """One batch, or a part of the transaction the caller is in."""
        self._do(lambda _: ops)

    def commit_with(self, make: Callable[[Dot, int], Sequence[Op]]) -> None:
        """Like `commit`, for operations that depend on their dot and on how many the same dot has already.

        In a transaction `make` is called a second time when it is written, with the dot that counts.
        """
        self._do(lambda view: make(view.dot, len(view.ops)))

    def update(
        self, keys: Collection[str], decide: Callable[[Mapping[str, Row]], Sequence[Op]], *, under: Collection[str] = ()
    ) -> bool:
        """Read, decide and write in one step; return whether it was decided to write something.

        `decide` gets the rows of `keys` (`EMPTY` where nothing is known) and every row with a sibling under the
        prefixes `under`. It runs under the lock, in a transaction twice: it must be quick and have no other effect.
        """
        decided = False
        if under:
            self.space.settle_all(under)  # or it would be done under the lock, in one go

        def step(view: View) -> Sequence[Op]:
            nonlocal decided
            rows = {key: view.row(key) for key in keys}
            for prefix in under:
                rows.update(view.under(prefix))
            ops = decide(rows)
            decided = bool(ops)
            return ops

        self._do(step)
        return decided

    def _do(self, step: Step) -> None:
        self._is_open()
        transaction = self._transaction()
        if transaction is None:
            self.space.write([step])
            self._wrote()
        else:
            transaction.add(step)

    def _transaction(self) -> Transaction | None:
        return self._current.get() if self.open_transactions else None


def _size(op: Op) -> int:
    return _OP_BYTES + len(op.key) + (len(op.action) if isinstance(op.action, (str, bytes)) else 8)


def live(blocks: Iterable[Block], prefix: str) -> Iterator[tuple[str, Payload]]:
    """Keys under a prefix with the payload of their winner; removal records and typed rows left out."""
    for block in blocks:
        for key, payload, _, _, _ in block.plain:
            if key.startswith(prefix) and not key.startswith(TYPED_MARK) and not is_withdrawn(payload):
                yield key, payload
        for key, row in block.other:
            if row.winner is not None and key.startswith(prefix) and not key.startswith(TYPED_MARK) and is_there(row):
                yield key, row.winner.payload
