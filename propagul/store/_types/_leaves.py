"""Leaves of a nested map by path: which rows they are, which nodes they imply, and the dicts they make.

Keys come from other machines too: rows that `NestedMap` would not write are no leaves. Pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from propagul.crdt import MAP, REMOVE, Op, Packed
from propagul.errors import LimitExceeded
from propagul.store import _paths
from propagul.store._types._rows import of_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from propagul.crdt import Row, Sibling

Path = tuple[str, ...]

PARTS_MAX: Final = 32
"""How many parts a path may have."""

NOTHING: Final = Packed(b"\x80")
"""An empty dict."""


class Conflict(NamedTuple):
    """A leaf that replicas disagree about.

    Attributes:
        path: Of the leaf.
        values: What was written to it concurrently, newest first; the first is what `get` returns, unless it is hidden.
        hidden_by: A leaf below it, if this path was made an inner node concurrently. The leaf is not shown then.
    """

    path: Path
    values: list[object]
    hidden_by: Path | None


def checked(path: str | Path, *, whole: bool = False) -> Path:
    """A path as a tuple; `whole` allows the empty one, which is the map itself."""
    parts = (path,) if isinstance(path, str) else path
    if type(parts) is not tuple or any(type(part) is not str for part in parts):
        raise TypeError(f"a path is a str or a tuple of them, not {path!r:.80}")
    if not (parts or whole) or "" in parts:
        raise ValueError(f"a path has at least one part, and no part is empty: {path!r:.80}")
    if len(parts) > PARTS_MAX:
        raise LimitExceeded(f"the path {parts[:2]!r}...", size=len(parts), limit=PARTS_MAX, unit="parts")
    return parts


def leaves_of(rows: Iterable[tuple[str, Row]]) -> dict[Path, list[Sibling]]:
    """Rows that are leaves, by path; others were not written by `NestedMap`."""
    found = ((_paths.parse(key), of_kind(row, MAP)) for key, row in rows)
    paths = ((typed.path, siblings) for typed, siblings in found if typed is not None and siblings)
    return {cast("Path", path): siblings for path, siblings in paths if _is_path(path)}


def _is_path(path: tuple[_paths.Element, ...]) -> bool:
    return len(path) <= PARTS_MAX and all(type(part) is str and part for part in path)


def inner_nodes(leaves: Iterable[Path]) -> dict[Path, Path]:
    """Every path with a leaf below it, and one such leaf."""
    return {path[:size]: path for path in leaves for size in range(1, len(path))}


def clash(path: Path, held: Mapping[Path, list[Sibling]], inner: Mapping[Path, Path]) -> Path | None:
    """The leaf with which a write to `path` would make one path both leaf and inner node.

    What is both already, because it was written concurrently, does not stand in the way.
    """
    if path in inner:
        return inner[path]
    above = (path[:size] for size in range(1, len(path)))
    return next((leaf for leaf in above if leaf in held and leaf not in inner and stands_in_the_way(held[leaf])), None)


def flat(above: Path, mapping: Mapping[str, object]) -> Iterator[tuple[Path, object]]:
    """The leaves of a nested dict by path; an empty dict below the top is one.

    Raises:
        TypeError, ValueError, LimitExceeded: A name is no part of a path, or a path is too long.
    """
    for name, value in mapping.items():
        path = checked((*above, name))
        if type(value) is dict and value:
            yield from flat(path, value)
        else:
            yield path, value


def stands_in_the_way(siblings: list[Sibling]) -> bool:
    """Whether a leaf stands in the way of others below it; an empty dict does not."""
    return siblings[0].payload != NOTHING


def removals(rows: Mapping[str, Row]) -> list[Op]:
    return [Op(key, MAP, REMOVE) for key, row in rows.items() if of_kind(row, MAP)]


def tree_of(items: Iterable[tuple[Path, object]], skip: int) -> dict[str, object]:
    """Nested dicts out of leaves, none of which is above another; the first `skip` parts are left out."""
    root: dict[str, object] = {}
    for path, value in items:
        node = root
        for part in path[skip:-1]:
            node = cast("dict[str, object]", node.setdefault(part, {}))
        node[path[-1]] = value
    return root
