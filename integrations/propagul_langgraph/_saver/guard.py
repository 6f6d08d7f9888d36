"""Whether an object still is what it was when it was serialised, without serialising it again.

For a pydantic model (a message) its fields are compared with a copy taken then; for a dict, its entries. Everything in
them must be of a type whose equality says that nothing changed; of other objects nothing is known, and they count as
changed. A copy shares what cannot change, so that it costs little memory.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

_CONSTANT: Final = frozenset({type(None), bool, int, float, str, bytes})
_fields, _extra = attrgetter("__dict__"), attrgetter("__pydantic_extra__")


class _NeverEqual:
    """Stands for what cannot be compared."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]  # nor can it be a key


_NEVER: Final = _NeverEqual()


def state_of(value: object) -> object:
    """What of an object is compared: cheap, and changes with the object."""
    if type(value) is dict or type(value) in _CONSTANT:
        return value
    try:
        extra = _extra(value)
    except AttributeError:
        return _NEVER
    return (_fields(value), extra) if extra else _fields(value)


def states_of(values: list[object]) -> list[object]:
    """The same for many; fastest where all are models without further fields."""
    try:
        if not any(map(_extra, values)):
            return list(map(_fields, values))
    except AttributeError:
        pass
    return list(map(state_of, values))


def kept(state: object) -> object:
    """A copy of a state that later states are compared with; equal to nothing where that would prove nothing."""
    kind, constant = type(state), _CONSTANT
    if kind is dict:
        return {key: part if type(part) in constant else kept(part) for key, part in state.items()}  # type: ignore[attr-defined]  # a dict
    if kind is list:
        return [part if type(part) in constant else kept(part) for part in state]  # type: ignore[attr-defined]  # a list
    if kind is tuple:
        return tuple([kept(part) for part in state])  # type: ignore[attr-defined]  # a tuple
    return state if kind in constant else _NEVER
