"""Keys that several wrote at once, and writing what depends on what was read. A part of `StateMap`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.crdt import ABSENT, REGISTER, REMOVE, Op
from propagul.errors import LocalProtocolError
from propagul.store import _values
from propagul.store._traffic import written_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from propagul.crdt import Dot, Payload, Row
    from propagul.crdt.payload import Remove
    from propagul.store._namespace import Namespace
    from propagul.store._rows import Rows
    from propagul.store._values import Limits


class Conflicts:
    """The part of a map that shows siblings and settles them."""

    __slots__ = ()

    if TYPE_CHECKING:  # what the map brings
        _state: Namespace
        _rows: Rows
        _limits: Limits

        def get(self, key: str, default: object = None) -> object: ...

    def siblings(self, key: str) -> list[object]:
        """Every value of a key, the one `get` returns first: one without a conflict, none if the key is not there."""
        hold = self._state.hold()
        values = _thawed(key, self._rows.row(key))
        del hold
        return values

    def get_conflicts(self, key: str) -> list[object]:
        """All values of a key that were written concurrently, the one `get` returns first; empty without a conflict."""
        hold = self._state.hold()
        row = self._rows.row(key)
        values = _thawed(key, row) if len(row.siblings) > 1 else []
        del hold
        return values

    def quarantined(self) -> list[str]:
        """Keys whose value was written by a clock more than five minutes ahead of this machine's. O(rows).

        A mark for people, not a rank: such a value wins or loses against others as any does.
        """
        credible = self._state.newest_credible
        return sorted(key for block in self._state.blocks() for key in written_ahead(block, credible))

    def resolve(self, key: str, choose: Callable[[list[object]], object]) -> object:
        """Settle a conflict: `choose` gets the siblings, newest first, and returns the value to keep.

        Called again if the siblings changed meanwhile. Without a conflict nothing happens. Returns the key's value.
        """
        settled = False
        while not settled:
            hold, row = self._state.hold(), self._rows.row(key)
            if len(row.siblings) < 2:
                return self.get(key)
            chosen = choose(_thawed(key, row))
            del hold
            settled = self._write_if({key: row.dots}, {key: _values.freeze(key, chosen, self._limits)})
        return chosen

    def update(self, keys: Collection[str], change: Callable[[dict[str, list[object]]], Mapping[str, object]]) -> bool:
        """Read keys, decide and write in one step, a transaction of its own; return whether anything was written.

        Args:
            keys: What is read, and may be written.
            change: Gets the values of each key as `siblings` gives them, and returns what to write by key: a value, or
                `REMOVE`. Called again where a key changed meanwhile, by another thread or by what arrived; so it must
                have no other effect.

        Raises:
            ValueError: It returned a key that was not read.
            LocalProtocolError: The caller is in a transaction.
            TypeError, LimitExceeded, StoreFull, StoreError: As `set`.
        """
        keys = [_values.check_key(key, self._limits) for key in keys]
        if self._rows.in_transaction:
            raise LocalProtocolError("`update` is a transaction of its own: call it outside of `store.transaction()`")
        while True:
            hold, rows = self._state.hold(), {key: self._rows.row(key) for key in keys}
            chosen = change({key: _thawed(key, row) for key, row in rows.items()})
            del hold
            if unread := [key for key in chosen if key not in rows]:
                raise ValueError(f"{unread[0][:80]!r} was not read, so nobody can say what a write would replace")
            writes = {
                key: REMOVE if value is REMOVE else _values.freeze(key, value, self._limits)
                for key, value in chosen.items()
                if value is not REMOVE or rows[key].siblings
            }
            if not writes or self._write_if({key: row.dots for key, row in rows.items()}, writes):
                return bool(writes)

    def _write_if(self, expected: Mapping[str, list[Dot]], writes: Mapping[str, Payload | Remove]) -> bool:
        """Write if the siblings are still those that were decided about."""
        ops = [Op(key, REGISTER, action) for key, action in writes.items()]

        def decide(rows: Mapping[str, Row]) -> list[Op]:
            return ops if all(rows[key].dots == dots for key, dots in expected.items()) else []

        return self._rows.update(expected, decide)


def _thawed(key: str, row: Row) -> list[object]:
    values = [_values.thaw(key, sibling.payload) for sibling in row.siblings]
    return [value for value in values if value is not ABSENT]
