"""Versions of Ollama that are known to have a hole, with the version that closed it.

Only holes whose closing version is published are here. That whoever reaches it can have it pull, delete and run is so
in every version, for its API knows no keys; that is what the rest of this package is about.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Hole(NamedTuple):
    """A published hole.

    Attributes:
        name: Its CVE number.
        closed_in: The first version without it.
        lets: What it lets somebody do, as the end of a sentence.
    """

    name: str
    closed_in: str
    lets: str


HOLES: Final = (
    Hole("CVE-2026-7482", "0.17.1", "whoever reaches it can read its memory, prompts and keys in it included"),
    Hole("CVE-2025-51471", "0.14.3", "a registry it pulls from can take its credentials"),
    Hole("CVE-2024-45436", "0.1.47", "whoever reaches it can write files on this box"),
    Hole("CVE-2024-28224", "0.1.29", "any web page you open can use it"),
)
"""Newest first."""

_UNSTAMPED: Final = (0, 0, 0)
"""What a build that somebody made without a version says of itself."""


def holes_of_ollama(version: str | None) -> tuple[Hole, ...]:
    """Return the holes of a version; none of one that cannot be read."""
    ours = _numbers(version or "")
    if ours is None or ours == _UNSTAMPED:
        return ()
    return tuple(hole for hole in HOLES if ours < (_numbers(hole.closed_in) or _UNSTAMPED))


def _numbers(version: str) -> tuple[int, int, int] | None:
    """A release candidate counts as its release: it may have what was closed last or not."""
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?![\d.])", version)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))
