"""What the replicated map must hold, computed from the history of operations alone.

Imports nothing of propagul. A replica's knowledge is a set of operations; an operation on a key remembers which
operations on that key its author knew. The siblings of a key are the writes that no known operation has superseded.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Op:
    """One write (`value` set) or delete (None), and the operations on the same key that its author knew."""

    number: int
    key: str
    value: bytes | None
    superseded: frozenset[int]


class History:
    """Every operation of a run, by number."""

    def __init__(self) -> None:
        self._ops: list[Op] = []

    def record(self, known: set[int], key: str, value: bytes | None) -> int:
        """Add an operation made by somebody who knew `known`; return its number."""
        past = frozenset(n for n in known if self._ops[n].key == key)
        self._ops.append(Op(len(self._ops), key, value, past))
        return len(self._ops) - 1

    def on(self, known: set[int], keys: set[str]) -> set[int]:
        """The operations among `known` on these keys."""
        return {n for n in known if self._ops[n].key in keys}

    def siblings(self, known: set[int]) -> dict[str, set[bytes]]:
        """The values each key must show to somebody who knows `known`; removed keys are absent."""
        gone = {old for n in known for old in self._ops[n].superseded}
        shown: dict[str, set[bytes]] = {}
        for n in known - gone:
            value = self._ops[n].value
            if value is not None:
                shown.setdefault(self._ops[n].key, set()).add(value)
        return shown
