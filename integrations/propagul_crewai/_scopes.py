"""Scopes of memory: paths such as `/company/team`, compared a segment at a time (`/team` does not hold `/teams`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = "/"


def normal(scope: str | None) -> str:
    """A scope with a slash before it and none behind; `/` for none at all."""
    return ROOT + (scope or "").strip("/")


def is_within(scope: str, outer: str) -> bool:
    """Whether a scope is another one or lies in it. Both are normal."""
    return outer in {ROOT, scope} or scope.startswith(outer + "/")


def children(scopes: Iterable[str], parent: str) -> list[str]:
    """The scopes right below one, of those that are used, sorted. All are normal."""
    stem = "" if parent == ROOT else parent
    below = (scope.removeprefix(stem + "/") for scope in scopes if is_within(scope, parent) and scope != parent)
    return sorted({f"{stem}/{path.split('/', 1)[0]}" for path in below if path})
