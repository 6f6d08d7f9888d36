"""Whether the value of an item is what a filter asks for.

Names of a filter are names of the value and nothing else; what stands for them is compared with what the value holds
there. Pure functions.
"""

from __future__ import annotations

import operator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_OPERATORS: Final = frozenset({"$eq", "$ne", *_ORDERS})
_ORDERED: Final = (str, bytes, datetime)


def check(wanted: Mapping[str, object]) -> None:
    """Say what is wrong with a filter.

    Raises:
        TypeError: It is no dict.
        ValueError: It names an operator that there is not.
    """
    if not isinstance(wanted, dict):
        raise TypeError(f"a filter is a dict, not {type(wanted).__name__}")
    for expected in wanted.values():
        _check(expected)


def matches(value: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether every name of a filter holds what is expected there; one that is missing counts as None."""
    return all(_agrees(value.get(name), expected) for name, expected in wanted.items())


def _agrees(found: object, expected: object) -> bool:
    if isinstance(expected, dict):
        if _is_operation(expected):
            return all(_holds(name, found, operand) for name, operand in expected.items())
        return isinstance(found, dict) and matches(found, expected)
    if isinstance(expected, (list, tuple)):
        alike = isinstance(found, (list, tuple)) and len(found) == len(expected)
        return alike and all(map(_agrees, cast("list[object]", found), expected))
    return found == expected


def _holds(name: str, found: object, operand: object) -> bool:
    if name == "$eq":
        return found == operand
    if name == "$ne":
        return found != operand
    return _is_ordered(_ORDERS[name], found, operand)


def _is_ordered(order: Callable[[Any, Any], bool], found: object, operand: object) -> bool:
    """Whether two values stand in an order: as numbers where both are, else as what both are; others stand in none."""
    try:
        return order(float(found), float(operand))  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return type(found) is type(operand) and isinstance(found, _ORDERED) and order(found, operand)
    except TypeError:  # a datetime without a time zone
        return False


def _is_operation(expected: Mapping[object, object]) -> bool:
    return any(isinstance(name, str) and name.startswith("$") for name in expected)


def _check(expected: object) -> None:
    if isinstance(expected, dict):
        if _is_operation(expected) and (unknown := expected.keys() - _OPERATORS):
            raise ValueError(f"a filter knows {', '.join(sorted(_OPERATORS))}, not {', '.join(map(repr, unknown))}")
        for inner in expected.values() if not _is_operation(expected) else ():
            _check(inner)
    elif isinstance(expected, (list, tuple)):
        for inner in expected:
            _check(inner)
