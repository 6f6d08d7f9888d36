"""Searches over a namespace and everything below it. All of them read every row found; call them in a thread."""

from __future__ import annotations

from itertools import groupby, islice, takewhile
from typing import TYPE_CHECKING

from propagul_langgraph._memory import filters
from propagul_langgraph._memory.keys import is_hashed, name_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph.store.base import ListNamespacesOp, MatchCondition, SearchItem, SearchOp

    from propagul_langgraph._memory.items import Get, Items, Stored
    from propagul_langgraph._memory.lifetimes import Lifetimes
    from propagul_langgraph._memory.vectors import Vector, Vectors


class Search:
    """Answers searches.

    Args:
        items, vectors, lifetimes: The rows.
        get: Gives the value of a key.
        omits: Whether what has expired is left out before it is swept.
    """

    def __init__(self, items: Items, vectors: Vectors, lifetimes: Lifetimes, get: Get, *, omits: bool) -> None:
        self._items, self._vectors, self._lifetimes, self._get, self._omits = items, vectors, lifetimes, get, omits

    def items(self, op: SearchOp, query: Vector | None) -> list[SearchItem]:
        """What is found, the nearest to a query first, then what has no vectors; without a query the newest first.

        Those that are returned live on from now, if they would expire.
        """
        ranked = self._newest(op) if query is None else self._nearest(op, query)
        found = list(islice(ranked, op.offset, op.offset + op.limit))
        if op.refresh_ttl:
            for item, _ in found:
                self._lifetimes.read(item, self._get)
        return [item.search_item(score) for item, score in found]

    def namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        """Namespaces that hold items, sorted."""
        conditions = op.match_conditions or ()
        wanted = [condition for condition in conditions if condition.match_type == "prefix"]
        starts = [tuple(takewhile(lambda label: label != "*", condition.path)) for condition in wanted]
        paths = self._items.paths_under(max(starts, key=len, default=()))
        groups = groupby(sorted(paths, key=_namespace_path), key=_namespace_path)
        held = [self._namespace(path, below) for path, below in groups]
        found = {labels for labels in held if labels is not None and all(_matches(labels, c) for c in conditions)}
        return sorted({labels[: op.max_depth] for labels in found})[op.offset : op.offset + op.limit]

    def is_gone(self, item: Stored) -> bool:
        """Whether an item is to be left out."""
        return self._omits and self._lifetimes.is_past(item, self._get)

    def _newest(self, op: SearchOp) -> Iterator[tuple[Stored, float | None]]:
        found = [item for item in self._items.under(op.namespace_prefix) if self._is_wanted(item, op)]
        found.sort(key=lambda item: item.updated, reverse=True)  # of one time: in the order of their paths
        yield from ((item, None) for item in found)

    def _nearest(self, op: SearchOp, query: Vector) -> Iterator[tuple[Stored, float | None]]:
        shown = set()
        for near in self._vectors.nearest(op.namespace_prefix, query):
            item = None if near.path in shown else self._items.at(near.path, self._get)
            if item is not None and item.vectors == near.digest and self._is_wanted(item, op):
                shown.add(near.path)
                yield item, near.score
        yield from ((item, None) for item, _ in self._newest(op) if item.path not in shown)

    def _is_wanted(self, item: Stored, op: SearchOp) -> bool:
        return (not op.filter or filters.matches(item.value, op.filter)) and not self.is_gone(item)

    def _namespace(self, path: str, below: Iterator[str]) -> tuple[str, ...] | None:
        """The labels of a namespace by the path it has; None if nothing in it is to be seen."""
        if not self._omits and not is_hashed(path):
            return name_in(f"{path}/")[0]
        items = (self._items.at(item, self._get) for item in below)
        return next((item.name[0] for item in items if item is not None and not self.is_gone(item)), None)


def _namespace_path(path: str) -> str:
    return path.rpartition("/")[0]


def _matches(labels: tuple[str, ...], condition: MatchCondition) -> bool:
    """Whether labels begin, or end, with those of a condition; `*` stands for any one."""
    path = condition.path
    if len(labels) < len(path):
        return False
    compared = labels[: len(path)] if condition.match_type == "prefix" else labels[len(labels) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(compared, path, strict=True))
