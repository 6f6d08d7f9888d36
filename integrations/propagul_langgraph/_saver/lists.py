"""Versions of a list, each said by an earlier one: `base[start : start + keep] + tail`.

Version n is said by the version whose number is n without its lowest set bit (the tree of Fenwick 1994), so that any is
read in log n steps and n appends write n log n / 2 references. A version that shares nothing with its base begins anew
at number 0. An odd number is no later version's base: it needs no row of its own. A version holds only references, no
content, so it is stored as it is whatever the serde does.

A `ListVersion` also remembers the objects whose references it holds, so that an element which did not change is not
serialised again.
"""

from __future__ import annotations

import contextlib
from operator import is_
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import ormsgpack

from propagul import StoreCorrupt
from propagul_langgraph._saver import guard
from propagul_langgraph._saver.content import ELEMENTS, VERSION_HERE, VERSION_ROW, MissingContent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from propagul_langgraph._saver.content import Content, Ref
    from propagul_langgraph._saver.elements import Element
    from propagul_langgraph._saver.keys import Place

SHORT: Final = 8
"""A list of up to so many elements is said in full, where it is referred to."""
_SCALARS: Final = frozenset({type(None), bool, int, float, bytes, bytearray})
_TEXT_CHARS: Final = 64


class Base(NamedTuple):
    """A version in a row of its own, whose `[start : start + keep]` this list begins with."""

    number: int
    hashed: bytes
    start: int
    keep: int


class ListVersion(NamedTuple):
    """A list as references.

    Attributes:
        refs: Of its elements.
        objects: The elements, if this process made or read them.
        states: Copies of what they were; see `guard`.
        number: Which version it is, counted from where it began anew; -1 if it is not one of several.
        bases: The versions that later ones may be said by, with rising numbers.
    """

    refs: list[Ref]
    objects: list[object]
    states: list[object]
    number: int
    bases: list[Base]


_NONE_KNOWN: Final[frozenset[object]] = frozenset()
NOTHING: Final = ListVersion([], [], [], -1, [])


def is_split(value: object) -> bool:
    """Whether a value is a list that is worth keeping element by element: not one of small scalars."""
    if type(value) is not list or not value:
        return False
    return not (_is_small(value[0]) and _is_small(value[-1]))


def _is_small(element: object) -> bool:
    return type(element) in _SCALARS or (type(element) is str and len(element) < _TEXT_CHARS)


class Put(Protocol):
    """Stores an element; none that is `known` needs to be stored."""

    def __call__(self, value: object, known: AbstractSet[object]) -> Element:
        """Store one."""


def following(before: ListVersion, value: list[object], put: Put) -> ListVersion:
    """The version with these elements; `put` is called for those that are not, unchanged, in the one before."""
    offset, shared = _unchanged(before, value)
    former = before.refs
    known = frozenset([ref for ref in former if type(ref) is bytes]) if shared < len(former) else _NONE_KNOWN
    fresh = [put(element, known) for element in value[shared:]]
    refs = former[offset : offset + shared] + [element.ref for element in fresh]
    states = before.states[offset : offset + shared] + [element.kept for element in fresh]
    if not shared and refs[0] in former:  # other objects may still be the same elements
        offset = former.index(refs[0])
    shared += _common(former, offset + shared, refs, shared)
    bases = before.bases
    if offset or shared < len(former):
        bases = [_moved(base, offset, shared) for base in bases]
    return ListVersion(refs, value[:], states, before.number, bases)


def remembered(version: ListVersion, objects: list[object]) -> ListVersion:
    """A version that was read, with the objects that were made of it."""
    states = [guard.kept(state) for state in guard.states_of(objects)]
    return version._replace(objects=objects[:], states=states)


def _unchanged(before: ListVersion, value: list[object]) -> tuple[int, int]:
    """Where in the former list the new one begins, and for how many elements it goes on as that."""
    objects = before.objects
    offset = next((at for at, element in enumerate(objects) if element is value[0]), len(objects))
    most = min(len(objects) - offset, len(value))
    same = list(map(is_, value[:most], objects[offset : offset + most]))
    most = most if all(same) else same.index(False)
    now, then = guard.states_of(value[:most]), before.states[offset : offset + most]
    if now != then:
        most = next(at for at in range(most) if now[at] != then[at])
    return offset, most


