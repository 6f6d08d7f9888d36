"""Elements of lists that were stored a moment ago: what a task writes is what its channel holds next.

An object that still is what it was then is not serialised again, and what it was need not be copied again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from propagul_langgraph._saver.content import Ref
    from propagul_langgraph._saver.keys import Place

_AT_HAND: Final = 128
"""More than the tasks of a step write; the objects stay in memory for as long as they are at hand."""


class Element(NamedTuple):
    """An element of a list as it is stored.

    Attributes:
        ref: Reference to its content.
        kept: A copy of what it was; see `guard`.
    """

    ref: Ref
    kept: object


class _Met(NamedTuple):
    value: object
    generation: str
    at: float
    element: Element


class Elements:
    """The last elements that were stored.

    Args:
        lasting_s: For how long what was stored counts as there.
    """

    def __init__(self, lasting_s: float) -> None:
        self._lasting_s = lasting_s
        self._met: dict[int, _Met] = {}

    def find(self, place: Place, value: object, state: object) -> Element | None:
        """The element that this object became in the same thread, if it is what it was, and that was just now."""
        met = self._met.get(id(value))
        if met is None or met.value is not value or met.generation != place.content or met.element.kept != state:
            return None
        return met.element if time.monotonic() - met.at < self._lasting_s else None

    def add(self, place: Place, value: object, element: Element) -> None:
        """Remember one that was stored now."""
        if len(self._met) >= _AT_HAND:
            self._met.pop(next(iter(self._met)))
        self._met[id(value)] = _Met(value, place.content, time.monotonic(), element)

    def forget(self, place: Place) -> None:
        """Do not count on content of a generation that was deleted."""
        self._met = {key: met for key, met in self._met.items() if met.generation != place.content}
