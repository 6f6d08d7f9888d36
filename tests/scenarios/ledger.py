"""What was written, and what must be there in the end: computed from what each author saw when it wrote.

A write supersedes the values that its author saw under the key in that moment, and nothing else. So what a key must
show is every value that no other one superseded; a value that is missing was lost, one too many is back from the dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from propagul import AgentStateStore
    from propagul.crdt import Entry


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """One acknowledged write of one key, or with `value` None its deletion."""

    key: str
    value: str | None
    superseded: frozenset[str]
    entry: Entry


def shown(store: AgentStateStore, key: str) -> set[str]:
    """Every value a store has under a key."""
    conflicts = store.get_conflicts(key)
    return {str(value) for value in conflicts or [store.get(key)] if value is not None}


class Ledger:
    """Every acknowledged write of a run.

    Attributes:
        values: How many values were written.
    """

    def __init__(self) -> None:
        self._written: list[Written] = []
        self._may_be_gone: set[Written] = set()
        self.values = 0

    @property
    def keys(self) -> set[str]:
        """Every key that was written."""
        return {one.key for one in self._written}

    def write(self, store: AgentStateStore, keys: Iterable[str], author: str) -> None:
        """Write one new value under all these keys, in one step."""
        self.values += 1
        value = f"{author}{self.values}"
        seen = {key: frozenset(shown(store, key)) for key in keys}
        with store.transaction():
            for key in seen:
                store.set(key, value)
        self._note(store, {key: (value, before) for key, before in seen.items()})

    def delete(self, store: AgentStateStore, key: str) -> None:
        """Delete a key, if it is there."""
        before = frozenset(shown(store, key))
        if before:
            store.delete(key)
            self._note(store, {key: (None, before)})

    def _note(self, store: AgentStateStore, made: dict[str, tuple[str | None, frozenset[str]]]) -> None:
        entry = (store._state.origin, store._state.minted)
        self._written += [Written(key, value, before, entry) for key, (value, before) in made.items()]

    def held_by(self, store: AgentStateStore) -> set[Written]:
        """What a store knows of, superseded or not."""
        return {one for one in self._written if store._state.covers([one.entry])}

    def excuse(self, held_elsewhere: set[Written]) -> None:
        """A disk was replaced by an older one: what was nowhere else may be gone, although nothing else may."""
        self._may_be_gone |= {one for one in self._written if one not in held_elsewhere}

    def check(self, store: AgentStateStore, name: str) -> None:
        """A store that all others are equal to shows what it must.

        Raises:
            AssertionError: Something acknowledged is lost, or something deleted or overwritten is back.
        """
        there = self.held_by(store)
        lost = [one for one in self._written if one not in there and one not in self._may_be_gone]
        assert not lost, f"{name} never heard of {lost}"
        gone = {(one.key, old) for one in there for old in one.superseded}
        for key in self.keys:
            values = {one.value for one in there if one.key == key and one.value is not None}
            expected = {value for value in values if (key, value) not in gone}
            found = shown(store, key)
            assert found == expected, f"{name} shows {sorted(found)} under {key}, must show {sorted(expected)}"
