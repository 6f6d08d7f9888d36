"""Where the rows of items and cache entries stand: labels and keys as parts of the store's keys.

A part is the name itself where that is short and plain, else a hash of it: see `part`. How a label is written
depends on those before it only: all keys of a namespace begin alike, whatever stands below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propagul import LimitExceeded
from propagul_langgraph._saver.keys import part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Name = tuple[tuple[str, ...], str]
"""The namespace of an item and its key in it."""

LABELS_MAX: Final = 24
"""So many labels of any length make a key below 1 KiB."""

_PLAIN_CHARS_MAX: Final = 400
"""A label is hashed, too, where those before it take so much already."""


def prefix_of(namespace: Sequence[str]) -> str:
    """How the paths of everything in a namespace and below it begin.

    Raises:
        LimitExceeded: It has too many labels.
    """
    if len(namespace) > LABELS_MAX:
        subject = f"the namespace {tuple(namespace[:2])!r}..."
        raise LimitExceeded(subject, size=len(namespace), limit=LABELS_MAX, unit="labels")
    return "".join(f"{written}/" for written in _parts(namespace))


def path_of(namespace: Sequence[str], key: str) -> str:
    """Where a key of a namespace stands.

    Raises:
        LimitExceeded: The namespace has too many labels.
    """
    return prefix_of(namespace) + part(key)


def is_hashed(path: str) -> bool:
    """Whether a path does not say all names."""
    return "~" in path


def name_in(path: str) -> Name:
    """Namespace and key of a path that is not hashed."""
    *labels, key = path.split("/")
    return tuple(labels), key


def _parts(names: Iterable[str]) -> Iterator[str]:
    taken = 0
    for name in names:
        written = part(name if taken < _PLAIN_CHARS_MAX else f"/{name}")  # with a slash in it, it is hashed
        taken += len(written)
        yield written