def _common(old: list[Ref], old_begin: int, new: list[Ref], new_begin: int) -> int:
    most = min(len(old) - old_begin, len(new) - new_begin)
    return next((at for at in range(most) if old[old_begin + at] != new[new_begin + at]), max(most, 0))


def _moved(base: Base, offset: int, shared: int) -> Base:
    """What of a base is left when a list goes on with its own `[offset : offset + shared]`."""
    return base._replace(start=base.start + offset, keep=max(min(base.keep - offset, shared), 0))


def write(content: Content, place: Place, version: ListVersion) -> tuple[Ref, ListVersion]:
    """Store a version and return the reference to it, and the version as later ones may be said by it."""
    refs = version.refs
    if len(refs) <= SHORT:
        return [ELEMENTS, refs], version._replace(number=-1, bases=[])
    number = version.number + 1
    below = [base for base in version.bases if base.number <= _below(number)]
    if not number or not below or below[-1].number != _below(number) or not below[-1].keep:
        number, below = 0, []
    base = below[-1] if below else Base(0, b"", 0, 0)
    said: list[object] = [number, base.hashed, base.start, base.keep, refs[base.keep :]]
    if number % 2:
        return [VERSION_HERE, said], version._replace(number=number, bases=below)
    hashed = content.put_row(place, b"\0" + ormsgpack.packb(said))
    return [VERSION_ROW, hashed], version._replace(number=number, bases=[*below, Base(number, hashed, 0, len(refs))])


def _below(number: int) -> int:
    return number & (number - 1)


def read(content: Content, place: Place, ref: object) -> ListVersion | None:
    """The version that a reference leads to; None if it is no reference to a list.

    Raises:
        MissingContent: Some of what says it is not here.
        StoreCorrupt: What says it is no version.
    """
    match ref:
        case [0, list(refs)]:
            return ListVersion(refs, [], [], -1, [])
        case [1, bytes(hashed)]:
            return _read(content, place, _said(place, content.get_row(place, hashed)), hashed)
        case [2, said]:
            return _read(content, place, _checked(place, said), b"")
    return None


def mark(content: Content, place: Place, refs: Iterable[object], used: set[bytes]) -> None:
    """Add the hashes of all content rows that references lead to. Rows that are not here lead nowhere."""
    waiting = list(refs)
    while waiting:
        match waiting.pop():
            case bytes(hashed):
                used.add(hashed)
            case [0, list(inner)] | [3, list(inner)]:
                waiting += inner
            case [1, bytes(hashed)] if hashed not in used:
                used.add(hashed)
                with contextlib.suppress(MissingContent):
                    waiting.append([VERSION_HERE, [*_said(place, content.get_row(place, hashed))]])
            case [2, said]:
                version = _checked(place, said)
                waiting += [*version.tail, *([[VERSION_ROW, version.base]] if version.base else [])]


class _Said(NamedTuple):
    number: int
    base: bytes
    start: int
    keep: int
    tail: list[Ref]


def _read(content: Content, place: Place, said: _Said, hashed: bytes) -> ListVersion:
    chain = [(said, hashed)]
    while chain[-1][0].base:
        above = chain[-1][0]
        below = _said(place, content.get_row(place, above.base))
        if below.number >= above.number:
            raise _no_version(place)
        chain.append((below, above.base))
    refs: list[Ref] = []
    for step, _ in reversed(chain):
        refs = refs[step.start : step.start + step.keep] + step.tail
    return ListVersion(refs, [], [], chain[0][0].number, _bases(chain, len(refs)))


def _bases(chain: list[tuple[_Said, bytes]], length: int) -> list[Base]:
    """The rows of a chain, newest first, as what a list with so many elements begins with."""
    found, start, keep = [], 0, length
    for said, hashed in chain:
        if hashed:
            found.append(Base(said.number, hashed, start, keep))
        keep = max(min(said.keep - start, keep), 0)
        start += said.start
    return found[::-1]


def _said(place: Place, row: bytes) -> _Said:
    try:
        return _checked(place, ormsgpack.unpackb(row[1:]))
    except ValueError:
        raise _no_version(place) from None


def _checked(place: Place, said: object) -> _Said:
    match said:
        case [int(number), bytes(base), int(start), int(keep), list(tail)] if number >= 0 <= start and keep >= 0:
            return _Said(number, base, start, keep, tail)
    raise _no_version(place)


def _no_version(place: Place) -> StoreCorrupt:
    return StoreCorrupt(f"a list of the thread {place.thread!r} is kept in a form that this version cannot read")
