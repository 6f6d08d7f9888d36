"""What comes from other machines is hostile until it has been looked at: bounds, and a pace for reading.

Bounds of one value: `ROW_BYTES_MAX` encoded, beyond which it is not even decoded; `DEPTH_MAX` deep, `KEYS_MAX` keys of
maps in all. Bounds of one node: `NODE_BYTES_MAX` in all its rows, and so many new rows a second that a node of ours
needs; who writes faster is read now and then only, and is said to flood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from propagul import Oversized

ROW_BYTES_MAX: Final = 2**18
DEPTH_MAX: Final = 5
KEYS_MAX: Final = 500
NODE_BYTES_MAX: Final = 2**20
ROWS_MAX: Final = 500
"""Rows of one node."""

ROWS_PER_S: Final = 4.0
BURST_ROWS: Final = 500.0
"""New rows of one node that are read: a large inventory at once, then as many as beats and pulls need."""


def weight(value: object) -> int | None:
    """About how many bytes a value has, or None for one that is larger, deeper or wider than any node of ours says.

    No recursion: a value may be as deep as its sender likes.
    """
    if isinstance(value, Oversized):
        return None
    level, keys, size = [value], 0, 0
    for _ in range(DEPTH_MAX + 1):
        below: list[object] = []
        for item in level:
            size += len(item) + 2 if isinstance(item, str | bytes | list | dict) else 2
            if isinstance(item, dict):
                keys += len(item)
            if keys > KEYS_MAX or size > NODE_BYTES_MAX:
                return None
            if isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
        level = below
    return None if level else size


class Refused:
    """Stands where a value was out of bounds."""


REFUSED: Final = Refused()


class Bounds:
    """What is kept of the rows of one node."""

    def __init__(self) -> None:
        self._weights: dict[str, int] = {}

    def admit(self, name: str, value: object) -> object:
        """The value of a row, or `REFUSED` in its place; None where there are too many to keep even that."""
        if name not in self._weights and len(self._weights) > ROWS_MAX:
            return None
        size, others = weight(value), sum(self._weights.values()) - self._weights.get(name, 0)
        is_new_and_last = name not in self._weights and len(self._weights) == ROWS_MAX
        if size is None or others + size > NODE_BYTES_MAX or is_new_and_last:
            self._weights[name] = 0
            return REFUSED
        self._weights[name] = size
        return value

    def drop(self, name: str) -> None:
        """A row is gone."""
        self._weights.pop(name, None)


@dataclass(slots=True)
class Pace:
    """How many new rows of a node may still be read. `tokens` grow by `ROWS_PER_S` up to `BURST_ROWS`."""

    at: float
    tokens: float = BURST_ROWS

    @property
    def is_flooded(self) -> bool:
        """Whether more comes than is read."""
        return self.tokens < 0

    def may_read(self, now: float, rows: int) -> bool:
        """Whether so many new rows are read now; they are paid for if they are."""
        self.tokens = min(BURST_ROWS, self.tokens + (now - self.at) * ROWS_PER_S)
        self.at = now
        if self.tokens < 0:
            return False
        self.tokens -= rows
        return True
