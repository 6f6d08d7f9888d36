"""A set whose elements any replica adds and removes: of an addition and a concurrent removal the addition wins.

An observed-remove set (Shapiro et al. 2011): one row for each element, so that sets of any size change in O(1). A
removal takes away the additions it saw; one made elsewhere meanwhile, of the same element too, survives.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, cast

from propagul.crdt import REMOVE, SET, Op
from propagul.errors import LimitExceeded
from propagul.store import _paths
from propagul.store._types._rows import of_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from propagul.crdt import Row
    from propagul.store._paths import Element
    from propagul.store._types._rows import Rows
    from propagul.store._values import Limits


class AddWinsSet(AbstractSet["Element"]):
    """A set of str, bytes and int that all replicas share. See `AgentStateStore.set_of`.

    Compares and combines with other sets as a set does; what `&`, `|`, `-` and `^` return is a plain set. An element is
    exactly a str, bytes or int: True is refused because True == 1, and which of the two would be kept depended on the
    order of merges.
    """

    def __init__(self, rows: Rows, name: str, limits: Limits) -> None:
        self._rows, self._name, self._limits = rows, name, limits
        self._prefix = _paths.prefix(_paths.SET, name)

    @classmethod
    def _from_iterable(cls, it: Iterable[Element]) -> set[Element]:  # type: ignore[override]  # results are plain sets
        return set(it)

    def add(self, element: Element) -> None:
        """Add an element. If it is there it is added again, so that a concurrent removal does not take it away. O(1).

        Raises:
            TypeError: It is not exactly a str, bytes or int.
            ValueError: A str with NUL or a lone surrogate, an int outside -2**63..2**64-1.
            LimitExceeded: It is too large for a key.
        """
        self._rows.commit([self._addition(element)])

    def update(self, elements: Iterable[Element]) -> None:
        """Add all of them as one transaction, or none.

        Raises:
            TypeError, ValueError, LimitExceeded: See `add`.
        """
        ops = [self._addition(element) for element in dict.fromkeys(elements)]
        if ops:
            self._rows.commit(ops)

    def discard(self, element: Element) -> None:
        """Remove an element if it is there. O(1).

        Raises:
            TypeError, ValueError, LimitExceeded: It could not be an element; see `add`.
        """
        self._remove(element)

    def remove(self, element: Element) -> None:
        """Remove an element.

        Raises:
            KeyError: It is not there.
            TypeError, ValueError, LimitExceeded: It could not be an element; see `add`.
        """
        if not self._remove(element):
            raise KeyError(element)

    def clear(self) -> None:
        """Remove every element known here, as one transaction. What others add meanwhile stays. O(elements)."""
        self._rows.update((), _removals, under=[self._prefix])

    def __contains__(self, element: object) -> bool:
        try:
            key = self._key(cast("Element", element))
        except (TypeError, ValueError, LimitExceeded):
            return False
        return _is_in(self._rows.row(key))

    def __iter__(self) -> Iterator[Element]:
        """The elements of one instant: bytes, then ints, then texts, each sorted. O(elements)."""
        return iter(self._elements())

    def __len__(self) -> int:
        return len(self._elements())

    def __repr__(self) -> str:
        return f"<set {self._name!r}: {len(self)} elements>"

    def _elements(self) -> list[Element]:
        found = ((_paths.parse(key), row) for key, row in self._rows.under(self._prefix))
        return [typed.path[0] for typed, row in found if typed and len(typed.path) == 1 and _is_in(row)]

    def _remove(self, element: Element) -> bool:
        return self._rows.update([self._key(element)], _removals)

    def _addition(self, element: Element) -> Op:
        return Op(self._key(element), SET, None)

    def _key(self, element: Element) -> str:
        return _paths.element_key(_paths.SET, self._name, element, limits=self._limits)


def _is_in(row: Row) -> bool:
    return bool(of_kind(row, SET))


def _removals(rows: Mapping[str, Row]) -> list[Op]:
    return [Op(key, SET, REMOVE) for key, row in rows.items() if _is_in(row)]
