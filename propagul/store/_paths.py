"""Keys of typed rows: what a counter, set, log or map is called, and the path to one of its elements.

    key = NUL, kind letter, name, NUL, then each element of the path followed by NUL

An element is `s` and text, `i` and 17 hex digits of the int + 2**63, or `b` and hex. So keys sort as their elements do
(bytes, then ints by value, then texts by code point), a row stands directly before the rows below it, and everything at
or below a path begins with that path's key. Encoding and decoding are exact: `parse` takes what `element_key` makes and
nothing else, for keys come from other machines too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from propagul.store._canonical import INT_MAX, INT_MIN
from propagul.store._values import TYPED_MARK, check_size

if TYPE_CHECKING:
    from propagul.store._values import Limits

COUNTER, SET, LOG, MAP = "c", "s", "l", "m"
KINDS: Final = frozenset({COUNTER, SET, LOG, MAP})

Element = str | bytes | int
"""One step of a path; of exactly one of these types."""

_OFFSET: Final = -INT_MIN


class TypedKey(NamedTuple):
    """What a key of a typed row says.

    Attributes:
        kind: One of `KINDS`.
        name: Of the counter, set, log or map.
        path: The way to the element; one step but in maps.
    """

    kind: str
    name: str
    path: tuple[Element, ...]


def prefix(kind: str, name: str) -> str:
    """How every key of one counter, set, log or map begins.

    Raises:
        TypeError: The name is no str.
        ValueError: It is empty, holds NUL or a lone surrogate.
    """
    if type(name) is not str:
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    if not name:
        raise ValueError("a name is not empty")
    _check_text("the name", name)
    return f"{TYPED_MARK}{kind}{name}{TYPED_MARK}"


def element_key(kind: str, name: str, *path: Element, limits: Limits) -> str:
    """The key of an element, by the path to it.

    Raises:
        TypeError: A step is not exactly a str, bytes or int, or the name is no str.
        ValueError: A text holds NUL or a lone surrogate, an int is out of range, or the name is empty.
        LimitExceeded: The whole key is too long.
    """
    key = prefix(kind, name) + "".join([_encode(element) + TYPED_MARK for element in path])
    check_size(key, limits)
    return key


def parse(key: str) -> TypedKey | None:
    """The inverse of `prefix` and `element_key`; None for any other key. Never raises."""
    mark, kind, rest = key[:1], key[1:2], key[2:]
    if mark != TYPED_MARK or kind not in KINDS or not rest.endswith(TYPED_MARK):
        return None
    name, *steps = rest[:-1].split(TYPED_MARK)
    path = tuple(element for element in map(_decode, steps) if element is not None)
    return TypedKey(kind, name, path) if name and path and len(path) == len(steps) else None


def _encode(element: Element) -> str:
    if type(element) is str:
        _check_text("the text", element)
        return "s" + element
    if type(element) is int:
        if not INT_MIN <= element <= INT_MAX:
            raise ValueError(f"the element {element} is outside {INT_MIN}..{INT_MAX}")
        return f"i{element + _OFFSET:017x}"
    if type(element) is bytes:
        return "b" + element.hex()
    what = f"an element is exactly a str, bytes or int, not {type(element).__name__}"
    if isinstance(element, bool):
        what += f": {element} == {int(element)}, and which of them a set keeps would depend on the order of merges"
    raise TypeError(what)


def _decode(step: str) -> Element | None:
    tag, text = step[:1], step[1:]
    if tag == "s":
        return text
    try:
        element: Element = int(text, 16) - _OFFSET if tag == "i" else bytes.fromhex(text)
        return element if _encode(element) == step else None
    except ValueError:
        return None


def _check_text(what: str, text: str) -> None:
    if TYPED_MARK in text:
        raise ValueError(f"{what} {text[:40]!r} holds '\\x00', which separates the steps of a path")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{what} {text[:40]!r} holds a lone surrogate, which is no text") from None
